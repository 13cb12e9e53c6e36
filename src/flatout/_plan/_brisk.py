"""The interval after which a thread must give the GIL away: shorter, as long as anyone needs that."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator

BRISK = 0.001  # seconds: long enough that a held GIL is noticed, and shorter than most calls go without a system call; guessed
HURRIED = 0.0001  # seconds, while the choice is made and carried out, which lets go of the GIL a hundred times; guessed

# Seconds for each thread that waits for the GIL: they all wake at every interval. 130 of them, at 0.1 ms, took 62 ms of CPU time
# for calls that compute for 5 (measured).
FOR_EACH = 0.00005


class Brisk:
    """Shortens the interval after which a thread must give the GIL away, as long as anyone needs that.

    A thread that waits for the GIL begins to wait anew whenever the holder lets go of it for a moment (a system call) and
    takes it again. Where that happens more often than every interval it starves: the watcher, and then the driver, would
    stand still until the call is over.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._users = 0
        self._before = 0.0

    def enter(self) -> None:
        """Someone needs it."""
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._before = sys.getswitchinterval()
                sys.setswitchinterval(min(BRISK, self._before))

    def hurry(self, on: bool, rivals: int = 0) -> None:
        """Have it shorter still, or no longer so, as long as anyone needs it at all. rivals: threads that may want the GIL."""
        with self._lock:
            if self._users:
                sys.setswitchinterval(min(max(HURRIED if on else BRISK, rivals * FOR_EACH), self._before))

    @contextlib.contextmanager
    def hurried(self, rivals: int) -> Iterator[None]:
        """For what lets go of the GIL a hundred times, as imports do, while so many other threads may compute."""
        self.enter()
        self.hurry(True, rivals)
        try:
            yield
        finally:
            self.hurry(False)
            self.leave()

    def leave(self) -> None:
        """Someone needs it no longer."""
        with self._lock:
            self._users -= 1
            if self._users == 0:
                sys.setswitchinterval(self._before)


brisk = Brisk()
