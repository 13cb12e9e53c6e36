"""The concurrent.futures face: calls submitted one by one."""

from __future__ import annotations

import functools
import itertools
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent import futures
from typing import Any, Literal, TypeVar

from flatout._child._chunk import call_each
from flatout._errors import PlanError
from flatout._options import check_callable
from flatout._stations._base import AFTER_SHUTDOWN, Submits

T = TypeVar("T")

VIAS = ("auto", "thread", "process", "async")


class Executor(futures.Executor):
    """A `concurrent.futures.Executor`, for everything that takes one.

    Workers are hired when calls are submitted, kept while it lives, and gone after `shutdown`.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        via: Literal["auto", "thread", "process", "async"] = "auto",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        max_tasks_per_child: int | None = None,
    ) -> None:
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        self._make = functools.partial(_station, via, max_workers, initializer, max_tasks_per_child)
        self._station: Submits | None = None
        self._lock = threading.Lock()
        self._shut = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> futures.Future[T]:
        station = self._station or self._start()
        return station.submit(fn, args, kwargs)

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1")
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        until = None if timeout is None else time.monotonic() + timeout
        arguments = zip(*iterables)
        if chunksize == 1:
            return self._results(fn, arguments, until, buffersize)
        chunks = ((fn, chunk) for chunk in iter(lambda: list(itertools.islice(arguments, chunksize)), []))
        return itertools.chain.from_iterable(self._results(call_each, chunks, until, buffersize))

    def _results(self, fn, arguments, until, buffersize):
        waiting = deque(self.submit(fn, *each) for each in itertools.islice(arguments, buffersize))
        more = None if buffersize is None else arguments
        return _in_order(waiting, until, weakref.ref(self), fn, more)

    def _start(self) -> Submits:
        with self._lock:
            if self._shut:
                raise RuntimeError(AFTER_SHUTDOWN)
            if self._station is None:
                self._station = self._make()
                weakref.finalize(self, self._station.end).atexit = False
            return self._station

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        with self._lock:
            self._shut = True
            station = self._station
        if station is not None:
            station.end(cancel_futures)
            if wait:
                station.join()


def _in_order(waiting, until, executor, fn, more):
    try:
        while waiting:
            if more is not None and (alive := executor()) is not None and (each := next(more, None)) is not None:
                waiting.append(alive.submit(fn, *each))
                alive = None
            yield _taken(waiting.popleft(), until)
    finally:
        for future in waiting:
            future.cancel()


def _taken(future, until):
    try:
        return future.result(None if until is None else until - time.monotonic())
    finally:
        future.cancel()  # where it timed out
        del future


def _station(via, max_workers, initializer, most_tasks) -> Submits:
    from flatout._machine import usable_cores
    if via == "thread":
        from flatout._stations._thread import ThreadStation
        return ThreadStation(max_workers or min(32, usable_cores() + 4), initializer)
    if via == "process":
        from flatout._stations._process import ProcessStation
        return ProcessStation(max_workers or usable_cores(), initializer, most_tasks)
    from flatout._stations._loop import LoopStation
    return LoopStation(max_workers or 1000, initializer)
