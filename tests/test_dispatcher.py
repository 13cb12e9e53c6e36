"""The dispatcher against a simulated world: whatever the workers, the input and the consumer do, its promises hold.

The first half is a world and a hypothesis machine that drives it at random; the second half are single stories, each of
which was once, or could easily be, a fault.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flatout._dispatch._batching import CHEAP, MODEST
from flatout._dispatch._callers_core import LOOK
from flatout._dispatch._deaths import BARREN_DEATHS, BARREN_SECONDS, PAUSE
from flatout._dispatch._dispatcher import Dispatcher
from flatout._dispatch._staffing import MOST_STARTING
from flatout._dispatch._window import BYTES
from flatout._errors import InputError, TaskTimeout, WorkerDied
from flatout._events import (
    SEAT,
    BatchFinished,
    CancelRequested,
    CancelTask,
    Command,
    Consumed,
    CpuRead,
    Deliver,
    Draw,
    Event,
    Finish,
    InputEnded,
    KillWorker,
    LoopIdle,
    Observe,
    PlanChosen,
    ReadCpu,
    RoomChanged,
    SendBatch,
    StartWorker,
    StopWorker,
    TakeBack,
    TaskError,
    TasksDrawn,
    TasksReturned,
    Tick,
    WorkerExited,
    WorkerObserved,
    WorkerReady,
)
from flatout._model import Batch, Failure, Inside, Kind, Measurement, Options, Plan, Retry, Settled


class Transient(Exception):
    """Worth another try."""


class Throttled(Transient):
    """A service was asked for too much."""

    def __init__(self, status: int, retry_after: float | None = None) -> None:
        super().__init__(status)
        self.status, self.retry_after = status, retry_after


class Permanent(Exception):
    """Not among the exceptions to retry."""


@dataclass
class Hired:
    """A worker as the world knows it. `tasks`: index -> (attempt, when it got or began it), in the order of sending."""

    number: int
    kind: Kind
    inside: Inside = ""  # what runs its tasks, where it has many in flight
    ready: bool = False
    killed: bool = False
    tasks: dict[int, tuple[int, float]] = field(default_factory=dict)
    overdue: set[int] = field(default_factory=set)  # being cancelled or killed for it
    left_behind: dict[int, float] = field(default_factory=dict)  # they ignored their cancellation: index -> when begun

    def running(self) -> list[int]:
        """The tasks it is on: the first, or all of them where many are in flight."""
        return list(self.tasks) if self.inside else list(self.tasks)[:1]


class World:
    """Obeys commands as the workers, the feeder and the consumer would, when it is told to; checks every command."""

    def __init__(
        self,
        options: Options,
        plan: Plan | None,
        inputs: int,
        *,
        known: bool = True,
        ordered: bool = True,
        collect: bool = False,
        seat: bool = True,
        routed: bool = False,
        ahead: bool = True,
        joined: bool = False,
    ) -> None:
        self.routed, self.ahead, self.joined = routed, ahead, joined
        self.options, self.inputs, self.ordered, self.collect, self.seat = options, inputs, ordered, collect, seat
        total = inputs if known else None
        self.dispatcher = Dispatcher(options, plan, total, ordered=ordered, collect=collect, ahead=ahead, joined=joined)
        self.plans = [plan] if plan else []
        self.now = self.latest = 1_000_000.1  # the clock, and the latest that it ever was: it may be set back
        self.crew: dict[int, Hired] = {}
        self.gone: list[Hired] = []
        self.asked: int | None = None  # the Draw that waits for its answer
        self.drawn = 0
        self.input_error: Exception | None = None
        self.to_observe: list[int] = []
        self.held_until = 0.0  # a service wants to be left alone until then
        self.cpu_asked = False
        self.routes: dict[int, Kind | None] = {}
        self.failures: dict[int, int] = {}  # index -> attempts that failed
        self.not_before: dict[int, float] = {}  # index -> when its next attempt may begin
        self.alone: set[int] = set()  # tasks that were among several suspects
        self.apart: set[int] = set()  # tasks that memory did not suffice for, until they have had their turn
        self.room: int | None = None  # worker processes that there is memory for
        self.reported: dict[int, object] = {}  # index -> the value it ended in
        self.failed: dict[int, int] = {}  # index -> attempts made; those that failed for good
        self.delivered: dict[int, object] = {}
        self.consumed = 0
        self.finish: Finish | None = None
        self.cancelled = False
        self.fatal = False
        self.barren = 0  # deaths with nobody to blame since the last result
        self.stillborn = 0  # the same of workers that were not ready, since one last was
        if seat:
            self.crew[SEAT] = Hired(SEAT, "inline", ready=True)
            self.post(WorkerReady(SEAT, "seat"))
        else:
            self.post(Tick())

    # The two directions

    def post(self, event: Event, more: bool = False) -> None:
        """Tell the dispatcher; take in its commands."""
        after_the_end = self.finish is not None
        commands = self.dispatcher.handle(event, self.now, more)
        assert not (after_the_end and commands), "no command after Finish"
        assert not more or all(isinstance(command, (Deliver, StopWorker, TakeBack)) for command in commands), (
            "nothing is begun yet"
        )
        for command in commands:
            assert self.finish is None, "Finish is the last command"
            self.obey(command)

    def obey(self, command: Command) -> None:
        """Check a command against what the world knows, and take it in."""
        match command:
            case Draw(count):
                assert self.asked is None
                assert count >= 1
                if self.buffersize is not None:
                    done = len(self.reported) + len(self.failed) if self.collect else self.consumed
                    assert self.drawn - done + count <= self.buffersize, "the window is never exceeded"
                self.asked = count
            case StartWorker(number, kind, inside):
                assert number not in self.crew
                assert inside == self.inside(kind) or (self.joined and (kind, inside) == ("thread", "thread"))
                assert number > max((w.number for w in self.gone), default=0)
                due = [i for i in self.waiting() if self.latest >= self.not_before.get(i, 0.0)]
                waiting = [i for i in due if self.routes[i] in (None, kind)]
                starting = sum(w.kind == kind and not w.ready for w in self.crew.values())
                assert starting < len(waiting), "a worker is started only for a task that waits"
                assert not any(
                    w.kind == kind and w.ready and not (w.tasks or w.killed or w.inside) for w in self.crew.values()
                )
                self.crew[number] = Hired(number, kind, inside)
            case SendBatch(number, batch):
                self._sent(self.crew[number], batch)
            case Observe(number):
                assert self.crew[number].tasks
                assert not self.crew[number].killed
                assert self.crew[number].kind != "inline", "the caller's own thread cannot be interrupted"
                self.to_observe.append(number)
            case TakeBack(number):
                assert (self.crew[number].kind, self.crew[number].inside) == ("thread", "thread")
            case ReadCpu():
                assert not self.cpu_asked
                self.cpu_asked = True
            case CancelTask(number, index):
                assert self.crew[number].inside == "async"
                assert index in self.crew[number].tasks
                self.crew[number].overdue.add(index)
            case KillWorker(number):
                assert number != SEAT
                assert not self.crew[number].killed
                self.crew[number].killed = True
            case StopWorker(number):
                assert number != SEAT
                assert not self.crew[number].tasks
                self._leave(self.crew[number])
            case Deliver(settled):
                self._delivered(settled)
            case Finish():
                self.finish = command

    @property
    def buffersize(self) -> int | None:
        """The largest window that was ever asked for; None: it was the dispatcher's own choice at times."""
        if self.options.buffersize is not None:
            return self.options.buffersize
        sizes = [plan.buffersize for plan in self.plans]
        return None if None in sizes or not sizes else max(size for size in sizes if size)

    @property
    def chunksize(self) -> int | None:
        """Tasks that may travel together under the plan of this moment."""
        return self.options.chunksize or (self.plans[-1].chunksize if self.plans else None)

    def inside(self, kind: Kind) -> Inside:
        """What runs the tasks in new workers of this kind."""
        plan = self.dispatcher.plan
        return "async" if kind == "async" else plan.inside if plan is not None and plan.kind == kind else ""

    def waiting(self) -> list[int]:
        """Tasks that nobody has."""
        held = {index for worker in self.crew.values() for index in worker.tasks}
        return [i for i in range(self.drawn) if i not in held and i not in self.reported and i not in self.failed]

    def _sent(self, worker: Hired, batch: Batch) -> None:
        assert worker.ready
        assert not worker.killed
        assert len(batch) >= 1
        assert self.chunksize is None or len(batch) <= self.chunksize
        assert batch.route in (None, worker.kind), "a route is kept to"
        assert self.ahead or worker.inside or not worker.tasks, "nothing is sent ahead"
        in_flight = set(worker.tasks) if worker.inside else set()
        assert not in_flight & self.alone, "nothing joins one of several suspects"
        assert not (in_flight and batch.first in self.alone), "and it joins nothing"
        assert self.latest >= self.held_until, "nothing starts while a service wants to be left alone"
        assert list(batch.inputs) == [f"input {i}" for i in range(batch.first, batch.end)]
        for index in range(batch.first, batch.end):
            assert self.routes[index] == batch.route
            assert not any(index in w.tasks for w in self.crew.values()), "no task is in two hands"
            assert index not in self.reported, "nothing that has its outcome is run again"
            assert index not in self.failed
            assert batch.attempt == self.failures.get(index, 0) + 1 <= self.options.retry.attempts
            assert self.latest >= self.not_before.get(index, 0.0), "a failed task is left alone for its backoff"
            assert index not in self.alone or len(batch) == 1, "one of several suspects is run alone"
            if self.options.on_error == "raise" and self.failed:
                assert index < min(self.failed), "nothing behind a failure is begun"
            worker.tasks[index] = (batch.attempt, self.now)
        if worker.kind == "process":
            self._sent_to_process(worker)
        running = sum(len(w.running()) for w in self.crew.values())
        assert self.options.max_concurrency is None or running <= self.options.max_concurrency

    def _sent_to_process(self, worker: Hired) -> None:
        beside = [w for w in self.crew.values() if w.kind == "process" and w.tasks and w is not worker]
        assert self.room is None or len(beside) < max(1, self.room), "no more than there is memory for"
        in_hand = {index for w in [worker, *beside] for index in w.tasks}
        assert len(in_hand) == 1 or not in_hand & self.apart, "what memory did not suffice for is run apart"

    def _delivered(self, settled: Settled) -> None:
        assert len(settled) >= 1
        for offset, value in enumerate(settled.values):
            index = settled.first + offset
            assert index not in self.delivered, "nothing is delivered twice"
            assert not self.ordered or index == len(self.delivered), "in the order of the inputs"
            if offset in settled.failed:
                assert isinstance(value, Failure)
                assert value.index == index
                assert value.attempts == self.failed[index]
                if self.options.on_error == "raise":
                    assert index == min(self.failed), "only the lowest failure is told"
                    assert set(range(index)) <= self.delivered.keys(), "what comes before it is delivered before it"
            else:
                assert value == self.reported[index]
            self.delivered[index] = value

    # What may happen

    def answer_draw(self, count: int, route: Kind | None = None) -> None:
        """The feeder brings inputs."""
        self.asked = None
        batch = Batch(self.drawn, [f"input {i}" for i in range(self.drawn, self.drawn + count)], route=route)
        self.routes.update(dict.fromkeys(range(batch.first, batch.end), route))
        self.drawn += count
        self.post(TasksDrawn(batch))

    def end_input(self, error: Exception | None = None) -> None:
        """The feeder finds the end."""
        self.asked, self.input_error = None, error
        self.inputs = self.drawn
        self.post(InputEnded(error))

    def get_ready(self, worker: Hired) -> None:
        """A worker has started."""
        worker.ready, self.stillborn = True, 0
        self.post(WorkerReady(worker.number, f"worker {worker.number}"))

    def finish_tasks(
        self,
        worker: Hired,
        indices: Sequence[int],
        errors: dict[int, Exception] | None = None,
        more: bool = False,
        seconds: float = 0.001,
    ) -> None:
        """A worker reports tasks, all of which it has; with gaps between them, if it is an event loop."""
        errors = errors or {}
        values: list[object] = []
        first, count = indices[0], len(indices)
        for index in indices:
            attempt, _ = worker.tasks.pop(index)
            self.apart.discard(index)
            values.append(None if index in errors else f"value {index}.{attempt}")
            if index not in errors:
                self.reported[index] = values[-1]
            elif index in worker.overdue:
                self._attempt_failed(index, attempt, TaskTimeout())
            else:
                self._attempt_failed(index, attempt, errors[index])
            self.held_until = max(self.held_until, self.now + (getattr(errors.get(index), "retry_after", None) or 0.0))
            worker.overdue.discard(index)
        self._next_begins(worker)
        self.barren = 0
        reports = tuple(TaskError(indices.index(index), error) for index, error in sorted(errors.items()))
        gaps = indices if indices[-1] - first >= count else ()
        self.post(BatchFinished(worker.number, first, values, reports, seconds * count, indices=gaps), more)

    def give_back(self, worker: Hired, first: int, count: int) -> None:
        """A worker returns tasks first ... first + count - 1, which it has and has not begun."""
        for index in range(first, first + count):
            del worker.tasks[index]
        self.post(TasksReturned(worker.number, first, count))

    def exit(
        self,
        worker: Hired,
        error: Exception | None,
        suspects: list[int],
        fatal: bool = False,
        starved: bool = False,
    ) -> None:
        """A worker is gone."""
        self._leave(worker)
        blamed = worker.overdue & worker.tasks.keys()
        suspected = (set(suspects) & worker.tasks.keys()) - blamed if error and not worker.killed else set()
        # In a process all were begun: none is run once more. A blocked loop's are, whoever is at fault.
        unasked = worker.inside != "" and worker.kind == "process" and self.options.retry.attempts == 1
        if worker.inside != "" and worker.kind == "process" and len(blamed) > 1:
            self.alone |= blamed  # one may have kept the others from ending in time
        if len(suspected) == 1 or unasked:
            blamed |= suspected
        else:
            self.alone |= suspected
        for index in sorted(blamed):
            self._attempt_failed(index, worker.tasks[index][0], TaskTimeout() if index in worker.overdue else error)
        self.barren = 0 if blamed else self.barren + bool(error and not suspected and not worker.killed)
        self.stillborn += bool(error and not worker.ready and not worker.killed)
        if starved and not worker.killed:
            self.apart |= blamed | suspected
        self.fatal = self.fatal or fatal
        self.post(WorkerExited(worker.number, error, suspects, fatal, starved))

    def change_room(self, processes: int) -> None:
        """There is more memory, or less."""
        self.room = processes
        self.post(RoomChanged(processes))

    def observe(self, number: int) -> None:
        """Answer `Observe`."""
        self.to_observe.remove(number)
        worker, timeout = self.crew.get(number), self.options.timeout
        if worker is None or timeout is None:
            return
        running = [(index, worker.tasks[index][1]) for index in worker.running()]
        ghosts = list(worker.left_behind.items())
        late = {index for index, began in running if began + timeout <= self.now}
        if worker.kind == "async":
            for index in sorted(late & worker.overdue):  # its second chance is over: it is left behind
                self.failed[index], worker.left_behind[index] = worker.tasks.pop(index)
                worker.overdue.discard(index)
        elif not worker.killed:
            worker.overdue |= late
        self.post(WorkerObserved(number, running + ghosts))

    def read_cpu(self, seconds: float = 0.0) -> None:
        """Answer `ReadCpu`."""
        self.cpu_asked = False
        self.post(CpuRead(seconds))

    def pass_time(self, seconds: float) -> None:
        """The clock goes on, with a Tick where one is due."""
        wake_at = self.dispatcher.wake_at
        self.now += seconds
        self.latest = max(self.latest, self.now)
        if wake_at is not None and wake_at <= self.now:
            self.post(Tick())
            later = self.dispatcher.wake_at
            assert later is None or later > self.now, "a Tick leaves nothing due"

    def consume(self, count: int) -> None:
        """The consumer takes outcomes."""
        self.consumed += count
        self.post(Consumed(count))

    def cancel(self) -> None:
        """The consumer has had enough."""
        self.cancelled = True
        self.post(CancelRequested())

    def _attempt_failed(self, index: int, attempt: int, error: Exception | None) -> None:
        retry = self.options.retry
        wait = getattr(error, "retry_after", None) or 0.0
        self.failures[index] = attempt
        behind = self.options.on_error == "raise" and self.failed and index > min(self.failed)
        if not behind and attempt < retry.attempts and isinstance(error, retry.on):
            self.not_before[index] = self.now + max(retry.delay(attempt), wait)
        else:
            self.failed[index] = attempt

    def _next_begins(self, worker: Hired) -> None:
        if not worker.inside and worker.tasks:
            index = next(iter(worker.tasks))
            worker.tasks[index] = (worker.tasks[index][0], self.now)

    def _leave(self, worker: Hired) -> None:
        del self.crew[worker.number]
        self.gone.append(worker)
        self.to_observe = [number for number in self.to_observe if number != worker.number]

    # To the end

    def drive(self, steps: int = 5_000) -> None:
        """Answer everything, kindly, until the run is over."""
        for _ in range(steps):
            if self.finish is not None:
                return
            self.step()
        raise AssertionError("no progress: the run does not end")

    def step(self) -> None:
        """Answer one thing."""
        working = [w for w in self.crew.values() if w.ready and w.tasks and not w.killed]
        if self.to_observe:
            self.observe(self.to_observe[0])
        elif self.cpu_asked:
            self.read_cpu()
        elif killed := [w for w in self.crew.values() if w.killed]:
            self.exit(killed[0], WorkerDied("killed", -9), [])
        elif starting := [w for w in self.crew.values() if not w.ready]:
            self.get_ready(starting[0])
        elif working:
            self.finish_tasks(working[0], [next(iter(working[0].tasks))])
        elif self.asked is not None:
            if self.drawn < self.inputs:
                self.answer_draw(min(self.asked, self.inputs - self.drawn))
            else:
                self.end_input()
        elif self.consumed < len(self.delivered) and not self.collect:
            self.consume(len(self.delivered) - self.consumed)
        else:
            assert self.dispatcher.wake_at is not None, "nothing to do and nothing to wait for: a deadlock"
            self.pass_time(max(0.0, self.dispatcher.wake_at - self.now))

    def check_end(self) -> None:
        """What must hold when the run is over."""
        counts = self.dispatcher.statistics()
        assert self.finish is not None
        assert self.dispatcher.finished
        assert counts.drawn == self.drawn == counts.succeeded + counts.failed + counts.cancelled
        assert counts.succeeded == len(self.reported)
        assert self.finish.cancelled == self.cancelled
        raised = self.options.on_error == "raise" and self.failed
        assert counts.failed == (1 if raised else len(self.failed))
        if isinstance(self.finish.error, WorkerDied):
            assert self.fatal or self.barren > BARREN_DEATHS or self.stillborn > BARREN_DEATHS
            return
        if self.cancelled:
            return
        if raised:
            lowest = min(self.failed)
            assert list(self.delivered)[-1] == lowest
            assert self.finish.error is None
            assert set(range(lowest)) < self.delivered.keys()
        else:
            assert set(self.delivered) == set(range(self.drawn)) == self.reported.keys() | self.failed.keys()
            assert (self.finish.error is not None) == (self.input_error is not None)
            assert counts.cancelled == 0


