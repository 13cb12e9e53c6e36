"""What the first completions tell, before a window is full: whether those that were started together stand in line."""

from __future__ import annotations

import math

from flatout._limits._window import TELLING, WORTH

FIRST = 16  # completions that show how long a call takes that need not wait, so that no single one decides; guessed
LEAST = 64  # completions before anything is concluded from their times, and
PART = 8  # a part of those in flight; guessed
LONGER = 3.0  # times as long as for the first that the others must take; guessed
LEAST_BY_PLACE, LONGER_BY_PLACE = 32, 2.0  # the same for what is concluded from places in the line; guessed
SURE = 1.5  # times the first completions that must have been under way when they came, or their number says nothing; guessed
MORE = 1.2  # times the calls that have been seen to be worked on at once, which there are at least; guessed
DEEPEST = 16  # part of those in flight to go on with where there are too many, and no more is known; guessed
ROOM = 1.5  # times what the service seems to work on at once, for noise; guessed


class Start:
    """Many calls were started at once. A service that works on few of them at a time answers them in a line.

    Then completions come at a steady rate, long after the first ones, and none of a call that was begun later: it is at the
    end of the line. Where calls do not wait for one another, quick ones that were begun later overtake slow ones.

    How many it works on is the rate times the time of a call, for which that of the first ones is taken. Where they have
    come at the same rate, as from servers whose time has no memory, it is the place in the line from which calls end (see
    `Line`). Where that tells nothing either, it is only known that there are too many.
    """

    def __init__(self) -> None:
        self.fresh = True  # nothing has ended
        self.sure = False  # how many to have in flight is known, not only that there are too many
        self._began: float | None = None
        self._last = -math.inf  # when the last was started before the first ended
        self._filling = False
        self._overtaken = False
        self._ended = self._early = 0
        self._early_at = 0.0
        self._reach = 0

    def started(self, now: float) -> None:
        """A call starts."""
        if self._began is None:
            self._began = now
        if self.fresh or self._filling:
            self._last = now

    def more(self) -> None:
        """More are let go at once."""
        self._filling = True

    def ended(self, count: int, began: float, now: float, value: int, reach: int = 0) -> int:
        """So many that began then have ended, the last of them at that place in the line, if that is known.

        Returns how many to have in flight; 0: there is nothing to conclude.
        """
        self.fresh = self._filling = False
        self._overtaken = self._overtaken or not began <= self._last
        if self._overtaken or self._began is None:
            return 0
        self._ended += count
        self._reach = max(self._reach, reach)
        elapsed = now - self._began
        if not self._early and self._ended >= FIRST:
            self._early, self._early_at = self._ended, elapsed
        if MORE * self._reach > WORTH * value:
            return 0  # nearly all are worked on
        by_place, by_time = self._by_place(elapsed, value), self._by_time(elapsed, value)
        self.sure = bool(by_place or by_time)
        if not (self.sure or self._enough(elapsed, value)):
            return 0
        fit = max(by_place, by_time) if self.sure else max(self._early, value // DEEPEST)
        return fit if by_place or fit <= value // 2 else 0

    def _enough(self, elapsed: float, value: int, least: int = LEAST, longer: float = LONGER) -> bool:
        return self._ended >= max(least, value // PART) and elapsed >= longer * self._early_at

    def _by_place(self, elapsed: float, value: int) -> int:
        """How many to have in flight by the place in the line from which calls end; 0: that does not tell."""
        tells = self._reach >= TELLING and self._enough(elapsed, value, LEAST_BY_PLACE, LONGER_BY_PLACE)
        return math.ceil(MORE * self._reach) if tells else 0

    def _by_time(self, elapsed: float, value: int) -> int:
        """The same by the time that the first ones took, and by the rate."""
        if not self._enough(elapsed, value):
            return 0
        at_work = (self._ended - self._early) / (elapsed - self._early_at) * self._early_at
        return math.ceil(ROOM * at_work) if at_work > SURE * self._early else 0
