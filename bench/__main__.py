"""The command: chooses what is measured, measures, reports."""

from __future__ import annotations

import argparse
import json
import platform
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console

import flatout
from bench import first, latency, limits, memory, misled, picture, report, startup
from bench.contenders import all_contenders
from bench.contenders.flatout import FLATOUT, LOOP
from bench.coordinator import Disturbances, Match, Settings
from bench.model import Contender, Result, Workload
from bench.service import scratch, service_for
from bench.watch import Watch
from bench.workloads import all_workloads

WIDTH = 150  # columns, where nobody looks on


def main(arguments: Sequence[str] | None = None) -> None:
    asked = _parser().parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    began = time.monotonic()
    machine = limits.measure_machine(flatout.machine().usable_cores)
    settings = Settings.of(asked.quick, machine.cores, asked.rounds)
    console.print(_headline(machine))
    record: dict[str, Any] = {"versions": _versions(), "machine": asdict(machine)}
    with scratch():
        results = list(_results(asked, settings, machine, console))
    if not asked.only:
        record |= _others(settings, console, asked.quick)
    report.print_summary(console, results)
    console.print(_disturbed(settings.disturbances), f"It took {time.monotonic() - began:.0f} s.")
    record |= {"disturbances": asdict(settings.disturbances), "results": [asdict(result) for result in results]}
    if asked.json:
        _write(asked.json, json.dumps(record, indent=1))
    if asked.svg:
        _write(asked.svg, picture.draw(report.comparisons_of(results, FLATOUT), _headline(machine)))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _results(
    asked: argparse.Namespace, settings: Settings, machine: limits.Machine, console: Console
) -> Iterator[Result]:
    watch = Watch(settings.burn)
    for family, workload in chosen_workloads(asked.only, asked.quick):
        if workload.missing:
            console.print(f"{workload.name}: left out, {workload.missing} is not installed")
            continue
        with service_for(workload) as service:
            match = Match(family, workload, settings, watch, service)
            match.play(chosen_contenders(workload, asked.contenders, asked.quick))
        result = match.result(machine)
        console.print(report.workload_table(result))
        yield result


def _others(settings: Settings, console: Console, quick: bool) -> dict[str, Any]:
    """What no map can show."""
    starts, latencies = startup.measure(settings.rounds), latency.measure(settings.rounds)
    peaks = memory.measure(settings.drawn)
    firsts = [] if quick else first.measure(settings.rounds)
    misleds = [] if quick else list(misled.measure(settings.rounds))
    console.print(report.start_table(starts))
    console.print(report.latency_table(latencies))
    console.print(report.memory_table(peaks, settings.drawn))
    if firsts:
        console.print(report.first_table(firsts))
    if misleds:
        console.print(report.misled_table(misleds))
    found: dict[str, list[Any]] = {
        "starts": starts,
        "latencies": latencies,
        "peaks": peaks,
        "firsts": firsts,
        "misleds": misleds,
    }
    return {name: [asdict(one) for one in ones] for name, ones in found.items()}


def chosen_workloads(only: str, quick: bool) -> list[tuple[str, Workload]]:
    return [pair for pair in all_workloads() if re.search(only, pair[1].name) and (pair[1].quick or not quick)]


def chosen_contenders(workload: Workload, pattern: str, quick: bool) -> list[Contender]:
    """The plain loop, which is the reference, and those that suit the workload, are installed and were asked for."""
    return [one for one in all_contenders() if one.name == LOOP or _is_chosen(one, workload, pattern, quick)]


def _is_chosen(one: Contender, workload: Workload, pattern: str, quick: bool) -> bool:
    suits = one.kind is None or one.kind in workload.kinds
    return suits and one.installed and (one.quick or not quick) and bool(re.search(pattern, one.name, re.IGNORECASE))


def _headline(machine: limits.Machine) -> str:
    return (
        f"flatout {flatout.__version__}, {platform.python_implementation()} {platform.python_version()}, "
        f"{machine.cores} cores, memcpy {machine.memcpy / 2**30:.1f} GiB/s. {machine.cores} processes do "
        f"{machine.speedup:.2f} x the work of one: {machine.cores / machine.speedup:.2f} x the limit is the floor for them."
    )


def _disturbed(disturbances: Disturbances) -> str:
    return (
        f"{disturbances.measured} measurements. The machine was slow in some: {disturbances.repeated} were repeated; "
        f"{disturbances.kept} stayed so, and count only where a contender has no other."
    )


def _versions() -> dict[str, str]:
    peers = sorted({one.needs for one in all_contenders()} - {""})
    return {"python": platform.python_version(), **{name: _version(name) for name in ["flatout", *peers]}}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m bench", description="flatout side by side with its peers")
    parser.add_argument("--quick", action="store_true", help="fewer workloads, inputs, peers and rounds: two minutes")
    parser.add_argument("--only", default="", metavar="REGEX", help="workloads whose name matches, and nothing else")
    parser.add_argument("--contenders", default="", metavar="REGEX", help="contenders whose name matches")
    parser.add_argument("--rounds", type=int, help="measurements of each contender")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw flatout's ratio in each workload")
    return parser


if __name__ == "__main__":
    main()
