"""The command: chooses what is measured, measures, reports."""

from __future__ import annotations

import argparse
import json
import platform
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console

import flatout
from bench import limits, report
from bench.contenders import all_contenders
from bench.contenders.flatout import LOOP
from bench.coordinator import Disturbances, Match, Settings
from bench.model import Contender, Result, Workload
from bench.watch import Watch
from bench.workloads import all_workloads


def main(arguments: Sequence[str] | None = None) -> None:
    asked = _parser().parse_args(arguments)
    settings = Settings(asked.rounds or (3 if asked.quick else 7), 4.0 if asked.quick else 20.0, asked.quick)
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    cores = flatout.machine().usable_cores
    machine = limits.measure_machine(cores)
    watch, disturbances = Watch(0.003 if asked.quick else 0.01), Disturbances()
    console.print(_headline(machine))
    results: list[Result] = []
    for family, workload in chosen_workloads(asked.only, asked.quick):
        if workload.missing:
            console.print(f"{workload.name}: left out, {workload.missing} is not installed")
            continue
        match = Match(family, workload, settings, cores, watch, disturbances)
        match.play(chosen_contenders(workload, asked.contenders, asked.quick))
        results.append(match.result(machine))
        console.print(report.workload_table(results[-1]))
    report.print_summary(console, results)
    console.print(
        f"{disturbances.measured} measurements; the machine was slow in some: {disturbances.repeated} repeated, "
        f"{disturbances.kept} kept but counted only where a contender has no other"
    )
    if asked.json:
        asked.json.write_text(json.dumps(_record(machine, disturbances, results), indent=1))


def chosen_workloads(only: str, quick: bool) -> list[tuple[str, Workload]]:
    return [pair for pair in all_workloads() if re.search(only, pair[1].name) and (pair[1].quick or not quick)]


def chosen_contenders(workload: Workload, pattern: str, quick: bool) -> list[Contender]:
    """The plain loop, which is the reference, and those that suit the workload, are installed and were asked for."""
    return [
        one
        for one in all_contenders()
        if one.name == LOOP
        or (one.kind is None or one.kind in workload.kinds)
        and (one.quick or not quick)
        and one.installed
        and re.search(pattern, one.name, re.IGNORECASE)
    ]


def _headline(machine: limits.Machine) -> str:
    return (
        f"flatout {flatout.__version__}, {platform.python_implementation()} {platform.python_version()}, "
        f"{machine.cores} cores, memcpy {machine.memcpy / 2**30:.1f} GiB/s. {machine.cores} processes get "
        f"{machine.speedup:.2f} x as much done as one: {machine.cores / machine.speedup:.2f} x the limit is the floor for them."
    )


def _record(machine: limits.Machine, disturbances: Disturbances, results: Sequence[Result]) -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in sorted({one.needs for one in all_contenders()} | {"flatout"}) if name},
        "machine": asdict(machine),
        "disturbances": asdict(disturbances),
        "results": [asdict(result) for result in results],
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m bench", description="flatout side by side with its peers")
    parser.add_argument("--quick", action="store_true", help="fewer workloads, inputs, peers and rounds")
    parser.add_argument("--only", default="", metavar="REGEX", help="workloads whose name matches")
    parser.add_argument("--contenders", default="", metavar="REGEX", help="contenders whose name matches")
    parser.add_argument("--rounds", type=int, help="measurements of each contender")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw flatout's ratio in each workload")
    return parser


if __name__ == "__main__":
    main()
