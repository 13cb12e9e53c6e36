"""Calls in worker processes."""

from __future__ import annotations

import contextvars
import functools
import operator
import time
from concurrent.futures import Future
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED
from typing import Any, TypeVar

from flatout._events import StartWorker
from flatout._machine._machine import usable_cores
from flatout._model import Batch, Settled, Work
from flatout._run._shared_host import SharedHost
from flatout._stations._base import Call, Initializer, Station
from flatout._workers._base import Worker
from flatout._workers._home import emit
from flatout._workers._process import ProcessWorker, Setup

T = TypeVar("T")


class LedFuture(Future[T]):
    """A future whose waiter reads the results himself for a moment: he gets his own without having to be woken."""

    host: SharedHost | None = None  # once the call is with a station that reads

    def result(self, timeout: float | None = None) -> T:
        """As in `concurrent.futures.Future`."""
        return super().result(self._lead(timeout))

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """As in `concurrent.futures.Future`."""
        return super().exception(self._lead(timeout))

    def __reduce__(self) -> Any:
        raise TypeError("a future cannot be sent to another process: ask it for its result and send that")

    def _lead(self, timeout: float | None) -> float | None:
        """Returns what is left of the timeout."""
        if self.host is None or self.done() or (timeout is not None and timeout <= 0):
            return timeout
        began = time.monotonic()
        self.host.lead(self._is_over, timeout)
        return None if timeout is None else max(0.0, timeout - (time.monotonic() - began))

    def _is_over(self) -> bool:
        """Like `done`, but without the lock, which who brings the result wants: a signal handler may come in the middle, and wait."""
        return self._state in (CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED)


class ProcessStation(Station):
    """Calls for worker processes. `most_tasks`: after so many calls a worker is replaced. Raises NotPicklable."""

    _host: SharedHost

    def __init__(self, most: int, initializer: Initializer | None, most_tasks: int | None = None) -> None:
        # A function of its own for each call: what the workers are told once is how to call whatever comes.
        work = Work(operator.call, star=True, initializer=initializer, context=contextvars.copy_context())
        self._setup = Setup(work, max(1, usable_cores() // most))
        self._most_tasks = most_tasks
        self._in_hand: dict[int, Future[Any]] = {}
        super().__init__("process", most)

    def _future(self) -> Future[Any]:
        return LedFuture()

    def accept(self, call: Call) -> None:
        """See `Station`."""
        if isinstance(call.future, LedFuture):
            call.future.host = self._host
        super().accept(call)

    @property
    def in_hand(self) -> int:
        """See `HandingOut`."""
        return len(self._in_hand)

    def _hire(self, order: StartWorker) -> Worker:
        if self._most_tasks is None:
            return ProcessWorker(order.worker, self._setup, self._driver, emit, keep=2 * usable_cores())
        return _Retiring(order.worker, self._setup, self._driver, self._most_tasks)

    def _inputs(self, most: int) -> list[Any]:
        inputs: list[Any] = []
        while self._calls and len(inputs) < most:
            future, func, args, keywords, _ = self._calls.popleft()
            if future.set_running_or_notify_cancel():
                self._in_hand[self._given + len(inputs)] = future
                # What cannot be called is called all the same, over there: that is how the call fails.
                inputs.append((functools.partial(func, **keywords) if keywords and callable(func) else func, *args))
        return inputs

    def put(self, settled: Settled) -> None:
        """Outcomes have come; the futures get them when nothing is locked."""
        for position, value in enumerate(settled.values):
            failed = position in settled.failed
            future = self._in_hand.pop(settled.first + position)
            self._due.append((future, value.error if failed else value, failed))

    def finish(self, error: BaseException | None, cancelled: bool) -> None:
        """See `Station`."""
        super().finish(error, cancelled)
        self._due.extend((future, self._refusal(), True) for future in self._in_hand.values())
        self._in_hand.clear()


class _Retiring(ProcessWorker):
    """Leaves when it is sent one task more than it may do; that one goes to its successor."""

    def __init__(self, number: int, setup: Setup, host: Any, most_tasks: int) -> None:
        super().__init__(number, setup, host, emit, keep=0)
        self._left = most_tasks

    def send(self, batch: Batch) -> None:
        """See `ProcessWorker`."""
        if self._left == 0:
            self.retire()
        else:
            self._left -= 1
            super().send(batch)
