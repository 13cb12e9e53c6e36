"""The command: plays the workloads, shows what came of them."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

import flatout
from bench.law import picture, report
from bench.law.model import Outcome, verdict
from bench.law.play import Play, Settings
from bench.model import Workload
from bench.service import scratch, service_for
from bench.workloads import all_workloads

WIDTH = 150  # columns, where nobody looks on
QUICK, WHOLE = (3, 40.0), (5, 240.0)  # rounds, and seconds of patience


def main(arguments: Sequence[str] | None = None) -> None:
    asked = _parser().parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    began = time.monotonic()
    rounds, patience = QUICK if asked.quick else WHOLE
    patience = patience if asked.patience is None else asked.patience
    settings = Settings(asked.rounds or rounds, patience, flatout.machine().usable_cores)
    console.print(_headline(settings.cores))
    with scratch():
        outcomes = []
        for outcome in _outcomes(asked, settings, console):
            outcomes.append(outcome)
            if asked.json:  # lest all be lost where it is stopped
                _write(asked.json, json.dumps(_record(outcomes, settings.cores), indent=1))
    for table in (report.chosen_table(outcomes), report.kinds_table(outcomes)):
        console.print(table)
    lines = list(report.verdict_lines(outcomes))
    console.print(*lines, f"It took {time.monotonic() - began:.0f} s.", sep="\n")
    if asked.svg:
        _write(asked.svg, picture.draw(outcomes, "Predicted against measured", _headline(settings.cores)))


def _outcomes(asked: argparse.Namespace, settings: Settings, console: Console) -> Iterator[Outcome]:
    workloads = chosen_workloads(asked.only, asked.quick)
    for number, (family, workload) in enumerate(workloads, 1):
        if workload.missing:
            console.print(f"{workload.name}: left out: {workload.missing} is not installed")
            continue
        with service_for(workload):
            outcome = Play(family, workload, settings).play()
        console.print(f"{number:>3} of {len(workloads)}  {report.progress_line(outcome)}")
        yield outcome


def chosen_workloads(only: str, quick: bool) -> list[tuple[str, Workload]]:
    return [pair for pair in all_workloads() if re.search(only, pair[1].name) and (pair[1].quick or not quick)]


def _headline(cores: int) -> str:
    return (
        f"flatout {flatout.__version__}, {platform.python_implementation()} {platform.python_version()}, {cores} cores, "
        f"load {os.getloadavg()[0]:.1f}"
    )


def _record(outcomes: Sequence[Outcome], cores: int) -> dict[str, object]:
    found = verdict(outcomes)
    return {
        "machine": _headline(cores),
        "verdict": asdict(found) if found else None,
        "workloads": [asdict(outcome) for outcome in outcomes],
    }


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m bench.law", description="how well the law predicts")
    parser.add_argument("--quick", action="store_true", help="fewer workloads and rounds: about three minutes")
    parser.add_argument("--only", default="", metavar="REGEX", help="workloads whose name matches")
    parser.add_argument("--rounds", type=int, help="runs of each kind")
    parser.add_argument(
        "--patience", type=float, metavar="SECONDS", help="for other programs to let the cores be, in all"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw predicted against measured")
    return parser


if __name__ == "__main__":
    main()