def may_return(worker: Hired) -> bool:
    """Whether a worker may have tasks that it has not begun, and can return them."""
    if worker.inside:
        return worker.kind == "thread" and len(worker.tasks) > 0
    return worker.kind == "process" and len(worker.tasks) > 1


Step = TypeVar("Step", bound=Callable[..., None])
PLANS: list[Kind] = ["inline", "async", "thread", "process"]
INSIDES: list[Inside] = ["", "", "thread", "async"]
SELDOM = 7  # of some numbers the one that lets happen what would end most runs early
ROUTES: list[Kind | None] = [None, None, None, "thread", "process", "async"]
RETRIED: list[type[BaseException] | tuple[type[BaseException], ...]] = [
    Exception,
    Transient,
    (Transient, TaskTimeout),
    WorkerDied,
]
TROUBLES: list[Exception] = [
    Transient(),
    Permanent(),
    Throttled(429),
    Throttled(429, retry_after=0.3),
    Throttled(503, retry_after=1.0),
    Throttled(503),
    ConnectionResetError(),
]
BACKOFFS: list[float | Callable[[int], float]] = [0.0, 0.3, lambda made: made * 0.7]
ODD = [0.0, -1.0, 1e9, 1e300, float("inf"), float("-inf"), float("nan")]  # seconds
WAITS = Measurement(0.0, 0.0, 0.02, calls=1)
SCARCE = OSError(24, "Too many open files")
POISON = WorkerDied("killed by a signal", -11)


