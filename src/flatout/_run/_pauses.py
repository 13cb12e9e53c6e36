"""Time in which this process could not run: it was stopped (Ctrl-Z, SIGSTOP), or frozen together with its container.

No clock tells that. So a thread looks at the clock all the time, and where it comes far too late though next to nothing was
computed meanwhile, nothing else in this process can have run either.
"""

from __future__ import annotations

import time

from flatout._threads._daemons import Daemon
from flatout._threads._interrupts import Bell

BEAT = 0.1  # seconds between two looks: so long a pause is, give or take; guessed
LATE = 0.3  # seconds between two looks that only a pause explains, or a machine that leaves us no core; guessed


class Pauses:
    """Notes them from `begin` to `end`."""

    def __init__(self) -> None:
        self._noted: list[tuple[float, float]] = []  # (begin, end) of each
        self._look = _look()  # the last one
        self._over = False
        self._bell = Bell()

    def begin(self) -> None:
        """Raises RuntimeError where no thread can be had."""
        Daemon(self._watch, "flatout-pauses").start()

    def end(self) -> None:
        """Look no longer."""
        self._over = True
        self._bell.ring()

    def since(self, moment: float) -> float:
        """Seconds of pauses between that moment (by time.monotonic) and now."""
        pauses = [*self._noted, *self._current()]
        return sum(max(0.0, end - max(begin, moment)) for begin, end in pauses)

    def _watch(self) -> None:
        while not self._over:
            self._bell.wait(BEAT)
            self._noted += self._current()
            self._look = _look()

    def _current(self) -> list[tuple[float, float]]:
        """The pause that has just ended, if one has."""
        (then, cpu_then), (now, cpu) = self._look, _look()
        return [(then, now)] if now - then > LATE and cpu - cpu_then < (now - then) / 2 else []


def _look() -> tuple[float, float]:
    """The time, and what this process has computed."""
    return time.monotonic(), time.process_time()
