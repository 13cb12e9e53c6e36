"""Full garbage collections while calls are watched: they come seldom, and in whatever call comes then."""

from __future__ import annotations

from collections.abc import Callable


class Collections:
    """Notes how long each takes. now: reads the clocks of the thread that makes the calls, and that of what it computes."""

    def __init__(self, now: Callable[[], tuple[float, float]]) -> None:
        self.heeded = False
        self._now = now
        self._began: tuple[float, float] | None = None  # one is under way
        self._ended: list[tuple[float, float]] = []  # that nobody has been told of yet

    @property
    def under_way(self) -> bool:
        """Whether there is one at this moment."""
        return self._began is not None

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

    def take(self) -> tuple[float, float]:
        """Seconds that those took which have ended since this was asked last, and for how many of them a core was busy."""
        seconds = computed = 0.0
        while self._ended:
            one = self._ended.pop()
            seconds, computed = seconds + one[0], computed + one[1]
        return seconds, computed

    def _note(self, phase: str, info: dict[str, int]) -> None:
        """One begins or ends, in whatever thread, whatever locks this may hold: all others wait meanwhile."""
        if info["generation"] < 2 or not self.heeded:
            return
        now, cpu = self._now()
        if phase == "start":
            self._began = now, cpu
        elif self._began is not None:
            self._ended.append((now - self._began[0], cpu - self._began[1]))
            self._began = None
