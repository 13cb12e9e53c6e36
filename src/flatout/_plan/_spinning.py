"""Threads that Python does not know, and that are busy though there is no call: whether they work for the calls shows late.

Those of BLAS and OpenMP spin for a while after they were started, and after each of their jobs: so they are busy between
calls that use them, and beside calls that do not. Which it is shows once they have had the time to come to rest.
"""

from __future__ import annotations

import os
import threading
import time

from flatout._threads._times import clock_of_native, read, runs

SPINS = 0.25  # seconds at most: OpenBLAS 0.1 (measured), OpenMP of Intel and of LLVM 0.2 (documented, `KMP_BLOCKTIME`)
_TASKS = "/proc/self/task"
_AGAIN = 0.001  # seconds between two looks, which take 10 us for each thread (measured)


class Spinning:
    """Those that are busy when it is made, between two calls."""

    def __init__(self) -> None:
        self._cpu = {tid: _cpu(tid, 0.0) for tid in _strangers() if runs(_folder(tid))}
        self._rested: list[float] = []  # CPU seconds, since it was made, of those that have come to rest
        self._looked = time.perf_counter()
        self._until = self._looked + SPINS

    def seconds(self) -> float:
        """CPU seconds since it was made that say nothing of the calls: of those that came to rest, or still may."""
        return sum(self._rested) + sum(_cpu(tid, before) - before for tid, before in [*self._cpu.items()])

    def may_rest(self) -> bool:
        """Whether some of those that were busy have been so since, and it is too early to say that they work for the calls."""
        now = time.perf_counter()
        if not self._cpu or now - self._looked < _AGAIN:
            return bool(self._cpu)
        self._looked = now
        if now > self._until:
            self._cpu.clear()
        for tid in [tid for tid in [*self._cpu] if not runs(_folder(tid))]:
            before = self._cpu.pop(tid, None)
            if before is not None:  # another thread may be asking, too
                self._rested.append(_cpu(tid, before) - before)
        return bool(self._cpu)


def _strangers() -> list[int]:
    try:
        # The folder has two links more than threads. To list 500 of them takes 0.7 ms (measured).
        if os.stat(_TASKS).st_nlink - 2 <= threading.active_count():
            return []
        tids = os.listdir(_TASKS)
    except OSError:  # not on Linux
        return []
    known = {thread.native_id for thread in threading.enumerate()}
    return [tid for tid in map(int, tids) if tid not in known]


def _folder(tid: int) -> str:
    return f"{_TASKS}/{tid}"


def _cpu(tid: int, gone: float) -> float:
    """Its CPU seconds; `gone` where it has ended."""
    seconds = read(clock_of_native(tid))
    return gone if seconds is None else seconds
