"""Unlike calls at once, each where it belongs.

What can be awaited goes to the event loop. A callable goes to a thread and is watched there: as long as callables turn
out to wait, the next ones follow into threads, twice as many at a time; from the first that holds the GIL on, those that
can be sent, and have nothing here that they might change, go to processes, as many as are worth their start.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Sequence
from typing import Any

from flatout._awaitable import is_awaitable
from flatout._errors import NotPicklable, PlanError
from flatout._events import InputEnded, TasksDrawn
from flatout._machine._machine import usable_cores
from flatout._model import Batch, Kind, OnError, Options, Plan, Work
from flatout._options import check_callable, check_on_error, is_async
from flatout._plan._effects import Watch
from flatout._plan._probe import Probe
from flatout._run._engine import Engine
from flatout._run._run import Run
from flatout._wire import _functions

DEAR = 0.001  # seconds of computing from which the next calls are worth sending away, as in `_stations/_auto.py`
PROCESSES_PER_CORE = 2  # callables sent to processes at most, per core; guessed


def gather_run(calls: Sequence[Any], on_error: OnError) -> Run[Any]:
    """The run of `flatout.gather`."""
    check_on_error(on_error)
    for position, call in enumerate(calls):
        if not is_awaitable(call):
            if not callable(call):
                raise PlanError(
                    f"call {position} is neither awaitable nor callable, it is {type(call).__name__} {call!r:.60}: pass "
                    "a coroutine, as in work(x), or a callable without arguments, as in functools.partial(work, x)"
                )
            check_callable(call, f"call {position}")
    options = Options(on_error=on_error, chunksize=1, buffersize=max(1, len(calls)))
    work = Work(_invoke, context=contextvars.copy_context())
    awaited = sum(map(_is_awaited, calls))
    plan = Plan(
        "async" if awaited else "thread",
        max(1, len(calls)),
        reason=f"unlike calls, each where it belongs: {awaited} on an event loop, {len(calls) - awaited} in threads, or in "
        "processes once they are seen to compute",
    )

    most_processes = PROCESSES_PER_CORE * usable_cores()

    def start(**how: Any) -> Engine:
        return Engine(work, (calls,), options, plan, source=_Placer(calls, most_processes), **how)

    return Run(start, on_error, plan=plan)


def _is_awaited(call: Any) -> bool:
    return is_awaitable(call) or is_async(call)


def _invoke(call: Any) -> Any:
    return call if is_awaitable(call) else call()


class _Placer:
    """The source of a gather: says of each call where it is to run."""

    def __init__(self, calls: Sequence[Any], most_processes: int) -> None:
        self._calls = list(calls)
        self._most_processes = most_processes
        self._lock = threading.Lock()  # the driver begins to place, probes go on
        self._begun = self._closed = False
        self._next = 0
        self._group = 1  # callables to be placed at a time
        self._processes = 0
        self._computing = False
        self._post: Callable[[TasksDrawn | InputEnded], None] = lambda event: None
        self._probe: Probe | None = None

    def draw(self, count: int, here: bool, post: Callable[[TasksDrawn | InputEnded], None]) -> None:
        """All calls fit into one order; it is answered as they are placed, whatever is ordered meanwhile."""
        if not self._begun:
            self._begun = True
            self._post = post
            self._go_on()

    def close(self) -> None:
        """Place no more."""
        self._closed = True
        if self._probe is not None:
            self._probe.stop()

    def _go_on(self) -> None:
        """Place calls up to and including the next that has to be watched, and what follows in its group."""
        with self._lock:
            self._place()

    def _place(self) -> None:
        room = self._group
        watched = False
        while self._next < len(self._calls):
            if self._closed:
                return
            call = self._calls[self._next]
            route = self._route(call)
            if route == "thread" and not self._computing:
                if room == 0:
                    return
                room -= 1
                if not watched and self._waiting_behind():
                    watched, call = True, self._watch(call)
            batch = Batch(self._next, [call], route=route)
            self._next += 1
            self._post(TasksDrawn(batch))
        self._post(InputEnded())

    def _waiting_behind(self) -> bool:
        return any(not _is_awaited(call) for call in self._calls[self._next + 1 :])

    def _route(self, call: Any) -> Kind:
        if _is_awaited(call):
            return "async"
        if self._computing and self._processes < self._most_processes and _can_leave(call):
            self._processes += 1
            return "process"
        return "thread"

    def _watch(self, call: Callable[[], Any]) -> Callable[[], Any]:
        probe = self._probe = Probe(self._judge, lambda each: None)

        def watched() -> Any:
            probe.begin()
            try:
                return call()
            finally:
                probe.finish()

        return watched

    def _judge(self) -> None:
        """The call that is watched has shown what it does, or is over: the next may start."""
        assert self._probe is not None
        measured = self._probe.measurement()
        self._computing = measured.gil > max(DEAR, measured.seconds / 2)
        self._group *= 2
        self._go_on()


def _can_leave(call: Any) -> bool:
    """Whether a call can be sent to a process, and there is nothing in this one's memory that it might change."""
    try:
        _functions.pack_callables(call)
    except NotPicklable:
        return False
    return not Watch(call, None).watching
