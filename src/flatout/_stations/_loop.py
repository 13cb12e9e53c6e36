"""Coroutine functions, on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
from typing import Any

from flatout._awaitable import is_awaitable
from flatout._errors import trimmed
from flatout._hosts import LoopHost
from flatout._loop_thread import LoopThread
from flatout._model import Kind, Settled, Work
from flatout._stations._base import Call, Initializer, Station
from flatout._workers._base import Worker
from flatout._workers._loop import LoopWorker


class LoopStation(Station):
    """Calls whose results are awaited, all on one loop."""

    def __init__(self, most: int, initializer: Initializer | None) -> None:
        self._work = Work(_settled, initializer=initializer)
        self._thread = LoopThread()
        self._thread.start()
        begin = super().__init__
        self._thread.call(lambda: begin("async", most, LoopHost(self._thread.loop)))

    def join(self) -> None:
        """See `Submits`."""
        super().join()
        self._thread.join()

    def _hire(self, kind: Kind, number: int) -> Worker:
        return LoopWorker(number, self._work, self._driver, {})

    def _inputs(self, most: int) -> list[Any]:
        inputs: list[Any] = []
        while self._calls and len(inputs) < most:
            call = self._calls.popleft()
            if call.future.set_running_or_notify_cancel():
                inputs.append(call)
        return inputs

    def put(self, settled: Settled) -> None:
        """The future of the call has its outcome already."""

    def pump(self) -> None:
        """See `Driven`."""
        super().pump()
        self.hand_out()

    def finish(self, error: BaseException | None, cancelled: bool) -> None:
        """See `Station`."""
        super().finish(error, cancelled)
        self._thread.stop()


async def _settled(call: Call) -> None:
    """Make a call in the submitter's context, and set its future."""
    future, func, args, keywords, context = call
    try:
        value = context.run(func, *args, **keywords)
        if is_awaitable(value):
            value = await asyncio.get_running_loop().create_task(_awaited(value), context=context)
    except BaseException as error:
        future.set_exception(trimmed(error, __file__))
    else:
        future.set_result(value)


async def _awaited(value: Any) -> Any:
    return await value
