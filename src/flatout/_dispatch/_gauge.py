"""Whether threads that are all in a call compute or wait, told by the CPU time of the process: what `LoopIdle` is for loops."""

from __future__ import annotations

LOOK = 0.03  # seconds over which it is looked at: as the probe does for one call; guessed
LITTLE = 0.1  # CPUs that a process takes at most which has nothing to compute; guessed, for what else goes on in it


class Gauge:
    """Asks for two readings of the process's CPU time, `LOOK` seconds apart."""

    def __init__(self) -> None:
        self._asked = False
        self._first: tuple[float, float] | None = None  # (when, reading)
        self.look_at: float | None = None  # when the second reading is due

    def forget(self) -> None:
        """Begin anew. A reading that was asked for still comes."""
        self._first = self.look_at = None

    def due(self, wanted: bool, now: float) -> bool:
        """Whether to ask for a reading now. `wanted`: all threads are in a call, and more could be used if these wait."""
        if not wanted:
            self.forget()
        if not wanted or self._asked or (self.look_at is not None and now < self.look_at):
            return False
        self._asked, self.look_at = True, None
        return True

    def idle(self, cpu_seconds: float, now: float, wanted: bool) -> bool:
        """Here is one. Returns whether next to nothing was computed since the one before. `wanted`: as long as looks are."""
        self._asked = False
        if not wanted:
            return False
        first, self._first = self._first, (now, cpu_seconds)
        self.look_at = now + LOOK
        if first is None or now <= first[0]:
            return False
        if (cpu_seconds - first[1]) / (now - first[0]) >= LITTLE:
            return False
        self._first = self.look_at = None
        return True
