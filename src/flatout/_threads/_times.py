"""What the system tells of threads: how long they were on a core, and how long in the queue for one (Linux alone).

On a busy machine to wait for a core looks like waiting for something else.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time

VISIBLE = 0.001  # seconds without a core from which it is worth asking, which takes 10 us (measured)


def clock_of(ident: int) -> int | None:
    """A clock by which any thread can read the CPU time of this one, which must be alive; None where the system has none."""
    of = getattr(time, "pthread_getcpuclockid", None)
    return None if of is None else of(ident)


def clock_of_native(tid: int) -> int:
    """The same for a thread of this process that Python need not know, by the number that Linux gives it (Linux alone).

    The form of these clocks is that of the kernel, include/linux/posix-timers.h.
    """
    return (~tid << 3) | 6  # of one thread, and by the scheduler's account


def read(clock: int) -> float | None:
    """CPU seconds by such a clock; None when the thread has ended."""
    try:
        return time.clock_gettime(clock)
    except OSError:
        return None


def runs(thread: str) -> bool:
    """Whether a thread, given by its folder, is on a core or in the queue for one; False where nobody tells."""
    try:
        with open(f"{thread}/stat", "rb") as file:
            return file.read().rpartition(b") ")[2].startswith(b"R")
    except OSError:
        return False


def children(thread: str) -> list[int]:
    """The pids of the programs that a thread, given by its folder, has started and that still run; none where nobody tells."""
    try:
        with open(f"{thread}/children", "rb") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return []


def seconds_of(thread: str) -> tuple[float, float]:
    """Seconds that a thread, given by its folder, was on a core, and that it waited for one; 0.0 where nobody tells."""
    try:
        with open(f"{thread}/schedstat", "rb") as file:
            return _parsed(file.read())
    except (OSError, ValueError):
        return 0.0, 0.0


def _parsed(line: bytes) -> tuple[float, float]:
    computed, waited, _ = map(int, line.split())
    return computed / 1e9, waited / 1e9


class Queued:
    """What of the time that the thread which makes this seems to wait it waits for a core."""

    def __init__(self) -> None:
        self._thread = f"/proc/self/task/{threading.get_native_id()}"
        self._before = seconds_of(self._thread)[1]

    def since(self, waited: float) -> float:
        """Seconds since this was asked last, where the thread has waited visibly; from any thread."""
        if waited < VISIBLE:
            return 0.0
        before, self._before = self._before, seconds_of(self._thread)[1]
        return max(0.0, min(waited, self._before - before))


class RunQueue:
    """Where the thread that makes this waits for a core, as Linux tells; elsewhere it is taken not to.

    before: seconds that it had waited when the account begins, by default now.
    """

    def __init__(self, before: float | None = None) -> None:
        self._folder = f"/proc/self/task/{threading.get_native_id()}"
        self._lock = threading.RLock()  # lest the number be another file's by the time it is read
        self._fd = -1  # closed by `close`: a `__del__` could swallow a Ctrl-C
        self._before = self._last = 0.0
        with contextlib.suppress(OSError):
            self._fd = os.open(f"{self._folder}/schedstat", os.O_RDONLY)
        self._before = self.seconds() if before is None else before

    def seconds(self) -> float:
        """Seconds that it has waited so far, the present time excepted; from any thread."""
        with self._lock:
            if self._fd >= 0:
                with contextlib.suppress(ProcessLookupError):  # the thread has ended
                    self._last = _parsed(os.pread(self._fd, 64, 0))[1] - self._before
            return self._last

    def close(self) -> None:
        """Read no more: from now on `seconds` stays what it is."""
        self.seconds()
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def inside(self) -> bool:
        """Whether the thread, which does not run, could; from any thread."""
        return runs(self._folder)
