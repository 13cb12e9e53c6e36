"""The command: chooses what is tried, tries it, says what came of it."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from faults import report
from faults.cases import CASES
from faults.chair import Pair, examine
from faults.contenders import FLATOUT, PEERS
from faults.model import Verdict

WIDTH = 150  # columns, where nobody looks on


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False, soft_wrap=True)
    began = time.monotonic()
    groups = list(chosen(asked.only, asked.contenders, asked.quick))
    count = sum(len(group) for group in groups)
    verdicts = []
    for number, verdict in enumerate(tried(groups, asked.jobs), 1):
        verdicts.append(verdict)
        console.print(f"\\[{number}/{count}] {verdict.case} / {verdict.contender}: {report.word(verdict)} ({verdict.seconds:.1f} s)")
    for table in report.tables(verdicts):
        console.print(table)
    for line in report.details(verdicts):
        console.print(f"flatout misses: {line}", markup=False)
    console.print(f"It took {time.monotonic() - began:.0f} s.")
    if asked.json:
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_text(json.dumps([asdict(one) for one in verdicts], indent=1))
    return 1 if report.details(verdicts) else 0


def chosen(only: str, contenders: str, quick: bool) -> Iterator[list[Pair]]:
    """Cases and contenders, those together that share a process: all of flatout's ways in one case, or one peer."""
    for case in CASES:
        if re.search(only, case.name) and (case.quick or not quick) and not case.needs():
            suiting = [one for one in [*FLATOUT, *PEERS] if re.search(contenders, one.name) and one.suits(case)]
            groups = [[one for one in suiting if one.kind], *([one] for one in suiting if not one.kind and one.installed)]
            yield from ([(case, one) for one in group] for group in groups if group)


def tried(groups: Sequence[list[Pair]], jobs: int) -> Iterator[Verdict]:
    """So many groups at once."""
    with ThreadPoolExecutor(jobs) as pool:
        for verdicts in pool.map(examine, groups):
            yield from verdicts


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m faults", description="what one task can do to the others")
    parser.add_argument("--quick", action="store_true", help="without what takes long or much memory")
    parser.add_argument("--only", default="", metavar="REGEX", help="cases whose name matches")
    parser.add_argument("--contenders", default="", metavar="REGEX", help="contenders whose name matches")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="so many at once (default: 2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that came of it")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table for the documentation")
    return parser


if __name__ == "__main__":
    sys.exit(main())
