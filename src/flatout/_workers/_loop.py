"""A worker that is an event loop: the one the driver itself lives in. Many tasks at once, switching at every `await`."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from flatout._errors import trimmed
from flatout._events import BatchFinished, TaskError, WorkerExited, WorkerReady
from flatout._model import Batch, Work
from flatout._wire._values import is_awaitable
from flatout._workers._base import Host

Begun = dict[int, tuple[Any, BaseException | None]]


class LoopWorker:
    """Runs each task as an asyncio task, in its own copy of the run's context.

    `begun` holds, by index, the (value, error) of calls that have been made already: the value remains to be awaited.
    """

    def __init__(self, number: int, work: Work, host: Host, begun: Begun) -> None:
        self._number = number
        self._work = work
        self._host = host
        self._begun = begun
        self._loop = asyncio.get_running_loop()
        self._tasks: dict[int, tuple[asyncio.Task[None], float]] = {}
        self._starting: asyncio.Task[None] | None = None
        self._cpu = time.thread_time()
        self._gone = False
        self._overdue: set[int] = set()

    def start(self) -> None:
        """Run the initializer, if any."""
        if self._work.initializer is None:
            self._host.post(WorkerReady(self._number, "event loop"))
        else:
            self._starting = self._loop.create_task(self._initialize(self._work.initializer))

    async def _initialize(self, initializer: Any) -> None:
        try:
            value = initializer()
            if is_awaitable(value):
                await value
        except BaseException as error:
            self._report(WorkerExited(self._number, error, fatal=True))
        else:
            self._report(WorkerReady(self._number, "event loop"))

    def send(self, batch: Batch) -> None:
        """Start the tasks; the loop runs them as it comes round."""
        for position, item in enumerate(batch.inputs):
            index = batch.first + position
            task = self._loop.create_task(self._run(index, item), context=self._work.context.copy())
            self._tasks[index] = (task, self._loop.time())
            task.add_done_callback(partial(self._ended, index))

    async def _run(self, index: int, item: Any) -> None:
        began = self._loop.time()
        value: Any = None
        errors: tuple[TaskError, ...] = ()
        try:
            value = await self._value(index, item)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
                raise  # Ctrl-C, which is meant for the whole program; no other thread gets signals
            errors = (TaskError(0, trimmed(error, __file__)),)
        self._tasks.pop(index, None)
        # What the loop's thread has computed since the last task ended: which task it was for cannot be told.
        cpu, self._cpu = time.thread_time() - self._cpu, time.thread_time()
        self._report(BatchFinished(self._number, index, [value], errors, self._loop.time() - began, cpu))

    def _ended(self, index: int, task: asyncio.Task[None]) -> None:
        """The end of a task that was cancelled before it could begin, and so could not report."""
        if self._tasks.pop(index, None) is not None:
            error = TaskError(0, asyncio.CancelledError())
            self._report(BatchFinished(self._number, index, [None], (error,)))

    async def _value(self, index: int, item: Any) -> Any:
        if index in self._begun:
            value, error = self._begun.pop(index)
            if error is not None:
                raise error
        else:
            value = self._work.func(*item) if self._work.star else self._work.func(item)
        return await value if is_awaitable(value) else value

    def running(self) -> Sequence[tuple[int, float]]:
        """The tasks in flight."""
        return [(index, began) for index, (_, began) in self._tasks.items()]

    def cancel(self, index: int) -> None:
        """Cancel one task at its next `await`."""
        if index in self._tasks:
            self._overdue.add(index)
            self._tasks[index][0].cancel()

    def stop(self) -> None:
        """Nothing is in flight, except what was cancelled for its time and may still be cleaning up."""
        self._leave()

    def kill(self) -> None:
        """Cancel everything."""
        self._report(WorkerExited(self._number))
        self._leave()

    def _report(self, event: WorkerReady | BatchFinished | WorkerExited) -> None:
        if not self._gone:
            self._host.post(event)

    def _leave(self) -> None:
        self._gone = True
        for task, _ in self._tasks.values():
            task.cancel()
        if self._starting is not None:
            self._starting.cancel()

    def close(self) -> None:
        """Nothing of the host is held."""

    async def ended(self, seconds: float) -> None:
        """Wait until every cancelled task has cleaned up, but no longer than this, and for none that was over its time."""
        tasks = [task for index, (task, _) in self._tasks.items() if index not in self._overdue]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
