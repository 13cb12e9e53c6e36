"""Calls of any kind: each function goes where its first call shows that it belongs.

A coroutine function goes to the event loop. Of any other, the first call goes to a thread and is watched there, as the
first calls of a map are, and the same law decides for all that follow; those that are submitted meanwhile are held back:
for some 30 ms where the call waits, and where it computes until it is over, if it could change something of the caller's
until then. What is not worth a process goes on in threads, since an executor never runs a call in the submitter's own.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any
from weakref import WeakKeyDictionary

from flatout._child._chunk import call_each
from flatout._errors import NotPicklable
from flatout._machine import usable_cores, why_not_chosen
from flatout._model import Batch, Kind, Options, Plan, Work
from flatout._options import is_async
from flatout._plan._chooser import Chooser
from flatout._stations._base import AFTER_SHUTDOWN, Call, Station, closed, opened, over
from flatout._stations._process import LedFuture
from flatout._wire import _functions
from flatout._workers import _pool

WORTH = 0.001  # seconds from which a call is worth sending: ten times what a process adds to it (measured)


class _Verdict:
    """Where the calls of a function go; as long as that is not known, those that are held back."""

    def __init__(self, kind: Kind | None = None) -> None:
        self.kind = kind
        self.held: list[Call] = []
        self.begun = False  # the first call is


class AutoStation:
    """Stations of all kinds, each begun by `make` when the first call is for it."""

    def __init__(self, make: Callable[[Kind], Station]) -> None:
        self._make = make
        self._stations: dict[Kind, Station] = {}
        self._verdicts: WeakKeyDictionary[Any, _Verdict] = WeakKeyDictionary()
        self._trials = 0  # first calls without a verdict
        self._lock = threading.RLock()  # taken again by a finalizer or a signal handler that submits
        self._ending = False
        self._ended = threading.Event()  # no call is held back any more, and all stations know that it is over
        self._no_process = why_not_chosen()

    def submit(self, func: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]) -> Future[Any]:
        """See `Submits`."""
        call = Call(LedFuture(), func, args, keywords, copy_context())
        with self._lock:
            if self._ending:
                raise RuntimeError(AFTER_SHUTDOWN)
            call, kind = self._placed(call)
            station = self._station(kind) if kind is not None else None
        if station is not None:
            try:
                station.accept(call)
            except RuntimeError:
                call.future.cancel()  # if it was to be the first, it is so no more
                raise
        return call.future

    def _placed(self, call: Call) -> tuple[Call, Kind | None]:
        """The call as it is to be made, and where; None: it is held back."""
        key = _key(call)
        try:
            verdict = self._verdicts.get(key)
            if verdict is None:
                verdict = self._verdicts[key] = _Verdict("async" if is_async(key) else None)
                if verdict.kind is None:
                    return self._watched(call, key, verdict), "thread"
        except TypeError:  # nothing can be remembered of it
            return call, "thread"
        if verdict.kind is None:
            verdict.held.append(call)
        return call, verdict.kind

    def _station(self, kind: Kind) -> Station:
        if kind not in self._stations:
            self._stations[kind] = self._make(kind)
        return self._stations[kind]

    # The first call of a function

    def _watched(self, call: Call, key: Any, verdict: _Verdict) -> Call:
        """The call, to be made under watch."""
        self._trials += 1
        func = functools.partial(call.func, **call.keywords) if call.keywords else call.func
        work = Work(func, star=True)
        chooser = Chooser(work, Options(), usable_cores(), self._no_process, _pool.warm, _pool.pool, alone=False)
        chooser.adopt = lambda plan: self._judge(verdict, self._kind(plan, key))
        call.future.add_done_callback(lambda _: self._call_over(key, verdict))
        watched = functools.partial(self._watch, chooser, verdict, func)
        return call._replace(func=watched, keywords={})

    def _watch(self, chooser: Chooser, verdict: _Verdict, func: Callable[..., Any], *args: Any) -> Any:
        verdict.begun = True
        try:
            chooser.before(Batch(0, [args]))
        except RuntimeError:  # no thread can be had to watch it
            self._judge(verdict, "thread")
            return func(*args)
        result = None
        try:
            result = func(*args)
            return result
        finally:
            chooser.after_only(result)

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

    def _call_over(self, key: Any, verdict: _Verdict) -> None:
        if not verdict.begun:  # it was cancelled, or the executor is broken: the next call is the first
            with self._lock:
                self._verdicts.pop(key, None)
            self._judge(verdict, "thread")

    def _judge(self, verdict: _Verdict, kind: Kind) -> None:
        """From now on calls of the function go there; those that are held back, too."""
        with self._lock:
            if verdict.kind is not None:
                return
            verdict.kind = kind
            held, verdict.held = verdict.held, []
            station = self._station(kind) if held else None
        for call in held:
            assert station is not None
            try:
                station.accept(call)
            except RuntimeError as error:  # it cannot go on
                if call.future.set_running_or_notify_cancel():
                    call.future.set_exception(error)
        with self._lock:
            self._trials -= 1
            self._end_stations()

    # The end

    def end(self, cancel: bool = False) -> None:
        """See `Submits`."""
        with self._lock:
            self._ending = True
            held = [call for verdict in self._verdicts.values() for call in verdict.held] if cancel else []
            stations = list(self._stations.values()) if cancel else []
            self._end_stations()
        for call in held:
            call.future.cancel()
        for station in stations:
            station.end(cancel)

    def _end_stations(self) -> None:
        if self._ending and self._trials == 0 and not self._ended.is_set():
            for station in self._stations.values():
                if not station.finished:
                    opened(station)
                station.end()
            closed(self)
            self._ended.set()

    def join(self) -> None:
        """See `Submits`."""
        self._ended.wait()
        for station in self._stations.values():
            station.join()


def _key(call: Call) -> Any:
    """What stands for all calls of a function."""
    func = call.args[0] if call.func is call_each else call.func
    while isinstance(func, functools.partial):
        func = func.func
    return getattr(func, "__func__", func)
