"""A worker that does what a script says. Public as `flatout.testing.ScriptedWorker`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from flatout._awaitable import is_awaitable
from flatout._errors import trimmed
from flatout._events import BatchFinished, TaskError, WorkerExited, WorkerReady
from flatout._model import Batch, Work
from flatout._workers._base import Host

Script = Callable[[int, Any], Awaitable[Any]]


class Death(BaseException):
    """Raised by a script: the worker is gone in the middle of this task, and `error` is to blame."""

    def __init__(self, error: BaseException | None) -> None:
        super().__init__(error)
        self.error = error


async def silence() -> None:
    """Awaited by a script: nothing more is heard of the worker until it is killed."""
    await asyncio.get_running_loop().create_future()


class ScriptedWorker:
    """A worker in the running event loop that takes one task after another and does what its script says.

    `script(index, input)` is awaited for each task. What it returns is the value, what it raises the error; it sleeps
    for a task that takes its time (no time at all under `virtual_run`), raises `Death` for a worker that dies of the task,
    and awaits `silence()` for one that hangs. None: the function is called, as any worker would.
    """

    def __init__(self, number: int, work: Work, host: Host, script: Script | None = None) -> None:
        self._number = number
        self._work = work
        self._host = host
        self._script = script or self._call
        self._loop = asyncio.get_running_loop()
        self._inbox: asyncio.Queue[Batch] = asyncio.Queue()
        self._current: tuple[int, float] | None = None
        self._serving: asyncio.Task[None] | None = None
        self._gone = False

    def start(self) -> None:
        """Begin to serve."""
        self._serving = self._loop.create_task(self._serve(), name=f"scripted worker {self._number}")

    def send(self, batch: Batch) -> None:
        """Put a batch into the inbox."""
        self._inbox.put_nowait(batch)

    def running(self) -> Sequence[tuple[int, float]]:
        """The task it is on."""
        return [] if self._current is None else [self._current]

    def cancel(self, index: int) -> None:
        """It ends a task by ending itself: see `kill`."""

    def stop(self) -> None:
        """End, and say nothing."""
        self._gone = True
        if self._serving is not None:
            self._serving.cancel()

    def kill(self) -> None:
        """End in the middle of whatever the script is at."""
        self._exit()
        self.stop()

    def close(self) -> None:
        """Nothing of the host is held."""

    async def _serve(self) -> None:
        try:
            if self._work.initializer is not None:
                await _finished(self._work.initializer())
        except BaseException as error:
            self._exit(error, fatal=True)
            return
        self._host.post(WorkerReady(self._number, f"script {self._number}"))
        while not self._gone:
            await self._run(await self._inbox.get())

    async def _run(self, batch: Batch) -> None:
        values: list[Any] = []
        errors: list[TaskError] = []
        began = self._loop.time()
        for position, item in enumerate(batch.inputs):
            index = batch.first + position
            self._current = (index, self._loop.time())
            value, error = await self._loop.create_task(self._attempt(index, item), context=self._work.context.copy())
            if self._gone:
                return
            if isinstance(error, Death):
                self._exit(error.error, [index])
                return
            if error is not None:
                errors.append(TaskError(position, trimmed(error, __file__)))
            values.append(value)
        self._current = None
        self._host.post(BatchFinished(self._number, batch.first, values, tuple(errors), self._loop.time() - began))

    async def _attempt(self, index: int, item: Any) -> tuple[Any, BaseException | None]:
        """The value or the error. Nothing is raised: SystemExit out of an asyncio task would end the loop."""
        try:
            return await self._script(index, item), None
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            return None, error

    async def _call(self, index: int, item: Any) -> Any:
        return await _finished(self._work.func(*item) if self._work.star else self._work.func(item))

    def _exit(self, error: BaseException | None = None, suspects: Sequence[int] = (), fatal: bool = False) -> None:
        if not self._gone:
            self._gone = True
            self._host.post(WorkerExited(self._number, error, suspects, fatal))


async def _finished(value: Any) -> Any:
    return await value if is_awaitable(value) else value
