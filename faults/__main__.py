"""The command: tries what was chosen, says what came of it."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from faults import chair, choice, report, traces
from faults.chair import Pair
from faults.model import Verdict

WIDTH = 180  # columns, where nobody looks on
JOBS = 6  # processes at once: many of them only wait until a peer is known to hang


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # what was started is ended first
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False, markup=False)
    began = time.monotonic()
    groups = choice.groups(asked.only, asked.contenders, asked.quick)
    with traces.swept():
        verdicts = list(_told(console, tried(groups, asked.jobs), sum(map(len, groups))))
    for table in [*report.tables(verdicts), report.summary_table(verdicts)]:
        console.print(table)
    misses = report.misses(verdicts)
    for line in misses:
        console.print(f"flatout misses {line}", soft_wrap=True)
    console.print(f"{report.headline(verdicts)} It took {time.monotonic() - began:.0f} s.")
    if asked.json:
        _write(asked.json, json.dumps([asdict(one) for one in verdicts], indent=1))
    if asked.markdown:
        _write(asked.markdown, report.inserted(report.markdown(verdicts), asked.markdown))
    return 1 if misses else 0


def _told(console: Console, verdicts: Iterator[Verdict], count: int) -> Iterator[Verdict]:
    for number, verdict in enumerate(verdicts, 1):
        console.print(f"{number}/{count} {verdict.case} / {verdict.contender}: {report.word(verdict)}", soft_wrap=True)
        yield verdict


def tried(groups: Sequence[list[Pair]], jobs: int) -> Iterator[Verdict]:
    """So many groups at once; who leaves early ends them all."""
    pool = ThreadPoolExecutor(jobs)
    try:
        for verdicts in pool.map(chair.examine, groups):
            yield from verdicts
    finally:
        chair.stopping.set()
        pool.shutdown(cancel_futures=True)
        chair.stopping.clear()


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m faults", description="what one task can do to the others")
    parser.add_argument("--quick", action="store_true", help="without what takes long or much memory")
    parser.add_argument("--only", default="", metavar="REGEX", help="cases whose name matches")
    parser.add_argument("--contenders", default="", metavar="REGEX", help="contenders whose name matches")
    parser.add_argument("--jobs", type=int, default=JOBS, metavar="N", help=f"processes at once (default: {JOBS})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that came of it")
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="write the tables, between its marks if it has them"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
