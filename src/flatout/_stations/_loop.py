"""Coroutine functions, on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import Any

from flatout._awaitable import awaited, is_awaitable
from flatout._errors import trimmed
from flatout._events import StartWorker
from flatout._model import Settled, Work
from flatout._run._hosts import LoopHost
from flatout._stations._base import Call, Initializer, Station, settle
from flatout._threads._loop import LoopThread, ended_by
from flatout._workers._base import Worker
from flatout._workers._loop import LoopWorker

ENDING_SECONDS = 1.0  # for coroutines that were cancelled to clean up


class LoopStation(Station):
    """Calls whose results are awaited, all on one loop."""

    def __init__(self, most: int, initializer: Initializer | None) -> None:
        self._work = Work(self._made, initializer=initializer)
        self._in_hand: set[Future[Any]] = set()
        self._thread = LoopThread(self._lose_loop)
        self._thread.start()
        self._ident = self._thread.call(threading.get_ident)
        begin = super().__init__
        self._thread.call(lambda: begin("async", most, LoopHost(self._thread.loop)))

    def join(self) -> None:
        """See `Submits`."""
        super().join()
        self._thread.join(ENDING_SECONDS if self.cancelled else None)

    def _lose_loop(self, error: BaseException) -> None:
        """In the loop's thread: something in it has ended the loop."""
        self.fail(ended_by(error))
        self.hand_out()

    def _runs_here(self) -> bool:
        return bool(threading.get_ident() == self._ident)

    def _hire(self, order: StartWorker) -> Worker:
        return LoopWorker(order.worker, self._work, self._driver, {})

    def _inputs(self, most: int) -> list[Any]:
        inputs: list[Any] = []
        while self._calls and len(inputs) < most:
            call = self._calls.popleft()
            if call.future.set_running_or_notify_cancel():
                self._in_hand.add(call.future)
                inputs.append(call)
        return inputs

    async def _made(self, call: Call) -> None:
        """Make a call in the submitter's context, and set its future."""
        future, func, args, keywords, context = call
        try:
            value = context.run(func, *args, **keywords)
            if is_awaitable(value):
                coroutine = value if asyncio.iscoroutine(value) else awaited(value)
                value = await asyncio.get_running_loop().create_task(coroutine, context=context)
        except BaseException as error:
            self._settle(future, trimmed(error, __file__), True)
        else:
            self._settle(future, value, False)

    def _settle(self, future: Future[Any], outcome: Any, failed: bool) -> None:
        if future in self._in_hand:  # else it was given up
            self._in_hand.remove(future)
            settle(future, outcome, failed)

    def put(self, settled: Settled) -> None:
        """The future of the call has its outcome already."""

    def pump(self) -> None:
        """See `Driven`."""
        super().pump()
        self.hand_out()

    def finish(self, error: BaseException | None, cancelled: bool) -> None:
        """See `Station`."""
        super().finish(error, cancelled)
        self._due.extend((future, self._refusal(), True) for future in self._in_hand)
        self._in_hand.clear()
        self._thread.stop()
