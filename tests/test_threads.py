"""Joined threads: one worker that begins at once whatever it is sent, each call in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING

import pytest
from builds import needs_gil

import flatout
from flatout._dispatch._batching import SHORT
from flatout._dispatch._dispatcher import Dispatcher
from flatout._errors import InternalError
from flatout._events import (
    BatchFinished,
    Event,
    InputEnded,
    PlanChosen,
    SendBatch,
    StartWorker,
    StopWorker,
    TakeBack,
    TaskError,
    TasksDrawn,
    TasksReturned,
    WorkerExited,
    WorkerReady,
)
from flatout._model import Batch, Measurement, Options, Plan, Work
from flatout._record import replace
from flatout._threads._kept import clocks
from flatout._workers._threads import FEW, ThreadsWorker

if TYPE_CHECKING:
    from flatout._workers._call import Ended

PATIENCE = 60.0  # seconds; only what is broken needs them
WAITS = Plan("thread", 50, 50, measured=Measurement(0.0, 0.0, 0.02, calls=1))


class Host:
    """Takes events in, and says what has come of which task."""

    def __init__(self) -> None:
        self.events = SimpleQueue[Event]()
        self.ended: dict[int, object] = {}
        self.returned: list[int] = []
        self.errors: list[BaseException] = []

    def post(self, event: Event) -> None:
        self.events.put(event)

    def soon(self, report: Callable[[], Event | None]) -> None:
        if (event := report()) is not None:
            self.post(event)

    def hurry(self) -> None:
        raise AssertionError

    def watch(self, fd: int, readable: Callable[[], None], writable: Callable[[], None] | None = None) -> None:
        raise AssertionError

    def unwatch(self, fd: int) -> None:
        raise AssertionError

    def read(self, tasks: int) -> None:
        """Until so many have ended or were returned."""
        while len(self.ended) + len(self.returned) < tasks:
            event = self.events.get(timeout=PATIENCE)
            if isinstance(event, BatchFinished):
                self.errors += [error.error for error in event.errors]
                for first, place, count in event.runs():
                    for index in range(first, first + count):
                        assert index not in self.ended, "reported twice"
                        self.ended[index] = event.values[place + index - first]
            elif isinstance(event, TasksReturned):
                self.returned += range(event.first, event.first + event.count)


def joined(
    func: Callable[[int], object], most: float = math.inf, ceiling: float | None = None
) -> tuple[ThreadsWorker, Host]:
    host = Host()
    worker = ThreadsWorker(7, Work(func), host, most, ceiling)
    worker.start()
    assert isinstance(host.events.get(timeout=PATIENCE), WorkerReady)
    return worker, host


def spin(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


class CoreKeptBusy:
    """The CPU clock of a process that computes all the time, until it idles."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._idle_since: float | None = None
        monkeypatch.setattr("flatout._workers._threads.process_time", self._seconds)

    def _seconds(self) -> float:
        return time.monotonic() if self._idle_since is None else self._idle_since

    def idle(self) -> None:
        self._idle_since = self._idle_since or time.monotonic()


def test_all_that_it_is_sent_is_under_way_at_once() -> None:
    barrier = threading.Barrier(100)
    worker, host = joined(lambda _: barrier.wait(PATIENCE))
    worker.send(Batch(0, range(60)))
    worker.send(Batch(60, range(40)))
    host.read(100)
    assert set(host.ended.values()) == set(range(100)), "each had its place at the barrier"
    worker.stop()


