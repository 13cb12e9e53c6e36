"""Full garbage collections while calls are looked at: they come seldom, and in whatever call comes then."""

from __future__ import annotations

from collections.abc import Callable


class Collections:
    """Adds up how long they take. now: tells when it is, and CPU seconds of those whose work they are told apart from."""

    def __init__(self, now: Callable[[], tuple[float, float]]) -> None:
        self.heeded = False
        self._now = now
        # What those took that are over, and when the one began that is under way: together, since any thread reads them.
        self._state: tuple[float, float, tuple[float, float] | None] = 0.0, 0.0, None
        self._told = 0.0, 0.0

    @property
    def under_way(self) -> bool:
        """Whether there is one at this moment."""
        return self._state[2] is not None

    def heed(self) -> None:
        """From now on."""
        import gc

        if not self.heeded:
            self.heeded = True
            gc.callbacks.append(self._note)

    def ignore(self) -> None:
        """No longer."""
        if self.heeded:
            import gc

            self.heeded = False
            gc.callbacks.remove(self._note)
            self._state = *self._so_far(), None

    def take(self) -> tuple[float, float]:
        """Seconds that they have taken since this was asked last, and how many of those were computed; by one thread at a time.

        With what the one has taken so far that is under way: it may run code of the program, and that let go of the GIL.
        """
        told, self._told = self._told, self._so_far()
        return self._told[0] - told[0], self._told[1] - told[1]

    def _so_far(self) -> tuple[float, float]:
        seconds, computed, began = self._state
        if began is None:
            return seconds, computed
        now, cpu = self._now()
        return seconds + now - began[0], computed + cpu - began[1]

    def _note(self, phase: str, info: dict[str, int]) -> None:
        """One begins or ends, in whatever thread, whatever locks this may hold: all others wait meanwhile."""
        if info["generation"] == 2 and self.heeded:
            self._state = *self._so_far(), self._now() if phase == "start" else None
