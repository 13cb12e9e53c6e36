"""Changing one's mind: the first run of a program whose first calls mislead, beside one that knew from the start how to run them.

python -m bench.misled [ROUNDS] prints the table; python -m bench.misled WORKLOAD PLAN, a JSON object of a `Plan`'s fields or
null for none, is such a program and prints how long its run took.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

import flatout
from bench.chair import environment
from bench.workloads import all_workloads

CORES = flatout.machine().usable_cores

# By workload what an expert would ask for who knew how it goes on.
KNEW: dict[str, list[dict[str, Any]]] = {
    "cheap-then-dear": [{"kind": "process", "concurrency": CORES}],
    "rising": [{"kind": "process", "concurrency": CORES}],
    "giant-last": [{"kind": "process", "concurrency": CORES}],
    "first-waits": [{"kind": "process", "concurrency": count} for count in (CORES, CORES + 1)],
    "waits-then-computes": [
        {"kind": "process", "concurrency": 4 * CORES},
        {"kind": "process", "concurrency": 16 * CORES, "processes": CORES, "inside": "thread"},
    ],
    "turns-slow": [{"kind": "thread", "concurrency": 300}],
}


@dataclass(frozen=True)
class Misled:
    """Medians in seconds: of a run that had to find out, and of the best that knew."""

    name: str
    found_out: float
    knew: float


def measure(rounds: int) -> Iterator[Misled]:
    """All in turn, each in a process of its own."""
    for name, plans in KNEW.items():
        turns = [[seconds(name, plan) for plan in (None, *plans)] for _ in range(rounds)]
        found_out, *knew = map(median, zip(*turns, strict=True))
        yield Misled(name, found_out, min(knew))


def seconds(name: str, plan: dict[str, Any] | None) -> float:
    """Of the one run of a program."""
    program = [sys.executable, "-m", "bench.misled", name, json.dumps(plan)]
    return float(subprocess.run(program, env=environment(), stdout=subprocess.PIPE, check=True).stdout)


def run(name: str, plan: dict[str, Any] | None) -> float:
    """Seconds until all results are there."""
    workload = next(workload for _, workload in all_workloads() if workload.name == name)
    func, items = workload.make(workload.count)
    via: flatout.Plan | Literal["auto"] = "auto" if plan is None else flatout.Plan(**plan)
    began = time.perf_counter()
    flatout.map(func, items, via=via).results()
    return time.perf_counter() - began


if __name__ == "__main__":
    if len(sys.argv) > 2:
        print(run(sys.argv[1], json.loads(sys.argv[2])))
    else:
        for one in measure(int(sys.argv[1]) if len(sys.argv) > 1 else 5):
            print(f"{one.name}: {one.found_out:.3f} s, {one.knew:.3f} s for who knew: {one.found_out / one.knew:.2f}")
