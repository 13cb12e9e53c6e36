"""Tasks unlike each other: who hands out so much at a time that a worker idles at the end?"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from bench.model import Function, Workload
from bench.workloads.burn import PER_MS, burn, longest_share


def lognormal(count: int) -> tuple[Function, Sequence[Any]]:
    chance = random.Random(7)
    return burn, [int(PER_MS * chance.lognormvariate(0.0, 1.5)) for _ in range(count)]  # median 1 ms, mean 3 ms


def giant_last(count: int) -> tuple[Function, Sequence[Any]]:
    return burn, [2 * PER_MS] * (count - 1) + [count * PER_MS]


def cheap_then_dear(count: int) -> tuple[Function, Sequence[Any]]:
    dear = count // 400
    return burn, [0] * (count - dear) + [10 * PER_MS] * dear


def rising(count: int) -> tuple[Function, Sequence[Any]]:
    return burn, [int(PER_MS * (0.05 + 9.95 * i / count)) for i in range(count)]


WORKLOADS = [
    Workload(name="lognormal", about="lognormal durations, mean 3 ms", make=lognormal, count=300, quick=60,
             longest=longest_share),
    Workload(name="giant-last", about="2 ms each, the last as dear as half of all others", make=giant_last, count=300,
             longest=longest_share),
    Workload(name="cheap-then-dear", about="no-ops, then 10 ms each for the last 400th", make=cheap_then_dear,
             count=16_000, quick=4_000, longest=longest_share),
    Workload(name="rising", about="50 us rising to 10 ms", make=rising, count=200, chunksize=2,
             longest=longest_share),
]  # fmt: skip
