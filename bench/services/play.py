"""Play a run against a service: by flatout's own dispatcher, or with a fixed number in flight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bench.services.clock import Clock
from bench.services.model import Service
from flatout._dispatch._dispatcher import Dispatcher
from flatout._events import (
    BatchFinished,
    Command,
    CpuRead,
    Deliver,
    Draw,
    Event,
    Finish,
    InputEnded,
    LoopIdle,
    ReadCpu,
    SendBatch,
    StartWorker,
    StopWorker,
    TaskError,
    TasksDrawn,
    Tick,
    WorkerReady,
)
from flatout._model import Batch, Options, Plan, Retry, Statistics

MakeService = Callable[[Clock], Service]
PATIENT = Retry(attempts=1000, backoff=0.1)


@dataclass
class Sample:
    """A moment of a run: when, what the limit was, how many were in flight, how many had succeeded."""

    at: float
    limit: int
    in_flight: int
    succeeded: int


@dataclass
class Played:
    """How a run went."""

    service: Service
    statistics: Statistics
    seconds: float
    samples: list[Sample]

    @property
    def throughput(self) -> float:
        """Successes a second, from the start on."""
        return self.samples[-1].succeeded / self.samples[-1].at

    def overshoots(self) -> list[float]:
        """How long the limit was above twice the capacity, each time: in windows, of as many successes as the capacity."""
        lengths, began = [], None
        for sample in self.samples:
            capacity = self.service.capacity(sample.at)
            if sample.limit > 2 * capacity:
                began = sample.succeeded if began is None else began
            elif began is not None:
                lengths.append((sample.succeeded - began) / max(capacity, 1))
                began = None
        return lengths


@dataclass
class Player:
    """Obeys a dispatcher as driver and workers would, on a virtual clock."""

    clock: Clock
    service: Service
    dispatcher: Dispatcher
    tasks: int
    samples: list[Sample] = field(default_factory=list)
    drawn: int = 0
    succeeded: int = 0
    in_flight: int = 0
    most: int = 0
    over: bool = False
    ended: dict[int, list[tuple[int, float, Exception | None]]] = field(default_factory=dict)  # of the loop, this turn
    loops: set[int] = field(default_factory=set)
    events: list[Event] = field(default_factory=list)

    def play(self, until: float) -> None:
        """To the end, or to that moment."""
        self.events.append(Tick())
        self._handle_all()
        while not self.over and self.clock.now < until:
            due, wake_at = self.clock.next_at, self.dispatcher.wake_at
            if wake_at is not None and (due is None or wake_at < due):
                self.clock.now = max(self.clock.now, wake_at)
                self.events.append(Tick())
            else:
                self.clock.advance()
                self._report()
            self._handle_all()

    def _report(self) -> None:
        """What has ended in an event loop in one turn is told together."""
        for worker, ended in self.ended.items():
            ended.sort(key=lambda one: one[0])
            indices = [index for index, _, _ in ended]
            errors = tuple(TaskError(place, e) for place, (_, _, e) in enumerate(ended) if e is not None)
            seconds = sum(self.clock.now - began for _, began, _ in ended)
            values = [None] * len(ended)
            self.events.append(BatchFinished(worker, indices[0], values, errors, seconds, indices=indices))
        self.ended.clear()

    def _handle_all(self) -> None:
        while self.events and not self.over:
            event = self.events.pop(0)
            more = type(event) is BatchFinished and bool(self.events) and type(self.events[0]) is BatchFinished
            for command in self.dispatcher.handle(event, self.clock.now, more):
                self._obey(command)
        limit = self.dispatcher.statistics().limit
        self.samples.append(Sample(self.clock.now, limit, self.in_flight, self.succeeded))

    def _obey(self, command: Command) -> None:
        match command:
            case Draw(count):
                batch = Batch(self.drawn, range(self.drawn, min(self.drawn + count, self.tasks)))
                self.drawn = batch.end
                self.events.append(TasksDrawn(batch) if batch else InputEnded())
            case StartWorker(worker, kind):
                if kind == "async":
                    self.loops.add(worker)
                self.events.append(WorkerReady(worker))
            case SendBatch(worker, batch):
                self._send(worker, batch)
            case ReadCpu():
                self.events.append(CpuRead(0.0))
            case Deliver() | StopWorker():
                pass
            case Finish():
                self.over = True
            case _:
                raise AssertionError(command)

    def _send(self, worker: int, batch: Batch) -> None:
        self.in_flight += len(batch)
        if worker not in self.loops:
            assert len(batch) == 1, "threads are given one call at a time"
        for index in batch.inputs:
            self.service.call(self._done(worker, index, self.clock.now))
        if worker in self.loops and self.in_flight > self.most:
            self.most = self.in_flight
            self.clock.after(0.0001, lambda: self.events.append(LoopIdle(worker)))

    def _done(self, worker: int, index: int, began: float) -> Any:
        def done(error: Exception | None) -> None:
            self.in_flight -= 1
            self.succeeded += error is None
            if worker in self.loops:
                self.ended.setdefault(worker, []).append((index, began, error))
            else:
                errors = () if error is None else (TaskError(0, error),)
                self.events.append(BatchFinished(worker, index, [None], errors, self.clock.now - began))

        return done


def play(
    make: MakeService,
    plan: Plan,
    tasks: int,
    until: float = 1e9,
    retry: Retry = PATIENT,
    **options: Any,
) -> Played:
    """flatout by this plan, until all tasks are done or that moment has come."""
    clock = Clock()
    service = make(clock)
    chosen = Options(retry=retry, on_error="return", chunksize=None if plan.kind == "async" else 1, **options)
    dispatcher = Dispatcher(chosen, plan, tasks, ordered=False, collect=True)
    player = Player(clock, service, dispatcher, tasks)
    player.play(until)
    return Played(service, dispatcher.statistics(), clock.now, player.samples)


def play_fixed(make: MakeService, in_flight: int, until: float, pause: float = PATIENT.delay(1)) -> float:
    """As many calls in flight all the time; one that was refused rests for a moment. Returns successes a second."""
    clock = Clock()
    service = make(clock)
    succeeded = 0

    def begin() -> None:
        service.call(ended)

    def ended(error: Exception | None) -> None:
        nonlocal succeeded
        succeeded += error is None
        if error is None:
            begin()
        else:
            clock.after(pause, begin)

    for _ in range(in_flight):
        begin()
    while clock.now < until:
        clock.advance()
    return succeeded / until
