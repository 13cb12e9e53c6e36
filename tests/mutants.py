"""Workers that break one promise each: what the contract must catch."""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from flatout._events import BatchFinished, Event, TaskError, WorkerExited, WorkerReady
from flatout._model import Batch, Work
from flatout._testing._contract import (
    awaits_any_awaitable,
    awaits_coroutines,
    cancels_one_task_or_none,
    dies_when_killed,
    fails_tasks_alone,
    gives_the_exception_itself,
    goes_when_stopped,
    initializes_once,
    keeps_contexts_apart,
    reports_a_failed_initializer,
    reports_every_task_once,
    reports_for_work_once,
    spreads_tuples,
    survives_what_ends_others,
    takes_batch_after_batch,
    tells_what_it_is_on,
)
from flatout._workers._base import Host
from flatout._workers._thread import ThreadWorker
from flatout.testing import WORKER_CONTRACT, Clause

EVERY = frozenset(WORKER_CONTRACT)
WITH_TASKS = EVERY - {reports_for_work_once, reports_a_failed_initializer}


class Relay:
    """Stands between a worker and its host: a mutant says what becomes of each report."""

    def __init__(self, host: Host, change: Callable[[Event], Sequence[Event]]) -> None:
        self._host = host
        self._change = change

    def post(self, event: Event) -> None:
        for changed in self._change(event):
            self._host.post(changed)

    def soon(self, report: Callable[[], Event | None]) -> None:
        self._host.soon(report)

    def hurry(self) -> None:
        self._host.hurry()

    def watch(self, fd: int, readable: Callable[[], None], writable: Callable[[], None] | None = None) -> None:
        self._host.watch(fd, readable, writable)

    def unwatch(self, fd: int) -> None:
        self._host.unwatch(fd)


class Mutant(ThreadWorker):
    """A thread as it should be. Each mutant changes one thing and names the clauses that catch it; it keeps all others."""

    caught_by: ClassVar[frozenset[Clause]] = frozenset()

    def __init__(self, number: int, work: Work, host: Host) -> None:
        self.work = self.given(work)
        self.host = host
        super().__init__(number, self.work, Relay(host, self.told))

    def given(self, work: Work) -> Work:
        """The work as this one takes it."""
        return work

    def told(self, event: Event) -> Sequence[Event]:
        """What the host hears of a report."""
        return [self.finished(event)] if isinstance(event, BatchFinished) else [event]

    def finished(self, event: BatchFinished) -> BatchFinished:
        """What the host hears of a finished batch."""
        return event


class ReadyTwice(Mutant):
    caught_by = EVERY - {reports_a_failed_initializer}

    def told(self, event: Event) -> Sequence[Event]:
        return [event, event] if isinstance(event, WorkerReady) else [event]


class ReadyUnderAnotherNumber(Mutant):
    caught_by = EVERY - {reports_a_failed_initializer}

    def told(self, event: Event) -> Sequence[Event]:
        return [replace(event, worker=event.worker + 1)] if isinstance(event, WorkerReady) else [event]


class ReportsTwice(Mutant):
    caught_by = WITH_TASKS

    def told(self, event: Event) -> Sequence[Event]:
        return [event, event] if isinstance(event, BatchFinished) else [event]


class LosesTheLastTask(Mutant):
    caught_by = WITH_TASKS - {gives_the_exception_itself, dies_when_killed}

    def finished(self, event: BatchFinished) -> BatchFinished:
        return replace(event, values=event.values[:-1]) if len(event.values) > 1 else event


class ReportsValuesBackwards(Mutant):
    caught_by = frozenset(
        {
            reports_every_task_once,
            takes_batch_after_batch,
            fails_tasks_alone,
            awaits_coroutines,
            awaits_any_awaitable,
            spreads_tuples,
            tells_what_it_is_on,
            cancels_one_task_or_none,
        }
    )

    def finished(self, event: BatchFinished) -> BatchFinished:
        return replace(event, values=list(event.values)[::-1])


