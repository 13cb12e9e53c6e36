"""A virtual clock: what is due is done in its order, and between two such moments no time passes."""

from __future__ import annotations

import heapq
from collections.abc import Callable


class Clock:
    """`now` in seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = 0

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do this so many seconds from now."""
        self._serial += 1
        heapq.heappush(self._due, (self.now + seconds, self._serial, action))

    @property
    def next_at(self) -> float | None:
        """When the next is due."""
        return self._due[0][0] if self._due else None

    def advance(self) -> None:
        """Go to the next moment at which anything is due, and do all of that."""
        self.now = self._due[0][0]
        while self._due and self._due[0][0] <= self.now:
            heapq.heappop(self._due)[2]()