@st.composite
def plans(draw: st.DrawFn, seat: bool = True) -> Plan:
    """Plans of every kind; inline ones only where there is a seat."""
    concurrency = draw(st.integers(1, 4))
    kind = draw(st.sampled_from(PLANS if seat else PLANS[1:]))
    return Plan(
        kind,
        concurrency,
        draw(st.none() | st.integers(concurrency, 2 * concurrency)),
        draw(st.none() | st.integers(1, 5)),
        draw(st.none() | st.integers(1, 12)),
        processes=draw(st.integers(1, 3)),
        inside=draw(st.sampled_from(INSIDES)) if kind == "process" else "",
        measured=draw(st.sampled_from([None, WAITS])) if kind == "thread" else None,
    )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """A world with options of every sort."""
    optional = st.none() | st.integers(1, 6)
    options = Options(
        max_concurrency=draw(optional),
        max_per_second=draw(st.sampled_from([None, None, 3.0, 100.0])),
        chunksize=draw(optional),
        buffersize=draw(optional),
        timeout=draw(st.sampled_from([None, 1.0, 0.1])),
        retry=Retry(
            draw(st.integers(1, 3)),
            draw(st.sampled_from(RETRIED)),
            draw(st.sampled_from(BACKOFFS)),
        ),
        on_error=draw(st.sampled_from(["raise", "return", "raise", "skip"])),
    )
    seat = draw(st.booleans())
    plan = draw(st.none() | plans()) if seat else draw(plans(seat=False))
    flags = {name: draw(st.booleans()) for name in ("known", "ordered", "collect", "routed", "ahead")}
    return World(options, plan, draw(st.integers(10, 60) | st.integers(0, 10)), seat=seat, **flags)


def while_running(condition: Callable[[Any], Any]) -> Callable[[Step], Step]:
    """A precondition for what only happens before the run is over."""
    return precondition(lambda self: self.world.finish is None and condition(self))


