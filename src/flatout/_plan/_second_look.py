"""Sees what happens in a run, and has its plan looked at again (`_review`): an observer like any other, but for the plan."""

from __future__ import annotations

from collections.abc import Callable

from flatout._events import SEAT, BatchFinished, Command, Event, PlanChosen, SendBatch, WorkerReady
from flatout._model import Plan, Statistics, Work
from flatout._plan._choose import ZYGOTE_START, Situation
from flatout._plan._effects import Watch, bound_to_a_loop
from flatout._plan._review import Review

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any

MUCH_DEARER = (
    3  # times as long as at the choice, from which calls that stayed in the plain loop are probed anew; guessed
)


class SecondLook:
    """Subscribes to a run.

    situation: tells what a choice depends on, at this moment. change: carries a new plan out. probe_again: has the next
    calls in the caller's thread watched as if they were the first.
    """

    def __init__(
        self,
        situation: Callable[[], Situation],
        clock: Callable[[], float],
        change: Callable[[Plan], None],
        probe_again: Callable[[], None],
    ) -> None:
        self._situation = situation
        self._clock = clock
        self._change = change
        self._probe_again = probe_again
        self._review = Review(situation)
        self._usual: float | None = None  # seconds a call, while the plain loop does them

    def __call__(self, seen: Event | Command, statistics: Callable[[], Statistics]) -> None:
        """See `flatout._driver.Observer`."""
        if type(seen) is BatchFinished:
            if seen.worker == SEAT and self._usual is not None:
                self._look_at_the_loop(seen, self._usual)
            better = self._review.look(statistics(), self._clock())
            if better is not None:
                self._change(better)
        elif type(seen) is WorkerReady:
            self._review.ready()
        elif type(seen) is PlanChosen:
            self.adopted(seen.plan, statistics())

    def adopted(self, plan: Plan, counts: Statistics) -> None:
        """The run goes on by this plan."""
        inline = plan.kind == "inline" and plan.measured is not None
        self._usual = plan.measured.seconds if inline and plan.measured is not None else None
        self._review.adopted(plan, counts, self._clock())

    def _look_at_the_loop(self, seen: BatchFinished, usual: float) -> None:
        """Calls may have become dear enough to be worth a move."""
        each = seen.seconds / len(seen.values)
        left = self._situation().left
        if each > MUCH_DEARER * usual and (left is None or left * each > ZYGOTE_START):
            self._usual = None
            self._probe_again()


class Tie:
    """What ties coroutines to this process: an observer that looks at the first call of a run in an event loop.

    `why` says why such calls cannot be spread over processes; empty where nothing is known that stands in the way.
    """

    def __init__(self, work: Work) -> None:
        self.why = "no call has ended yet"
        self._work = work
        self._watch: Watch | None = None
        self._first: list[Any] = []

    def __call__(self, seen: Event | Command, statistics: Callable[[], Statistics]) -> None:
        """See `flatout._driver.Observer`."""
        if type(seen) is SendBatch and self._watch is None:
            self._first.append(seen.batch.inputs[0])
            self._watch = Watch(self._work.func, seen.batch.inputs[0], self._work.star)
        elif type(seen) is BatchFinished and self._first and not (seen.errors and seen.errors[0].offset == 0):
            self.why = self._found(seen.values[0])
            self._first.clear()

    def _found(self, result: object) -> str:
        from flatout._wire import _values

        assert self._watch is not None
        func, item = self._work.func, self._first[0]
        if bound := bound_to_a_loop(func, item, self._work.star):
            return f"{bound} belongs to this event loop"
        if changed := self._watch.changed():
            return f"{changed}, which would be lost in a process"
        try:
            _values.seconds_across(item, True)
            _values.seconds_across(result, False)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # raised by code of the user's: it would fare no better there
            return f"{type(error).__name__}: {error}"
        return ""
