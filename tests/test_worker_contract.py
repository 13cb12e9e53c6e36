"""One contract for every kind of worker, the scripted fake included; and what processes promise beyond it."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import ctypes
import functools
import os
import select
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import psutil
import pytest
from mutants import MUTANTS, Mutant
from test_faults import GUARD, wait_until_gone

import flatout
from flatout._dispatch._dispatcher import Dispatcher
from flatout._events import SEAT, BatchFinished, Event, Tick, WorkerExited, WorkerReady
from flatout._model import Batch, Options, Plan, Statistics, Work
from flatout._run._driver import Driver, Outlet
from flatout._run._hosts import LoopHost
from flatout._run._inputs import Inputs
from flatout._run._inside import Loop, Threads
from flatout._workers import _pool
from flatout._workers._base import Host, Worker
from flatout._workers._inline import Seat
from flatout._workers._loop import LoopWorker
from flatout._workers._mixed import MixedWorker
from flatout._workers._process import ProcessWorker, Setup
from flatout._workers._thread import ThreadWorker
from flatout._workers._threads import ThreadsWorker
from flatout.testing import (
    WORKER_CONTRACT,
    Attempt,
    Clause,
    Death,
    Filling,
    Script,
    ScriptedWorker,
    Stage,
    silence,
    virtual_run,
)

Hire = Callable[[int, Work, Host], Worker]


@pytest.fixture(scope="module", autouse=True)
def no_workers_from_before() -> None:
    """Those that had another share of the cores may have to give way to new ones; here a worker that goes is a fault."""
    _pool.let_go()


class TakenSeat:
    """The seat, and in it somebody who does what a caller's thread does."""

    def __init__(self, work: Work, host: Host) -> None:
        self._host = host
        self._taken: SimpleQueue[Batch | None] = SimpleQueue()
        self._seat = Seat(work, host, lambda: self._taken.put(self._seat.take()))
        self._caller = threading.Thread(target=self._attend, name="caller", daemon=True)

    def start(self) -> None:
        self._caller.start()

    def send(self, batch: Batch) -> None:
        self._seat.send(batch)

    def running(self) -> Sequence[tuple[int, float]]:
        return self._seat.running()

    def cancel(self, index: int) -> None:
        self._seat.cancel(index)

    def stop(self) -> None:
        self._seat.stop()

    def kill(self) -> None:
        self._seat.kill()

    def close(self) -> None:
        self._seat.close()
        self._taken.put(None)
        self._caller.join()

    def _attend(self) -> None:
        try:
            self._seat.start()
        except Exception as error:  # the caller has it first-hand
            self._host.post(WorkerExited(SEAT, error, fatal=True))
        while (batch := self._taken.get()) is not None:
            self._host.post(self._seat.run(batch))
        self._seat.end()


def process_worker(number: int, work: Work, host: Host) -> Worker:
    return ProcessWorker(number, Setup(work, cores=1), host, lambda stream, what: None, keep=1)


def mixed_worker(inside: Callable[..., Any]) -> Hire:
    def hire(number: int, work: Work, host: Host) -> Worker:
        setup = Setup(work, cores=1, inside=inside)
        return MixedWorker(number, setup, host, lambda stream, what: None, keep=1, clock=time.monotonic)

    return hire


INLINE = Filling("inline", lambda number, work, host: TakenSeat(work, host), number=SEAT, killable=False)
THREAD = Filling("thread", ThreadWorker)
PROCESS = Filling("process", process_worker, apart=True)
LOOP = Filling(
    "async",
    lambda number, work, host: LoopWorker(number, work, host, {}),
    loop=True,
    concurrent=True,
    ends_tasks=True,
)
LOOPS = Filling("process of loops", mixed_worker(Loop), apart=True, concurrent=True, ends_tasks=True)
THREADS = Filling("process of threads", mixed_worker(functools.partial(Threads, 8, 8)), apart=True, concurrent=True)
JOINED = Filling("joined threads", ThreadsWorker, concurrent=True)
SCRIPTED = Filling("scripted", ScriptedWorker, loop=True)

# Joined threads are for work without an initializer: in a process, which has its own, they are tried with one.
OF_INITIALIZERS = ("initializes_once", "reports_a_failed_initializer")


