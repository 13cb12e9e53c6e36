"""Inputs whose beginning misleads: who decides by the first calls, or beforehand, has to change his mind."""

from __future__ import annotations

import time
from collections.abc import Sequence

from bench.model import Function, Workload
from bench.workloads.burn import PER_MS, burn
from bench.workloads.waits import SHORT

FIRST = 1.0  # seconds that the first call waits
SLOW = 0.04  # seconds that a call of a service takes that has become slow


def wait_or_burn(iterations: int) -> int:
    """Below zero: seconds to wait, in microseconds."""
    if iterations < 0:
        time.sleep(-iterations * 1e-6)
        return iterations
    return burn(iterations)


def waits(seconds: float) -> int:
    return -round(seconds * 1e6)


def first_waits(count: int) -> tuple[Function, Sequence[int]]:
    return wait_or_burn, [waits(FIRST)] + [8 * PER_MS] * (count - 1)


def waits_then_computes(count: int) -> tuple[Function, Sequence[int]]:
    half = count // 2
    return wait_or_burn, [waits(SHORT)] * half + [5 * PER_MS] * (count - half)


def turns_slow(count: int) -> tuple[Function, Sequence[int]]:
    half = count // 2
    return wait_or_burn, [waits(SHORT)] * half + [waits(SLOW)] * (count - half)


WORKLOADS = [
    Workload(name="first-waits", about="the first waits for a second, the others are 8 ms of Python", make=first_waits,
             count=300, quick=260, wait=FIRST),
    Workload(name="waits-then-computes", about="5 ms asleep, from half-way on 5 ms of Python", make=waits_then_computes,
             count=600, quick=200, kinds=("process", "thread"), per_core=4, threads=64, wait=SHORT),
    Workload(name="turns-slow", about="5 ms asleep, from half-way on 40 ms", make=turns_slow, count=600, quick=200,
             kinds=("thread",), threads=300, wait=SLOW),
]  # fmt: skip
