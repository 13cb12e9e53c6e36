"""What all stations have in common. A station is a run without end: calls are submitted to it until it is ended.

It has the parts of any run: the dispatcher knows which call is with which worker and hires, the driver carries out what it
says. The station is the source, which gives a call away when the dispatcher has use for it and not before (so what waits
can be cancelled, and goes to whichever worker is free first), and the outlet, by which the futures get their outcomes.

    submit -> waiting calls -> source -> dispatcher, driver, workers -> outlet -> futures

Nothing is locked while a call is submitted, nor while futures are set, which calls the user back.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future
from concurrent.futures._base import LOGGER
from contextvars import Context, copy_context
from typing import Any, NamedTuple, Protocol

from flatout._dispatch._dispatcher import Dispatcher
from flatout._errors import RunCancelled
from flatout._events import CancelRequested, InputEnded, StartWorker, TasksDrawn, Tick
from flatout._model import Batch, Kind, Options, Plan
from flatout._run._driver import Driver, Outlet
from flatout._run._hosts import LoopHost
from flatout._run._shared_host import SharedHost
from flatout._threads._interrupts import Latch
from flatout._workers._base import Worker

Initializer = Callable[[], Any]
AFTER_SHUTDOWN = "cannot schedule new futures after shutdown"  # in the words of the standard library


class Call(NamedTuple):
    """One call that was submitted; `context` is a copy of the submitter's."""

    future: Future[Any]
    func: Callable[..., Any]
    args: tuple[Any, ...]
    keywords: dict[str, Any]
    context: Context


class Submits(Protocol):
    """What an executor needs of what stands behind it."""

    def submit(self, func: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]) -> Future[Any]:
        """Take a call. Raises RuntimeError after the end, BrokenExecutor where it cannot go on."""

    def end(self, cancel: bool = False) -> None:
        """Take no more calls; those that wait are done all the same, unless they are to be cancelled."""

    def kill(self) -> None:
        """Take no more calls, cancel those that wait, and give up those that have begun: processes end at once."""

    def join(self) -> None:
        """Wait until every future has its outcome and nothing is left behind. Raises RuntimeError in a call of its own."""

    def disown(self) -> None:
        """This process is a fork, without its threads: refuse calls, and harm nothing of the parent's."""


