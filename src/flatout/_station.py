"""Calls submitted one by one, served by workers of one kind until no more may come: a run without end.

A station has the parts of any run: the dispatcher knows which call is with which worker and hires, the driver carries out
what it says. The station is the source, which gives a call away when the dispatcher has use for it and not before (so that
what waits can be cancelled, and goes to whichever worker is free first), and the outlet, which sets the futures.

    submit -> waiting calls -> source -> dispatcher, driver, workers -> outlet -> futures
"""

from __future__ import annotations

import contextlib
import functools
import operator
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future
from typing import Any, NamedTuple

from flatout._dispatch._dispatcher import Dispatcher
from flatout._driver import Driver, Outlet
from flatout._events import InputEnded, TasksDrawn, Tick
from flatout._machine import usable_cores
from flatout._model import Batch, Kind, Options, Plan, Settled, Work
from flatout._shared_host import SharedHost
from flatout._workers._base import Worker
from flatout._workers._thread import ThreadWorker

Initializer = Callable[[], Any]


class Call(NamedTuple):
    """One call that was submitted."""

    future: Future[Any]
    func: Callable[..., Any]
    args: tuple[Any, ...]
    keywords: dict[str, Any]


class Station(Outlet):
    """What all kinds have in common."""

    def __init__(self, kind: Kind, most: int) -> None:
        super().__init__()
        self.broken: BaseException | None = None
        self._calls: deque[Call] = deque()  # in nobody's hands yet
        self._wanted = 0  # as many the dispatcher can use
        self._given = 0
        self._closing = self._ended = False
        self._due: deque[tuple[Future[Any], Any, bool]] = deque()  # (future, outcome, whether that is an exception)
        self._handing: list[None] = []  # one for each thread that is setting futures
        self._gone = threading.Event()
        # No more is drawn than workers can take in hand; one call is one batch, or it would wait for its neighbours.
        options = Options(on_error="return", chunksize=1, buffersize=most)
        dispatcher = Dispatcher(options, Plan(kind, most), None, ordered=False, collect=True, ahead=False)
        self._host = SharedHost()
        self._driver = Driver(dispatcher, self, self, time.monotonic)
        self._driver.hire = self._hire
        self._driver.host = self._host
        self._host.run(self)
        _open.add(self)
        self._driver.post(Tick())  # have it look what it needs

    def submit(self, call: Call) -> bool:
        """Take a call; False where it is too late."""
        if self._closing:
            return False
        self._calls.append(call)
        self._host.wake()
        if self._closing:  # meanwhile: it may have come too late to be noticed
            try:
                self._calls.remove(call)
            except ValueError:
                return True
            return False
        return True

    def end(self, cancel: bool = False) -> None:
        """Take no more calls; those that wait are done all the same, unless they are to be cancelled."""
        self._closing = True
        while cancel and self._calls:
            with contextlib.suppress(IndexError):
                self._calls.pop().future.cancel()
        self._host.wake()

    def join(self) -> None:
        """Wait until every future has its outcome and nothing is left behind."""
        self._gone.wait()
        self._host.join(None)

    def _hire(self, kind: Kind, number: int) -> Worker:
        raise NotImplementedError

    # The source

    def draw(self, count: int, here: bool, post: Any) -> None:
        """The dispatcher can use so many."""
        self._wanted = count
        self._give()

    def close(self) -> None:
        """The run is over."""

    def _give(self) -> None:
        """Give away what is wanted and there; called while pumping."""
        if self._wanted and self._unserved and (inputs := self._take(self._wanted)):
            self._wanted = 0  # it will ask again
            self._driver.post(TasksDrawn(Batch(self._given, inputs)))
            self._given += len(inputs)
        if self._closing and not self._calls and not self._ended:
            self._ended = True
            self._driver.post(InputEnded())

    @property
    def _unserved(self) -> int:
        """Calls for which nothing is on its way."""
        return len(self._calls)

    def _take(self, most: int) -> list[Any]:
        raise NotImplementedError

    # What the host drives

    @property
    def pending(self) -> bool:
        """See `Driven`."""
        return (
            self._driver.pending
            or (self._wanted > 0 and self._unserved > 0)
            or (self._closing and not self._ended and not self._calls and not self.finished)
        )

    @property
    def in_hand(self) -> int:
        """See `HandingOut`."""
        return 0

    @property
    def wake_at(self) -> float | None:
        """Never: no call has a time limit."""
        return None

    def pump(self) -> None:
        """See `Driven`."""
        self._give()
        self._driver.pump()

    def fail(self, error: BaseException) -> None:
        """See `Driven`."""
        self._driver.fail(error)

    # The outlet

    def finish(self, error: BaseException | None, cancelled: bool) -> None:
        """The run is over; what has no outcome yet will have none."""
        self._closing = self._ended = True
        self.broken = error
        while self._calls:
            future = self._calls.popleft().future
            if future.set_running_or_notify_cancel():
                self._due.append((future, self._refusal(), True))
        super().finish(error, cancelled)

    def _refusal(self) -> BaseException:
        error = BrokenExecutor(f"the executor cannot go on: {type(self.broken).__name__}: {self.broken}")
        error.__cause__ = self.broken
        return error

    def hand_out(self) -> None:
        """Set the futures whose outcomes are there, and so call the user back."""
        self._handing.append(None)
        try:
            while self._due:
                try:
                    future, outcome, failed = self._due.popleft()
                except IndexError:  # another thread was quicker
                    break
                if failed:
                    future.set_exception(outcome)
                else:
                    future.set_result(outcome)
                del future, outcome
        finally:
            self._handing.pop()
            if self.finished and not self._handing and not self._due:
                self._gone.set()
                _open.discard(self)


