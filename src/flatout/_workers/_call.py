"""One task in this process: call, await what is to be awaited, keep the clock. Shared by the seat and the threads."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from flatout._errors import trimmed
from flatout._events import BatchFinished, TaskError
from flatout._model import Batch, Work
from flatout._wire._values import is_awaitable


class Caller:
    """Runs tasks one after another in the thread that calls it, each in its own copy of the run's context."""

    def __init__(self, work: Work, await_result: Callable[[Awaitable[Any]], Any]) -> None:
        self.current: tuple[int, float] | None = None
        self._func = work.func
        self._star = work.star
        self._context = work.context
        self._await = await_result
        self._plain: set[type] = set()

    def run(self, batch: Batch, worker: int) -> BatchFinished:
        """Run a batch. KeyboardInterrupt is not caught: it is meant for the whole run."""
        values: list[Any] = []
        errors: list[TaskError] = []
        began, cpu = time.perf_counter(), time.thread_time()
        for position, item in enumerate(batch.inputs):
            self.current = (batch.first + position, time.monotonic())
            try:
                values.append(self._context.copy().run(self._call, item))
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                errors.append(TaskError(position, trimmed(error, __file__)))
                values.append(None)
        self.current = None
        seconds = time.perf_counter() - began
        return BatchFinished(worker, batch.first, values, tuple(errors), seconds, time.thread_time() - cpu)

    def _call(self, item: Any) -> Any:
        value = self._func(*item) if self._star else self._func(item)
        kind = type(value)
        if kind not in self._plain:
            if is_awaitable(value):
                return self._await(value)
            self._plain.add(kind)
        return value


class OwnLoop:
    """Awaits on an event loop of its own; in a thread of its own where a loop is running in this one already."""

    def __init__(self) -> None:
        self._runner: Any = None

    def __call__(self, awaitable: Awaitable[Any]) -> Any:
        """What awaiting it gives."""
        import asyncio
        import contextvars

        context = contextvars.copy_context()
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            if self._runner is None:
                self._runner = asyncio.Runner()
            return self._runner.run(_wait_for(awaitable), context=context)
        return _in_another_thread(lambda: context.run(asyncio.run, _wait_for(awaitable)))

    def close(self) -> None:
        """Close the loop, in the thread that used it."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None


async def _wait_for(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _in_another_thread(func: Callable[[], Any]) -> Any:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as executor:
        return executor.submit(func).result()