class LosesTheSecondBatch(Mutant):
    caught_by = frozenset(
        {takes_batch_after_batch, survives_what_ends_others, initializes_once, dies_when_killed, keeps_contexts_apart}
    )

    batches = 0

    def send(self, batch: Batch) -> None:
        self.batches += 1
        if self.batches != 2:
            super().send(batch)


class TakesTheSmallBatchFirst(Mutant):
    """It holds a batch of three back until the next is there."""

    caught_by = frozenset({takes_batch_after_batch, awaits_coroutines})

    held: Batch | None = None

    def send(self, batch: Batch) -> None:
        if self.held is None and len(batch) == 3:
            self.held = batch
            return
        super().send(batch)
        if self.held is not None:
            held, self.held = self.held, None
            super().send(held)


class MisplacesErrors(Mutant):
    caught_by = frozenset({fails_tasks_alone, survives_what_ends_others, awaits_coroutines})

    def finished(self, event: BatchFinished) -> BatchFinished:
        last = len(event.values) - 1
        errors = tuple(TaskError(min(error.offset + 1, last), error.error) for error in event.errors)
        values = [None if at in [error.offset for error in errors] else value for at, value in enumerate(event.values)]
        return replace(event, values=values, errors=errors)


class StopsAtTheFirstFailure(Mutant):
    caught_by = frozenset({fails_tasks_alone, survives_what_ends_others, awaits_coroutines})

    def finished(self, event: BatchFinished) -> BatchFinished:
        if not event.errors:
            return event
        count = event.errors[0].offset + 1
        return replace(event, values=event.values[:count], errors=event.errors[:1])


class FailsTheNeighbours(Mutant):
    caught_by = frozenset({fails_tasks_alone, survives_what_ends_others, awaits_coroutines})

    def finished(self, event: BatchFinished) -> BatchFinished:
        if not event.errors:
            return event
        error = event.errors[0].error
        errors = tuple(TaskError(offset, error) for offset in range(len(event.values)))
        return replace(event, values=[None] * len(errors), errors=errors)


class WrapsExceptions(Mutant):
    caught_by = frozenset({fails_tasks_alone, gives_the_exception_itself, survives_what_ends_others, awaits_coroutines})

    def finished(self, event: BatchFinished) -> BatchFinished:
        errors = tuple(replace(error, error=RuntimeError(str(error.error))) for error in event.errors)
        return replace(event, errors=errors)


class LosesTracebacks(Mutant):
    caught_by = frozenset({gives_the_exception_itself})

    def finished(self, event: BatchFinished) -> BatchFinished:
        errors = tuple(replace(error, error=error.error.with_traceback(None)) for error in event.errors)
        return replace(event, errors=errors)


class LetsSystemExitThrough(Mutant):
    """The thread ends with the task, as threads do."""

    caught_by = frozenset({survives_what_ends_others})

    left = False

    def told(self, event: Event) -> Sequence[Event]:
        if isinstance(event, BatchFinished):
            self.left = self.left or any(isinstance(error.error, SystemExit) for error in event.errors)
        return [] if self.left else [event]


class AwaitsNothing(Mutant):
    caught_by = frozenset(
        {
            awaits_coroutines,
            awaits_any_awaitable,
            tells_what_it_is_on,
            dies_when_killed,
            cancels_one_task_or_none,
            keeps_contexts_apart,
        }
    )

    def given(self, work: Work) -> Work:
        return replace(work, func=lambda *inputs: _closed(work.func(*inputs)))


class AwaitsOnlyCoroutines(Mutant):
    caught_by = frozenset({awaits_any_awaitable})

    def given(self, work: Work) -> Work:
        return replace(work, func=lambda *inputs: _hidden(work.func(*inputs)))


class KeepsTuplesWhole(Mutant):
    caught_by = frozenset({spreads_tuples})

    def given(self, work: Work) -> Work:
        return replace(work, star=False)


class InitializesForEveryTask(Mutant):
    caught_by = frozenset({initializes_once})

    def given(self, work: Work) -> Work:
        initializer = work.initializer
        if initializer is None:
            return work
        return replace(work, func=lambda item: _after(initializer(), work.func, item))


