"""What the machine allows at best, by the same bounds as flatout's own law: computing, the longest call, waiting, moving."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from bench.model import Limit, Workload
from bench.workloads.burn import PER_MS, burn

COPIED = 64 * 2**20  # bytes, more than a cache holds


@dataclass(frozen=True)
class Machine:
    """cores: that this process may use. memcpy: bytes per second. speedup: of `cores` processes over one."""

    cores: int
    memcpy: float
    speedup: float


def limit(workload: Workload, count: int, cpu: float, machine: Machine) -> Limit:
    """cpu: seconds of CPU that all calls need."""
    share = workload.longest(workload.make(count)[1]) if workload.longest else 1 / count
    bounds = {
        "CPU / cores": cpu / machine.cores,
        "the longest call": cpu * share,
        "wait / concurrency": count * workload.wait / min(workload.concurrency or count, count),
        "bytes / memcpy": count * workload.bytes_each / machine.memcpy,
    }
    term = max(bounds, key=lambda name: bounds[name])
    return Limit(bounds[term], term)


def measure_machine(cores: int) -> Machine:
    return Machine(cores, memcpy_speed(), speedup(cores))


def memcpy_speed() -> float:
    """Bytes per second, between pages that are there."""
    source, target = memoryview(bytearray(COPIED)), memoryview(bytearray(COPIED))

    def copy() -> float:
        start = time.perf_counter()
        target[:] = source
        return time.perf_counter() - start

    return COPIED / min(copy() for _ in range(8))


def speedup(cores: int) -> float:
    """How much more `cores` processes get done than one: seldom as much as their number."""
    iterations = [30 * PER_MS] * cores
    with ProcessPoolExecutor(cores) as pool:
        _seconds(pool, iterations)  # starts them
        one = min(_seconds(pool, iterations[:1]) for _ in range(8))
        return cores * one / min(_seconds(pool, iterations) for _ in range(8))


def _seconds(pool: ProcessPoolExecutor, iterations: list[int]) -> float:
    start = time.perf_counter()
    list(pool.map(burn, iterations))
    return time.perf_counter() - start
