"""The command: has flatout choose, many times over, and compares."""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rich.console import Console

from choices import chair, report
from choices.cases import SECTIONS as WRITTEN
from choices.generated import GENERATED
from choices.model import Case, Choice

SECTIONS = {**WRITTEN, "Made at random": GENERATED}
CASES = [case for cases in SECTIONS.values() for case in cases]
WIDTH = 180  # columns, where nobody looks on
ENOUGH = 0.98  # of the choices must be right
KEPT = 1  # recordings of each case and load, for the tests
MOST_ROWS = 150  # of a recording that is kept: they are to stay small
KINDS = ("inline", "thread", "process", "async")


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # what was started is ended first
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False, markup=False)
    cases = [case for case in CASES if re.search(asked.only, case.name) and not case.missing]
    with chair.server():
        if asked.truth:
            return _truth(console, cases)
        return _compare(console, cases, asked)


def _compare(console: Console, cases: list[Case], asked: argparse.Namespace) -> int:
    began = time.monotonic()
    loads = {"quiet": [0], "load": [chair.CORES], "both": [0, chair.CORES]}[asked.load]
    by_name = {case.name: case for case in cases}
    choices: list[Choice] = []
    try:
        for load in loads:
            for choice in _told(console, by_name, _chosen(cases, load, asked)):
                choices.append(choice)
    except (KeyboardInterrupt, SystemExit):
        console.print("cut short")
    for title, members in SECTIONS.items():
        table = report.table(title, [case for case in members if case.name in by_name], choices, loads)
        if table.row_count:
            console.print(table)
    for miss in report.misses(by_name, choices):
        console.print(f"missed: {report.line(miss)}", soft_wrap=True)
    console.print(f"{report.headline(by_name, choices)} It took {time.monotonic() - began:.0f} s.")
    if asked.json:
        _write(asked.json, choices)
    if asked.record:
        _write(asked.record, _kept(by_name, choices))
    return 0 if 1 - len(report.misses(by_name, choices)) / max(1, len(choices)) >= ENOUGH else 1


def _chosen(cases: Iterable[Case], load: int, asked: argparse.Namespace) -> Iterator[Choice]:
    with chair.hogs(load):
        for _ in range(asked.times):
            for case in cases:
                yield chair.choose(case, load, record=bool(asked.record or asked.json))


def _told(console: Console, cases: dict[str, Case], choices: Iterable[Choice]) -> Iterator[Choice]:
    for number, choice in enumerate(choices, 1):
        if choice.kind not in cases[choice.case].kinds or number % 50 == 0:
            console.print(f"{number} {choice.case}: {choice.kind}", soft_wrap=True)
        yield choice


def _kept(cases: dict[str, Case], choices: Iterable[Choice]) -> list[Choice]:
    """Of each case a few recordings of right choices, alone and beside others."""
    kept: dict[tuple[str, int], list[Choice]] = {}
    for choice in choices:
        short = len(choice.readings.get("rows", ())) <= MOST_ROWS
        if choice.readings and short and choice.kind != "async" and choice.kind in cases[choice.case].kinds:
            kept.setdefault((choice.case, choice.load), []).append(choice)
    return [choice for those in kept.values() for choice in those[:KEPT]]


def _write(path: Path, choices: Iterable[Choice]) -> None:
    """One a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(choice.as_json(), separators=(",", ":")) for choice in choices)
    path.write_text(f"[\n{lines}\n]\n")


def _truth(console: Console, cases: Iterable[Case]) -> int:
    for case in cases:
        times = {kind: chair.seconds_by(case, kind) for kind in KINDS}
        told = "  ".join(f"{kind} {'-' if s is None else f'{s:.3f}'}" for kind, s in times.items())
        console.print(f"{case.name:40} {'/'.join(case.kinds):20} {told}", soft_wrap=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m choices", description="does flatout choose as an expert would?")
    parser.add_argument("--only", default="", metavar="REGEX", help="cases whose name matches")
    parser.add_argument("--times", type=int, default=20, metavar="N", help="fresh processes for each (default: 20)")
    parser.add_argument(
        "--load", choices=("quiet", "load", "both"), default="both", help="alone, or beside a hog per core"
    )
    parser.add_argument("--truth", action="store_true", help="run each with every kind instead, and tell the seconds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was chosen")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write recordings for the tests to replay")
    return parser


if __name__ == "__main__":
    sys.exit(main())