class AnyWorld(RuleBasedStateMachine):
    """Lets things happen in any order; in the end everything is answered and the run must end well."""

    world: World

    @initialize(world=worlds())
    def begin(self, world: World) -> None:
        self.world = world

    @while_running(lambda self: self.world.asked is not None and self.world.drawn < self.world.inputs)
    @rule(data=st.data(), then_end=st.booleans())
    def draw_some(self, data: st.DataObject, then_end: bool) -> None:
        world = self.world
        assert world.asked is not None
        most = min(world.asked, world.inputs - world.drawn)
        route = data.draw(st.sampled_from(ROUTES)) if world.routed else None
        world.answer_draw(data.draw(st.integers(1, most)), route)
        if then_end and world.drawn == world.inputs and world.finish is None:
            world.end_input()

    @while_running(lambda self: self.world.asked is not None and self.world.drawn == self.world.inputs)
    @rule()
    def end(self) -> None:
        self.world.end_input()

    @while_running(lambda self: self.world.asked is not None and self.world.drawn > 5)
    @rule(luck=st.integers(0, 9))
    def break_input(self, luck: int) -> None:
        if luck == SELDOM:
            self.world.end_input(OSError("no such page"))

    @while_running(lambda self: any(not w.ready for w in self.world.crew.values()))
    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        starting = [w for w in self.world.crew.values() if not w.ready]
        self.world.get_ready(data.draw(st.sampled_from(starting)))

    @while_running(lambda self: any(w.tasks for w in self.world.crew.values()))
    @rule(
        data=st.data(),
        wrong=st.sets(st.integers(0, 5)),
        error=st.sampled_from(TROUBLES),
        more=st.booleans(),
    )
    def work(self, data: st.DataObject, wrong: set[int], error: Exception, more: bool) -> None:
        worker = data.draw(st.sampled_from([w for w in self.world.crew.values() if w.tasks]))
        indices = self.some_of_a_loop(data, worker) if worker.inside else self.some_in_a_row(data, worker)
        errors = {indices[place]: error for place in wrong if place < len(indices)}
        self.world.finish_tasks(worker, indices, errors, more)
        if more:
            self.world.post(Tick())

    def some_of_a_loop(self, data: st.DataObject, worker: Hired) -> list[int]:
        return sorted(data.draw(st.sets(st.sampled_from(list(worker.tasks)), min_size=1)))

    def some_in_a_row(self, data: st.DataObject, worker: Hired) -> list[int]:
        indices = list(worker.tasks)
        start = data.draw(st.integers(0, len(indices) - 1))
        end = start + 1
        while end < len(indices) and indices[end] == indices[start] + end - start and data.draw(st.booleans()):
            end += 1
        return indices[start:end]

    @while_running(lambda self: any(w.inside == "async" and w.ready for w in self.world.crew.values()))
    @rule()
    def idle(self) -> None:
        loop = next(w for w in self.world.crew.values() if w.inside == "async" and w.ready)
        self.world.post(LoopIdle(loop.number))

    @while_running(lambda self: any(may_return(w) for w in self.world.crew.values()))
    @rule(data=st.data())
    def return_unbegun(self, data: st.DataObject) -> None:
        workers = [w for w in self.world.crew.values() if may_return(w)]
        worker = data.draw(st.sampled_from(workers))
        begun = [] if worker.inside else worker.running()
        first = data.draw(st.sampled_from([index for index in worker.tasks if index not in begun]))
        end = first + 1
        while end in worker.tasks and end not in begun:
            end += 1
        self.world.give_back(worker, first, end - first)

    @while_running(lambda self: any(w.number != SEAT for w in self.world.crew.values()))
    @rule(data=st.data(), fatal=st.integers(0, 19), peaceful=st.booleans(), starved=st.booleans())
    def die(self, data: st.DataObject, fatal: int, peaceful: bool, starved: bool) -> None:
        worker = data.draw(st.sampled_from([w for w in self.world.crew.values() if w.number != SEAT]))
        if not worker.ready and fatal == SELDOM:
            self.world.exit(worker, POISON, [], fatal=True)
        else:
            error: Exception | None = POISON if worker.ready else data.draw(st.sampled_from([POISON, SCARCE]))
            if peaceful and (worker.killed or not worker.ready):
                error = None
            some = st.lists(st.sampled_from([*worker.tasks, 0, 1, 10**6]), max_size=4)
            suspects = data.draw(st.just([]) | st.just(worker.running()) | st.just(list(worker.tasks)) | some)
            self.world.exit(worker, error, suspects, starved=starved and error is POISON)

    @while_running(lambda self: True)
    @rule(processes=st.integers(0, 4))
    def change_room(self, processes: int) -> None:
        self.world.change_room(processes)

    @while_running(lambda self: self.world.to_observe)
    @rule()
    def observe(self) -> None:
        self.world.observe(self.world.to_observe[0])

    @while_running(lambda self: self.world.cpu_asked)
    @rule(seconds=st.sampled_from([0.0, 0.001, 1.0]))
    def read_cpu(self, seconds: float) -> None:
        self.world.read_cpu(seconds)

    @while_running(lambda self: True)
    @rule(steps=st.integers(1, 20))
    def go_on_kindly(self, steps: int) -> None:
        for _ in range(steps):
            if self.world.finish is None:
                self.world.step()

    @rule()
    def tick(self) -> None:
        self.world.post(Tick())

    @precondition(lambda self: self.world.gone)
    @rule(data=st.data())
    def speak_from_the_grave(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(self.world.gone))
        for index in list(worker.tasks)[:1]:
            self.world.post(BatchFinished(worker.number, index, ["ghost"]))
            self.world.post(TasksReturned(worker.number, index, 1))
        self.world.post(WorkerReady(worker.number))
        self.world.post(WorkerObserved(worker.number, [(0, 0.0)]))
        self.world.post(WorkerExited(worker.number, POISON, [0]))

    @while_running(lambda self: True)
    @rule(data=st.data(), count=st.integers(1, 5), odd=st.sampled_from(ODD), more=st.booleans())
    def lie(self, data: st.DataObject, count: int, odd: float, more: bool) -> None:
        """A worker that is there, or one that nobody knows, reports what cannot be."""
        world = self.world
        number = data.draw(st.sampled_from([w.number for w in world.crew.values()] + [10**6]))
        mine = world.crew[number].tasks if number in world.crew else {}
        others = [i for i in range(-2, world.drawn + 3) if not any(i + n in mine for n in range(count))]
        first = data.draw(st.sampled_from([*others, 10**6]))
        errors = tuple(TaskError(data.draw(st.integers(-2, 9)), Transient()) for _ in range(count - 1))
        lies: list[Event] = [
            BatchFinished(number, first, ["a lie"] * count, errors, odd, odd),
            BatchFinished(number, first, []),
            TasksReturned(number, first, count),
            TasksReturned(number, 0, -count),
            WorkerObserved(number, [(first + n, world.now + odd) for n in range(count)]),
            LoopIdle(number),
            WorkerReady(10**6),
            WorkerExited(10**6, POISON, list(mine)),
        ]
        world.post(data.draw(st.sampled_from(lies)), more)
        if more:
            world.post(Tick())

    @while_running(lambda self: any(w.tasks for w in self.world.crew.values()))
    @rule(data=st.data(), odd=st.sampled_from(ODD))
    def work_for_odd_times(self, data: st.DataObject, odd: float) -> None:
        worker = data.draw(st.sampled_from([w for w in self.world.crew.values() if w.tasks]))
        self.world.finish_tasks(worker, [next(iter(worker.tasks))], seconds=odd)

    @while_running(lambda self: any(w.left_behind for w in self.world.crew.values()))
    @rule()
    def end_at_last(self) -> None:
        worker = next(w for w in self.world.crew.values() if w.left_behind)
        index, _ = worker.left_behind.popitem()
        self.world.post(BatchFinished(worker.number, index, ["far too late"]))

    @while_running(lambda self: self.world.seat)
    @rule()
    def seat_reports_again(self) -> None:
        self.world.post(WorkerReady(SEAT, "seat"))

    @while_running(lambda self: not self.world.collect and self.world.consumed < len(self.world.delivered))
    @rule(data=st.data())
    def consume(self, data: st.DataObject) -> None:
        self.world.consume(data.draw(st.integers(1, len(self.world.delivered) - self.world.consumed)))

    @while_running(lambda self: True)
    @rule(seconds=st.sampled_from([0.0, 0.1, 0.3, 1.0, -0.5]))
    def wait(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @while_running(lambda self: self.world.dispatcher.wake_at is not None)
    @rule()
    def wait_until_due(self) -> None:
        self.world.pass_time(max(0.0, (self.world.dispatcher.wake_at or 0.0) - self.world.now))

    @while_running(lambda self: len(self.world.plans) < 3)
    @rule(data=st.data())
    def choose(self, data: st.DataObject) -> None:
        plan = data.draw(plans(seat=self.world.seat))
        self.world.plans.append(plan)
        self.world.post(PlanChosen(plan))

    @while_running(lambda self: self.world.drawn > 5)
    @rule(luck=st.integers(0, 19))
    def cancel(self, luck: int) -> None:
        if luck == SELDOM:
            self.world.cancel()

    @invariant()
    def counts_add_up(self) -> None:
        counts = self.world.dispatcher.statistics()
        assert counts.drawn == self.world.drawn
        assert counts.succeeded == len(self.world.reported)
        if self.world.finish is None:
            assert counts.running == sum(len(w.tasks) for w in self.world.crew.values())
            threads = [len(w.tasks) for w in self.world.crew.values() if (w.kind, w.inside) == ("thread", "thread")]
            more = sum(max(0, count - 1) for count in threads)
            assert counts.workers == len(self.world.crew.keys() - {SEAT}) + more
            limit = self.world.dispatcher._limit
            assert len(limit._line) == counts.running or not limit._adaptive.explores

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.drive()
            self.world.check_end()


AnyWorld.TestCase.settings = settings(
    max_examples=400, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAnyWorld = AnyWorld.TestCase


@st.composite
def hungry_worlds(draw: st.DrawFn) -> World:
    """Worlds of processes, whose tasks are run again."""
    options = Options(
        chunksize=draw(st.sampled_from([1, 1, 2])),
        retry=Retry(draw(st.integers(2, 4)), Exception, draw(st.sampled_from([0.0, 0.3]))),
        on_error=draw(st.sampled_from(["return", "raise"])),
    )
    plan = Plan("process", draw(st.integers(2, 4)))
    flags = {name: draw(st.booleans()) for name in ("collect", "routed", "ahead")}
    return World(options, plan, draw(st.integers(5, 20)), seat=draw(st.booleans()), **flags)


@st.composite
def waiting_worlds(draw: st.DrawFn) -> World:
    """Worlds of threads that wait, which are one worker."""
    options = Options(
        max_concurrency=draw(st.none() | st.integers(1, 6)),
        retry=Retry(draw(st.integers(1, 3)), Exception, draw(st.sampled_from([0.0, 0.3]))),
        on_error=draw(st.sampled_from(["return", "raise"])),
    )
    plan = Plan("thread", draw(st.integers(1, 6)), draw(st.sampled_from([None, 12])), measured=WAITS)
    flags = {name: draw(st.booleans()) for name in ("known", "ordered", "collect", "routed")}
    return World(options, plan, draw(st.integers(5, 60)), seat=draw(st.booleans()), joined=True, **flags)


class WaitingWorld(AnyWorld):
    """Threads that are one worker come seldom elsewhere."""

    @initialize(world=waiting_worlds())
    def begin(self, world: World) -> None:
        self.world = world


WaitingWorld.TestCase.settings = settings(
    max_examples=150, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
TestWaitingWorld = WaitingWorld.TestCase


class HungryWorld(AnyWorld):
    """What memory does not suffice for comes seldom elsewhere."""

    @initialize(world=hungry_worlds())
    def begin(self, world: World) -> None:
        self.world = world
        for _ in range(12):
            if world.finish is None:
                world.step()

    @while_running(lambda self: any(w.kind == "process" and w.tasks for w in self.world.crew.values()))
    @rule(data=st.data())
    def starve(self, data: st.DataObject) -> None:
        workers = [w for w in self.world.crew.values() if w.kind == "process" and w.tasks and not w.killed]
        if workers:
            worker = data.draw(st.sampled_from(workers))
            self.world.exit(worker, POISON, worker.running(), starved=True)


HungryWorld.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestHungryWorld = HungryWorld.TestCase


# Stories


def brain(
    plan: Plan | None = None, total: int | None = None, *, collect: bool = False, ahead: bool = True, **options: Any
) -> Dispatcher:
    """A dispatcher that has drawn nothing yet."""
    return Dispatcher(Options(**options), plan, total, collect=collect, ahead=ahead)


def inputs(first: int, end: int, route: Kind | None = None, each: Callable[[int], object] = int) -> TasksDrawn:
    return TasksDrawn(Batch(first, [each(index) for index in range(first, end)], route=route))


def sent(commands: list[Command]) -> list[tuple[int, list[int]]]:
    """(worker, tasks) of every batch that is sent."""
    return [(c.worker, list(range(c.batch.first, c.batch.end))) for c in commands if isinstance(c, SendBatch)]


def told(commands: list[Command]) -> list[object]:
    """The outcomes that are delivered: values, and the errors of failures."""
    values = [value for c in commands if isinstance(c, Deliver) for value in c.settled.values]
    return [value.error if isinstance(value, Failure) else value for value in values]


def of(commands: list[Command], sort: type) -> list[Any]:
    return [command for command in commands if isinstance(command, sort)]


def crew_of(dispatcher: Dispatcher, count: int, drawn: int) -> list[Command]:
    """Draw inputs and make workers 1 ... count ready; returns what is sent then."""
    dispatcher.handle(Tick(), 0.0)
    dispatcher.handle(inputs(0, drawn), 0.0)
    return [c for number in range(1, count + 1) for c in dispatcher.handle(WorkerReady(number), 0.0)]


def test_a_death_under_raise_delivers_what_the_dead_worker_had_before_the_failure() -> None:
    dispatcher = brain(Plan("process", 2, chunksize=4))
    assert sent(crew_of(dispatcher, 1, 4)) == [(1, [0, 1, 2, 3])]
    commands = dispatcher.handle(WorkerExited(1, POISON, [2]), 1.0)
    assert not of(commands, Finish)
    assert not of(commands, Deliver)
    commands = dispatcher.handle(WorkerReady(2), 1.0)
    assert sent(commands) == [(2, [0, 1])]
    commands = dispatcher.handle(BatchFinished(2, 0, ["a", "b"]), 2.0)
    assert told(commands) == ["a", "b", POISON]
    assert commands[-1] == Finish()
    assert dispatcher.statistics().cancelled == 1


def test_what_is_returned_goes_to_the_others_first_and_waits_behind_no_long_task() -> None:
    dispatcher = brain(Plan("process", 2), 40)
    crew_of(dispatcher, 2, 40)
    for worker, index in ((1, 0), (2, 1)):
        dispatcher.handle(BatchFinished(worker, index, ["x"], seconds=1e-6), 0.0)
    held = {worker: list(dispatcher._crew.workers[worker].hands) for worker in (1, 2)}
    assert [len(spans) for spans in held.values()] == [2, 2], "one batch in hand, one ahead"
    running, ahead = held[1]
    commands = dispatcher.handle(TasksReturned(1, ahead.first, len(ahead)), 0.1)
    assert all(worker != 1 for worker, _ in sent(commands)), "it is on a long task"
    commands = dispatcher.handle(BatchFinished(2, held[2][0].first, ["x"] * len(held[2][0]), seconds=1e-5), 0.1)
    assert sent(commands)[0][0] == 2
    assert sent(commands)[0][1][0] == ahead.first, "what has waited longest comes first"
    commands = dispatcher.handle(BatchFinished(1, running.first, ["x"] * len(running), seconds=1.0), 1.0)
    assert sent(commands)[0][0] == 1


def held_at_last(
    dispatcher: Dispatcher,
    *,
    size: int = 9,
    each: Callable[[int], object] = int,
    result: Callable[[int], object] = str,
    seconds: float = 0.02,
    most: int = 10_000,
    first_ends: bool = False,
) -> int:
    """How many of an endless input are drawn, or `most`, until nothing but task 0, which does not end, is in hand."""
    drawn, lowest = dispatcher.statistics().drawn, 0 if first_ends else 1
    while drawn < most:
        spans = [(w, max(lowest, b.first), b.end) for w in dispatcher._crew.workers.values() for b in w.hands]
        if not any(first < end for _, first, end in spans):
            break
        worker, first, end = min((span for span in spans if span[1] < span[2]), key=lambda span: span[1])
        n = end - first
        ended = BatchFinished(worker.number, first, [result(i) for i in range(n)], seconds=seconds * n, size=size * n)
        commands = dispatcher.handle(ended, 0.0)
        while draws := of(commands, Draw):
            drawn += draws[0].count
            commands = dispatcher.handle(inputs(drawn - draws[0].count, drawn, each=each), 0.0)
    return drawn


MIXTURE = Plan("process", 4, processes=2, inside="thread")


@pytest.mark.parametrize(("processes", "held"), [(1, 64), (2, 64), (16, 512)])
def test_room_while_the_consumer_is_busy_grows_with_the_processes(processes: int, held: int) -> None:
    dispatcher = brain(Plan("process", processes), on_error="return")
    crew_of(dispatcher, processes, 4 * processes)
    assert held_at_last(dispatcher, first_ends=True) == held


@pytest.mark.parametrize("plan", [Plan("process", 2), MIXTURE])
def test_behind_a_slow_one_that_the_consumer_waits_for_the_others_go_on(plan: Plan) -> None:
    dispatcher = brain(plan, on_error="return")
    crew_of(dispatcher, 2, 4 * plan.concurrency)
    assert held_at_last(dispatcher) >= 10_000


@pytest.mark.parametrize("plan", [Plan("process", 2), MIXTURE])
def test_behind_a_slow_one_no_more_is_held_than_memory_is_given_for(plan: Plan) -> None:
    dispatcher = brain(plan, on_error="return")
    crew_of(dispatcher, 2, 4 * plan.concurrency)
    assert 200 <= held_at_last(dispatcher, size=BYTES // 200) <= 300


@pytest.mark.parametrize(("plan", "held"), [(Plan("thread", 2), 64), (Plan("async", 100), 1600)])
def test_behind_a_slow_one_not_many_are_held_where_nobody_knows_how_large_they_are(plan: Plan, held: int) -> None:
    dispatcher = brain(plan, on_error="return")
    crew_of(dispatcher, plan.kind == "async" or 2, 4 * plan.concurrency)
    assert held <= held_at_last(dispatcher, size=0) < held + 2 * plan.concurrency + 1


def large(_: int) -> bytes:
    return bytes(BYTES // 200)


def large_in_a_tuple(index: int) -> tuple[int, bytes]:
    return index, large(index)


ALL_OF_THEM = large(0)


@pytest.mark.parametrize(
    ("each", "result"), [(int, large), (int, large_in_a_tuple), (large, str), (large_in_a_tuple, str)]
)
@pytest.mark.parametrize("kind", ["thread", "async"])
def test_what_stays_here_takes_no_more_memory_either_where_it_shows_how_much(
    kind: Kind, each: Callable[[int], object], result: Callable[[int], object]
) -> None:
    dispatcher = brain(Plan(kind, 2), on_error="return")
    crew_of(dispatcher, kind == "async" or 2, 8)
    assert 50 <= held_at_last(dispatcher, size=0, each=each, result=result, seconds=1e-6, first_ends=True) <= 300


@pytest.mark.parametrize(("each", "result"), [(lambda _: ALL_OF_THEM, str), (int, lambda _: ALL_OF_THEM)])
def test_what_all_tasks_share_takes_its_memory_once(
    each: Callable[[int], object], result: Callable[[int], object]
) -> None:
    dispatcher = brain(Plan("thread", 2), on_error="return")
    crew_of(dispatcher, 2, 8)
    assert held_at_last(dispatcher, size=0, each=each, result=result, seconds=1e-6, first_ends=True) >= 10_000


def test_nothing_of_the_user_s_is_run_to_weigh_a_result() -> None:
    class Asked:
        def __sizeof__(self) -> int:
            raise SystemExit

        @property
        def nbytes(self) -> int:
            raise SystemExit

    dispatcher = brain(Plan("thread", 2), on_error="return")
    crew_of(dispatcher, 2, 8)
    held_at_last(dispatcher, size=0, result=lambda _: (Asked(), tuple(range(10))), seconds=1e-6, first_ends=True)


def test_a_consumer_who_asks_for_no_order_waits_for_no_one_in_particular() -> None:
    dispatcher = Dispatcher(Options(on_error="return"), Plan("process", 2), None, ordered=False)
    crew_of(dispatcher, 2, 8)
    assert held_at_last(dispatcher) == 64, "he is busy with what he was told first"


def test_behind_a_slow_one_no_more_is_held_than_was_asked_for() -> None:
    dispatcher = brain(Plan("process", 2), on_error="return", buffersize=20)
    crew_of(dispatcher, 2, 20)
    assert held_at_last(dispatcher) == 20


@pytest.mark.parametrize(("size", "held"), [(BYTES // 16, 16), (BYTES, 8), (1, 64)])
def test_of_large_inputs_few_are_held(size: int, held: int) -> None:
    dispatcher = brain(Plan("process", 2), collect=True)
    assert of(dispatcher.handle(Tick(), 0.0), Draw) == [Draw(8)], "they may be large"
    dispatcher.handle(inputs(0, 7), 0.0)
    for worker in (1, 2):
        dispatcher.handle(WorkerReady(worker), 0.0)
    dispatcher.handle(inputs(7, 8), 0.0)
    commands: list[Command] = []
    for index in range(3):
        worker = next(n for n in (1, 2) if index in dispatcher._crew.workers[n].hands)
        commands += dispatcher.handle(BatchFinished(worker, index, ["x"], seconds=1.0, size=size), 1.0)
    (draw,) = of(commands, Draw)
    assert dispatcher._ledger.held + draw.count in range(held - 2, held + 2)


def test_dear_tasks_are_sent_ahead_while_there_are_plenty_and_not_towards_the_end() -> None:
    dispatcher = brain(Plan("process", 2), 20)
    crew_of(dispatcher, 2, 20)
    ahead = []
    for index in range(20):
        worker = next(n for n in (1, 2) if index in dispatcher._crew.workers[n].hands)
        dispatcher.handle(BatchFinished(worker, index, ["x"], seconds=1.0), float(index))
        ahead.append(max(w.hands.batches for w in dispatcher._crew.workers.values()))
    assert ahead[5] == 2
    assert ahead[-4:] == [1, 1, 1, 0]


def test_a_batch_reported_from_the_middle_ends_a_run_under_raise_all_the_same() -> None:
    dispatcher = brain(Plan("process", 1, chunksize=10))
    crew_of(dispatcher, 1, 10)
    error = Permanent()
    assert not dispatcher.handle(BatchFinished(1, 5, [5]), 1.0)
    assert not dispatcher.handle(BatchFinished(1, 2, [2]), 1.0)
    rest = [0, 1, None, 3, 4, None, 6, None, 8, 9]
    commands = dispatcher.handle(BatchFinished(1, 0, rest, (TaskError(7, error),)), 1.0)
    assert told(commands) == [0, 1, 2, 3, 4, 5, 6, error]
    assert of(commands, Finish)


def test_tasks_behind_a_failure_that_wait_for_their_next_attempt_hold_up_nothing() -> None:
    dispatcher = brain(Plan("thread", 3), chunksize=1, retry=Retry(2, OSError, 60.0))
    crew_of(dispatcher, 3, 3)
    assert not told(dispatcher.handle(BatchFinished(3, 2, [None], (TaskError(0, OSError()),)), 1.0))
    error = Permanent()
    dispatcher.handle(BatchFinished(2, 1, [None], (TaskError(0, error),)), 1.0)
    commands = dispatcher.handle(BatchFinished(1, 0, ["a"]), 1.0)
    assert told(commands) == ["a", error]
    assert commands[-1] == Finish()


def test_inputs_drawn_after_a_failure_are_not_begun() -> None:
    dispatcher = brain(Plan("thread", 2), chunksize=1)
    crew_of(dispatcher, 2, 2)
    dispatcher.handle(BatchFinished(2, 1, [None], (TaskError(0, Permanent()),)), 1.0)
    assert not sent(dispatcher.handle(inputs(2, 9), 1.0))
    dispatcher.handle(BatchFinished(1, 0, ["a"]), 1.0)
    assert dispatcher.statistics().cancelled == 7


def test_the_seat_is_not_watched_for_its_time_since_nothing_can_end_it() -> None:
    dispatcher = brain(None, timeout=1.0)
    dispatcher.handle(WorkerReady(SEAT), 0.0)
    assert sent(dispatcher.handle(inputs(0, 1), 0.0)) == [(SEAT, [0])]
    assert dispatcher.wake_at is None


def test_the_seat_may_report_twice() -> None:
    dispatcher = brain(None)
    dispatcher.handle(WorkerReady(SEAT), 0.0)
    dispatcher.handle(inputs(0, 1), 0.0)
    dispatcher.handle(WorkerReady(SEAT), 0.0)
    assert told(dispatcher.handle(BatchFinished(SEAT, 0, ["a"]), 1.0)) == ["a"]


def test_only_where_nothing_waits_for_a_worker_the_consumer_s_progress_is_pressing() -> None:
    dispatcher = brain(Plan("thread", 1, chunksize=1), buffersize=4)
    assert dispatcher.hungry
    assert sent(crew_of(dispatcher, 1, 4)) == [(1, [0])]
    assert not dispatcher.hungry, "three wait: what comes next will do"
    for task in range(3):
        dispatcher.handle(BatchFinished(1, task, [task]), 1.0)
    assert dispatcher.hungry, "all have begun, and no more may be drawn"
    assert of(dispatcher.handle(Consumed(3), 1.0), Draw)
    dispatcher.handle(inputs(4, 7), 1.0)
    assert not dispatcher.hungry
    dispatcher.handle(InputEnded(), 1.0)
    for task in range(3, 7):
        dispatcher.handle(BatchFinished(1, task, [task]), 1.0)
        assert not dispatcher.hungry, "nothing is left to draw"


def test_a_task_that_must_run_in_a_process_never_runs_in_the_caller() -> None:
    dispatcher = brain(None)
    dispatcher.handle(WorkerReady(SEAT), 0.0)
    dispatcher.handle(inputs(0, 1), 0.0)
    dispatcher.handle(BatchFinished(SEAT, 0, [0], seconds=1e-6), 0.0)  # cheap: now the seat would stand in
    commands = dispatcher.handle(inputs(1, 9, "process"), 0.0)
    assert [c.kind for c in of(commands, StartWorker)] == ["process"]
    assert not sent(commands)


@pytest.mark.parametrize(
    ("seconds", "stands_in"),
    [(1e-6, True), (0.02, True), (MODEST * 0.9, True), (MODEST * 1.1, False), (0.04, False)],
)
def test_the_caller_stands_in_while_processes_start(seconds: float, stands_in: bool) -> None:
    dispatcher = brain(None)
    dispatcher.handle(WorkerReady(SEAT), 0.0)
    dispatcher.handle(inputs(0, 1), 0.0)
    dispatcher.handle(BatchFinished(SEAT, 0, [0], seconds=seconds), 0.0)
    dispatcher.handle(PlanChosen(Plan("process", 2)), 0.0)
    commands = dispatcher.handle(inputs(1, 9), 0.0)
    assert len(of(commands, StartWorker)) == 2
    assert [worker for worker, _ in sent(commands)] == [SEAT] * stands_in


@pytest.mark.parametrize(("seconds", "batches"), [(CHEAP * 0.9, 2), (CHEAP * 1.1, 1)])
def test_a_thread_has_its_next_batch_waiting_where_tasks_are_cheap(seconds: float, batches: int) -> None:
    dispatcher = brain(Plan("thread", 1, chunksize=1))
    assert sent(crew_of(dispatcher, 1, 9)) == [(1, [0])]  # as long as nothing is known of them
    assert len(sent(dispatcher.handle(BatchFinished(1, 0, [0], seconds=seconds), 1.0))) == batches


def timed_out_in_the_loop(**options: Any) -> Dispatcher:
    """Task 0 has been cancelled for its time, 1 s; it is second 1 now."""
    dispatcher = brain(Plan("async", 1), timeout=1.0, on_error="return", **options)
    assert sent(crew_of(dispatcher, 1, 2)) == [(1, [0])]
    assert of(dispatcher.handle(Tick(), 1.0), Observe) == [Observe(1)]
    commands = dispatcher.handle(WorkerObserved(1, [(0, 0.0)]), 1.0)
    assert CancelTask(1, 0) in commands
    assert not sent(commands)
    assert not told(commands)
    return dispatcher


def test_a_cancelled_task_fails_when_the_loop_reports_it_and_is_not_mistaken_for_its_next_attempt() -> None:
    dispatcher = timed_out_in_the_loop(retry=Retry(2, backoff=0.0))
    cancellation = BaseException("cancelled")
    commands = dispatcher.handle(BatchFinished(1, 0, [None], (TaskError(0, cancellation, False),)), 1.1)
    assert not told(commands)
    assert sent(commands) == [(1, [0])]
    commands = dispatcher.handle(BatchFinished(1, 0, ["second"]), 1.2)
    assert told(commands) == ["second"]
    assert sent(commands) == [(1, [1])]


def test_a_value_that_comes_in_spite_of_the_cancellation_counts() -> None:
    dispatcher = timed_out_in_the_loop()
    assert told(dispatcher.handle(BatchFinished(1, 0, ["late"]), 1.1)) == ["late"]


def test_an_attempt_after_a_timeout_has_its_full_time_and_its_own_cancellation() -> None:
    dispatcher = timed_out_in_the_loop(retry=Retry(2, backoff=0.0))
    dispatcher.handle(BatchFinished(1, 0, [None], (TaskError(0, BaseException()),)), 1.1)
    dispatcher.handle(Tick(), 2.1)
    commands = dispatcher.handle(WorkerObserved(1, [(0, 1.1)]), 2.1)
    assert CancelTask(1, 0) in commands
    assert not told(commands)


def test_a_task_that_ignores_its_cancellation_is_left_behind() -> None:
    dispatcher = timed_out_in_the_loop(retry=Retry(2))
    assert dispatcher.wake_at == 2.0
    assert of(dispatcher.handle(Tick(), 2.0), Observe)
    commands = dispatcher.handle(WorkerObserved(1, [(0, 0.0)]), 2.0)
    (error,) = told(commands)
    assert isinstance(error, TaskTimeout)
    assert sent(commands) == [(1, [1])]
    assert not told(dispatcher.handle(BatchFinished(1, 0, ["much later"]), 9.0))


def test_a_worker_killed_for_one_task_is_not_blamed_for_the_next() -> None:
    dispatcher = brain(Plan("process", 1, chunksize=2), timeout=1.0, on_error="return")
    crew_of(dispatcher, 1, 2)
    dispatcher.handle(Tick(), 1.0)
    assert KillWorker(1) in dispatcher.handle(WorkerObserved(1, [(0, 0.0)]), 1.0)
    assert told(dispatcher.handle(BatchFinished(1, 0, ["just in time"]), 1.1)) == ["just in time"]
    commands = dispatcher.handle(WorkerExited(1, POISON, [1]), 1.2)  # by now it had begun task 1
    assert not told(commands)
    assert sent(dispatcher.handle(WorkerReady(2), 1.3)) == [(2, [1])]


def test_a_task_that_has_ended_meanwhile_gets_nobody_killed() -> None:
    dispatcher = brain(Plan("process", 1, chunksize=2), timeout=1.0)
    crew_of(dispatcher, 1, 2)
    dispatcher.handle(Tick(), 1.0)
    dispatcher.handle(BatchFinished(1, 0, ["just in time"]), 1.0)
    assert not of(dispatcher.handle(WorkerObserved(1, [(0, 0.0)]), 1.0), KillWorker)


@pytest.mark.parametrize("began", [1e6 + 0.1, 0.3, 123456.7])
def test_a_deadline_is_over_when_its_tick_comes_however_the_floats_round(began: float) -> None:
    for timeout in (0.1, 0.3, 0.7, 1.1, 1e-3):
        dispatcher = brain(Plan("process", 1), timeout=timeout)
        dispatcher.handle(Tick(), began)
        dispatcher.handle(inputs(0, 1), began)
        dispatcher.handle(WorkerReady(1), began)
        assert dispatcher.wake_at is not None
        dispatcher.handle(Tick(), dispatcher.wake_at)
        assert of(dispatcher.handle(WorkerObserved(1, [(0, began)]), began + timeout), KillWorker)


def test_no_more_than_max_concurrency_run_at_once_whatever_they_run_in() -> None:
    dispatcher = brain(Plan("thread", 2), max_concurrency=2, chunksize=1)
    dispatcher.handle(Tick(), 0.0)
    started = dispatcher.handle(inputs(0, 2), 0.0)
    started += dispatcher.handle(inputs(2, 4, "process"), 0.0)
    started += dispatcher.handle(inputs(4, 6, "async"), 0.0)
    commands = [c for w in of(started, StartWorker) for c in dispatcher.handle(WorkerReady(w.worker), 0.0)]
    assert len(sent(commands)) == 2


def test_a_smaller_plan_is_obeyed_by_the_workers_there_are() -> None:
    dispatcher = brain(Plan("thread", 4), chunksize=1)
    assert len(sent(crew_of(dispatcher, 4, 12))) == 4
    dispatcher.handle(PlanChosen(Plan("thread", 1)), 0.0)
    commands = [c for n in range(1, 5) for c in dispatcher.handle(BatchFinished(n, n - 1, ["x"], seconds=1.0), 1.0)]
    assert len(of(commands, StopWorker)) == 3
    assert len(sent(commands)) == 1


def test_a_smaller_plan_lets_idle_workers_go() -> None:
    dispatcher = brain(Plan("thread", 4), chunksize=1)
    crew_of(dispatcher, 4, 4)
    for number in range(1, 5):
        dispatcher.handle(BatchFinished(number, number - 1, ["x"], seconds=1.0), 1.0)
    assert len(of(dispatcher.handle(PlanChosen(Plan("thread", 1)), 1.0), StopWorker)) == 3
    assert len(sent(dispatcher.handle(inputs(4, 8), 1.0))) == 1


def test_nothing_is_sent_ahead_to_workers_of_which_there_are_too_many() -> None:
    dispatcher = brain(Plan("thread", 2), chunksize=1)
    crew_of(dispatcher, 2, 60)
    dispatcher.handle(BatchFinished(1, 0, ["x"], seconds=1e-6), 0.0)  # cheap: both have two batches now
    dispatcher.handle(PlanChosen(Plan("thread", 1)), 0.0)
    assert not sent(dispatcher.handle(BatchFinished(1, 2, ["x"], seconds=1e-6), 0.0))
    assert dispatcher.handle(BatchFinished(1, 3, ["x"], seconds=1e-6), 0.0)[-1] == StopWorker(1)


def test_a_change_of_kind_lets_the_old_workers_go() -> None:
    dispatcher = brain(Plan("thread", 3))
    crew_of(dispatcher, 2, 3)
    commands = dispatcher.handle(BatchFinished(2, 1, ["x"]), 1.0)
    dispatcher.handle(BatchFinished(2, 2, ["x"]), 1.0)
    commands = dispatcher.handle(PlanChosen(Plan("process", 2)), 1.0)
    assert of(commands, StopWorker) == [StopWorker(2)]
    assert StopWorker(1) in dispatcher.handle(BatchFinished(1, 0, ["x"]), 1.0)
    assert dispatcher.handle(WorkerReady(3), 1.0) == [StopWorker(3)]


def test_a_later_plan_without_a_chunksize_goes_by_the_measured_time() -> None:
    dispatcher = brain(Plan("thread", 1, chunksize=7), total=1000)
    dispatcher.handle(PlanChosen(Plan("thread", 1)), 0.0)
    assert sent(crew_of(dispatcher, 1, 100)) == [(1, [0])]


def test_workers_that_keep_dying_with_no_task_to_blame_end_the_run() -> None:
    dispatcher = brain(Plan("process", 1))
    crew_of(dispatcher, 0, 1)
    for number in range(1, 2 * BARREN_DEATHS + 1):  # so many they may be within a second
        commands = dispatcher.handle(WorkerExited(number, POISON), 0.0)
        assert commands == [StartWorker(number + 1, "process")]
    (finish,) = dispatcher.handle(WorkerExited(2 * BARREN_DEATHS + 1, POISON), BARREN_SECONDS)
    assert isinstance(finish, Finish)
    assert isinstance(finish.error, WorkerDied)
    assert "11 workers died one after the other with no task to blame" in str(finish.error)
    assert finish.error.__cause__ is POISON
    assert dispatcher.statistics().cancelled == 1


@pytest.mark.parametrize("error", [OSError(24, "too many open files"), RuntimeError("can't start new thread")])
def test_where_no_worker_can_be_started_it_is_tried_again_now_and_then_for_a_second(error: BaseException) -> None:
    dispatcher, now, number = brain(Plan("process", 1)), 0.0, 1
    crew_of(dispatcher, 0, 1)
    while not dispatcher.finished:
        commands = dispatcher.handle(WorkerExited(number, error), now)
        if not (commands or dispatcher.finished):
            assert dispatcher.wake_at is not None
            assert now < dispatcher.wake_at <= now + PAUSE
            now = dispatcher.wake_at
            commands = dispatcher.handle(Tick(), now)
        number += commands == [StartWorker(number + 1, "process")]
    assert BARREN_DEATHS < number <= BARREN_SECONDS / PAUSE + 2
    assert f"{number} times in a row no worker could be started" in str(of(commands, Finish)[0].error)
    assert dispatcher.wake_at is None


def test_threads_that_are_ready_have_work_before_all_are_started() -> None:
    dispatcher = brain(Plan("thread", 100), 200)
    commands = [*dispatcher.handle(Tick(), 0.0), *dispatcher.handle(inputs(0, 200), 0.0)]
    assert len(of(commands, StartWorker)) == MOST_STARTING
    for number in range(1, 101):
        commands = dispatcher.handle(WorkerReady(number), 0.0)
        assert sent(commands) == [(number, [number - 1])]
        assert len(of(commands, StartWorker)) == (number + MOST_STARTING <= 100)


def test_one_blow_that_ends_many_workers_does_not_end_the_run() -> None:
    dispatcher = brain(Plan("process", 20))
    crew_of(dispatcher, 0, 20)
    for number in range(1, 21):
        commands = dispatcher.handle(WorkerExited(number, POISON), 0.0)
        assert not of(commands, Finish)
        assert len(of(commands, StartWorker)) == 1


def test_a_result_between_two_deaths_forgives_the_first() -> None:
    dispatcher = brain(Plan("process", 1), chunksize=1)
    crew_of(dispatcher, 0, 50)
    for turn in range(3 * BARREN_DEATHS):
        dispatcher.handle(WorkerReady(2 * turn + 1), 2.0 * turn)
        dispatcher.handle(BatchFinished(2 * turn + 1, turn, ["x"]), 2.0 * turn)
        dispatcher.handle(WorkerExited(2 * turn + 1, POISON), 2.0 * turn)
        commands = dispatcher.handle(WorkerExited(2 * turn + 2, POISON), 2.0 * turn)
        assert not of(commands, Finish)


def test_a_death_with_a_task_to_blame_forgives_those_before_it() -> None:
    dispatcher = brain(Plan("process", 1), chunksize=1, on_error="return")
    crew_of(dispatcher, 0, 50)
    for turn in range(3 * BARREN_DEATHS):
        dispatcher.handle(WorkerReady(2 * turn + 1), 2.0 * turn)
        assert told(dispatcher.handle(WorkerExited(2 * turn + 1, POISON, [turn]), 2.0 * turn)) == [POISON]
        assert not of(dispatcher.handle(WorkerExited(2 * turn + 2, POISON), 2.0 * turn), Finish)


def test_a_fatal_exit_ends_the_run_at_once() -> None:
    dispatcher = brain(Plan("process", 2))
    crew_of(dispatcher, 0, 2)
    commands = dispatcher.handle(WorkerExited(1, POISON, fatal=True), 0.0)
    assert commands == [StopWorker(2), Finish(POISON)]


def test_a_backoff_function_that_raises_fails_the_task_with_what_it_raised() -> None:
    def backoff(made: int) -> float:
        raise ZeroDivisionError

    dispatcher = brain(Plan("thread", 1), retry=Retry(3, backoff=backoff), on_error="return")
    crew_of(dispatcher, 1, 1)
    cause = Transient()
    (error,) = told(dispatcher.handle(BatchFinished(1, 0, [None], (TaskError(0, cause),)), 0.0))
    assert isinstance(error, ZeroDivisionError)
    assert error.__context__ is cause


def test_results_come_before_the_error_of_the_input() -> None:
    dispatcher = brain(Plan("thread", 1))
    crew_of(dispatcher, 1, 1)
    broken = OSError("no such page")
    assert not dispatcher.handle(InputEnded(broken), 0.0)
    commands = dispatcher.handle(BatchFinished(1, 0, ["a"]), 0.0)
    assert told(commands) == ["a"]
    error = commands[-1].error if isinstance(commands[-1], Finish) else None
    assert isinstance(error, InputError)
    assert error.__cause__ is broken


def test_cheap_tasks_are_sent_one_batch_ahead_and_long_ones_are_not() -> None:
    for seconds, batches in ((0.001, 2), (1.0, 1)):
        dispatcher = brain(Plan("thread", 1), chunksize=1)
        crew_of(dispatcher, 1, 9)
        assert len(sent(dispatcher.handle(BatchFinished(1, 0, ["x"], seconds=seconds), 0.0))) == batches


def test_nothing_is_sent_ahead_where_that_is_forbidden() -> None:
    options = Options(on_error="return", chunksize=1, buffersize=100)
    dispatcher = Dispatcher(options, Plan("process", 1), None, ordered=False, collect=True, ahead=False)
    crew_of(dispatcher, 1, 9)
    assert len(sent(dispatcher.handle(BatchFinished(1, 0, ["x"], seconds=0.001), 0.0))) == 1


def test_the_event_loop_is_given_as_many_tasks_as_the_limit_allows() -> None:
    dispatcher = brain(Plan("async", 3))
    assert sent(crew_of(dispatcher, 1, 9)) == [(1, [0, 1, 2])]
    assert sent(dispatcher.handle(BatchFinished(1, 1, ["x"]), 0.0)) == [(1, [3])]
    assert sent(dispatcher.handle(BatchFinished(1, 0, ["x", "y"], indices=[0, 3]), 0.0)) == [(1, [4, 5])]


def test_the_event_loop_gets_no_more_tasks_together_than_chunksize_says() -> None:
    dispatcher = brain(Plan("async", 5), chunksize=2)
    assert sent(crew_of(dispatcher, 1, 9)) == [(1, [0, 1]), (1, [2, 3]), (1, [4])]


def test_what_an_event_loop_reports_with_gaps_goes_to_the_right_tasks() -> None:
    dispatcher = brain(Plan("async", 9), on_error="return")
    crew_of(dispatcher, 1, 9)
    broken = OSError("the middle one")
    event = BatchFinished(1, 0, ["a", "b", None, "c"], (TaskError(2, broken),), 4.0, indices=[0, 1, 4, 5])
    assert told(dispatcher.handle(event, 0.0)) == ["a", "b"]
    assert told(dispatcher.handle(BatchFinished(1, 2, ["d", "e"]), 0.0)) == ["d", "e", broken, "c"]


def test_nothing_is_begun_while_more_events_follow() -> None:
    dispatcher = brain(Plan("async", 2))
    crew_of(dispatcher, 1, 9)
    assert not sent(dispatcher.handle(BatchFinished(1, 0, ["x"]), 0.0, more=True))
    assert sent(dispatcher.handle(BatchFinished(1, 1, ["x"]), 0.0)) == [(1, [2, 3])]


def test_an_idle_loop_is_given_twice_as_much_at_once() -> None:
    dispatcher = brain(Plan("async", 2, ceiling=7))
    assert sent(crew_of(dispatcher, 1, 5)) == [(1, [0, 1])]
    assert sent(dispatcher.handle(LoopIdle(1), 0.0)) == [(1, [2, 3])]
    assert sent(dispatcher.handle(LoopIdle(1), 0.0)) == [(1, [4])]
    assert not sent(dispatcher.handle(LoopIdle(1), 0.0)), "nothing waits that more room would help"
    assert sent(dispatcher.handle(inputs(5, 20), 0.0)) == [(1, [5, 6])], "no more than the ceiling"
    assert not sent(dispatcher.handle(LoopIdle(1), 0.0))


def tasks(commands: list[Command]) -> list[int]:
    return [index for _, batch in sent(commands) for index in batch]


def in_flight(waiting: int) -> int:
    """Most tasks in flight during 200 completions, with so many inputs brought at a time."""
    dispatcher = brain(Plan("async", 2, ceiling=64))
    hands = tasks(crew_of(dispatcher, 1, waiting))
    drawn, most = waiting, 0
    for turn in range(200):
        index, *hands = hands
        commands = dispatcher.handle(BatchFinished(1, index, ["x"], seconds=0.1), 0.05 * turn)
        commands += dispatcher.handle(Consumed(1), 0.05 * turn)
        if of(commands, Draw) or (not hands and not sent(commands)):
            commands += dispatcher.handle(inputs(drawn, drawn + waiting), 0.05 * turn)
            drawn += waiting
        hands += tasks(commands)
        most = max(most, len(hands))
    return most


def test_the_limit_is_tried_while_tasks_wait_and_never_while_the_input_starves_it() -> None:
    assert in_flight(waiting=64) > 2
    assert in_flight(waiting=2) == 2


def test_completions_while_workers_are_starting_are_no_evidence_that_the_limit_holds_back() -> None:
    dispatcher = brain(Plan("thread", 4, ceiling=64), chunksize=1)
    crew_of(dispatcher, 1, 60)  # of four
    started = 0
    for turn in range(50):
        commands = dispatcher.handle(BatchFinished(1, turn, ["x"], seconds=1.0), float(turn))
        started += len(of(commands, StartWorker))
    assert started == 0


def test_those_that_could_start_do_the_work_when_no_more_can_be_had() -> None:
    plan = Plan("process", concurrency=5)
    dispatcher = Dispatcher(Options(via=plan), plan, total=20)
    dispatcher.handle(Tick(), 0.0)
    started = [
        command.worker
        for command in dispatcher.handle(TasksDrawn(Batch(0, list(range(20)))), 0.0)
        if isinstance(command, StartWorker)
    ]
    assert len(started) == 5
    dispatcher.handle(WorkerReady(started[0]), 0.0)
    commands = [
        command
        for number in started[1:]
        for command in dispatcher.handle(WorkerExited(number, OSError(24, "Too many open files")), 0.0)
    ]
    assert not any(isinstance(command, (StartWorker, Finish)) for command in commands)
    assert not dispatcher.finished


def test_of_several_suspects_each_is_run_again_alone_and_only_then_blamed() -> None:
    dispatcher = brain(Plan("process", 1, chunksize=5), on_error="return")
    assert sent(crew_of(dispatcher, 1, 5)) == [(1, [0, 1, 2, 3, 4])]
    commands = dispatcher.handle(WorkerExited(1, POISON, [0, 1, 2]), 1.0)
    assert not told(commands)
    assert sent(dispatcher.handle(WorkerReady(2), 1.0)) == [(2, [0]), (2, [1])]
    assert told(dispatcher.handle(BatchFinished(2, 0, ["a"]), 1.0)) == ["a"]
    assert told(dispatcher.handle(WorkerExited(2, POISON, [1]), 1.0)) == [POISON]
    assert sent(dispatcher.handle(WorkerReady(3), 1.0)) == [(3, [2]), (3, [3, 4])]


def test_suspects_that_the_worker_did_not_have_are_not_counted() -> None:
    dispatcher = brain(Plan("process", 1, chunksize=3), on_error="return")
    crew_of(dispatcher, 1, 3)
    dispatcher.handle(BatchFinished(1, 0, ["a", "b"]), 1.0)
    assert not told(dispatcher.handle(WorkerExited(7, POISON, [2]), 1.0))
    assert told(dispatcher.handle(WorkerExited(1, POISON, [0, 1, 2, 99]), 1.0)) == [POISON]


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0, 1e300])
def test_times_that_cannot_be_are_not_reckoned_with(seconds: float) -> None:
    dispatcher = brain(Plan("process", 1), total=9)
    crew_of(dispatcher, 1, 9)
    assert told(dispatcher.handle(BatchFinished(1, 0, ["a"], (), seconds, seconds), 1.0)) == ["a"]
    counts = dispatcher.statistics()
    assert (counts.busy_seconds, counts.cpu_seconds) == (0.0, 0.0)


# Mixtures: several tasks in flight in one process


def mixture(processes: int = 1, **options: Any) -> Dispatcher:
    return brain(Plan("process", 4, processes=processes, inside="thread"), on_error="return", **options)


def test_a_mixture_has_so_many_in_flight_in_all_spread_evenly_over_its_processes() -> None:
    dispatcher = mixture(processes=2)
    commands = crew_of(dispatcher, 2, 20)
    assert sent(commands) == [(1, [0, 1]), (2, [2, 3])]
    assert sent(dispatcher.handle(BatchFinished(1, 1, ["b"]), 1.0)) == [(1, [4])]


def test_the_tasks_in_flight_in_a_process_that_dies_all_fail_unless_retry_is_asked_for() -> None:
    dispatcher = mixture()
    crew_of(dispatcher, 1, 4)
    dispatcher.handle(InputEnded(), 1.0)
    commands = dispatcher.handle(WorkerExited(1, POISON, [0, 1, 2, 3]), 1.0)
    assert told(commands) == [POISON] * 4


def test_those_that_had_not_begun_in_it_run_elsewhere() -> None:
    dispatcher = mixture()
    crew_of(dispatcher, 1, 4)
    dispatcher.handle(InputEnded(), 1.0)
    commands = dispatcher.handle(WorkerExited(1, POISON, [0, 1]), 1.0)
    assert told(commands) == [POISON] * 2
    assert sent(dispatcher.handle(WorkerReady(2), 1.0)) == [(2, [2, 3])]


def test_with_retry_each_of_them_is_run_again_alone_in_its_process() -> None:
    dispatcher = mixture(retry=Retry(2, backoff=0.0))
    crew_of(dispatcher, 1, 6)
    commands = dispatcher.handle(WorkerExited(1, POISON, [0, 1, 2, 3]), 1.0)
    assert told(commands) == []
    commands = dispatcher.handle(WorkerReady(2), 1.0)
    for index in range(4):
        assert sent(commands) == [(2, [index])], "alone, and nothing joins it"
        commands = dispatcher.handle(BatchFinished(2, index, ["fine"]), 2.0)
        assert told(commands) == ["fine"]
    assert sent(commands) == [(2, [4, 5])], "then the others, together"


def test_of_several_that_are_over_their_time_in_it_each_is_tried_again_alone() -> None:
    """One may have held the GIL, or blocked the loop, for all of them."""
    dispatcher = mixture(retry=Retry(2, backoff=0.0), timeout=1.0)
    crew_of(dispatcher, 1, 4)
    over = WorkerObserved(1, [(0, 1.0), (1, 1.0), (2, 2.5), (3, 2.5)])
    assert of(dispatcher.handle(over, 2.6), KillWorker) == [KillWorker(1)]
    dispatcher.handle(WorkerExited(1, POISON, [0, 1, 2, 3]), 3.0)
    commands = dispatcher.handle(WorkerReady(2), 3.0)
    assert sent(commands) == [(2, [0])]
    assert sent(dispatcher.handle(BatchFinished(2, 0, ["fine"]), 3.1)) == [(2, [1])]
    assert sent(dispatcher.handle(BatchFinished(2, 1, ["fine"]), 3.2)) == [(2, [2, 3])]


def test_a_mixture_goes_on_in_the_processes_that_can_be_had() -> None:
    dispatcher = mixture(processes=3)
    crew_of(dispatcher, 2, 20)
    commands = dispatcher.handle(WorkerExited(3, OSError("no descriptors")), 1.0)
    assert not of(commands, StartWorker)
    assert not of(dispatcher.handle(BatchFinished(1, 0, ["a"]), 1.0), StartWorker)


# Silence


def test_a_process_that_begins_nothing_for_long_is_killed_and_others_get_its_tasks() -> None:
    dispatcher = brain(Plan("process", 1), chunksize=2, ahead=False, timeout=2.0)
    crew_of(dispatcher, 1, 4)
    for now in (3.0, 5.0, 7.0):
        assert not of(dispatcher.handle(WorkerObserved(1, []), now), KillWorker)
    assert of(dispatcher.handle(WorkerObserved(1, []), 8.0), KillWorker) == [KillWorker(1)]
    commands = dispatcher.handle(WorkerExited(1, POISON), 8.1)
    assert told(commands) == []
    assert sent(dispatcher.handle(WorkerReady(2), 8.2)) == [(2, [0, 1])]


def test_a_sign_of_life_gives_it_time_anew() -> None:
    dispatcher = brain(Plan("process", 1), chunksize=2, ahead=False, timeout=2.0)
    crew_of(dispatcher, 1, 4)
    dispatcher.handle(WorkerObserved(1, []), 3.0)
    dispatcher.handle(WorkerObserved(1, [(0, 6.0)]), 7.0)
    assert not of(dispatcher.handle(WorkerObserved(1, []), 9.0), KillWorker)
    dispatcher.handle(BatchFinished(1, 0, ["a"]), 13.0)
    assert not of(dispatcher.handle(WorkerObserved(1, []), 14.5), KillWorker)


def test_workers_that_never_get_ready_end_the_run_though_another_one_works() -> None:
    dispatcher = brain(Plan("process", 2), chunksize=1, ahead=False)
    crew_of(dispatcher, 1, 40)
    ended = []
    for death in range(2 * BARREN_DEATHS):
        dispatcher.handle(BatchFinished(1, death, ["a"]), 2.0 + death)
        ended += of(dispatcher.handle(WorkerExited(2 + death, POISON), 2.0 + death), Finish)
    (finish,) = ended
    assert isinstance(finish.error, WorkerDied)


# Memory


def test_with_less_memory_the_run_goes_on_with_fewer_processes_and_with_more_it_grows_again() -> None:
    dispatcher = brain(Plan("process", 3), chunksize=1, ahead=False)
    crew_of(dispatcher, 3, 12)
    commands = dispatcher.handle(RoomChanged(1), 1.0)
    assert not of(commands, KillWorker)
    assert of(dispatcher.handle(BatchFinished(1, 0, ["a"]), 2.0), StopWorker) == [StopWorker(1)]
    assert of(dispatcher.handle(BatchFinished(2, 1, ["b"]), 2.0), StopWorker) == [StopWorker(2)]
    assert sent(dispatcher.handle(BatchFinished(3, 2, ["c"]), 2.0)) == [(3, [3])]  # at least one works on
    assert not of(dispatcher.handle(Tick(), 2.0), StartWorker)
    assert len(of(dispatcher.handle(RoomChanged(5), 3.0), StartWorker)) == 2


def test_no_more_processes_are_hired_than_there_is_memory_for() -> None:
    dispatcher = brain(Plan("process", 4))
    dispatcher.handle(RoomChanged(2), 0.0)
    dispatcher.handle(Tick(), 0.0)
    assert len(of(dispatcher.handle(inputs(0, 9), 0.0), StartWorker)) == 2


def test_memory_holds_back_no_threads() -> None:
    dispatcher = brain(Plan("thread", 4))
    dispatcher.handle(RoomChanged(1), 0.0)
    dispatcher.handle(Tick(), 0.0)
    assert len(of(dispatcher.handle(inputs(0, 9), 0.0), StartWorker)) == 4


def test_a_task_that_memory_did_not_suffice_for_is_run_again_alone() -> None:
    dispatcher = brain(Plan("process", 2), chunksize=1, ahead=False, retry=Retry(2, backoff=1.0))
    crew_of(dispatcher, 2, 6)
    commands = dispatcher.handle(WorkerExited(1, POISON, [0], starved=True), 1.0)
    assert sent(dispatcher.handle(BatchFinished(2, 1, ["b"]), 1.5)) == [(2, [2])]  # its time has not come yet
    (third,) = of(commands, StartWorker)
    assert sent(dispatcher.handle(WorkerReady(third.worker), 1.5)) == [(third.worker, [3])]
    assert not sent(dispatcher.handle(Tick(), 2.0))
    assert not sent(dispatcher.handle(BatchFinished(2, 2, ["c"]), 3.0))  # another is still at work
    assert [tasks for _, tasks in sent(dispatcher.handle(BatchFinished(third.worker, 3, ["d"]), 4.0))] == [[0]]
    on_it = next(number for number in (2, third.worker) if 0 in dispatcher._crew.workers[number].hands)
    assert sorted(tasks for _, tasks in sent(dispatcher.handle(BatchFinished(on_it, 0, ["a"]), 5.0))) == [[4], [5]]


def test_a_task_whose_worker_has_died_never_runs_in_the_caller() -> None:
    """Where no process is ready, the caller stands in for cheap tasks, but not for one that may end it."""
    dispatcher = brain(None, retry=Retry(2, backoff=0.0))
    dispatcher.handle(WorkerReady(SEAT), 0.0)
    dispatcher.handle(inputs(0, 1), 0.0)
    dispatcher.handle(BatchFinished(SEAT, 0, [0], seconds=1e-6), 0.0)  # cheap: the seat would stand in
    dispatcher.handle(inputs(1, 2, "process"), 0.0)
    dispatcher.handle(PlanChosen(Plan("process", 1)), 0.0)
    dispatcher.handle(WorkerReady(1), 0.0)
    dispatcher.handle(BatchFinished(1, 1, [1], seconds=1e-6), 0.0)
    dispatcher.handle(inputs(2, 3), 0.0)
    assert not [c for c in sent(dispatcher.handle(WorkerExited(1, POISON, [2]), 0.0)) if c[0] == SEAT]


COMPUTES = Measurement(1.0, 0.0, 0.0)


def on_the_first_call(plan: Plan) -> tuple[Dispatcher, list[Command]]:
    """The caller's thread is on a call, and this plan was chosen meanwhile; what came of two workers that are ready."""
    dispatcher = brain(None, chunksize=1, ahead=False)
    dispatcher.handle(WorkerReady(SEAT), 0.0)
    assert sent(dispatcher.handle(inputs(0, 1), 0.0)) == [(SEAT, [0])]
    commands = dispatcher.handle(PlanChosen(plan), 0.0)
    commands += dispatcher.handle(inputs(1, 9), 0.0)
    for number in (1, 2):
        commands += dispatcher.handle(WorkerReady(number), 0.0)
    return dispatcher, commands


@pytest.mark.parametrize("kind", ["process", "thread"])
def test_the_core_on_which_the_caller_computes_is_not_given_to_another(kind: Kind) -> None:
    dispatcher, commands = on_the_first_call(Plan(kind, 2, measured=COMPUTES))
    assert sent(commands) == [(1, [1])]
    assert of(commands, ReadCpu)
    assert not sent(dispatcher.handle(CpuRead(5.0), 1.0))
    assert dispatcher.wake_at == 1.0 + LOOK
    assert of(dispatcher.handle(Tick(), 1.0 + LOOK), ReadCpu)
    assert not sent(dispatcher.handle(CpuRead(5.0 + 0.9 * LOOK), 1.0 + LOOK))
    assert sent(dispatcher.handle(BatchFinished(1, 1, ["b"], seconds=1.0), 1.5)) == [(1, [2])]
    assert sent(dispatcher.handle(BatchFinished(SEAT, 0, ["a"], seconds=2.0), 2.0)) == [(2, [3])]
    assert not of(dispatcher.handle(Tick(), 9.0), ReadCpu)


def test_a_caller_who_comes_to_wait_needs_no_core() -> None:
    dispatcher, _ = on_the_first_call(Plan("process", 2, measured=COMPUTES))
    dispatcher.handle(CpuRead(5.0), 1.0)
    dispatcher.handle(Tick(), 1.0 + LOOK)
    assert sent(dispatcher.handle(CpuRead(5.0 + 0.1 * LOOK), 1.0 + LOOK)) == [(2, [2])]


@pytest.mark.parametrize("plan", [Plan("process", 2), Plan("process", 2, measured=Measurement(0.1, 0.0, 1.0))])
def test_beside_a_caller_of_whom_it_is_not_known_that_he_computes_all_are_at_work(plan: Plan) -> None:
    _, commands = on_the_first_call(plan)
    assert sorted(sent(commands)) == [(1, [1]), (2, [2])]


def test_one_is_at_work_in_any_case() -> None:
    _, commands = on_the_first_call(Plan("process", 1, measured=COMPUTES))
    assert sent(commands) == [(1, [1])]


def test_a_reading_that_comes_when_nobody_looks_any_more_wakes_nobody_later() -> None:
    dispatcher = brain(Plan("thread", 1, 4), 100)
    commands = crew_of(dispatcher, 1, 100)
    assert of(commands, ReadCpu)
    dispatcher.handle(PlanChosen(Plan("thread", 1)), 0.0)
    dispatcher.handle(CpuRead(0.0), 0.0)
    assert dispatcher.wake_at is None


def test_where_memory_has_run_short_a_mixture_goes_on_in_fewer_processes() -> None:
    dispatcher = mixture(processes=2)
    assert sent(crew_of(dispatcher, 2, 20)) == [(1, [0, 1]), (2, [2, 3])]
    dispatcher.handle(RoomChanged(1), 1.0)
    assert not sent(dispatcher.handle(BatchFinished(1, 0, ["a"]), 2.0)), "the other is still at work"
    dispatcher.handle(BatchFinished(1, 1, ["b"]), 2.0)
    assert {worker for worker, _ in sent(dispatcher.handle(BatchFinished(2, 2, ["c"]), 3.0))} == {2}
