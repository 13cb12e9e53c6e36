"""Completions enough to judge by."""

from __future__ import annotations

import math

FEWEST = 16  # completions in a window at least, lest chance decides; guessed
ALIKE = 0.03  # squared coefficient of variation up to which calls take about as long; guessed
VARIED = 0.5  # what it is taken for at least in a line, where all wait about as long; guessed
TELLING = 8  # the least place in the line that tells anything: calls that take as long end in order; guessed
WORTH = 0.8  # part of those in flight up to which it is worth having fewer; guessed
TICK = 1e-9  # seconds: no clock here tells less, and squares of very little are nothing
LONGEST = 2  # windows that one is made longer to at most, where chance might still decide, and
SAFE = 128  # completions to which it is in any case: fewer tell little where calls vary; both guessed


class Window:
    """Counts completions, of as many calls in flight all the time.

    Where all calls take as long, they end in bursts, and how many end in some time depends on where it begins: then the
    throughput is the number in flight over the time of a call (Little's law). Where they vary they are counted, since
    those that have ended soon after a change are the short ones.

    since: when the window before ended, if this one follows it; None: what ended before the first completions is unknown,
    and so these are not counted.
    """

    def __init__(self, value: int, since: float | None = None) -> None:
        self._value = value
        self._size = max(value, FEWEST)
        self.since = since
        self.latest = 0.0  # when the last completions came; those of one moment belong to one window
        self.count = self._failed = 0
        self.reach = 0  # the farthest place in the line from which one ended (see `Line`)
        self._seconds = self._squares = 0.0

    def full(self, now: float) -> bool:
        """Whether it holds enough, and what ends now is of another moment."""
        return self.count >= self._size and now > self.latest

    def add(self, count: int, failed: int, seconds: float, now: float, reach: int = 0) -> None:
        """So many calls ended, so many of them in vain, which took so long together, the last at that place in the line."""
        if self.since is None or now <= self.since:
            self.since = now  # the window opens with the first completions, which themselves are not counted
            return
        self.count += count
        self.reach = max(self.reach, reach)
        self._failed += failed
        seconds = seconds if seconds >= TICK else 0.0
        self._seconds += seconds
        self._squares += seconds * seconds / count
        self.latest = now

    def extend(self) -> bool:
        """Go on for as much again; False: it has been long enough."""
        longest = max(LONGEST * self._value, SAFE)
        self._size = min(longest, self.count + max(self._value, FEWEST))
        return self.count < longest

    @property
    def in_order(self) -> bool:
        """Whether none ended that had many before it, as from a line (or where each takes some time at least)."""
        return TELLING <= self.reach <= WORTH * self._value

    @property
    def mean(self) -> float:
        """Seconds that a call took; 0: not known."""
        return self._seconds / self.count

    @property
    def throughput(self) -> float:
        """Calls a second that were not in vain."""
        assert self.since is not None
        alike = self._seconds and self._spread < ALIKE
        all_of_them = self._value / self.mean if alike else self.count / (self.latest - self.since)
        return all_of_them * (1 - self._failed / self.count)

    @property
    def error(self) -> float:
        """The standard error of the throughput, as a share of it."""
        varied = self._spread >= ALIKE and self.in_order
        return math.sqrt((max(self._spread, VARIED) if varied else self._spread) / self.count)

    @property
    def _spread(self) -> float:
        """The squared coefficient of variation of the time that a call takes; 0: not known."""
        return max(0.0, self._squares / self.count / self.mean**2 - 1) if self._seconds else 0.0