@pytest.mark.parametrize(
    ("filling", "clause"),
    [
        pytest.param(filling, clause, id=f"{filling}-{clause.__name__}")
        for filling in (INLINE, THREAD, JOINED, PROCESS, LOOP, LOOPS, THREADS, SCRIPTED)
        for clause in WORKER_CONTRACT
        if filling is not JOINED or clause.__name__ not in OF_INITIALIZERS
    ],
)
def test_every_kind_of_worker_keeps_the_contract(filling: Filling, clause: Clause) -> None:
    clause(filling)


# What processes promise beyond it: nothing that happens in one harms another task


def kill_myself(item: str) -> str:
    if item == "SIGKILL":
        os.kill(os.getpid(), signal.SIGKILL)
    if item.isdigit():
        os._exit(int(item))
    if item == "segfault":
        ctypes.string_at(0)
    return item


class Stubborn:
    """Cannot be pickled."""

    def __reduce__(self) -> str:
        raise TypeError("I stay where I am")


class StubbornError(Exception):
    """Cannot be pickled either."""

    def __init__(self) -> None:
        super().__init__("stubborn", Stubborn())


class TwoArguments(Exception):
    """Its pickle calls it with one argument, and fails."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what} because of {why}")


def wait_then_refuse(file: Path) -> None:
    while not file.exists():
        time.sleep(0.005)
    raise RuntimeError("the start of another run")


def give(item: str) -> object:
    if item == "stubborn":
        return Stubborn()
    if item == "stubborn error":
        raise StubbornError()
    if item == "two arguments":
        raise TwoArguments("this", "that")
    return item


@pytest.mark.parametrize(
    ("how", "code", "says"),
    [
        ("SIGKILL", -signal.SIGKILL, "SIGKILL"),
        ("0", 0, "exited with status 0"),
        ("3", 3, "exited with status 3"),
        ("segfault", -signal.SIGSEGV, "SIGSEGV"),
    ],
)
def test_a_process_that_dies_names_the_task_and_how(how: str, code: int, says: str) -> None:
    with Stage(PROCESS, Work(kill_myself)) as stage:
        stage.ready()
        assert stage.ended(*stage.send(0, ["before"])) == [Attempt("before", None)]
        stage.send(1, ["with it", how, "behind it"])
        exited = stage.exited()
        assert list(exited.suspects) == [2]
        assert not exited.fatal
        error = exited.error
        assert isinstance(error, flatout.WorkerDied)
        assert error.exitcode == code
        assert says in str(error)
        assert stage.attempts().keys() <= {0, 1}, "what was reported before stays, and the rest was never reported"


def waits_or_dies(item: str) -> str:
    if item == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "waits":
        time.sleep(PROCESS.patience)
    return item


async def waits_or_dies_in_a_loop(item: str) -> str:
    if item == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "waits":
        await asyncio.sleep(PROCESS.patience)
    return item


class Deadly:
    """Kills the process that loads it, once all that is before it waits there."""

    def __init__(self, after: float) -> None:
        self.after = after

    def __reduce__(self) -> tuple[Any, ...]:
        return loads_and_dies, (self.after,)


def loads_and_dies(after: float) -> None:
    time.sleep(after)
    os.kill(os.getpid(), signal.SIGKILL)


TWO_THREADS = Filling("process of threads", mixed_worker(functools.partial(Threads, 2, 2)), apart=True)
OF_MANY = pytest.mark.parametrize(
    ("filling", "func"), [(TWO_THREADS, waits_or_dies), (LOOPS, waits_or_dies_in_a_loop)], ids=str
)


@OF_MANY
def test_where_many_are_in_flight_only_those_are_suspect_that_have_begun(filling: Filling, func: Any) -> None:
    with Stage(filling, Work(func)) as stage:
        stage.ready()
        assert stage.ended(*stage.send(0, ["first"])) == [Attempt("first", None)]
        stage.send(5, ["waits"])
        stage.send(1, ["dies", "behind it", "and", "these"])
        exited = stage.exited()
        assert sorted(exited.suspects) == [1, 5]
        assert "with 2 tasks in flight" in str(exited.error)


@OF_MANY
def test_where_an_input_kills_the_process_it_is_suspect_though_it_has_not_begun(filling: Filling, func: Any) -> None:
    with Stage(filling, Work(func)) as stage:
        stage.ready()
        assert stage.ended(*stage.send(3, ["first"])) == [Attempt("first", None)]
        stage.send(0, ["before", Deadly(0.0), "behind"])
        assert list(stage.exited().suspects) == [1]


class Unloadable:
    def __reduce__(self) -> tuple[Any, ...]:
        return fails_to_load, ()


def fails_to_load() -> None:
    raise ValueError("not here")


def test_an_input_that_cannot_be_loaded_makes_no_suspects_of_those_before_it_that_wait() -> None:
    with Stage(TWO_THREADS, Work(waits_or_dies_when_told)) as stage:
        stage.ready()
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            stage.send(0, [folder / "dies", folder / "waits"])
            stage.send(2, [folder / "waits", Unloadable(), folder / "waits"])
            assert [type(attempt.error) for attempt in stage.ended(3)] == [ValueError]
            wait_for_files(folder / "dies began", folder / "waits began")
            (folder / "go").touch()
            assert list(stage.exited().suspects) == [0, 1]


def wait_for_files(*files: Path) -> None:
    deadline = time.monotonic() + GUARD
    while not all(file.exists() for file in files):
        assert time.monotonic() < deadline
        time.sleep(0.001)


def waits_or_dies_when_told(item: Path) -> None:
    item.with_name(f"{item.name} began").touch()
    while not (item.parent / "go").exists() or item.name == "waits":
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGKILL)


def spoils(item: str) -> str:
    """Takes away what flatout's own code relies on, or has a signal come that is for the main thread."""
    if item == "builtins":
        for name in ("len", "range", "type", "isinstance"):
            delattr(builtins, name)
    if item == "clocks":
        for module, name in ((time, "monotonic"), (time, "thread_time"), (os, "getpid")):
            setattr(module, name, None)
    if item == "interrupts":
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(PROCESS.patience)
    return item


