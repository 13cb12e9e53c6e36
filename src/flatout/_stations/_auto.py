"""Calls of any kind: each function goes where its first call shows that it belongs.

A coroutine function goes to the event loop. Of any other, the first call goes to a thread and is watched there, as the
first calls of a map are, and the same law decides for all that follow; those that are submitted meanwhile are held back:
for 5 ms where the call waits, for up to 130 ms where it computes, and until it is over if it could change something of the
caller's until then. What is not worth a process goes on in threads, since an executor never runs a call in the submitter's own.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any

from flatout._child._chunk import call_each
from flatout._errors import NotPicklable
from flatout._machine._machine import usable_cores, why_not_chosen
from flatout._model import Batch, Kind, Options, Plan, Work
from flatout._options import is_async
from flatout._plan._chooser import Chooser
from flatout._stations._base import (
    AFTER_SHUTDOWN,
    Call,
    Station,
    cancel_call,
    closed,
    disowned,
    opened,
    over,
    settle,
)
from flatout._stations._process import LedFuture
from flatout._stations._verdicts import Verdict, Verdicts
from flatout._threads._interrupts import Latch
from flatout._wire import _functions
from flatout._workers import _pool

WORTH = 0.001  # seconds from which a call is worth sending: ten times what a process adds to it (measured)


class AutoStation:
    """Stations of all kinds, each begun by `make` when the first call is for it."""

    def __init__(self, make: Callable[[Kind], Station]) -> None:
        self._make = make
        self._context = copy_context()  # of who submits: a thread that watches a call has another
        self._stations: dict[Kind, Station] = {}
        self._verdicts = Verdicts()
        self._trials: set[Verdict] = set()  # those that are not found yet
        self._lock = threading.RLock()  # taken again by a finalizer or a signal handler that submits
        self._disowned = False
        self._ending = False
        self._cancelling = False  # what waits is not to be done any more
        self._ended = Latch()  # no call is held back any more, and all stations know that it is over
        self._no_process = why_not_chosen()

    def submit(self, func: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]) -> Future[Any]:
        """See `Submits`."""
        call = Call(LedFuture(), func, args, keywords, copy_context())
        try:
            with self._lock:
                if self._ending:
                    raise disowned() if self._disowned else RuntimeError(AFTER_SHUTDOWN)
                call, kind = self._placed(call)
                station = self._station(kind) if kind is not None else None
            if station is not None:
                station.accept(call)
        except BaseException:
            call.future.cancel()  # if it was to be the first, it is so no more
            raise
        return call.future

    def _placed(self, call: Call) -> tuple[Call, Kind | None]:
        """The call as it is to be made, and where; None: it is held back."""
        if not callable(call.func):
            return call, "thread"  # where it fails
        try:
            verdict = self._verdicts.find(call)
            if verdict is None:
                verdict = Verdict("async" if is_async(call.func) else None)
                if verdict.kind is None:
                    return self._watched(call, verdict), "thread"
                self._verdicts.add(call, verdict)
        except Exception:  # by an object that does not like to be looked at
            return call, "thread"
        if verdict.kind is None:
            verdict.held.append(call)
        return call, verdict.kind

    def _station(self, kind: Kind) -> Station:
        if kind not in self._stations:
            self._stations[kind] = self._context.copy().run(self._make, kind)
        return self._stations[kind]

    # The first call of a function

    def _watched(self, call: Call, verdict: Verdict) -> Call:
        """The call, to be made under watch."""
        func = functools.partial(call.func, **call.keywords) if call.keywords else call.func
        # What a chunk of calls does is up to the function that is mapped.
        work = Work(call.args[0] if func is call_each else func, star=True)
        chooser = Chooser(work, Options(), usable_cores(), self._no_process, _pool.age, _pool.pool, alone=False)
        chooser.adopt = lambda plan: self._judge(verdict, self._kind(plan, work.func))
        call.future.add_done_callback(lambda _: self._call_over(verdict))
        self._trials.add(verdict)
        self._verdicts.add(call, verdict)
        return call._replace(func=functools.partial(self._watch, chooser, verdict, func), keywords={})

    def _watch(self, chooser: Chooser, verdict: Verdict, func: Callable[..., Any], *args: Any) -> Any:
        verdict.begun = True
        try:
            watched = chooser.before(Batch(0, [args]))
        except Exception:  # it cannot be looked at
            chooser.stop()
            self._judge(verdict, "thread")
            watched = False
        if not watched:
            return func(*args)
        result = None
        try:
            result = func(*args)
            return result
        finally:
            try:
                chooser.after_only(result)
            except Exception:
                self._judge(verdict, "thread")

    def _kind(self, plan: Plan, func: Any) -> Kind:
        if plan.kind != "process" or plan.measured is None or plan.measured.seconds < WORTH:
            return "thread"
        if over() and "process" not in self._stations:
            return "thread"
        try:
            _functions.pack_callables(func)
            with self._lock:
                self._station("process")  # which pickles the initializer
        except NotPicklable:
            return "thread"
        return "process"

    def _call_over(self, verdict: Verdict) -> None:
        if not verdict.begun:  # it was cancelled, or the executor is broken: the next call is the first
            with self._lock:
                self._verdicts.remove(verdict)
            self._judge(verdict, "thread")

    def _judge(self, verdict: Verdict, kind: Kind) -> None:
        """From now on calls of the function go there; those that are held back, too. Only the first judgement counts."""
        with self._lock:
            if verdict.kind is not None:
                return
            verdict.kind = kind
            held = verdict.take()
            station = self._station(kind) if held else None
        for call in held:
            assert station is not None
            try:
                station.accept(call)
            except RuntimeError as error:
                if self._cancelling:  # since a moment ago
                    cancel_call(call)
                elif call.future.set_running_or_notify_cancel():  # it cannot go on
                    settle(call.future, error, True)
        with self._lock:
            self._trials.discard(verdict)
            self._end_stations()

    # The end

    def end(self, cancel: bool = False) -> None:
        """See `Submits`."""
        with self._lock:
            self._ending = True
            self._cancelling = self._cancelling or cancel
            held = [call for verdict in self._trials for call in verdict.take()] if cancel else []
            stations = list(self._stations.values()) if cancel else []
            self._end_stations()
        for call in held:
            cancel_call(call)
        for station in stations:
            station.end(cancel)

    def _end_stations(self) -> None:
        if self._ending and not self._trials and not self._ended.is_set:
            for station in self._stations.values():
                if not station.finished:
                    opened(station)
                station.end()
            closed(self)
            self._ended.set()

    def kill(self) -> None:
        """See `Submits`."""
        with self._lock:
            self._ending = self._cancelling = True
            held = [call for verdict in self._trials for call in verdict.take()]
            self._trials = set()
            stations = list(self._stations.values())
            self._end_stations()
        for call in held:
            cancel_call(call)
        for station in stations:
            station.kill()

    def join(self) -> None:
        """See `Submits`."""
        for station in list(self._stations.values()):
            station.check_caller()
        self._ended.wait()
        for station in self._stations.values():
            station.join()

    def disown(self) -> None:
        """See `Submits`."""
        self._lock = threading.RLock()
        self._disowned = self._ending = True
        self._ended.set()
        for station in self._stations.values():
            station.disown()
