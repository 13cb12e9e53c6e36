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
from contextlib import closing
from typing import Any, Literal, TypeVar

from flatout._child._chunk import call_each
from flatout._machine._machine import usable_cores
from flatout._model import Kind
from flatout._options import check_callable, check_executor_via, is_async, need_processes
from flatout._plan._choose import MOST_TASKS
from flatout._stations._base import AFTER_SHUTDOWN, Station, Submits, opened, over

T = TypeVar("T")


class Executor(futures.Executor):
    """A `concurrent.futures.Executor`, for everything that takes one: calls are submitted one by one, and begin at once.

    max_workers: most calls at once, of each kind of worker; None: as many as there are usable cores for processes, that and
    4 but no more than 32 for threads, 1000 for coroutines. via: "thread", "process", "async" (an event loop in a thread
    of its own), or "auto": a coroutine function goes to the loop; of any other, the first call is watched in a thread, and
    the others go to processes if it computes, holding the GIL, for a millisecond or more and changes nothing of yours, else
    to threads. initializer: called with `initargs` once in every worker; if it fails, the executor is broken.
    max_tasks_per_child: calls after which a process is replaced.

    Workers are hired when calls are submitted, kept as long as it lives, and gone after `shutdown`. An executor that is
    dropped, and one that is open at the end of the program, finishes what was submitted, unless it is Ctrl-C that ends it.

    A worker process that dies breaks the future of the call that it was on, which gets a `WorkerDied`; all others are done.
    So there is no `BrokenProcessPool` for everybody: `BrokenExecutor` is for a failed initializer, for workers that die
    time after time with nothing in hand, and in a fork. A call that cannot be sent to a process fails with `NotPicklable`,
    in its future.

    Raises ValueError or PlanError for arguments that cannot work.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        via: Literal["auto"] | Kind = "auto",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        max_tasks_per_child: int | None = None,
    ) -> None:
        for name, number in (("max_workers", max_workers), ("max_tasks_per_child", max_tasks_per_child)):
            if number is not None and (not isinstance(number, int) or isinstance(number, bool)):
                raise TypeError(f"{name} must be a whole number or None; it is {number!r}")
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if max_tasks_per_child is not None and max_tasks_per_child <= 0:
            raise ValueError("max_tasks_per_child must be >= 1")
        check_executor_via(via)
        if via == "process" and not over():  # then it is `submit` that refuses, as in the standard library
            need_processes()
        if initializer is not None:
            check_callable(initializer, "initializer")
            initializer = functools.partial(initializer, *initargs) if initargs else initializer
        first: Kind = "thread" if via == "auto" else via
        self._max_workers = max_workers or _default_workers(first)  # which dask reads
        make = functools.partial(_station, most=max_workers, initializer=initializer, most_tasks=max_tasks_per_child)
        _station_class(first)  # loaded now: in the middle of the first call a finalizer might submit another
        self._make: Callable[[], Submits] = functools.partial(_auto(), make) if via == "auto" else lambda: make(via)
        self._station: Submits | None = None
        self._shut = False
        self._lock = threading.RLock()  # taken again by a finalizer or a signal handler that submits

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> futures.Future[T]:
        """Have `fn(*args, **kwargs)` called; returns its future. Raises RuntimeError after `shutdown`."""
        return (self._station or self._start()).submit(fn, args, kwargs)

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """The results of `fn` for the inputs, in their order; as in the standard library, everything is submitted at once.

        timeout: seconds from now until the last result, past which TimeoutError is raised. chunksize: inputs sent together
        as one call, which fails as one. buffersize: calls in flight at most; the inputs are then drawn as results are taken.
        (`flatout.map` sizes chunks and buffers by itself.)
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        until = None if timeout is None else time.monotonic() + timeout
        inputs = (each for each in zip(*iterables, strict=False))  # once it has ended, it asks no iterable again
        if chunksize == 1 or is_async(fn):
            return self._results(fn, inputs, until, buffersize)
        chunks = ((fn, chunk) for chunk in iter(lambda: list(itertools.islice(inputs, chunksize)), []))
        return _flat(self._results(call_each, chunks, until, buffersize))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and wait for those that were submitted; with `cancel_futures` for those that have begun."""
        with self._lock:
            self._shut = True
        if self._station is not None:
            self._station.end(cancel_futures)
            if wait:
                self._station.join()

    def kill_workers(self) -> None:
        """Take no more calls, cancel those that wait and end those that have begun, as Python 3.14's ProcessPoolExecutor.

        Processes are killed with all they have started; the futures of their calls get a `BrokenExecutor`. Coroutines are
        cancelled. Threads cannot be ended: they are left behind, and keep no program from ending. Does not wait.
        """
        with self._lock:
            self._shut = True
        if self._station is not None:
            self._station.kill()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        """`shutdown()`; after Ctrl-C, for which nobody wants to wait, `kill_workers()`."""
        if isinstance(error, KeyboardInterrupt):
            self.kill_workers()
        self.shutdown()

    def __reduce__(self) -> Any:
        raise TypeError("an executor cannot be sent to another process: make one there")

    def _start(self) -> Submits:
        with self._lock:
            if self._station is None:
                if self._shut:
                    raise RuntimeError(AFTER_SHUTDOWN)
                if over():
                    raise RuntimeError("cannot schedule new futures after interpreter shutdown")
                station = self._make()
                if self._station is None:  # nobody has submitted in the middle of this
                    self._station = station
                    opened(station)
                    weakref.finalize(self, station.end).atexit = False  # at exit it is waited for as well
                else:
                    station.end()
            return self._station

    def _results(
        self, fn: Callable[..., Any], inputs: Iterator[tuple[Any, ...]], until: float | None, buffersize: int | None
    ) -> Generator[Any, None, None]:
        waiting = deque(self.submit(fn, *each) for each in itertools.islice(inputs, buffersize))
        # The iterator knows the executor only weakly: one that is dropped ends, though results are still to be taken.
        executor = weakref.ref(self)
        return _in_order(waiting, until, lambda: _submit_next(executor(), fn, inputs))


def _submit_next(
    executor: Executor | None, fn: Callable[..., Any], inputs: Iterator[tuple[Any, ...]]
) -> list[futures.Future[Any]]:
    each = next(inputs, None) if executor is not None else None
    return [] if executor is None or each is None else [executor.submit(fn, *each)]


def _in_order(
    waiting: deque[futures.Future[Any]], until: float | None, more: Callable[[], list[futures.Future[Any]]]
) -> Generator[Any, None, None]:
    try:
        while waiting:
            waiting.extend(more())
            yield _taken(waiting, until)
    finally:
        for future in waiting:
            future.cancel()


def _flat(chunks: Generator[list[Any], None, None]) -> Generator[Any, None, None]:
    with closing(chunks):
        for chunk in chunks:
            chunk.reverse()
            while chunk:
                yield chunk.pop()  # and refer to it no longer


def _taken(waiting: deque[futures.Future[Any]], until: float | None) -> Any:
    """The next result, to which nothing refers here when it has been given out."""
    future = waiting.popleft()
    try:
        return future.result(None if until is None else until - time.monotonic())
    finally:
        future.cancel()  # where its time was over
        del future


def _default_workers(kind: Kind) -> int:
    if kind == "process":
        return usable_cores()
    return min(32, usable_cores() + 4) if kind == "thread" else MOST_TASKS


def _station(kind: Kind, most: int | None, initializer: Callable[[], object] | None, most_tasks: int | None) -> Station:
    most_tasks_of = {"most_tasks": most_tasks} if kind == "process" else {}
    return _station_class(kind)(most or _default_workers(kind), initializer, **most_tasks_of)


def _station_class(kind: Kind) -> Callable[..., Station]:
    if kind == "thread":
        from flatout._stations._thread import ThreadStation

        return ThreadStation
    if kind == "async":
        from flatout._stations._loop import LoopStation

        return LoopStation
    from flatout._stations._process import ProcessStation

    return ProcessStation


def _auto() -> Callable[[Callable[[Kind], Station]], Submits]:
    from flatout._stations._auto import AutoStation

    return AutoStation