async def spoils_in_a_loop(item: str) -> str:
    return spoils(item)


@pytest.mark.parametrize(("how", "code"), [("builtins", 70), ("clocks", 70), ("interrupts", -signal.SIGINT)])
@pytest.mark.parametrize(("filling", "func"), [(TWO_THREADS, spoils), (LOOPS, spoils_in_a_loop)], ids=str)
def test_where_many_are_in_flight_and_one_spoils_it_for_all_the_process_ends(
    filling: Filling, func: Any, how: str, code: int
) -> None:
    """The threads and callbacks of flatout's own would raise there, and the tasks never be reported."""
    with Stage(filling, Work(func)) as stage:
        stage.ready()
        stage.send(0, [how])
        exited = stage.exited()
        assert list(exited.suspects) == [0]
        assert isinstance(exited.error, flatout.WorkerDied)
        assert exited.error.exitcode == code


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="finds descriptors as Linux has them")
def test_what_a_crash_leaves_is_not_written_over_the_page_wherever_a_task_moves_it() -> None:
    with Stage(TWO_THREADS, Work(rewind_all_and_crash)) as stage:
        stage.ready()
        stage.send(7, ["rewound"])
        exited = stage.exited()
        assert list(exited.suspects) == [7]
        assert isinstance(exited.error, flatout.WorkerDied)
        assert exited.error.exitcode == -signal.SIGSEGV
        assert "rewind_all_and_crash" in exited.error.traceback


def rewind_all_and_crash(item: str) -> None:
    for fd in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):
            os.lseek(fd, 0, os.SEEK_SET)
    ctypes.string_at(0)


def shut_down(item: str) -> str:
    if item == "shut down":
        for fd in map(int, os.listdir("/proc/self/fd")):
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as sock:
                sock.shutdown(socket.SHUT_RDWR)
    return item


