"""The concurrent.futures face: calls submitted one by one."""

from __future__ import annotations

import functools
import os
import threading
import time
import weakref
from collections.abc import Callable
from concurrent import futures
from typing import Any, Literal, TypeVar

from flatout._errors import PlanError
from flatout._machine import usable_cores
from flatout._station import Call, ProcessStation, Station, ThreadStation

T = TypeVar("T")


class ProcessFuture(futures.Future[T]):
    """A future whose waiter reads the results himself, if only for a moment: he then gets his own without being woken."""

    station: ProcessStation

    def result(self, timeout: float | None = None) -> T:
        """As in `concurrent.futures.Future`."""
        return super().result(self._attend(timeout))

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """As in `concurrent.futures.Future`."""
        return super().exception(self._attend(timeout))

    def _attend(self, timeout: float | None) -> float | None:
        """Wait a little; returns what is left of the timeout."""
        if self.done():
            return timeout
        if timeout is None:
            self.station.lead(self)
            return None
        until = time.monotonic() + timeout
        self.station.lead(self)
        return max(0.0, until - time.monotonic())


class Executor(futures.Executor):
    """A `concurrent.futures.Executor`.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        via: Literal["thread", "process"] = "process",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> None:
        if max_workers is None:
            max_workers = min(32, usable_cores() + 4) if via == "thread" else usable_cores()
        if max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        self._max_workers = max_workers
        self._via = via
        if initializer is not None and initargs:
            initializer = functools.partial(initializer, *initargs)
        self._initializer = initializer
        self._station: Station | None = None
        self._lock = threading.Lock()
        self._shut = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> futures.Future[T]:
        station = self._station or self._start()
        if self._via == "process":
            future = ProcessFuture()
            future.station = station
        else:
            future = futures.Future()
        if not station.submit(Call(future, fn, args, kwargs)):
            self._refuse(station)
        return future

    def _refuse(self, station):
        if station.broken is not None:
            raise futures.BrokenExecutor(f"{station.broken}") from station.broken
        raise RuntimeError("cannot schedule new futures after shutdown")

    def _start(self):
        with self._lock:
            if self._station is None:
                if self._shut:
                    raise RuntimeError("cannot schedule new futures after shutdown")
                kind = ProcessStation if self._via == "process" else ThreadStation
                self._station = kind(self._max_workers, self._initializer)
                weakref.finalize(self, self._station.end)
            return self._station

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        with self._lock:
            self._shut = True
            station = self._station
        if station is not None:
            station.end(cancel_futures)
            if wait:
                station.join()
