"""Calls in threads."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Awaitable
from concurrent.futures import Future
from typing import Any

from flatout._awaitable import is_awaitable
from flatout._errors import trimmed
from flatout._events import StartWorker
from flatout._model import Settled, Work
from flatout._stations._base import Initializer, Station, settle
from flatout._workers._base import Worker
from flatout._workers._thread import ThreadWorker


class ThreadStation(Station):
    """Calls for threads.

    A task of the dispatcher is a shift: it takes calls out of the common queue until none is left. So what waits goes to
    the first thread that is free, and the dispatcher has work only when a thread begins or ends to be busy.
    """

    def __init__(self, most: int, initializer: Initializer | None) -> None:
        self._work = Work(self._serve, initializer=initializer)
        self._coming: deque[None] = deque()  # one for each shift that has not taken its first call
        self._plain: set[type] = set()  # types of results that are not to be awaited
        self._threads: list[_Thread] = []
        super().__init__("thread", most)

    def join(self) -> None:
        """See `Submits`."""
        super().join()
        for worker in self._threads:
            worker.join()

    def _hire(self, order: StartWorker) -> Worker:
        worker = _Thread(order.worker, self._work, self._driver)
        self._threads.append(worker)
        return worker

    def _runs_here(self) -> bool:
        return any(worker.here for worker in self._threads)

    @property
    def _unserved(self) -> int:
        """Calls beyond those that the shifts take which are about to begin."""
        return len(self._calls) - len(self._coming)

    def _inputs(self, most: int) -> list[Any]:
        shifts: list[None] = [None] * min(most, self._unserved)
        self._coming.extend(shifts)
        return shifts

    def put(self, settled: Settled) -> None:
        """A shift has ended: its calls have their outcomes already."""

    def finish(self, error: BaseException | None, cancelled: bool) -> None:
        """See `Station`."""
        if cancelled:
            self._threads = []  # nobody waits for them
        super().finish(error, cancelled)

    def _serve(self, _: None) -> Awaitable[None] | None:
        """A shift. What has to be awaited ends it: that is for the worker's own event loop, and another shift follows."""
        self._coming.pop()  # before the call is taken, or one that came between would seem to be served
        while True:
            try:
                future, func, args, keywords, context = self._calls.popleft()
            except IndexError:
                return None
            if future.set_running_or_notify_cancel():
                try:
                    value = context.run(func, *args, **keywords)
                except BaseException as error:
                    settle(future, trimmed(error, __file__), True)
                else:
                    if type(value) not in self._plain:
                        if is_awaitable(value):
                            return _settle(future, value)
                        self._plain.add(type(value))
                    settle(future, value, False)
                    value = None
            future = func = args = keywords = context = None  # type: ignore[assignment]  # let go of them while waiting


async def _settle(future: Future[Any], awaitable: Awaitable[Any]) -> None:
    try:
        value = await awaitable
    except BaseException as error:
        settle(future, trimmed(error, __file__), True)
    else:
        settle(future, value, False)


class _Thread(ThreadWorker):
    """Knows whether it is the one that asks."""

    @property
    def here(self) -> bool:
        """Whether this is its thread."""
        return self._thread is threading.current_thread()