class Late:
    """A host that reads when it is told to, and not before."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.post = self.events.append

    def soon(self, report: Callable[[], Event | None]) -> None:
        raise AssertionError("a process has no reports of its own")

    def hurry(self) -> None:
        raise AssertionError("and is in no hurry")

    def watch(self, fd: int, readable: Callable[[], None], writable: Callable[[], None] | None = None) -> None:
        self._fd, self._readable = fd, readable

    def unwatch(self, fd: int) -> None:
        assert fd == self._fd

    def read(self, last: type[Event]) -> Event:
        """Read until something like that has been reported."""
        while not self.events or type(self.events[-1]) is not last:
            assert select.select([self._fd], [], [], PROCESS.patience)[0], f"silence after {self.events}"
            self._readable()
        return self.events[-1]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="finds descriptors as Linux has them")
def test_where_its_stream_was_shut_down_all_are_suspect_that_are_not_reported() -> None:
    host = Late()
    worker = PROCESS.hire(1, Work(shut_down), host)
    assert isinstance(worker, ProcessWorker)
    worker.start()
    host.read(WorkerReady)
    worker.send(Batch(0, ["before", "shut down", "behind"]))
    process = worker._process
    deadline = time.monotonic() + PROCESS.patience
    while process is not None and process.exitcode is None and time.monotonic() < deadline:
        time.sleep(0.005)
    exited = host.read(WorkerExited)
    assert isinstance(exited, WorkerExited)
    assert list(exited.suspects) == [0, 1, 2]
    assert "has shut down the socket" in str(exited.error)


def starts_a_program(folder: Path) -> None:
    program = subprocess.Popen(["sleep", "10000"])
    (folder / str(program.pid)).touch()
    time.sleep(10_000)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="finds processes as Linux has them")
def test_what_a_task_has_started_ends_with_a_run_that_ends_before_the_loss_of_its_zygote_is_noticed(
    tmp_path: Path,
) -> None:
    host = Late()
    worker = PROCESS.hire(1, Work(starts_a_program), host)
    worker.start()
    host.read(WorkerReady)
    worker.send(Batch(0, [tmp_path]))
    while not (files := os.listdir(tmp_path)):
        time.sleep(0.01)
    zygote = psutil.Process(_pool.pool()._zygote.pid)
    zygote.kill()
    psutil.wait_procs([zygote], PROCESS.patience)
    worker.kill()
    worker.close()
    wait_until_gone(int(files[0]))


def test_a_segfault_brings_the_traceback_of_the_crash() -> None:
    with Stage(PROCESS, Work(kill_myself)) as stage:
        stage.ready()
        stage.send(0, ["segfault"])
        error = stage.exited().error
        assert isinstance(error, flatout.WorkerDied)
        assert "Segmentation fault" in error.traceback
        assert "in kill_myself" in error.traceback
        assert error.traceback in str(error)


@pytest.mark.parametrize("what", ["stubborn", "stubborn error", "two arguments"])
def test_what_cannot_come_home_costs_only_its_task(what: str) -> None:
    with Stage(PROCESS, Work(give)) as stage:
        stage.ready()
        before, failed, behind = stage.ended(*stage.send(0, ["before", what, "behind"]))
        assert (before, behind) == (Attempt("before", None), Attempt("behind", None))
        assert failed.error is not None
        described = {
            "stubborn": "I stay where I am",
            "stubborn error": "StubbornError",
            "two arguments": "this because of that",
        }
        assert described[what] in str(failed.error)
        assert stage.ended(*stage.send(3, ["later"])) == [Attempt("later", None)]


def test_what_cannot_be_sent_costs_only_its_task() -> None:
    with Stage(PROCESS, Work(str)) as stage:
        stage.ready()
        before, failed, behind = stage.ended(*stage.send(0, [1, Stubborn(), 3]))
        assert (before, behind) == (Attempt("1", None), Attempt("3", None))
        assert isinstance(failed.error, flatout.NotPicklable)


def test_a_worker_kept_warm_before_it_was_ready_answers_to_the_next_run_alone(tmp_path: Path) -> None:
    file = tmp_path / "over"
    with Stage(PROCESS, Work(str, initializer=functools.partial(wait_then_refuse, file))) as stage:
        stage.stop()
        with Stage(PROCESS, Work(str)) as next_stage:
            file.touch()
            next_stage.ready()
            assert next_stage.ended(*next_stage.send(0, [1])) == [Attempt("1", None)]


def slow(item: int) -> int:
    end = time.thread_time() + 0.03
    while time.thread_time() < end:
        pass
    return item


def test_what_is_sent_before_the_end_of_its_batch_tells_what_it_has_computed() -> None:
    """It would look like calls that wait."""
    setup = Setup(Work(slow), cores=1, divisible=False)
    filling = Filling(
        "process", lambda n, work, host: ProcessWorker(n, setup, host, lambda *_: None, keep=1), apart=True
    )
    with Stage(filling, Work(slow)) as stage:
        stage.ready()
        stage.ended(*stage.send(0, [0]))  # the postman comes with the second batch
        stage.ended(*stage.send(1, range(1, 9)))
        events = [event for event in stage.events if isinstance(event, BatchFinished)][1:]
    assert len(events) > 1, "the postman has sent some"
    assert events[0].cpu_seconds > 0.02
    assert sum(event.cpu_seconds for event in events) == pytest.approx(8 * 0.03, rel=0.5)


# A driver with scripted workers, on a virtual clock


def drive(script: Script, count: int, **options: Any) -> tuple[list[Any], float, Statistics]:
    """Have a driver run so many tasks; returns values or failures, the seconds it took, and the counts."""

    async def main() -> tuple[list[Any], float, Statistics]:
        loop = asyncio.get_running_loop()
        over = asyncio.Event()
        outlet = Outlet()
        outlet.notify = lambda: over.set() if outlet.finished else None
        work, plan = Work(abs), Plan("thread", concurrency=2, chunksize=1)
        dispatcher = Dispatcher(Options(on_error="return", **options), plan, count, collect=True)
        driver = Driver(dispatcher, Inputs((range(count),), work.context), outlet, loop.time)
        driver.hire = lambda order: ScriptedWorker(order.worker, work, driver, script)
        driver.host = host = LoopHost(loop)
        driver.post(Tick())
        host.run(driver)
        await over.wait()
        values: list[Any] = []
        while (settled := outlet.take()) is not None:
            values += settled.values
        return values, loop.time(), driver.statistics()

    return virtual_run(main())


def test_scripted_workers_take_their_time_on_a_virtual_clock() -> None:
    async def takes_an_hour(index: int, item: int) -> int:
        await asyncio.sleep(3600)
        return -item

    values, seconds, statistics = drive(takes_an_hour, 10)
    assert values == [-item for item in range(10)]
    assert seconds == 5 * 3600
    assert statistics.peak_workers == 2


def test_a_scripted_death_is_the_end_of_its_task_alone() -> None:
    async def dies_of_three(index: int, item: int) -> int:
        if index == 3:
            raise Death(flatout.WorkerDied("as the script says"))
        return item

    values, _, statistics = drive(dies_of_three, 6)
    assert [value for value in values if not isinstance(value, flatout.Failure)] == [0, 1, 2, 4, 5]
    assert str(values[3].error) == "as the script says"
    assert statistics.died == 1


def test_a_scripted_failure_is_tried_again_after_its_backoff() -> None:
    attempts: list[float] = []

    async def fails_twice(index: int, item: int) -> int:
        attempts.append(asyncio.get_running_loop().time())
        if len(attempts) < 3:
            raise OSError("not yet")
        return item

    values, seconds, statistics = drive(fails_twice, 1, retry=flatout.Retry(attempts=3, backoff=10.0))
    assert values == [0]
    assert attempts == [0.0, 10.0, 30.0]
    assert (seconds, statistics.retried) == (30.0, 2)


def test_a_silent_worker_is_killed_when_the_time_of_its_task_is_over() -> None:
    async def hangs_at_one(index: int, item: int) -> int:
        if index == 1:
            await silence()
        return item

    values, seconds, _ = drive(hangs_at_one, 4, timeout=60.0)
    assert [value for value in values if not isinstance(value, flatout.Failure)] == [0, 2, 3]
    assert isinstance(values[1].error, flatout.TaskTimeout)
    assert seconds == 60.0


# What the contract is worth: workers that break one promise each


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_the_contract_catches_a_broken_worker(mutant: type[Mutant]) -> None:
    honest = Filling(mutant.__name__, mutant)
    # Where it must be caught, silence is believed soon, and words that must not come are waited for.
    broken = honest.hurried(patience=0.5, grace=3.0)
    with ThreadPoolExecutor(len(WORKER_CONTRACT)) as executor:
        kept = executor.map(
            lambda clause: keeps(clause, broken if clause in mutant.caught_by else honest), WORKER_CONTRACT
        )
        caught_by = {clause.__name__ for clause, is_kept in zip(WORKER_CONTRACT, kept, strict=True) if not is_kept}
    assert caught_by == {clause.__name__ for clause in mutant.caught_by}


def keeps(clause: Clause, filling: Filling) -> bool:
    try:
        clause(filling)
    except AssertionError:
        return False
    return True


def test_every_clause_catches_a_mutant() -> None:
    assert set().union(*(mutant.caught_by for mutant in MUTANTS)) == set(WORKER_CONTRACT)


def test_every_mutant_is_caught() -> None:
    assert [mutant for mutant in MUTANTS if not mutant.caught_by] == [Mutant], "only the honest one keeps every clause"
