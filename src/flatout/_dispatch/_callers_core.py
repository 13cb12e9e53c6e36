"""One of the cores is the caller's as long as its thread computes, on the call by which the choice fell.

Were as many processes at work beside it as there are cores, of few calls that take long one would be left over at the end: 4 calls
of 0.3 s on two cores took 0.81 s, and 0.66 so (measured).
"""

from __future__ import annotations

LOOK = (
    0.02  # seconds over which it is looked at whether it computes: the first calls were looked at for as long; guessed
)
REST = 0.2  # seconds between two such looks: it may come to wait; guessed
BUSY = 0.5  # CPUs that this process takes at least while it does; guessed


class CallersCore:
    """Whether it is taken, told by the CPU time of the process, which is asked for at `look_at`."""

    def __init__(self) -> None:
        self.taken = False
        self.look_at: float | None = None
        self._first: tuple[float, float] | None = None  # (when, reading)

    def take(self, now: float) -> None:
        """Others go to processes while the caller's thread is on a call."""
        self.taken, self.look_at, self._first = True, now, None

    def free(self) -> None:
        """That call is over, or others may have its core."""
        self.taken, self.look_at, self._first = False, None, None

    def due(self, now: float) -> bool:
        """Whether to ask for a reading now."""
        due = self.look_at is not None and now >= self.look_at
        if due:
            self.look_at = None
        return due

    def read(self, cpu_seconds: float, now: float) -> None:
        """Here is one."""
        if not self.taken:
            return
        if self._first is None:
            self._first, self.look_at = (now, cpu_seconds), now + LOOK
            return
        then, before = self._first
        self._first, self.look_at = None, now + REST
        if cpu_seconds - before < BUSY * (now - then):
            self.free()