class Station(Outlet):
    """Calls for workers of one kind, `most` at once."""

    def __init__(self, kind: Kind, most: int, host: SharedHost | LoopHost | None = None) -> None:
        super().__init__()
        self._broken: BaseException | None = None
        self._calls: deque[Call] = deque()  # in nobody's hands yet
        self._wanted = 0  # as many the dispatcher can use
        self._given = 0
        self._ending = self._input_ended = False
        self._due: deque[tuple[Future[Any], Any, bool]] = deque()  # (future, outcome, whether that is an exception)
        self._handing: list[int] = []  # the threads that are setting futures
        self._gone = Latch()
        # No more is drawn than workers can take in hand; one call is one batch, or it would wait for its neighbours.
        options = Options(on_error="return", chunksize=1, buffersize=most)
        dispatcher = Dispatcher(options, Plan(kind, most), None, ordered=False, collect=True, ahead=False)
        self._host = host or SharedHost()
        self._driver = Driver(dispatcher, self, self, time.monotonic)
        self._driver.hire = self._hire
        self._driver.host = self._host
        self._host.run(self)
        self._driver.post(Tick())  # have it look what it needs

    def submit(self, func: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]) -> Future[Any]:
        """See `Submits`."""
        future = self._future()
        self.accept(Call(future, func, args, keywords, copy_context()))
        return future

    def accept(self, call: Call) -> None:
        """Take a call that has its future already. Raises as `submit`."""
        if self._ending:
            raise self._refusal()
        self._calls.append(call)
        self._host.wake()
        if self._ending:  # meanwhile: either it was noticed, or it is still there
            try:
                self._calls.remove(call)
            except ValueError:
                return
            raise self._refusal()

    def end(self, cancel: bool = False) -> None:
        """See `Submits`."""
        self._ending = True
        while cancel and self._calls:
            with contextlib.suppress(IndexError):
                cancel_call(self._calls.pop())
        self._host.wake()

    def kill(self) -> None:
        """See `Submits`."""
        self.end(cancel=True)
        self._driver.post(CancelRequested())

    def join(self) -> None:
        """See `Submits`."""
        self.check_caller()
        self._gone.wait()
        self._host.join()

    def check_caller(self) -> None:
        """Raises RuntimeError in a thread for which `join` would wait."""
        if threading.get_ident() in self._handing or self._runs_here():
            raise RuntimeError(
                "a call or callback of the executor would wait for itself: use shutdown(wait=False) there"
            )

    def disown(self) -> None:
        """See `Submits`."""
        self._broken = disowned()
        self._ending = self._input_ended = self.finished = True
        self._calls.clear()
        self._gone.set()
        if isinstance(self._host, SharedHost):
            self._host.disown()

    def _runs_here(self) -> bool:
        """Whether this thread is one of its workers."""
        return False

    def _future(self) -> Future[Any]:
        return Future()

    def _hire(self, order: StartWorker) -> Worker:
        raise NotImplementedError

    # The source

    def draw(self, count: int, here: bool, post: Any) -> None:
        """The dispatcher can use so many."""
        self._wanted = count
        self._give()

    def close(self) -> None:
        """The run is over: `finish` follows."""

    def _give(self) -> None:
        """Give away what is wanted and there; called while pumping."""
        if self._wanted and self._unserved > 0 and (inputs := self._inputs(self._wanted)):
            self._wanted = 0  # it will ask again
            self._driver.post(TasksDrawn(Batch(self._given, inputs)))
            self._given += len(inputs)
        if self._ending and not self._calls and not self._input_ended:
            self._input_ended = True
            self._driver.post(InputEnded())

    @property
    def _unserved(self) -> int:
        """Calls for which nothing is on its way."""
        return len(self._calls)

    def _inputs(self, most: int) -> list[Any]:
        """The inputs of up to so many tasks."""
        raise NotImplementedError

    # What the host drives

    @property
    def pending(self) -> bool:
        """See `Driven`."""
        if self.finished:
            return False
        ends = self._ending and not self._input_ended and not self._calls
        return self._driver.pending or ends or (self._wanted > 0 and self._unserved > 0)

    @property
    def in_hand(self) -> int:
        """See `HandingOut`."""
        return 0

    @property
    def wake_at(self) -> float | None:
        """See `Driven`; never, as no call has a time limit."""
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
        """The run is over; what has no outcome yet gets none but this error."""
        self._broken = RunCancelled("its workers were killed") if cancelled else error
        self._ending = self._input_ended = True
        while self._calls:
            future = self._calls.popleft().future
            if future.set_running_or_notify_cancel():
                self._due.append((future, self._refusal(), True))
        super().finish(error, cancelled)

    def _refusal(self) -> RuntimeError:
        if self._broken is None:
            return RuntimeError(AFTER_SHUTDOWN)
        if isinstance(self._broken, BrokenExecutor):
            return self._broken
        error = BrokenExecutor(f"the executor cannot go on: {type(self._broken).__name__}: {self._broken}")
        error.__cause__ = self._broken
        return error

    def hand_out(self) -> None:
        """See `HandingOut`: set the futures whose outcomes are there."""
        me = threading.get_ident()
        self._handing.append(me)
        try:
            if self.error is not None:  # in its place the futures get others
                error, self.error = self.error, None
                LOGGER.critical("the executor cannot go on", exc_info=error)
            while self._due:
                with contextlib.suppress(IndexError):  # another thread was quicker
                    settle(*self._due.popleft())
        finally:
            self._handing.remove(me)
            if self.finished and not self._handing and not self._due:
                closed(self)
                self._gone.set()


def cancel_call(call: Call) -> None:
    """Cancel a call that nobody has in hand, and tell those who wait for its future."""
    if call.future.cancel():
        call.future.set_running_or_notify_cancel()


def settle(future: Future[Any], outcome: Any, failed: bool) -> None:
    """Set a future. What a callback of the user's raises concerns nobody here; what is no Exception, `Future` lets through."""
    try:
        if failed:
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
    except BaseException:
        LOGGER.exception("exception calling callback for %r", future)


def disowned() -> BrokenExecutor:
    """What is raised in a fork."""
    return BrokenExecutor("the executor belongs to the process that this one was forked from: make another here")


_open: set[Submits] = set()  # those that have not ended
_over = False  # the interpreter is ending


def opened(station: Submits) -> None:
    """From now on it is finished before the interpreter is."""
    _open.add(station)


def closed(station: Submits) -> None:
    """Nothing of it is left to be finished."""
    _open.discard(station)


def over() -> bool:
    """Whether the interpreter is ending, which as of Python 3.12 lets no thread start any more."""
    return _over


def end_all() -> None:
    """The interpreter is about to end: finish what was submitted, as the standard library does, but not after Ctrl-C."""
    global _over
    _over = True
    while _open:
        station = _open.pop()
        if _interrupted():
            station.kill()
        else:
            station.end()
        station.join()


def _interrupted() -> bool:
    """Whether a Ctrl-C that nobody has caught is what ends the program; at a prompt it only ends a line."""
    last = getattr(sys, "last_type", None)
    return last is not None and issubclass(last, KeyboardInterrupt) and not hasattr(sys, "ps1")


threading._register_atexit(end_all)  # type: ignore[attr-defined]


def _disown_all() -> None:
    while _open:
        _open.pop().disown()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown_all)
