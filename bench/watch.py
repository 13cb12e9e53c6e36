"""Watches the machine: how much slower than at its best is it just now?

The same short burn runs on each core before and after every measurement, pinned to it; the slowest core counts.
"""

from __future__ import annotations

import os
import time

from bench.workloads.burn import PER_MS, burn


class Watch:
    """burn_seconds: roughly how long the burn takes on one core."""

    def __init__(self, burn_seconds: float) -> None:
        self._iterations = int(burn_seconds * 1000 * PER_MS)
        self._cores = sorted(os.sched_getaffinity(0))
        self._best = float("inf")
        self.reading = 0.0  # seconds of the latest burn on the slowest core
        self.look()

    def look(self) -> float:
        """Burn once on each core: seconds on the slowest."""
        try:
            self.reading = max(self._burn(core) for core in self._cores)
        finally:
            os.sched_setaffinity(0, self._cores)
        return self.reading

    def _burn(self, core: int) -> float:
        """The better of two, since a moment's interruption is no slow core."""
        os.sched_setaffinity(0, {core})
        seconds = min(_timed(self._iterations), _timed(self._iterations))
        self._best = min(self._best, seconds)
        return seconds

    def slowness(self, seconds: float) -> float:
        """A reading over the best of all so far: 1 where the machine is at its best."""
        return seconds / self._best


def _timed(iterations: int) -> float:
    start = time.perf_counter()
    burn(iterations)
    return time.perf_counter() - start
