"""One task in this process: call, await what is to be awaited, keep the clock. Shared by the seat and the threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextvars import Context
from types import GeneratorType

from flatout._awaitable import awaited, is_awaitable
from flatout._errors import trimmed
from flatout._events import BatchFinished, TaskError
from flatout._model import Batch, Work
from flatout._threads._loop import LoopThread

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any

    Await = Callable[[Awaitable[Any]], Any]
    Ended = tuple[int, Any, BaseException | None, float, float]  # task, value or error, seconds, of these on a core

CLOSING_SECONDS = 1.0  # for coroutines that are left to clean up


class Caller:
    """Runs tasks one after another in the thread that calls it, each in its own copy of the run's context.

    ends_all: what is no failure of a task, but meant for the whole run. (In other threads than the main one Python raises no
    KeyboardInterrupt: there it is the task's own.)
    """

    def __init__(
        self, work: Work, await_result: Await, ends_all: tuple[type[BaseException], ...] = (KeyboardInterrupt,)
    ) -> None:
        self.current: tuple[int, float] | None = None  # (task, when it began by time.monotonic)
        self._func = work.func
        self._star = work.star
        self._timed = work.timed
        self._context = work.context
        self._await = await_result
        self._ends_all = ends_all
        self._batch: _InHand | None = None
        self._lock = threading.RLock()  # of the batch in hand; who holds it may be ended by the garbage collector
        self._end = 0  # behind the last task of the batch before that was left to this one
        self._plain: set[type] = set()  # types of results that are not to be awaited

    def run(self, batch: Batch, worker: int, await_result: Await | None = None) -> BatchFinished:
        """Run a batch, or what `give_back` leaves of it.

        await_result: what to do with what is to be awaited, None: await it.
        """
        errors: list[TaskError] = []
        began, cpu = time.perf_counter(), time.thread_time()
        self.current = (batch.first, time.monotonic())
        values = self._call_each(batch, errors)
        if not self._plain.issuperset(map(type, values)) and self._any_awaitable(values):
            self.await_each(batch, values, errors, await_result)
        self.current = None
        seconds = time.perf_counter() - began
        return BatchFinished(worker, batch.first, values, tuple(errors), seconds, time.thread_time() - cpu)

    def call(self, task: int, item: Any) -> Ended:
        """Run a single task, whatever it raises: in half the time that a batch of one takes."""
        began, cpu = time.perf_counter(), time.thread_time()
        self.current = (task, time.monotonic())
        value, failed, copy = None, None, self._context.copy
        try:
            value = copy().run(self._func, *item) if self._star else copy().run(self._func, item)
            if type(value) not in self._plain and self._any_awaitable([value]):
                value = copy().run(self._await, value)
        except BaseException as error:
            value, failed = None, trimmed(error, __file__)
        self.current = None
        return task, value, failed, time.perf_counter() - began, time.thread_time() - cpu

    @property
    def done(self) -> int:
        """How many calls of the batch in hand are over; from any thread."""
        hand = self._batch
        return len(hand.values) if hand is not None else 0

    def give_back(self) -> tuple[int, int]:
        """Begin nothing more of the batch in hand; from any thread. Returns (first task, count) of what others may have.

        The one behind those that have ended may have begun: `left_over` tells, when the batch is over.
        """
        with self._lock:
            hand = self._batch
            if hand is None:
                return 0, 0
            del hand.inputs[
                1:
            ]  # over which the loop goes: it ends before the next, wherever it is; a first is always made
            first = min(hand.end, hand.batch.first + len(hand.values) + 1)
            count, hand.end = hand.end - first, first
            return first, count

    def left_over(self, event: BatchFinished) -> tuple[int, int]:
        """(first task, count) of those of a batch that was run which have not begun, and which nobody has been given."""
        first = event.first + len(event.values)
        return first, max(0, self._end - first)

    def _call_each(self, batch: Batch, errors: list[TaskError]) -> list[Any]:
        self._batch = hand = _InHand(batch)
        values = hand.values
        inputs = self._noted(batch, hand.inputs, values) if self._timed else iter(hand.inputs)
        over = False
        try:
            while not over:
                context = self._context.copy()
                try:
                    over = context.run(self._calls, inputs, values, context)
                except self._ends_all:
                    _abandon(values)
                    raise
                except BaseException as error:
                    errors.append(TaskError(len(values), trimmed(error, __file__)))
                    values.append(None)
        finally:
            with self._lock:
                self._batch, self._end = None, hand.end
        return values

    def _calls(self, inputs: Iterator[Any], values: list[Any], context: Context) -> bool:
        """Call until a call has changed its context, and the next needs another copy; returns True when all are made.

        This loop stands for the user's own: what it adds to a call is what flatout costs where it stays in the plain loop.
        """
        func, unchanged, append = self._one_argument(), self._context, values.append
        if not unchanged:  # to ask that takes a sixth to a fifth off the whole loop (measured)
            for item in inputs:
                append(func(item))
                if context:
                    return False
            return True
        for item in inputs:
            append(func(item))
            try:
                if context != unchanged:
                    return False
            except self._ends_all:
                raise
            except BaseException:  # by the == of a user's object, which is only asked for one that is new
                return False
        return True

    def _noted(self, batch: Batch, inputs: list[Any], values: list[Any]) -> Iterator[Any]:
        """The inputs; of each it is noted when its task began."""
        for item in inputs:
            self.current = (batch.first + len(values), time.monotonic())
            yield item

    def _one_argument(self) -> Callable[[Any], Any]:
        func = self._func
        return (lambda item: func(*item)) if self._star else func

    def _any_awaitable(self, values: list[Any]) -> bool:
        """Whether any value has to be awaited; notes the types that never have to."""
        examples = {type(value): value for value in values}
        for kind in examples.keys() - self._plain:
            if kind is GeneratorType:
                return any(is_awaitable(value) for value in values)  # which only its code tells
            if is_awaitable(examples[kind]):
                return True
            self._plain.add(kind)
        return False

    def await_each(
        self, batch: Batch, values: list[Any], errors: list[TaskError], await_result: Await | None = None
    ) -> None:
        """Put what awaiting gives in place of what can be awaited."""
        for position, value in enumerate(values):
            if not is_awaitable(value):
                continue
            if self._timed:
                self.current = (batch.first + position, time.monotonic())
            try:
                values[position] = self._context.copy().run(await_result or self._await, value)
            except self._ends_all:
                _abandon(values[position + 1 :])
                raise
            except BaseException as error:
                errors.append(TaskError(position, trimmed(error, __file__)))
                values[position] = None
        errors.sort(key=lambda error: error.offset)


class _InHand:
    """A batch that is being run: what is still to be begun of it, and what has ended."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.inputs = list(batch.inputs)
        self.values: list[Any] = []
        self.end = batch.end


def _abandon(values: list[Any]) -> None:
    """Close the coroutines that nobody is going to await, or Python would warn of each."""
    for value in values:
        if is_awaitable(value) and hasattr(value, "close"):
            value.close()


class OwnLoop:
    """Awaits on an event loop of its own; in a thread of its own where a loop is running in this one already."""

    def __init__(self) -> None:
        self._runner: Any = None
        self._elsewhere: LoopThread | None = None

    def __call__(self, awaitable: Awaitable[Any]) -> Any:
        """What awaiting it gives."""
        import asyncio
        import contextvars

        context = contextvars.copy_context()
        if not _in_a_loop():
            if self._runner is None:
                self._runner = asyncio.Runner()
            return self._runner.run(awaited(awaitable), context=context)
        if self._elsewhere is None:
            self._elsewhere = LoopThread()
            self._elsewhere.start()
        return self._elsewhere.run(awaited(awaitable), context)

    @property
    def open(self) -> bool:
        """Whether there is something to close."""
        return self._runner is not None or self._elsewhere is not None

    def close(self) -> None:
        """Close the loop, in the thread that used it."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None
        if self._elsewhere is not None:
            self._elsewhere.end(CLOSING_SECONDS)
            self._elsewhere = None


def _in_a_loop() -> bool:
    """Whether an event loop is running in this thread."""
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
