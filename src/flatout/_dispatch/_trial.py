"""Holds an event loop to a share of the tasks until it is known what they do.

What an event loop has begun cannot be given to another. Whether one loop is enough is not known before some tasks have
ended, and by then the quick starter would have begun them all. So it gets its share of them and no more, until enough have
ended for a verdict, or it has become clear that they wait for long.
"""

from __future__ import annotations

PATIENCE = 0.025  # seconds to wait for the first task to end: more would be felt by calls that wait for long; guessed
VERDICT = 0.015  # seconds from the first end within which it must be clear how much tasks compute; guessed
LATE = 0.005  # seconds by which its end is noticed late, from which the loop has not come round meanwhile; guessed
ENOUGH = 16  # ends after which it is clear; guessed


class Trial:
    """Off until `start`. until: when it is over; None: it is off, or has not begun."""

    FEWEST = 100  # tasks below which there is nothing to try: they would all be in flight in any case; guessed

    def __init__(self) -> None:
        self.until: float | None = None
        self._most: int | None = None  # tasks in flight as long as it goes on
        self._ended = 0

    def start(self, most: int) -> None:
        """From the next task on, so many in flight at most."""
        self._most = max(most, ENOUGH)

    def begun(self, now: float) -> None:
        """Tasks have been sent."""
        if self._most is not None and self.until is None:
            self.until = now + PATIENCE

    def ended(self, count: int, now: float) -> None:
        """So many tasks have ended."""
        if self._most is None:
            return
        if not self._ended:
            self.until = now + VERDICT
        self._ended += count
        if self._ended >= ENOUGH + 1:  # those that ended first tell nothing: see `_plan/_review.py`
            self.until = min(now, self.until or now)

    def room(self, room: int, running: int) -> int:
        """How many more may begin of those that there is room for."""
        return room if self._most is None else min(room, self._most - running)

    def look(self, now: float) -> None:
        """End it where its time is over. Where the loop was held up, by one of its tasks or for want of a core, all were."""
        if self.until is None or now < self.until:
            return
        if not self._ended and now > self.until + LATE:
            self.until = now + PATIENCE
        else:
            self.until = self._most = None
