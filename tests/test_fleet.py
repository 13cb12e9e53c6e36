"""A fleet on a virtual clock: 10,000 workers, of which a hundred die, and a million tasks, each with exactly one outcome."""

from __future__ import annotations

import heapq
import random
from itertools import accumulate

from flatout._dispatch._dispatcher import Dispatcher
from flatout._errors import WorkerDied
from flatout._events import (
    BatchFinished,
    Command,
    Deliver,
    Draw,
    Event,
    Finish,
    InputEnded,
    SendBatch,
    StartWorker,
    StopWorker,
    TaskError,
    TasksDrawn,
    Tick,
    WorkerExited,
    WorkerReady,
)
from flatout._model import Batch, Failure, Options, Plan, Retry

WORKERS = 10_000
TASKS = 1_000_000
CHUNK = 10
DEATHS = WORKERS // 100
BOOT = 0.5  # seconds until a new worker is ready
RETRY = Retry(attempts=3, on=(OSError, WorkerDied))
FLAKY = 1e-3  # share of attempts that raise
BROKEN = frozenset(range(7, TASKS, 100_000))  # tasks that raise whenever they are tried
DEADLY = frozenset([222_222, 777_777])  # tasks that kill their worker whenever they are tried
BLOW = WorkerDied("killed by SIGKILL", -9)
WRONG = OSError("connection reset")


class Fleet:
    """The workers, the input and the consumer, on a heap of events. Runs `TASKS` to their end."""

    def __init__(self, seed: int) -> None:
        options = Options(chunksize=CHUNK, retry=RETRY, on_error="return")
        self.dispatcher = Dispatcher(options, Plan("process", WORKERS), TASKS, ordered=True, collect=True)
        self.random = random.Random(seed)
        self.now = 0.0
        self.coming: list[tuple[float, int, Event]] = []
        self.serial = self.drawn = self.deaths = self.retried = 0
        self.work_seconds = self.longest = self.last_begun = 0.0
        self.outcomes: list[object] = []
        self.failures: list[Failure] = []
        self.finish: Finish | None = None

    def run(self) -> None:
        """From the first Tick to Finish."""
        self.take(Tick())
        while self.finish is None:
            due = self.dispatcher.wake_at
            if due is not None and (not self.coming or due < self.coming[0][0]):
                self.now = due
                self.take(Tick())
            else:
                self.now, _, event = heapq.heappop(self.coming)
                self.take(event)

    def take(self, event: Event) -> None:
        """Tell the dispatcher, and obey."""
        for command in self.dispatcher.handle(event, self.now):
            self.obey(command)

    def later(self, seconds: float, event: Event) -> None:
        """This will happen then."""
        self.serial += 1
        heapq.heappush(self.coming, (self.now + seconds, self.serial, event))

    def obey(self, command: Command) -> None:
        """Do it as workers, feeder and consumer would."""
        match command:
            case SendBatch(worker, batch):
                self.work(worker, batch)
            case Deliver(settled):
                assert settled.first == len(self.outcomes), "in order, so that none is twice and none is missing"
                self.outcomes += settled.values
                self.failures += [settled.values[i] for i in settled.failed]
            case Draw(count):
                batch = Batch(self.drawn, range(self.drawn, min(self.drawn + count, TASKS)))
                self.drawn = batch.end
                self.later(0.0, TasksDrawn(batch) if batch else InputEnded())
            case StartWorker(worker, _):
                self.later(BOOT, WorkerReady(worker))
            case Finish():
                self.finish = command
            case StopWorker():
                assert self.dispatcher.finished
            case _:
                raise AssertionError(command)

    def work(self, worker: int, batch: Batch) -> None:
        """Run a batch as the dice fall; one on which a worker dies is reported up to there."""
        assert len(batch) <= CHUNK
        assert batch.attempt <= RETRY.attempts
        self.retried += len(batch) * (batch.attempt > 1)
        if batch.end == TASKS and not self.last_begun:
            self.last_begun = self.now
        ends = list(accumulate(self.random.lognormvariate(0.0, 1.0) for _ in batch.inputs))
        deadly = [i for i in batch.inputs if i in DEADLY]
        if deadly or self.random.random() < DEATHS * CHUNK / TASKS:
            self.die(worker, batch, deadly[0] if deadly else self.random.choice(batch.inputs), ends)
        else:
            self.spend(ends[-1])
            self.later(ends[-1], self.report(worker, batch, ends[-1]))

    def die(self, worker: int, batch: Batch, index: int, ends: list[float]) -> None:
        """A worker dies while it is on a task."""
        self.deaths += 1
        done = index - batch.first
        if done:
            self.later(ends[done - 1], self.report(worker, batch.part(batch.first, index), ends[done - 1]))
        self.spend(ends[done])
        self.later(ends[done], WorkerExited(worker, BLOW, [index]))

    def report(self, worker: int, batch: Batch, seconds: float) -> BatchFinished:
        """Values and errors of attempts that ended."""
        rolls = enumerate(batch.inputs)
        wrong = [offset for offset, i in rolls if i in BROKEN or self.random.random() < FLAKY]
        errors = tuple(TaskError(offset, WRONG) for offset in wrong)
        values = [None if offset in wrong else -i for offset, i in enumerate(batch.inputs)] if wrong else None
        return BatchFinished(worker, batch.first, values or [-i for i in batch.inputs], errors, seconds)

    def spend(self, seconds: float) -> None:
        """Note how long a worker works."""
        self.work_seconds += seconds
        self.longest = max(self.longest, seconds)


def test_ten_thousand_workers_and_a_million_tasks() -> None:
    fleet = Fleet(seed=1972)
    fleet.run()
    counts = fleet.dispatcher.statistics()
    assert fleet.finish == Finish()

    # Each task has exactly one outcome: `obey` saw each index once, in order.
    assert len(fleet.outcomes) == TASKS == counts.drawn
    failed = {failure.index: failure for failure in fleet.failures}
    assert len(failed) == len(fleet.failures) == counts.failed
    assert all(value == -i for i, value in enumerate(fleet.outcomes) if i not in failed)
    assert counts.succeeded == TASKS - len(failed)
    assert counts.cancelled == 0

    # Those failed that had to, and hardly any other (a thousandth, three times over), each after all its attempts.
    assert failed.keys() >= BROKEN | DEADLY
    assert len(failed) <= len(BROKEN | DEADLY) + 3
    assert all(failure.attempts == RETRY.attempts for failure in failed.values())
    assert all(isinstance(failed[index].error, WorkerDied) for index in DEADLY)
    assert counts.retried == fleet.retried > TASKS * FLAKY * 0.9

    # About one worker in a hundred died, and each was replaced.
    assert counts.died == fleet.deaths
    assert DEATHS * 0.6 < fleet.deaths < DEATHS * 1.4
    assert counts.peak_workers == WORKERS

    # Graham's bound: no worker is idle while a task waits, so that the last task is begun before the ideal end, and what
    # goes beyond that is one last batch, with its retries. (Allowed for: a boot for each death, one in a row for each.)
    ideal = fleet.work_seconds / WORKERS
    boots = BOOT * (1 + fleet.deaths / WORKERS)
    assert fleet.last_begun < ideal + boots
    assert ideal < fleet.now < ideal + boots + RETRY.attempts * (fleet.longest + BOOT + RETRY.delay(2))