class ProcessStation(Station):
    """Calls in worker processes."""

    def __init__(self, most: int, initializer: Initializer | None) -> None:
        from flatout._workers._process import Setup

        self._setup = Setup(Work(operator.call, star=True, initializer=initializer))
        self._in_hand: dict[int, Future[Any]] = {}
        super().__init__("process", most)

    def lead(self, future: Future[Any]) -> None:
        """Read results in this thread until the future has its own, for a moment at most."""
        self._host.lead(future.done)

    @property
    def in_hand(self) -> int:
        """See `HandingOut`."""
        return len(self._in_hand)

    def _hire(self, kind: Kind, number: int) -> Worker:
        from flatout._workers._home import emit
        from flatout._workers._process import ProcessWorker

        return ProcessWorker(number, self._setup, self._driver, emit, keep=2 * usable_cores())

    def _take(self, most: int) -> list[Any]:
        inputs: list[Any] = []
        while self._calls and len(inputs) < most:
            future, func, args, keywords = self._calls.popleft()
            if future.set_running_or_notify_cancel():
                self._in_hand[self._given + len(inputs)] = future
                inputs.append((functools.partial(func, **keywords) if keywords else func, *args))
        return inputs

    def put(self, settled: Settled) -> None:
        """Outcomes have come; the futures get them when nothing is locked."""
        for position, value in enumerate(settled.values):
            failed = position in settled.failed
            future = self._in_hand.pop(settled.first + position)
            self._due.append((future, value.error if failed else value, failed))

    def finish(self, error: BaseException | None, cancelled: bool) -> None:
        """The run is over; what has no outcome yet will have none."""
        self.broken = error
        self._due.extend((future, self._refusal(), True) for future in self._in_hand.values())
        self._in_hand.clear()
        super().finish(error, cancelled)


class ThreadStation(Station):
    """Calls in threads.

    A task of the dispatcher is a shift: it takes calls out of the common queue until none is left. So what waits goes to
    the first thread that is free, and the dispatcher has work only when a thread begins or ends to be busy.
    """

    def __init__(self, most: int, initializer: Initializer | None) -> None:
        self._work = Work(self._serve, initializer=initializer)
        self._coming: deque[None] = deque()  # one for each shift that has not taken its first call
        self._threads: list[ThreadWorker] = []
        super().__init__("thread", most)

    def _hire(self, kind: Kind, number: int) -> Worker:
        worker = ThreadWorker(number, self._work, self._driver)
        self._threads.append(worker)
        return worker

    def join(self) -> None:
        """See `Station`."""
        super().join()
        for worker in self._threads:
            worker.join()

    @property
    def _unserved(self) -> int:
        """Calls beyond those that the shifts take which are about to begin."""
        return len(self._calls) - len(self._coming)

    def _take(self, most: int) -> list[Any]:
        shifts: list[None] = [None] * min(most, self._unserved)
        self._coming.extend(shifts)
        return shifts

    def put(self, settled: Settled) -> None:
        """A shift has ended: its calls have their outcomes already."""

    def _serve(self, _: None) -> Any:
        with contextlib.suppress(IndexError):
            self._coming.pop()
        while True:
            try:
                future, func, args, keywords = self._calls.popleft()
            except IndexError:
                return
            if future.set_running_or_notify_cancel():
                try:
                    value = func(*args, **keywords)
                except BaseException as error:
                    future.set_exception(error)
                    del error
                else:
                    future.set_result(value)
                    del value
            del future, func, args, keywords


_open: set[Station] = set()  # those that have not ended


def end_all() -> None:
    """The interpreter is about to end: finish what was submitted."""
    for station in list(_open):
        station.end()
    for station in list(_open):
        station.join()


threading._register_atexit(end_all)  # type: ignore[attr-defined]
os.register_at_fork(after_in_child=_open.clear)
