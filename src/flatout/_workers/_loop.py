"""A worker that is an event loop: the one the driver itself lives in. Many tasks at once, switching at every `await`.

Theory of operation. A task does not get an asyncio task of its own, which would cost more than all the rest: a few
`Puller`s, each an asyncio task, take one task after another out of an inbox. What keeps tasks apart all the same is that a
puller ends after a task that has left anything on it (see `Puller` and `_same`); another one takes the next task,
with a new copy of the run's context.

What ends in one turn of the loop is reported together, in the turn that follows, before the pullers look into the inbox
again: so what the dispatcher sends for it is there, and a puller that finds nothing ends. In a turn that takes long it is
reported now and then: a hundred tasks that wake together and compute would keep everything waiting.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context
from operator import is_, itemgetter
from sys import getrefcount
from typing import Any, cast
from weakref import getweakrefcount

from flatout._awaitable import is_awaitable
from flatout._errors import InternalError, trimmed
from flatout._events import BatchFinished, LoopIdle, TaskError, WorkerExited, WorkerReady
from flatout._model import Batch, Work
from flatout._threads._loop import clock_of
from flatout._threads._times import Queued
from flatout._workers._base import Host

EMPTY_TURN = 1e-4  # seconds of computing: a turn of the loop below it had nothing to run (measured: 5-25 us); guessed
LONG_TURN = 0.005  # seconds after which what has ended in a turn is reported in the middle of it; guessed
LOOK_AGAIN = 0.001  # seconds until it is looked again whether there is something to compute; guessed
TURNS = 3  # of the loop, one of which must be such a turn: the driver may have been at work in the others; guessed

Begun = dict[int, tuple[Any, BaseException | None]]
Finished = tuple[int, Any, float]  # task, value, seconds


class Puller(asyncio.Task[None]):
    """An asyncio task that runs tasks one after another, and knows whether one of them has left something on it.

    Who cancels it, renames it or wants to hear of its end is noticed at once. Whatever else could reach it later (a
    timeout or a TaskGroup that was entered and not left, a registry with the current task for a key) has to hold it,
    and CPython counts who does.
    """

    __slots__ = ("began", "index", "marked", "overdue")

    index: int | None  # the task it is on, None between two
    began: float
    overdue: bool  # that task is being cancelled for its time
    marked: bool

    def cancel(self, msg: Any | None = None) -> bool:
        """See `asyncio.Task`."""
        self.marked = True
        return super().cancel(msg)

    def set_name(self, value: object) -> None:
        """See `asyncio.Task`."""
        self.marked = True
        super().set_name(value)

    def add_done_callback(self, fn: Callable[[Any], object], /, *, context: Context | None = None) -> None:
        """See `asyncio.Task`."""
        self.marked = True
        super().add_done_callback(fn, context=context)

    def holders(self) -> tuple[int, int]:
        """How many hold it, strongly and weakly."""
        return getrefcount(self), getweakrefcount(self)


class LoopWorker:
    """Runs each task as in an asyncio task of its own, with its own copy of the run's context.

    `begun` holds, by index, the (value, error) of calls that have been made already: the value remains to be awaited.
    inbox: as of `ThreadsWorker`.
    """

    def __init__(
        self, number: int, work: Work, host: Host, begun: Begun, inbox: deque[tuple[int, Any]] | None = None
    ) -> None:
        self.number = number
        self._work = work
        self._host = host
        self._begun = begun
        self._loop = asyncio.get_running_loop()
        self._clock = clock_of(self._loop)
        self._inbox: deque[tuple[int, Any]] = deque() if inbox is None else inbox
        self._pullers: set[Puller] = set()
        self._most = 0  # pullers at once so far
        self._staffing = False
        self._looking: asyncio.Handle | None = None
        self._fresh = True  # nothing has ended
        self._finished: list[Finished] = []
        self._since = 0.0  # when the first of them ended
        self._errors: dict[int, BaseException] = {}
        self._starting: asyncio.Task[None] | None = None
        self._cpu, self._reported = time.thread_time(), time.perf_counter()  # at the last report
        self._queued = Queued()
        self._gone = False

    def start(self) -> None:
        """Run the initializer, if any."""
        if self._work.initializer is None:
            self._host.post(WorkerReady(self.number, "event loop"))
        else:
            self._starting = self._loop.create_task(self._initialize(self._work.initializer))

    async def _initialize(self, initializer: Any) -> None:
        try:
            value = initializer()
            if is_awaitable(value):
                await value
        except BaseException as error:
            self._post(WorkerExited(self.number, error, fatal=True))
        else:
            self._post(WorkerReady(self.number, "event loop"))

    def send(self, batch: Batch) -> None:
        """Put the tasks into the inbox, for the pullers that look into it in this turn, and for new ones."""
        self._inbox.extend(zip(range(batch.first, batch.end), batch.inputs, strict=True))
        self._staff_soon()

    # Pulling

    def _staff_soon(self) -> None:
        if not self._staffing:
            self._staffing = True
            self._loop.call_soon(self._staff)

    def _staff(self) -> None:
        """Start a puller for each task that nobody has taken. All in flight has its own, so it waits for nothing."""
        self._staffing = False
        for _ in range(len(self._inbox)):
            self._hire()
        if len(self._pullers) > self._most:
            self._most = len(self._pullers)
            if self._looking is not None:
                self._looking.cancel()
            self._looking = self._loop.call_soon(self._look)  # after their first steps

    def _hire(self) -> None:
        context = self._work.context.copy()
        # Not by the loop's task factory: it might run the task at once, in the middle of what the driver does.
        puller = Puller(self._pull(context), loop=self._loop, context=context)
        puller.index, puller.overdue = None, False
        puller.add_done_callback(self._retired)
        puller.marked = False
        self._pullers.add(puller)

    def _retired(self, puller: asyncio.Task[None]) -> None:
        self._pullers.remove(cast(Puller, puller))
        error = None if puller.cancelled() else puller.exception()
        if isinstance(error, Exception):  # of this code: a task has changed what it relies on
            self._post(WorkerExited(self.number, InternalError.caused_by(error), fatal=True))
        if self._inbox:
            self._staff_soon()

    async def _pull(self, context: Context) -> None:
        """Run one task after another, as long as there are any and none leaves traces."""
        puller = cast(Puller, asyncio.current_task())
        inbox, clock, begun, run = self._inbox, self._clock, self._begun, self._work.context
        func, star = self._work.func, self._work.star
        count = puller.holders  # bound: as of Python 3.14 it depends on the place whether a name holds what it names
        holders = count()
        while inbox:
            index, item = inbox.popleft()
            puller.index, puller.began = index, clock()
            try:
                if index in begun:
                    value = _begun(*begun.pop(index))
                elif star:
                    value = func(*item)
                else:
                    value = func(item)
                if is_awaitable(value):
                    value = await value
            except BaseException as error:
                if issubclass(type(error), KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
                    raise  # Ctrl-C, which is meant for the whole program; no other thread gets signals
                self._errors[index] = trimmed(error, __file__)
                value = None
            self._ended(index, value, clock() - puller.began)
            puller.index = None
            if puller.marked or count() != holders or not _same(context, run):
                return
            if not inbox:
                await asyncio.sleep(0)  # meanwhile it is reported, and more may be sent

    # Reporting

    def _ended(self, index: int, value: Any, seconds: float) -> None:
        now, self._fresh = self._clock(), False
        self._finished.append((index, value, seconds))
        if len(self._finished) == 1:
            self._since = now
            self._host.soon(self._report)
        if now - self._since > LONG_TURN:
            self._host.hurry()

    def _report(self) -> BatchFinished | None:
        """What has ended since the last time."""
        if self._gone:
            return None
        # What the loop's thread has computed since the last report: for which task cannot be told.
        then, self._cpu, self._reported = (self._cpu, self._reported), time.thread_time(), time.perf_counter()
        cpu = self._cpu - then[0]
        queued = self._queued.since(self._reported - then[1] - cpu)
        finished, self._finished = self._finished, []
        return self._report_of(finished, cpu, queued)

    def _report_of(self, finished: list[Finished], cpu: float, queued: float) -> BatchFinished:
        finished.sort(key=itemgetter(0))
        indices, values, seconds = zip(*finished, strict=True)
        errors, self._errors = self._errors, {}
        failed = tuple(TaskError(o, errors[i]) for o, i in enumerate(indices) if i in errors) if errors else ()
        gaps = indices if indices[-1] - indices[0] >= len(indices) else ()
        return BatchFinished(self.number, indices[0], values, failed, sum(seconds), cpu, indices=gaps, queued=queued)

    def _look(self, before: float = -math.inf, turns: int = TURNS) -> None:
        """Report it if one of the next turns passes with nothing to compute; as long as nothing has ended, look again."""
        now = time.thread_time()
        if now - before < EMPTY_TURN:
            self._looking = None
            self._post(LoopIdle(self.number))
        elif turns:
            self._looking = self._loop.call_soon(self._look, now, turns - 1)
        elif self._fresh and not self._gone:
            self._looking = self._loop.call_later(LOOK_AGAIN, self._look)

    def _post(self, event: WorkerReady | LoopIdle | WorkerExited) -> None:
        if not self._gone:
            self._host.post(event)

    # Time, and the end

    def running(self) -> Sequence[tuple[int, float]]:
        """The tasks in flight."""
        return [(puller.index, puller.began) for puller in list(self._pullers) if puller.index is not None]

    def cancel(self, index: int) -> None:
        """Cancel one task at its next `await`."""
        for puller in self._pullers:
            if puller.index == index:
                puller.overdue = True
                puller.cancel()

    def suspects(self) -> list[int]:
        """Where the loop does not come round: the task that it is in, or all in flight if it is in something that one of
        them has set going; from any thread.
        """
        puller = asyncio.current_task(self._loop)
        if isinstance(puller, Puller) and puller.index is not None:
            return [puller.index]
        return [index for index, _ in self.running()]

    def leave_behind(self) -> BatchFinished | None:
        """Where the loop does not come round: report nothing more, and cancel everything if it ever does; from any thread.

        Returns what has ended in the turn that does not end.
        """
        self._gone = True
        self._loop.call_soon_threadsafe(self._leave)
        finished, self._finished = self._finished, []
        return self._report_of(finished, 0.0, 0.0) if finished else None

    def stop(self) -> None:
        """Nothing is in flight, except what was cancelled for its time and may still be cleaning up."""
        self._leave()

    def kill(self) -> None:
        """Cancel everything."""
        self._post(WorkerExited(self.number))
        self._leave()

    def _leave(self) -> None:
        self._gone = True
        self._inbox.clear()
        for puller in self._pullers:
            puller.cancel()
        if self._starting is not None:
            self._starting.cancel()

    def let_go(self) -> None:
        """In a child that a task has forked: begin no other task, and know nothing of those that have ended."""
        self._inbox.clear()
        self._finished.clear()
        self._errors.clear()

    def close(self) -> None:
        """Nothing of the host is held."""

    async def ended(self, seconds: float) -> None:
        """Wait until every cancelled task has cleaned up, but no longer than this, and for none that was over its time."""
        pullers = [puller for puller in self._pullers if not puller.overdue]
        if pullers:
            await asyncio.wait(pullers, timeout=seconds)


def _begun(value: Any, error: BaseException | None) -> Any:
    if error is not None:
        raise error
    return value


def _same(context: Context, other: Context) -> bool:
    """Whether two contexts hold the same objects: equal ones would not do, since they might be changed later."""
    if not context and not other:
        return True
    same_variables = len(context) == len(other) and all(map(is_, context, other))
    return same_variables and all(map(is_, context.values(), other.values()))
