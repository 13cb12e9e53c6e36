"""What the dispatcher asks: how many may run, how many may start now, and why."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence

from flatout._limits._adaptive import Adaptive
from flatout._limits._line import Line
from flatout._limits._overload import Overload, overload_of
from flatout._limits._rate import Pace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from flatout._limits._line import Beginning

KEPT = 12  # decisions that are remembered: the last ones


class Governor:
    """The limits of a run: tasks in flight, and starts a second. Survives a change of plan, as the service does.

    date: see `overload_of`.
    """

    def __init__(self, max_per_second: float | None = None, date: Callable[[], float] | None = None) -> None:
        self.pace = Pace(max_per_second, lambda *change: self._note("starts a second", *change))
        self._adaptive = Adaptive(1, 1, explores=False)
        self._line = Line()
        self._date = date
        self._decisions: deque[tuple[str, str, str, str]] = deque(maxlen=KEPT)
        self.decisions: tuple[str, ...] = ()

    # In flight

    @property
    def value(self) -> int:
        """Most tasks in flight at this moment."""
        return self._adaptive.value

    @property
    def quickest(self) -> float:
        """Mean seconds of the tasks that ended together, the least so far; 0 where that is not known."""
        return self._adaptive.quickest if self._adaptive.quickest < math.inf else 0.0

    def adopt(self, start: int, ceiling: int, explores: bool, in_hand: int = 0) -> None:
        """Another plan: begin with so many in flight, and never have more than the ceiling. explores: see `Adaptive`.

        in_hand: tasks that are in flight already.
        """
        say = lambda *change: self._note("in flight", *map(str, change))  # noqa: E731
        self._adaptive = Adaptive(start, ceiling, say, explores=explores)
        self._line = Line(in_hand)

    def pin(self, value: int, reason: str) -> None:
        """Stay with so many."""
        if value != self.value:
            self._note("in flight", str(self.value), str(value), reason)
        self._adaptive = Adaptive(value, value, explores=False)

    def idle(self, now: float) -> None:
        """As many are in flight as may be, all have begun, and none computes."""
        self._adaptive.idle(now)

    @property
    def starting(self) -> bool:
        """Whether nothing is known yet of what more in flight would bring, and more may be."""
        return self._adaptive.starting

    def started(self, tasks: range, now: float, beginning: Beginning = "at once") -> None:
        """These tasks start."""
        self.pace.started(len(tasks), now)
        self._adaptive.started(now)
        if self._adaptive.explores:
            self._line.began(tasks, beginning)

    def left(self, tasks: Sequence[int]) -> None:
        """These have started, and are in flight no more, with no attempt that ended."""
        if self._adaptive.explores:
            self._line.left(tasks)

    # What came of it

    def judge(self, error: BaseException) -> Overload | None:
        """What an exception says of overload."""
        return overload_of(error, self._date)

    def finished(
        self,
        tasks: Sequence[int],
        now: float,
        saturated: bool,
        seconds: float,
        comparable: bool,
        overloads: Sequence[Overload],
        failed: bool = False,
    ) -> None:
        """Attempts of these tasks ended, which took so many seconds together; some of them said that it was too much.

        saturated: the limit, and not the input, held back others. comparable: the first of them had none in their way.
        failed: some of them failed, be it in another way.
        """
        if not (overloads or self._adaptive.learns or self.pace.bounded):
            return
        count = len(tasks)
        place = self._line.ended(tasks, seconds) if self._adaptive.explores else 0
        reach = 0 if failed else place  # what is wrong with a call may show before it is its turn
        began = now - seconds / count
        refused = busy = broken = 0
        if overloads:
            refused = self._refused(overloads, began, now)
            sorts = [one.sort for one in overloads]
            busy, broken = sorts.count("busy"), sorts.count("broken")
        if count > refused + busy + broken:
            self.pace.accepted(count - refused - busy - broken, began, now)
        if count > refused:
            taken = seconds * (count - refused) / count
            self._adaptive.finished(count - refused, now, saturated, taken, comparable, busy, broken, reach)

    def _refused(self, overloads: Sequence[Overload], began: float, now: float) -> int:
        """Slow down where there were too many a second, or where even one at a time is too much; returns how many."""
        longest = max((one.retry_after for one in overloads if one.retry_after is not None), default=None)
        if longest is not None:
            self.pace.hold(now + longest)
        alone = self._adaptive.value == 1
        by_rate = [one for one in overloads if one.sort == "rate" or (alone and one.sort == "busy")]
        if by_rate:
            self.pace.refused(len(by_rate), began, now, by_rate[0].what)
        return sum(one.sort == "rate" for one in overloads)

    def _note(self, what: str, before: str, after: str, reason: str) -> None:
        """Remember a decision; several in a row for one reason are one."""
        last = self._decisions[-1] if self._decisions else None
        if last is not None and (last[0], last[3]) == (what, reason):
            self._decisions.pop()
            before = last[1]
        self._decisions.append((what, before, after, reason))
        self.decisions = tuple(
            [f"{what}: {before} -> {after} ({reason})" for what, before, after, reason in self._decisions]
        )