class InitializesNever(Mutant):
    caught_by = frozenset({initializes_once, reports_a_failed_initializer})

    def given(self, work: Work) -> Work:
        return replace(work, initializer=None)


class CallsAFailedStartNotFatal(Mutant):
    caught_by = frozenset({reports_a_failed_initializer})

    def told(self, event: Event) -> Sequence[Event]:
        return [replace(event, fatal=False)] if isinstance(event, WorkerExited) else [event]


class IsAlwaysBusy(Mutant):
    caught_by = frozenset({tells_what_it_is_on})

    on: Sequence[tuple[int, float]] = ()

    def running(self) -> Sequence[tuple[int, float]]:
        """It goes on naming what it was on last."""
        self.on = super().running() or self.on
        return self.on


class IsNeverBusy(Mutant):
    caught_by = frozenset({tells_what_it_is_on})

    def running(self) -> Sequence[tuple[int, float]]:
        return []


class HasAnotherClock(Mutant):
    caught_by = frozenset({tells_what_it_is_on})

    def running(self) -> Sequence[tuple[int, float]]:
        return [(index, began + 1e9) for index, began in super().running()]


class NamesTheFirstOfTheBatch(Mutant):
    caught_by = frozenset({tells_what_it_is_on})

    batch: Batch | None = None

    def send(self, batch: Batch) -> None:
        self.batch = batch
        super().send(batch)

    def running(self) -> Sequence[tuple[int, float]]:
        return [(self.batch.first, began) for _, began in super().running() if self.batch is not None]


class SaysGoodbyeWhenStopped(Mutant):
    caught_by = frozenset({goes_when_stopped})

    def stop(self) -> None:
        super().stop()
        self.host.post(WorkerExited(7))


class DiesInSilence(Mutant):
    caught_by = frozenset({dies_when_killed})

    def told(self, event: Event) -> Sequence[Event]:
        return [] if isinstance(event, WorkerExited) and event.error is None else [event]


class DiesTwice(Mutant):
    caught_by = frozenset({dies_when_killed})

    def told(self, event: Event) -> Sequence[Event]:
        return [event, event] if isinstance(event, WorkerExited) and event.error is None else [event]


class ReportsAfterDeath(Mutant):
    caught_by = frozenset({dies_when_killed})

    def _report(self, event: WorkerReady | BatchFinished | WorkerExited) -> None:
        self.host.post(event)


class DiesWhenATaskIsCancelled(Mutant):
    caught_by = frozenset({cancels_one_task_or_none})

    def cancel(self, index: int) -> None:
        self.kill()


class SharesOneContext(Mutant):
    caught_by = frozenset({keeps_contexts_apart})

    def given(self, work: Work) -> Work:
        return replace(work, context=_Shared(work.context))  # type: ignore[arg-type]


class ForgetsTheContext(Mutant):
    caught_by = frozenset({keeps_contexts_apart})

    def given(self, work: Work) -> Work:
        return replace(work, context=contextvars.Context())


class ReckonsBackwards(Mutant):
    caught_by = WITH_TASKS

    def finished(self, event: BatchFinished) -> BatchFinished:
        return replace(event, seconds=-time.monotonic())


class _Shared:
    """A context of which there is but one."""

    def __init__(self, context: contextvars.Context) -> None:
        self._context = context

    def copy(self) -> contextvars.Context:
        return self._context


class _Hidden:
    """Something that nobody awaits."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _closed(value: Any) -> Any:
    if hasattr(value, "close"):
        value.close()
    return _Hidden(value) if hasattr(value, "__await__") else value


def _hidden(value: Any) -> Any:
    return _Hidden(value) if hasattr(value, "__await__") and not hasattr(value, "cr_code") else value


def _after(initialized: Any, func: Callable[[Any], Any], item: Any) -> Any:
    """Call once the initializer is through; those of the contract wait for nothing real."""
    if hasattr(initialized, "send"):
        import asyncio

        asyncio.run(initialized)
    return func(item)


MUTANTS = [value for value in list(globals().values()) if isinstance(value, type) and issubclass(value, Mutant)]
