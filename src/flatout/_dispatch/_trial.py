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
    """most: tasks in flight as long as the trial goes on."""

    FEWEST = 100  # tasks below which there is nothing to try: they would all be in flight in any case; guessed

    def __init__(self, most: int) -> None:
        self.until: float | None = None  # when it is over; None: it has not begun
        self._most = max(most, ENOUGH)
        self._ended = 0

    def begun(self, now: float) -> None:
        """Tasks have been sent."""
        if self.until is None:
            self.until = now + PATIENCE

    def ended(self, count: int, now: float) -> None:
        """So many tasks have ended."""
        if not self._ended:
            self.until = now + VERDICT
        self._ended += count
        if self._ended >= ENOUGH + 1:  # those that ended first tell nothing: see `_plan/_review.py`
            self.until = min(now, self.until or now)

    def room(self, running: int) -> int:
        """How many more may begin."""
        return self._most - running

    def over(self, now: float) -> bool:
        """Whether it is over. Where the loop was held up, by one of its tasks or for want of a core, the others were, too."""
        if self.until is None or now < self.until:
            return False
        if not self._ended and now > self.until + LATE:
            self.until = now + PATIENCE
            return False
        return True
