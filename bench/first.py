"""A first call of ten seconds: how much later the others end than without it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median

import flatout
from bench.workloads.burn import PER_MS
from bench.workloads.changes import wait_or_burn, waits

FIRST = waits(10.0)
OTHERS = {
    "20 ms asleep": [waits(0.02)] * 5000,
    "8 ms of Python": [8 * PER_MS] * 800,
}


@dataclass(frozen=True)
class First:
    """Seconds until all calls but the first have ended, with a first one that waits for ten seconds, and without."""

    name: str
    beside: float
    alone: float


def measure(rounds: int) -> list[First]:
    """Both in turn, once more than is measured: what follows finds threads and processes of the run before."""
    found = []
    for name, others in OTHERS.items():
        turns = [(seconds([FIRST, *others]), seconds([others[0], *others])) for _ in range(rounds + 1)][1:]
        found.append(First(name, *map(median, zip(*turns, strict=True))))
    return found


def seconds(inputs: list[int]) -> float:
    """Until all but the first have ended. The caller's thread, which makes the first call, hears of it later."""
    began = time.monotonic()
    return max(flatout.map(end_of, inputs).results()[1:]) - began


def end_of(iterations: int) -> float:
    wait_or_burn(iterations)
    return time.monotonic()  # one clock for all processes


if __name__ == "__main__":
    for one in measure(3):
        print(f"{one.name}: {one.beside:.3f} s beside it, {one.alone:.3f} s without: {one.beside / one.alone:.2f}")
