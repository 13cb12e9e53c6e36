"""Tasks alike, from nothing at all to 100 ms: what does it cost to hand them out?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bench.model import Function, Workload
from bench.workloads.burn import PER_MS, burn, varied


def noop(x: int) -> int:
    return x


def noops(count: int) -> tuple[Function, Sequence[Any]]:
    return noop, range(count)


def burns(milliseconds: float) -> Callable[[int], tuple[Function, Sequence[Any]]]:
    return lambda count: (burn, varied(int(milliseconds * PER_MS), count))


WORKLOADS = [
    Workload(name="noop", about="no-ops", make=noops, count=200_000, quick=100_000, chunksize=20_000),
    Workload(name="2us", about="2 us of Python", make=burns(0.002), count=200_000, quick=50_000, chunksize=2_500),
    Workload(name="50us", about="50 us of Python", make=burns(0.05), count=10_000, quick=2_000, chunksize=100),
    Workload(name="2ms", about="2 ms of Python", make=burns(2), count=400, chunksize=2),
    Workload(name="100ms", about="100 ms of Python", make=burns(100), count=16),
]
