"""The line of calls in flight: how many of them a service works on shows in the order in which they end."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Literal

    # in turn: one after another; later: when the worker is through with another
    Beginning = Literal["at once", "in turn", "later"]

SHORT = 0.001  # seconds that calls take in the mean, up to which they are not looked at: that takes 0.5 us a call, and
LATELY = 64  # calls of which that mean is taken; both guessed


class Line:
    """The calls in flight, in the order in which they began.

    Where a service takes first who comes first, and works on c calls at once, none ends that has c others before it. So
    the farthest from the front that ends is at place c at most; and where times vary it soon is at about that place. (By
    itself that does not show a line: where there is none, but every call takes some time at least, those that begin last
    never end first either.)

    unseen: calls that are in flight already.
    """

    def __init__(self, unseen: int = 0) -> None:
        self._numbers: dict[int, int] = {}  # task -> how many had begun before it; of one that waits for its worker -1
        self._order: list[int] = []  # these numbers, of the calls in flight
        self._next = 0
        self._unseen = unseen  # calls in flight that are not among them, so that no place is known
        self._short = False
        self._calls, self._seconds = 0, 0.0  # that have ended since it was found whether they are

    def began(self, tasks: Sequence[int], beginning: Beginning) -> None:
        """These begin."""
        if beginning == "later":
            self._numbers.update(dict.fromkeys(tasks, -1))
        elif beginning == "in turn" or self._short:
            self._unseen += len(tasks)
        else:
            for number, task in enumerate(tasks, self._next):
                self._numbers[task] = number
                self._order.append(number)
            self._next += len(tasks)

    def __len__(self) -> int:
        """Calls that are in flight, or wait for their worker."""
        return len(self._numbers) + self._unseen

    def ended(self, tasks: Sequence[int], seconds: float) -> int:
        """These have ended, after so many seconds together; returns the place of the one that began last, counted from 1.

        0: not known.
        """
        self._note_time(len(tasks), seconds)
        last = max((self._numbers.get(task, -1) for task in tasks), default=-1) if self._numbers else -1
        place = bisect_left(self._order, last) + 1 if last >= 0 and not self._unseen else 0
        self.left(tasks)
        return place

    def left(self, tasks: Sequence[int]) -> None:
        """These are in flight no more, though they have not ended: their worker died, or has returned them."""
        unseen = len(tasks)
        for task in tasks if self._numbers else ():
            if task in self._numbers:
                unseen -= 1
                if (number := self._numbers.pop(task)) >= 0:
                    del self._order[bisect_left(self._order, number)]
        self._unseen = max(0, self._unseen - unseen)

    def _note_time(self, calls: int, seconds: float) -> None:
        self._calls += calls
        self._seconds += seconds
        if self._calls >= LATELY:
            self._short = self._seconds < SHORT * self._calls
            self._calls, self._seconds = 0, 0.0
