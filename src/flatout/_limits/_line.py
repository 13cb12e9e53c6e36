"""The line of calls in flight: how many of them a service works on shows in the order in which they end."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

TELLING = 8  # places from the front from which one tells anything: calls that take as long end in order; guessed
SHORT = 0.001  # seconds that calls take in the mean, up to which they are not looked at: that takes 0.5 us a call, and
LATELY = 64  # calls of which that mean is taken; both guessed


class Line:
    """The calls in flight, in the order in which they began.

    Where a service takes first who comes first, and works on c calls at once, none ends that has c others before it. So
    the farthest from the front that ends is at place c at most; and where times vary it soon is at about that place.
    """

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}  # task -> how many had begun before it
        self._order: list[int] = []  # these numbers, of the calls in flight
        self._next = 0
        self._unseen = 0  # calls in flight that are not among them, so that no place is known
        self._short = False
        self._calls, self._seconds = 0, 0.0  # that have ended since it was found whether they are

    def began(self, tasks: Sequence[int], at_once: bool) -> None:
        """These begin now, or one after another, which shows nothing."""
        if self._short or not at_once:
            self._unseen += len(tasks)
            return
        for task in tasks:
            self._remove(task)  # a worker that died with it may have told nothing
            self._numbers[task] = self._next
            self._order.append(self._next)
            self._next += 1

    def ended(self, tasks: Sequence[int], seconds: float) -> int:
        """These have ended, after so many seconds together; returns the place of the one that began last, counted from 1.

        0: not known.
        """
        self._note_time(len(tasks), seconds)
        seen = [self._numbers[task] for task in tasks if task in self._numbers] if self._numbers else []
        place = bisect_left(self._order, max(seen)) + 1 if seen and not self._unseen else 0
        self._unseen = max(0, self._unseen - (len(tasks) - len(seen)))
        if seen:
            for task in tasks:
                self._remove(task)
        return place

    def _note_time(self, calls: int, seconds: float) -> None:
        self._calls += calls
        self._seconds += seconds
        if self._calls >= LATELY:
            self._short = self._seconds < SHORT * self._calls
            self._calls, self._seconds = 0, 0.0

    def _remove(self, task: int) -> None:
        number = self._numbers.pop(task, None)
        if number is not None:
            del self._order[bisect_left(self._order, number)]