def test_what_a_thread_of_its_own_raises_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a task has taken away what it relies on: the task would never be reported."""
    worker, host = joined(abs)
    monkeypatch.setattr(host, "soon", None)
    worker.send(Batch(0, [1]))
    exited = host.events.get(timeout=PATIENCE)
    assert isinstance(exited, WorkerExited)
    assert exited.fatal
    assert isinstance(exited.error, InternalError)
    assert isinstance(exited.error.__cause__, TypeError)
    worker.stop()


def test_every_task_is_reported_once_however_they_end_together() -> None:
    def nap(item: int) -> int:
        time.sleep(item % 3 / 1000)
        return item

    worker, host = joined(nap)
    for first in range(0, 3000, 100):
        worker.send(Batch(first, range(first, first + 100)))
    host.read(3000)
    assert host.ended == {index: index for index in range(3000)}
    worker.stop()


def test_no_more_threads_than_it_may_have() -> None:
    busy: list[int] = []
    most: list[int] = []

    def count(item: int) -> int:
        busy.append(item)
        most.append(len(busy))
        time.sleep(0.001)
        busy.remove(item)
        return item

    worker, host = joined(count, most=3)
    worker.send(Batch(0, range(200)))
    host.read(200)
    assert max(most) <= 3
    worker.stop()


@pytest.mark.parametrize(("share", "begun"), [(0.9, 2), (0.5, 4), (0.1, 4)])
def test_more_threads_than_that_begin_only_where_they_leave_the_core_idle(
    share: float, begun: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("flatout._workers._threads.process_time", lambda: share * clock[0])
    monkeypatch.setattr("flatout._workers._threads.monotonic", lambda: clock[0])
    at_work = threading.Semaphore(0)
    go_on = threading.Event()

    def wait(item: int) -> int:
        at_work.release()
        assert go_on.wait(PATIENCE)
        return item

    worker, host = joined(wait, most=2, ceiling=4)
    for item in range(8):
        worker.send(Batch(item, [item]))
        if item < begun:
            assert at_work.acquire(timeout=PATIENCE)
        clock[0] += 1.0
    assert len(worker.running()) == begun
    go_on.set()
    host.read(8)
    assert host.ended == {item: item for item in range(8)}
    worker.stop()


def test_what_has_not_begun_can_be_given_back_in_the_order_of_the_inputs() -> None:
    begun, go_on = threading.Semaphore(0), threading.Event()

    def wait(item: int) -> int:
        begun.release()
        go_on.wait(PATIENCE)
        return item

    worker, host = joined(wait, most=2)
    worker.send(Batch(10, range(10, 14)))
    worker.send(Batch(20, range(20, 22)))
    for _ in range(2):
        assert begun.acquire(timeout=PATIENCE)
    worker.give_back()
    go_on.set()
    host.read(6)
    assert host.ended == {10: 10, 11: 11}
    assert host.returned == [20, 21, 12, 13], "each span is put before what waits"
    worker.stop()


def test_two_threads_of_a_process_may_report_at_once() -> None:
    worker, _ = joined(lambda item: item)
    reports: list[Event | None] = []

    class Taken(deque["Ended"]):
        def popleft(self) -> Ended:  # in between, another thread reports what is there
            if len(reports) == 0:
                reports.append(None)
                reports.append(worker._report())
            return super().popleft()

    worker._finished = Taken([(0, 0, None, 0.0, 0.0)])
    assert worker._report() is None
    assert reports == [None, BatchFinished(7, 0, [0])]
    worker.stop()


async def leaves_a_slow_thread(item: int) -> int:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.to_thread(SLOW.wait, PATIENCE), 0.01)
    return item


SLOW = threading.Event()


def test_a_thread_serves_others_only_when_its_event_loop_is_closed() -> None:
    worker, host = joined(leaves_a_slow_thread)
    worker.send(Batch(0, [0]))
    host.read(1)
    worker.stop()  # to close its loop takes until the slow thread has ended
    try:
        after, host = joined(lambda item: item)
        after.send(Batch(0, [1]))
        host.read(1)
        after.stop()
    finally:
        SLOW.set()


def test_what_is_held_does_not_begin_until_it_is_held_no_more() -> None:
    worker, host = joined(lambda item: item)
    worker.hold(True)
    worker.send(Batch(0, range(3)))
    worker.give_back()
    host.read(3)
    assert (host.ended, host.returned) == ({}, [0, 1, 2])
    worker.send(Batch(3, range(3, 6)))
    worker.hold(False)
    host.read(6)
    assert host.ended == {3: 3, 4: 4, 5: 5}
    worker.stop()


@needs_gil
def test_calls_that_compute_are_not_all_begun_beside_each_other() -> None:
    """They would only keep the GIL from each other, and from whoever wants to move them elsewhere."""
    most = 0

    def compute(item: int) -> int:
        nonlocal most
        most = max(most, len(worker.running()))
        spin(0.02)
        return item

    worker, host = joined(compute)
    worker.send(Batch(0, range(60)))
    host.read(60)
    assert most < 30
    worker.stop()


def test_where_calls_come_to_compute_few_threads_go_on_and_more_where_these_wait_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    core = CoreKeptBusy(monkeypatch)
    together, at_last = threading.Barrier(100), threading.Barrier(50)
    at_work: list[int] = []

    def func(item: int) -> None:
        if item < 100:
            together.wait(PATIENCE)
        elif item < 600:
            at_work.append(len(worker.running()))
            spin(0.002)
        else:
            core.idle()
            at_last.wait(PATIENCE)

    worker, host = joined(func)
    worker.send(Batch(0, range(650)))
    host.read(650)
    assert not host.errors
    assert max(at_work[-200:]) < 2 * FEW, "those that had begun have ended"
    worker.stop()


def test_few_calls_that_compute_may_wait_for_one_more(monkeypatch: pytest.MonkeyPatch) -> None:
    core = CoreKeptBusy(monkeypatch)
    together, at_last = threading.Barrier(FEW), threading.Barrier(FEW + 1)

    def func(item: int) -> None:
        if item < FEW:
            together.wait(PATIENCE)
        elif item < 200:
            spin(0.002)
        else:
            core.idle()
            at_last.wait(PATIENCE)

    worker, host = joined(func)
    worker.send(Batch(0, range(FEW)))
    host.read(FEW)
    worker.send(Batch(FEW, range(FEW, 200 + FEW + 1)))
    host.read(200 + FEW + 1)
    assert not host.errors
    worker.stop()


def test_where_calls_compute_without_the_gil_all_threads_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flatout._workers._threads.process_time", lambda: 4 * time.monotonic())
    together, again = threading.Barrier(50), threading.Barrier(50)

    def func(item: int) -> None:
        if item < 50:
            together.wait(PATIENCE)
        spin(0.002)
        if item >= 100:
            again.wait(PATIENCE)

    worker, host = joined(func)
    worker.send(Batch(0, range(150)))
    host.read(150)
    assert not host.errors
    assert worker._most == math.inf
    worker.stop()


def test_calls_that_wait_begin_though_another_thread_of_the_program_computes() -> None:
    over = threading.Event()

    def compute() -> None:
        while not over.is_set():
            pass

    computing = threading.Thread(target=compute)
    computing.start()
    try:
        barrier = threading.Barrier(40)
        worker, host = joined(lambda _: barrier.wait(PATIENCE))
        worker.send(Batch(0, range(40)))
        host.read(40)
        worker.stop()
    finally:
        over.set()
        computing.join()


def test_calls_that_wait_begin_though_one_of_them_computes() -> None:
    over = threading.Event()
    barrier = threading.Barrier(30, action=over.set)

    def compute_or_wait(item: int) -> None:
        if item:
            barrier.wait(PATIENCE)
        while not (item or over.is_set()):
            pass

    worker, host = joined(compute_or_wait)
    worker.send(Batch(0, range(31)))
    host.read(31)
    worker.stop()


def test_threads_serve_others_when_it_has_ended_and_none_stays_behind() -> None:
    before = len(clocks())
    for end in (ThreadsWorker.stop, ThreadsWorker.kill):
        worker, host = joined(lambda item: item)
        worker.send(Batch(0, range(20)))
        host.read(20)
        end(worker)
        deadline = time.monotonic() + PATIENCE
        while len(clocks()) > before and time.monotonic() < deadline:
            time.sleep(0.001)
        assert len(clocks()) == before


def test_a_call_under_way_is_left_behind_when_it_is_killed() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait(item: int) -> None:
        begun.set()
        go_on.wait(PATIENCE)

    worker, host = joined(wait)
    worker.send(Batch(5, [0]))
    assert begun.wait(PATIENCE)
    worker.kill()
    assert isinstance(host.events.get(timeout=PATIENCE), WorkerExited)
    (thread,) = [thread for thread in threading.enumerate() if "left behind in task 5" in thread.name]
    go_on.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert host.events.empty(), "and nothing is reported any more"


# As the dispatcher has them


def brain(plan: Plan = WAITS, joined: bool = True, **options: object) -> tuple[Dispatcher, list[StartWorker]]:
    dispatcher = Dispatcher(Options(**options), plan, None, joined=joined)  # type: ignore[arg-type]
    commands = dispatcher.handle(TasksDrawn(Batch(0, range(200))), 0.0)
    return dispatcher, [command for command in commands if isinstance(command, StartWorker)]


def test_threads_that_wait_are_one_worker_that_gets_all_that_may_be_in_flight() -> None:
    dispatcher, started = brain()
    assert started == [StartWorker(1, "thread", "thread")]
    (sent,) = [c for c in dispatcher.handle(WorkerReady(1), 0.0) if isinstance(c, SendBatch)]
    assert (sent.batch.first, len(sent.batch)) == (0, 50)
    counts = dispatcher.statistics()
    assert (counts.workers, counts.peak_workers, counts.running) == (50, 50, 50), "each thread counts"


@pytest.mark.parametrize(
    ("plan", "joined", "options"),
    [
        (WAITS, False, {}),
        (WAITS, True, {"chunksize": 2}),
        (Plan("thread", 50, measured=Measurement(0.0, 0.02, 0.0, calls=1)), True, {}),  # they compute
        (Plan("thread", 50), True, {}),  # not known
    ],
)
def test_other_threads_are_workers_of_their_own(plan: Plan, joined: bool, options: dict[str, object]) -> None:
    _, started = brain(plan, joined, **options)
    assert len(started) > 1
    assert all(order.inside == "" for order in started)


def test_calls_that_turn_out_to_be_short_travel_in_batches_to_threads_of_their_own() -> None:
    dispatcher, _ = brain()
    dispatcher.handle(WorkerReady(1), 0.0)
    dispatcher.handle(InputEnded(), 0.0)
    commands = dispatcher.handle(BatchFinished(1, 0, range(50), (), 50 * 1e-6), 0.1)
    assert StopWorker(1) in commands
    assert [c.inside for c in commands if isinstance(c, StartWorker)][:1] == [""]


def test_calls_that_wait_for_milliseconds_each_have_a_thread() -> None:
    dispatcher, _ = brain()
    dispatcher.handle(WorkerReady(1), 0.0)
    commands = dispatcher.handle(BatchFinished(1, 0, range(50), (), 50 * 2 * SHORT), 0.1)
    assert not [c for c in commands if isinstance(c, StopWorker | StartWorker)]


def test_joined_threads_that_are_idle_make_room_when_other_calls_show_to_be_short() -> None:
    dispatcher = Dispatcher(Options(), replace(WAITS, concurrency=1, ceiling=1), None, joined=True)
    dispatcher.handle(TasksDrawn(Batch(0, [0])), 0.0)
    dispatcher.handle(WorkerReady(1), 0.0)
    dispatcher.handle(BatchFinished(1, 0, [0], (), 0.02), 0.1)
    dispatcher.handle(TasksDrawn(Batch(1, [1], route="process")), 0.1)
    dispatcher.handle(WorkerReady(2), 0.1)
    for index in range(1, 50):
        dispatcher.handle(BatchFinished(2, index, [index], (), 1e-6), 0.1)
        dispatcher.handle(TasksDrawn(Batch(index + 1, [0], route="process")), 0.1)
    commands = dispatcher.handle(TasksDrawn(Batch(51, range(3))), 0.1)
    assert [c.inside for c in commands if isinstance(c, StartWorker)] == [""]


def test_joined_threads_do_not_wait_for_a_thread_of_its_own_that_is_in_a_long_call() -> None:
    dispatcher, _ = brain(Plan("thread", 1))
    dispatcher.handle(WorkerReady(1), 0.0)
    commands = dispatcher.handle(PlanChosen(WAITS), 0.1)
    assert StartWorker(2, "thread", "thread") in commands


def test_what_they_give_back_is_done_by_the_next_plan() -> None:
    dispatcher, _ = brain()
    dispatcher.handle(WorkerReady(1), 0.0)
    dispatcher.handle(PlanChosen(Plan("process", 1, chunksize=10)), 0.1)
    dispatcher.handle(TasksReturned(1, 20, 30), 0.1)
    sent = next(c for c in dispatcher.handle(WorkerReady(2), 0.2) if isinstance(c, SendBatch))
    assert (sent.worker, sent.batch.first) == (2, 20)
    assert StopWorker(1) in dispatcher.handle(BatchFinished(1, 0, range(20), (), 0.4), 0.3)


def test_when_a_failure_ends_the_run_what_has_not_begun_is_taken_back_and_dropped() -> None:
    dispatcher, _ = brain()
    dispatcher.handle(WorkerReady(1), 0.0)
    failed = BatchFinished(1, 5, [None], (TaskError(0, ValueError()),), 0.02)
    assert TakeBack(1) in dispatcher.handle(failed, 0.1)
    commands = dispatcher.handle(TasksReturned(1, 20, 30), 0.1)
    assert not any(isinstance(command, SendBatch) for command in commands)
    assert dispatcher.statistics().running == 19


def wait_or_compute(item: int) -> int:
    if item < 100:
        time.sleep(0.01)
    else:
        spin(0.005)
    return -item


def test_a_run_whose_calls_come_to_compute_has_every_result_in_order() -> None:
    run = flatout.map(wait_or_compute, range(400))
    assert run.results() == [-item for item in range(400)]
