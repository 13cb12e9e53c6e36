"""Latency: how long one warm `submit(...).result()` takes, by the standard library's interface for executors."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import flatout

CALLS = 500  # in each round


@dataclass(frozen=True)
class Latency:
    """Seconds for one call: medians over the rounds of their median and their 99th percentile."""

    name: str
    p50: float
    p99: float


def executors() -> Iterator[tuple[str, Callable[[], Executor]]]:
    """Processes first: they are forked, and this process should have no threads then."""
    yield "ProcessPoolExecutor", ProcessPoolExecutor
    if find_spec("loky"):
        from loky import get_reusable_executor

        yield "loky", get_reusable_executor
    if ours := getattr(flatout, "Executor", None):
        yield "flatout.Executor", ours
        yield "flatout.Executor via thread", functools.partial(ours, via="thread")
    yield "ThreadPoolExecutor", ThreadPoolExecutor


def measure(rounds: int) -> list[Latency]:
    pools: dict[str, Executor] = {}
    with ExitStack() as stack:
        for name, make in executors():
            pools[name] = stack.enter_context(make())
            trips(pools[name])
        return summarise(pools, [{name: trips(pool) for name, pool in pools.items()} for _ in range(rounds)])


def trips(pool: Executor) -> list[float]:
    """Seconds of each call, one after the other."""
    return [trip(pool) for _ in range(CALLS)]


def trip(pool: Executor) -> float:
    start = time.perf_counter()
    assert pool.submit(abs, -1).result() == 1
    return time.perf_counter() - start


def summarise(names: Mapping[str, Any], rounds: list[dict[str, list[float]]]) -> list[Latency]:
    return [
        Latency(
            name,
            statistics.median(statistics.median(times[name]) for times in rounds),
            statistics.median(percentile(times[name], 0.99) for times in rounds),
        )
        for name in names
    ]


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]
