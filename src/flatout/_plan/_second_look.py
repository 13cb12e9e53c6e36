"""Sees what happens in a run, and has its plan looked at again (`_review`): an observer like any other, but for the plan."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from flatout._events import SEAT, BatchFinished, Command, Event, PlanChosen, SendBatch, WorkerReady
from flatout._model import Plan, Statistics, Work
from flatout._plan._choose import ZYGOTE_START, Situation
from flatout._plan._collections import Collections
from flatout._plan._effects import Watch, bound_to_a_loop
from flatout._plan._review import Review
from flatout._threads._daemons import Daemon
from flatout._threads._interrupts import Latch, put_off

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Seat(Protocol):
        """The caller's thread, as far as it is overseen."""

        def running(self) -> Sequence[tuple[int, float]]:
            """What it is on, as (task, when its batch began)."""

        def give_back(self) -> None:
            """Have it begin nothing more of that."""


SPUN = 0.3  # seconds after which threads of the calls' own are looked for once more: those of BLAS spin when they start; guessed
LONG_BATCH = 0.05  # seconds; batches in the caller's thread are cut for 2 ms; guessed
MUCH_DEARER = (
    3  # times as long as at the choice, from which calls that stayed in the plain loop are probed anew; guessed
)


class SecondLook:
    """Subscribes to a run.

    situation: tells what a choice depends on, and plan the plan, at this moment: its figures may have been made anew
    since it was chosen. change: carries a new plan out, if that can be, and says whether: then it is adopted soon.
    probe_again: has the next calls in the caller's thread watched as if they were the first. prepare: see `Review`.
    """

    def __init__(
        self,
        situation: Callable[[], Situation],
        plan: Callable[[], Plan | None],
        clock: Callable[[], float],
        change: Callable[[Plan], bool],
        probe_again: Callable[[], None],
        prepare: Callable[[float], None] = lambda each: None,
    ) -> None:
        self._situation = situation
        self._plan = plan
        self._clock = clock
        self._change = change
        self._probe_again = probe_again
        self._review = Review(situation, prepare)
        self._over = False
        self._collections = Collections(lambda: (clock(), time.process_time()))
        self._changing = False  # a new plan is about to be adopted
        self._in_the_loop = False  # the plain loop does the calls, and may be left
        self._doubted: float | None = None  # when it will be seen whether they really have threads of their own
        self._asked_once = False

    def __call__(self, seen: Event | Command, statistics: Callable[[], Statistics]) -> None:
        """See `flatout._run._driver.Observer`."""
        if type(seen) is BatchFinished:
            if seen.worker == SEAT and self._in_the_loop:
                self._look_at_the_loop(seen)
            now = self._clock()
            if now >= self._review.due and not self._changing:
                if self._collections.heeded:
                    self._review.collected(*self._collections.take())
                better = self._review.look(statistics(), time.process_time(), now)
                self._changing = better is not None and self._change(better)
        elif type(seen) is WorkerReady:
            self._review.ready()
        elif type(seen) is PlanChosen:
            self.adopted(seen.plan, statistics())

    def adopted(self, plan: Plan, counts: Statistics) -> None:
        """The run goes on by this plan."""
        self._changing = False
        inline = plan.measured if plan.kind == "inline" else None
        self._in_the_loop = inline is not None
        fills = inline is not None and inline.own > 0 and not self._asked_once
        self._doubted = self._clock() + SPUN if fills else None
        if plan.kind in ("thread", "async") and not self._over:  # which compute in this process
            self._collections.heed()
        else:
            self._collections.ignore()
        self._review.adopted(plan, counts, time.process_time(), self._clock())

    def end(self) -> None:
        """The run is over, or as good as that."""
        self._over = True
        self._collections.ignore()

    def _look_at_the_loop(self, seen: BatchFinished) -> None:
        """Calls may have become dear enough to be worth a move."""
        plan, each = self._plan(), seen.seconds / len(seen.values)
        usual = plan.measured.seconds if plan is not None and plan.measured is not None else each
        doubted = self._doubted is not None and self._clock() >= self._doubted
        if each <= MUCH_DEARER * usual and not doubted:
            return
        self._asked_once = self._asked_once or doubted
        left = self._situation().left
        if left is None or left * each > ZYGOTE_START:
            self._in_the_loop = False
            self._probe_again()


class Overseer:
    """A thread that looks in on the caller's, which does the work by itself: what it has in hand is cut for milliseconds.

    Where that takes much longer, calls have become dear: what is not begun of it is given back, and so the batch ends with
    the call that is under way, and can be looked at.
    """

    def __init__(self, seat: Seat, finished: Callable[[], bool]) -> None:
        """`finished`: whether the run is over, which it may be before this begins."""
        self._seat = seat
        self._finished = finished
        self._over = Latch()

    def start(self) -> None:
        """Begin to look; where there is no thread to be had, nobody does."""
        with put_off(), suppress(RuntimeError):
            Daemon(self._oversee, "flatout-overseer").start()

    def end(self) -> None:
        """Look no more."""
        self._over.set()

    def _oversee(self) -> None:
        while not (self._over.wait(LONG_BATCH) or self._finished()):
            if any(time.monotonic() - began > LONG_BATCH for _, began in self._seat.running()):
                self._seat.give_back()


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
        """See `flatout._run._driver.Observer`."""
        if type(seen) is SendBatch and self._watch is None:
            self.begins(seen.batch.inputs[0])
        elif type(seen) is BatchFinished and self._first and not (seen.errors and seen.errors[0].offset == 0):
            self.ended(seen.values[0])

    def begins(self, item: Any) -> None:
        """The first call is about to begin, with this input."""
        self._first.append(item)
        self._watch = Watch(self._work.func, item, self._work.star)

    def ended(self, result: object) -> None:
        """A first call has ended, with this result."""
        self.why = self._found(result)
        self._first.clear()

    def _found(self, result: object) -> str:
        from flatout._wire import _values

        assert self._watch is not None
        func, item = self._work.func, self._first[0]
        if bound := bound_to_a_loop(func, item, self._work.star):
            return f"{bound} belongs to this event loop"
        if changed := self._watch.changed() or self._watch.possible():
            return f"{changed}, which would be lost in a process"
        try:
            _values.seconds_across(item, True)
            _values.seconds_across(result, False)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # raised by code of the user's: it would fare no better there
            return f"{type(error).__name__}: {error}"
        return ""
