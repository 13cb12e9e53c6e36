"""Whatever one task does, every other result arrives. Real deaths, real signals, real time."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import os
import select
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

import flatout
from flatout import Failure, NotPicklable, Retry, TaskTimeout, WorkerDied

GUARD = 60.0  # seconds after which something that must happen counts as not happening


def wait_until_gone(pid: int) -> None:
    """Wait for the end of any process."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        assert poll.poll(GUARD * 1000), f"process {pid} still runs"
    finally:
        os.close(fd)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# The six faults: the task with input 3 of 0 ... 9 misbehaves


class TwoArguments(Exception):
    def __init__(self, name: str, code: int) -> None:
        super().__init__(f"{name} gave {code}")
        self.code = code


def kills_itself(x: int) -> Any:
    if x == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return x * x


def exits_with_success(x: int) -> Any:
    if x == 3:
        os._exit(0)
    return x * x


def calls_exit(x: int) -> Any:
    if x == 3:
        sys.exit("enough")
    return x * x


def returns_a_lambda(x: int) -> Any:
    return (lambda: x) if x == 3 else x * x


def raises(x: int) -> Any:
    if x == 3:
        raise TwoArguments("disk", x)
    return x * x


def hangs(x: int) -> Any:
    if x == 3:
        time.sleep(10_000)
    return x * x


def was_killed(error: Any) -> bool:
    return isinstance(error, WorkerDied) and error.exitcode == -signal.SIGKILL and "SIGKILL" in str(error)


def was_exit_0(error: Any) -> bool:
    return isinstance(error, WorkerDied) and error.exitcode == 0 and "status 0" in str(error)


def was_exit(error: Any) -> bool:
    return type(error) is SystemExit and error.code == "enough"


def was_the_lambda(error: Any) -> bool:
    return isinstance(error, NotPicklable) and "the result" in str(error) and "lambda" in str(error)


def was_raised(error: Any) -> bool:
    return type(error) is TwoArguments and error.code == 3 and "in raises" in str(error.__cause__)


def was_late(error: Any) -> bool:
    return isinstance(error, TaskTimeout) and isinstance(error, TimeoutError) and "2 s" in str(error)


@pytest.mark.parametrize("chunksize", [1, 5, 10, None])
@pytest.mark.parametrize(
    ("func", "expected"),
    [
        (kills_itself, was_killed),
        (exits_with_success, was_exit_0),
        (calls_exit, was_exit),
        (returns_a_lambda, was_the_lambda),
        (raises, was_raised),
        (hangs, was_late),
    ],
    ids=lambda value: value.__name__,
)
def test_a_fault_costs_its_own_task_only(
    func: Callable[[int], Any], expected: Callable[[Any], bool], chunksize: int | None
) -> None:
    timeout = 2.0 if func is hangs else None
    run = flatout.map(
        func, range(10), via="process", max_concurrency=2, chunksize=chunksize, on_error="return", timeout=timeout
    )
    results: list[Any] = run.results()
    failure = results.pop(3)
    assert results == [x * x for x in range(10) if x != 3]
    assert isinstance(failure, Failure)
    assert (failure.index, failure.input, failure.kind, failure.attempts) == (3, "3", "process", 1)
    assert expected(failure.error), repr(failure.error)


@pytest.mark.parametrize("func", [kills_itself, exits_with_success, calls_exit, raises])
def test_under_raise_the_results_before_it_come_first(func: Callable[[int], Any]) -> None:
    values = iter(flatout.map(func, range(10), via="process", max_concurrency=2))
    assert [next(values) for _ in range(3)] == [0, 1, 4]
    with pytest.raises((WorkerDied, SystemExit, TwoArguments)) as caught:
        next(values)
    assert "task 3, input 3, in a worker process" in caught.value.__notes__[-1]


def kills_its_worker_once(folder: Path, x: int) -> int:
    try:
        (folder / str(x)).touch(exist_ok=False)
    except FileExistsError:
        return x * x
    if x % 3 == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return x * x


@pytest.mark.parametrize("chunksize", [1, None])
def test_with_retry_a_task_that_killed_its_worker_succeeds_on_the_second_attempt(
    tmp_path: Path, chunksize: int | None
) -> None:
    func = functools.partial(kills_its_worker_once, tmp_path)
    run = flatout.map(func, range(12), via="process", retry=Retry(2, backoff=0.0), chunksize=chunksize)
    assert run.results() == [x * x for x in range(12)]
    assert run.report.retried == 4


def test_a_task_that_always_kills_its_worker_is_given_up_after_its_attempts() -> None:
    run = flatout.map(kills_itself, range(5), via="process", retry=Retry(3, backoff=0.0), on_error="return")
    results: list[Any] = run.results()
    assert results[3].attempts == 3
    assert was_killed(results[3].error)


def kills_itself_in_any_case(x: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_tasks_that_all_kill_their_workers_all_fail_and_the_run_ends() -> None:
    results = flatout.map(kills_itself_in_any_case, range(20), via="process", on_error="return").results()
    assert all(isinstance(result, Failure) and was_killed(result.error) for result in results)


# Crashes


def crashes_here(x: int) -> int:
    if x == 3:
        ctypes.string_at(0)
    return x


def test_the_traceback_of_a_segmentation_fault_is_in_the_error() -> None:
    results: list[Any] = flatout.map(crashes_here, range(6), via="process", on_error="return").results()
    error = results.pop(3).error
    assert results == [0, 1, 2, 4, 5]
    assert isinstance(error, WorkerDied)
    assert error.exitcode == -signal.SIGSEGV
    assert "Segmentation fault" in error.traceback
    assert "crashes_here" in str(error)


class Bottomless:
    def __repr__(self) -> str:
        return repr(self)


def recurses(x: int) -> Any:
    def deeper(n: int) -> int:
        return deeper(n + 1) + 1

    if x == 1:
        return deeper(0)
    if x == 2:
        sys.setrecursionlimit(10_000_000)
        return repr(Bottomless())  # through C: some Pythons notice, in others the stack overflows
    return x


def test_endless_recursion_fails_its_task() -> None:
    results: list[Any] = flatout.map(recurses, range(4), via="process", on_error="return", chunksize=4).results()
    assert results[::3] == [0, 3]
    assert type(results[1].error) is RecursionError
    assert isinstance(results[2].error, (RecursionError, WorkerDied))


def asks_too_much(x: int) -> int:
    return x if x != 1 else len(bytearray(1 << 62))


def test_a_memory_error_is_an_error_like_any_other() -> None:
    results: list[Any] = flatout.map(asks_too_much, range(3), via="process", on_error="return").results()
    assert (results[0], type(results[1].error), results[2]) == (0, MemoryError, 2)


def writes_to_every_socket(x: int) -> int:
    if x == 1:
        import socket
        import stat

        for fd in map(int, os.listdir("/proc/self/fd")):
            try:
                if stat.S_ISSOCK(os.fstat(fd).st_mode):
                    socket.socket(fileno=os.dup(fd)).send(b"\xff" * 100)
            except OSError:
                continue
        time.sleep(10_000)  # until it is killed for that; the task that a worker is on then is the one to blame
    return x


def test_a_task_that_spoils_the_stream_of_its_worker_costs_no_other_task() -> None:
    results: list[Any] = flatout.map(
        writes_to_every_socket, range(4), via="process", max_concurrency=1, chunksize=1, on_error="return"
    ).results()
    failure = results.pop(1)
    assert results == [0, 2, 3]
    assert isinstance(failure.error, WorkerDied)


def closes_everything(x: int) -> int:
    if x == 1:
        os.closerange(3, 4096)
    return x


def test_a_task_that_closes_all_descriptors_costs_no_other_task(capfd: pytest.CaptureFixture[str]) -> None:
    results: list[Any] = flatout.map(
        closes_everything, range(4), via="process", chunksize=1, on_error="return"
    ).results()
    failure = results.pop(1)
    assert results == [0, 2, 3]
    assert isinstance(failure.error, WorkerDied)


def swaps_every_descriptor(x: int) -> int:
    if x == 1:
        import socket

        os.closerange(3, 4096)
        kept.extend(socket.socketpair() for _ in range(200))  # they get the numbers of its worker's own
    return x


kept: list[Any] = []


def cuts_every_file(x: int) -> int:
    if x == 1:
        for fd in map(int, os.listdir("/proc/self/fd")):
            with contextlib.suppress(OSError):
                os.ftruncate(fd, 0)
    return x


def test_a_task_that_cuts_every_file_harms_nobody() -> None:
    run = flatout.map(cuts_every_file, range(8), via="process", chunksize=4, timeout=60)
    assert run.results() == list(range(8))


def test_results_are_never_written_to_a_file_of_the_tasks_own() -> None:
    run = flatout.map(swaps_every_descriptor, range(4), via="process", chunksize=1, on_error="return")
    results: list[Any] = run.results()
    failure = results.pop(1)
    assert results == [0, 2, 3]
    assert "a task has closed or replaced the socket of its worker process" in str(failure.error)


def spoils(x: int) -> int:
    if x == 3:
        import builtins

        del builtins.len, builtins.list, builtins.type
    return x


def test_a_worker_that_cannot_go_on_ends_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    results: list[Any] = flatout.map(spoils, range(10), via="process", chunksize=1, on_error="return").results()
    assert isinstance(results.pop(3).error, WorkerDied)
    assert results == [x for x in range(10) if x != 3]
    assert capfd.readouterr().err == ""


def closes_the_streams(x: int) -> Any:
    if x == 1:
        os.closerange(0, 3)
        sys.stdout.close()
    print("still here")
    return subprocess.run(["echo", str(x)], stdout=subprocess.PIPE, text=True, check=True).stdout if x > 1 else x


def test_a_task_that_closes_the_standard_streams_leaves_the_next_a_new_worker(
    capfd: pytest.CaptureFixture[str],
) -> None:
    run = flatout.map(closes_the_streams, range(4), via="process", max_concurrency=1, chunksize=1)
    assert run.results() == [0, 1, "2\n", "3\n"]
    assert capfd.readouterr().out == "still here\n" * 4


# To pickle or load a value is to run code of the user's, which may do anything


class Ends:
    """Ends the process in which it is pickled or loaded, or does something else there."""

    def __init__(self, when: str, how: Callable[[], object]) -> None:
        self.when, self.how = when, how

    def __reduce__(self) -> Any:
        if self.when == "pickled" and flatout._child.inside:
            self.how()
        return (_loaded_as, (self.how,)) if self.when == "loaded" else (str, ())


def _loaded_as(how: Callable[[], object]) -> object:
    return how()


def ends_with_3() -> object:
    return os._exit(3)


def interrupts() -> object:
    raise KeyboardInterrupt("of its own")


def leaves() -> object:
    raise GeneratorExit


def sleeps() -> object:
    time.sleep(10_000)
    return None


def ends_when_pickled(x: int) -> object:
    return Ends("pickled", (ends_with_3, interrupts)[x - 3]) if x in (3, 4) else x


def interrupts_the_parent(x: int) -> object:
    return Ends("loaded", (interrupts, leaves)[x - 3]) if x in (3, 4) else x


@pytest.mark.parametrize("chunksize", [1, 4, 10])
def test_an_input_that_ends_its_worker_as_it_is_loaded_is_to_blame(chunksize: int) -> None:
    inputs: list[Any] = [*range(3), Ends("loaded", ends_with_3), Ends("loaded", interrupts), *range(5, 10)]
    run = flatout.map(gives_back, inputs, via="process", max_concurrency=2, chunksize=chunksize, on_error="return")
    results: list[Any] = run.results()
    failures = [results.pop(3), results.pop(3)]
    assert results == [0, 1, 2, 5, 6, 7, 8, 9]
    assert [(f.index, type(f.error)) for f in failures] == [(3, WorkerDied), (4, KeyboardInterrupt)]
    assert failures[0].error.exitcode == 3


def test_an_input_that_takes_too_long_to_load_is_over_its_time() -> None:
    run = flatout.map(gives_back, [0, Ends("loaded", sleeps), 2], via="process", timeout=1, on_error="return")
    results: list[Any] = run.results()
    assert (results[0], type(results[1].error), results[2]) == (0, TaskTimeout, 2)


@pytest.mark.parametrize("chunksize", [1, 4, 10])
def test_a_result_that_ends_its_worker_as_it_is_pickled_is_to_blame(chunksize: int) -> None:
    run = flatout.map(
        ends_when_pickled, range(10), via="process", max_concurrency=2, chunksize=chunksize, on_error="return"
    )
    results: list[Any] = run.results()
    failures = [results.pop(3), results.pop(3)]
    assert results == [x for x in range(10) if x not in (3, 4)]
    assert [(f.index, type(f.error)) for f in failures] == [(3, WorkerDied), (4, NotPicklable)]


def test_a_result_that_raises_anything_as_it_is_loaded_costs_itself_only() -> None:
    results: list[Any] = flatout.map(interrupts_the_parent, range(10), via="process", on_error="return").results()
    failures = [results.pop(3), results.pop(3)]
    assert results == [x for x in range(10) if x not in (3, 4)]
    assert [type(failure.error) for failure in failures] == [KeyboardInterrupt, GeneratorExit]


def test_an_input_that_raises_anything_as_it_is_pickled_costs_itself_only() -> None:
    class Exits:
        def __reduce__(self) -> Any:
            sys.exit("enough")

    results: list[Any] = flatout.map(gives_back, [0, Exits(), 2], via="process", on_error="return").results()
    failure = results.pop(1)
    assert results == [0, 2]
    assert isinstance(failure.error, NotPicklable)
    assert isinstance(failure.error.__cause__, SystemExit)


# Objects that answer no question


class Rude:
    def refuse(self, *_: object) -> Any:
        raise ValueError("do not ask")

    __eq__ = __bool__ = __len__ = __iter__ = __getattr__ = refuse
    __hash__ = __repr__ = __str__ = refuse

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise SystemExit("do not ask")

    def __reduce__(self) -> Any:
        return Rude, ()


class RudeError(Exception):
    def refuse(self, *_: object) -> Any:
        raise ValueError("do not ask")

    __eq__ = __bool__ = refuse
    __hash__ = __repr__ = __str__ = __setattr__ = refuse

    def __getattribute__(self, name: str) -> Any:
        raise SystemExit("do not ask")


def returns_the_rude(x: int) -> Any:
    return Rude() if x == 3 else x


def raises_the_rude(x: int) -> int:
    if x == 3:
        raise RudeError
    return x


def takes_the_rude(value: object) -> str:
    if type(value) is Rude:
        raise ValueError("with it")
    return "fine"


ALL_BUT_ASYNC: list[Any] = ["inline", "thread", "process", "auto"]


@pytest.mark.parametrize("via", ALL_BUT_ASYNC)
def test_a_value_that_answers_no_question_is_a_value(via: Any) -> None:
    results: list[Any] = flatout.map(returns_the_rude, range(10), via=via, on_error="return").results()
    assert type(results.pop(3)) is Rude
    assert results == [x for x in range(10) if x != 3]


@pytest.mark.parametrize("via", ALL_BUT_ASYNC)
def test_an_exception_that_answers_no_question_fails_its_task(via: Any) -> None:
    results: list[Any] = flatout.map(raises_the_rude, range(10), via=via, on_error="return").results()
    failure = results.pop(3)
    assert results == [x for x in range(10) if x != 3]
    assert (failure.index, type(failure.error) in (RudeError, flatout.RunError)) == (3, True)


@pytest.mark.parametrize("via", ALL_BUT_ASYNC)
def test_a_failed_task_is_named_though_its_input_answers_no_question(via: Any) -> None:
    results: list[Any] = flatout.map(takes_the_rude, [1, Rude(), 3], via=via, on_error="return").results()
    failure = results.pop(1)
    assert results == ["fine", "fine"]
    assert (failure.index, type(failure.error)) == (1, ValueError)


def test_coroutines_that_return_or_raise_the_rude() -> None:
    async def returns(x: int) -> Any:
        return returns_the_rude(x)

    async def raises(x: int) -> Any:
        return raises_the_rude(x)

    results: list[Any] = flatout.map(returns, range(10), on_error="return").results()
    assert type(results[3]) is Rude
    results = flatout.map(raises, range(10), on_error="return").results()
    assert type(results[3].error) is RudeError


# Coroutines that block their event loop


def test_a_coroutine_that_blocks_its_loop_is_left_behind_with_it() -> None:
    release = threading.Event()

    async def blocks(x: int) -> int:
        await asyncio.sleep(0.01)
        if x == 3:
            release.wait(GUARD)
        return x

    try:
        run = flatout.map(blocks, range(10), timeout=0.5, max_concurrency=2, on_error="return")
        results: list[Any] = run.results()
        failure = results.pop(3)
        assert results == [x for x in range(10) if x != 3]
        assert isinstance(failure.error, TaskTimeout)
        assert "did not await anything" in str(failure.error)
        assert failure.seconds == 0.5
        (left,) = [thread for thread in threading.enumerate() if "left behind in task 3" in thread.name]
    finally:
        release.set()
    left.join(GUARD)
    assert not left.is_alive()


def test_who_is_under_way_beside_a_coroutine_that_blocks_its_loop_is_not_blamed() -> None:
    release = threading.Event()

    async def blocks(x: int) -> int:
        if x == 3:
            release.wait(GUARD)
        await asyncio.sleep(0.1)
        return x

    try:
        run = flatout.map(blocks, range(6), timeout=0.3, max_concurrency=2, on_error="skip")
        assert run.results() == [0, 1, 2, 4, 5]
    finally:
        release.set()


def test_a_coroutine_that_blocks_its_loop_in_an_asyncio_task_of_its_own_is_found_and_named() -> None:
    release = threading.Event()

    async def inner(x: int) -> int:
        if x == 3:
            release.wait(GUARD)
        return x

    async def gathers(x: int) -> int:
        return sum(await asyncio.gather(inner(x), asyncio.sleep(0.05, 0)))

    try:
        run = flatout.map(gathers, range(6), timeout=0.3, max_concurrency=4, on_error="return")
        results: list[Any] = run.results()
    finally:
        release.set()
    failure = results.pop(3)
    assert results == [0, 1, 2, 4, 5]
    assert "task 3 ran longer" in str(failure.error)


def test_what_ended_in_a_loop_before_it_was_blocked_has_ended() -> None:
    release = threading.Event()
    began: list[int] = []

    async def blocks(x: int) -> int:
        began.append(x)
        if x == 3:
            release.wait(GUARD)
        if x == 2:
            raise ValueError(x)
        return x

    try:
        run = flatout.map(blocks, range(6), timeout=0.3, max_concurrency=6, on_error="return")
        results: list[Any] = run.results()
    finally:
        release.set()
    assert [type(results[i].error) for i in (2, 3)] == [ValueError, TaskTimeout]
    assert [results[i] for i in (0, 1, 4, 5)] == [0, 1, 4, 5]
    assert sorted(began) == list(range(6))


def test_a_slow_consumer_is_no_blocked_loop() -> None:
    run = flatout.map(quick, range(4), timeout=0.5, buffersize=2)
    for _ in run:
        time.sleep(0.6)
    assert run.report.failed == 0


async def quick(x: int) -> int:
    return x


# Tasks that use flatout themselves


def cores_and_workers(_: int) -> tuple[int, set[int]]:
    return flatout.machine().usable_cores, set(flatout.map(pid_of_worker, range(8), via="process"))


def pid_of_worker(_: int) -> int:
    time.sleep(0.01)
    return os.getpid()


def test_workers_of_workers_are_no_more_than_there_are_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLATOUT_CORES", "4")
    for workers, share in ((4, 1), (2, 2)):
        for cores, pids in flatout.map(cores_and_workers, range(workers), via="process", max_concurrency=workers):
            assert cores == share
            assert 1 <= len(pids) <= share


def forks(_: int) -> int:
    child = os.fork()
    return os.waitpid(child, 0)[1] if child else 0


async def coroutine_forks(item: int) -> int:
    return forks(item)


@pytest.mark.parametrize(("func", "via"), [(forks, "thread"), (coroutine_forks, "async"), (coroutine_forks, "thread")])
def test_a_child_that_a_task_forks_in_this_process_ends_with_it(func: Callable[[int], int], via: Any) -> None:
    assert flatout.map(func, range(6), via=via).results() == [0] * 6


# How a process over its time is ended


def takes_its_leave(path: Path) -> None:
    def leave(*_: object) -> None:
        path.write_text("left")
        os._exit(0)

    signal.signal(signal.SIGTERM, leave)
    path.touch()
    time.sleep(10_000)


def hears_nothing(path: Path) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    path.write_text(str(os.getpid()))
    while True:
        pass


def stops_itself(path: Path) -> None:
    path.write_text(str(os.getpid()))
    os.kill(os.getpid(), signal.SIGSTOP)


def test_a_task_over_its_time_may_put_its_things_in_order(tmp_path: Path) -> None:
    (failure,) = flatout.map(
        takes_its_leave, [tmp_path / "file"], via="process", timeout=1, on_error="return"
    ).results()
    assert isinstance(failure.error, TaskTimeout)  # type: ignore[attr-defined]
    assert (tmp_path / "file").read_text() == "left"


def leaves_its_group(path: Path) -> None:
    path.write_text(str(os.getpid()))
    os.setpgid(0, os.getpgid(os.getppid()))
    time.sleep(10_000)


@pytest.mark.parametrize("func", [hears_nothing, stops_itself, leaves_its_group])
def test_one_that_does_not_is_killed(tmp_path: Path, func: Callable[[Path], None]) -> None:
    (failure,) = flatout.map(func, [tmp_path / "file"], via="process", timeout=1, on_error="return").results()
    assert isinstance(failure.error, TaskTimeout)  # type: ignore[attr-defined]
    wait_until_gone(int((tmp_path / "file").read_text()))


def breeds_the_deaf(folder: Path) -> None:
    code = """
import os, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
(pathlib.Path(sys.argv[1]) / str(os.getpid())).touch()
time.sleep(1000)
"""
    for alone in (False, True):
        subprocess.Popen([sys.executable, "-c", code, str(folder)], start_new_session=alone)
    time.sleep(10_000)


def test_what_a_killed_task_has_started_is_killed_though_it_is_deaf(tmp_path: Path) -> None:
    run = flatout.map(breeds_the_deaf, [tmp_path], via="process", timeout=2, on_error="return")
    (failure,) = run.results()
    assert isinstance(failure.error, TaskTimeout)  # type: ignore[attr-defined]
    for name in os.listdir(tmp_path):
        wait_until_gone(int(name))


# Out of memory, for real: where this process may make a control group


@pytest.fixture
def small_cgroup() -> Iterator[Path]:
    """A control group with 300 MB for all that is in it."""
    for root, limit in (("memory", "memory.limit_in_bytes"), ("", "memory.max")):
        group = Path("/sys/fs/cgroup", root, f"flatout-test-{os.getpid()}")
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / limit).write_text("300M")
        except OSError:
            group.rmdir()
            continue
        yield group
        while (group / "cgroup.procs").read_text():
            time.sleep(0.01)
        group.rmdir()
        return
    pytest.skip("no control group can be made here")


OUT_OF_MEMORY = """
import os, sys
open(os.path.join(sys.argv[1], "cgroup.procs"), "w").write(str(os.getpid()))
import flatout

def grows(x):
    return len(bytearray(1 << 30)) if x == 3 else x

ballast = bytearray(100 << 20)  # the user's process is no dwarf either
ballast[::4096] = b"x" * (100 << 8)
results = flatout.map(grows, range(10), via="process", on_error="return").results()
print(results.pop(3).error)
assert results == [x for x in range(10) if x != 3]
"""


def test_out_of_memory_the_kernel_kills_the_worker_and_the_task_fails_alone(small_cgroup: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OUT_OF_MEMORY, str(small_cgroup)], capture_output=True, text=True, timeout=GUARD
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "was killed by SIGKILL, as the system ran out of memory" in done.stdout


# What tasks leave behind

BREED = """
import os, subprocess, sys
first = subprocess.Popen(["sleep", "1000"])
if os.fork() == 0:
    os.setsid()
    daemon = subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    print(first.pid, os.getpid(), daemon.pid, flush=True)
    daemon.wait()
first.wait()
"""


def breeds(x: int) -> list[int]:
    """Starts a program with a child in its group and, in a session of their own, a grandchild and its child."""
    if x == 1:
        os._exit(1)
    program = subprocess.Popen([sys.executable, "-c", BREED], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    pids = [program.pid, *map(int, program.stdout.readline().split())]
    program.returncode = 0  # nobody waits for it
    return pids


def test_what_a_task_started_lives_on_until_its_worker_is_killed() -> None:
    run = flatout.map(breeds, [0, 1], via="process", max_concurrency=1, chunksize=1, on_error="return")
    results: list[Any] = run.results()
    assert len(results[0]) == 4
    assert isinstance(results[1].error, WorkerDied)
    for pid in results[0]:
        wait_until_gone(pid)


def test_what_a_task_started_lives_on_as_long_as_its_worker() -> None:
    ((first, *others),) = flatout.map(breeds, [0], via="process", max_concurrency=1).results()
    assert all(map(alive, [first, *others]))
    for pid in (first, *others):
        os.kill(pid, signal.SIGKILL)


# Time


def notes_its_pid_and_hangs(folder: Path, x: int) -> int:
    if x == 3:
        (folder / "pid").write_text(str(os.getpid()))
        time.sleep(10_000)
    return x


@pytest.mark.parametrize("chunksize", [1, 100, None])
def test_at_its_timeout_a_process_is_really_ended_and_its_neighbours_are_run(
    tmp_path: Path, chunksize: int | None
) -> None:
    run = flatout.map(
        functools.partial(notes_its_pid_and_hangs, tmp_path),
        range(200),
        via="process",
        timeout=1.0,
        chunksize=chunksize,
        on_error="return",
    )
    results: list[Any] = run.results()
    assert isinstance(results.pop(3).error, TaskTimeout)
    assert results == [x for x in range(200) if x != 3]
    wait_until_gone(int((tmp_path / "pid").read_text()))


def hangs_without_the_gil_let_go(x: int) -> int:
    if x == 1:
        while True:
            ctypes.PyDLL(None).usleep(1000)  # holds the GIL all the while
    return x


def test_a_timeout_needs_no_help_of_the_worker() -> None:
    results: list[Any] = flatout.map(
        hangs_without_the_gil_let_go, range(3), via="process", timeout=1.0, on_error="return"
    ).results()
    assert isinstance(results.pop(1).error, TaskTimeout)
    assert results == [0, 2]


def test_a_thread_over_its_time_is_left_behind_and_named_so() -> None:
    release = threading.Event()

    def waits(x: int) -> int:
        if x == 3:
            release.wait(GUARD)
        return x

    try:
        run = flatout.map(waits, range(10), via="thread", max_concurrency=2, timeout=0.5, on_error="return")
        results: list[Any] = run.results()
        assert isinstance(results.pop(3).error, TaskTimeout)
        assert results == [x for x in range(10) if x != 3]
        (left,) = [thread for thread in threading.enumerate() if "left behind in task 3" in thread.name]
        assert left.daemon
    finally:
        release.set()
    left.join(GUARD)
    assert not left.is_alive()


def test_a_coroutine_over_its_time_is_cancelled() -> None:
    cancelled = []

    async def waits(x: int) -> int:
        if x == 3:
            try:
                await asyncio.sleep(10_000)
            except asyncio.CancelledError:
                cancelled.append(x)
                raise
        return x

    results: list[Any] = flatout.map(waits, range(10), timeout=0.5, on_error="return").results()
    assert isinstance(results.pop(3).error, TaskTimeout)
    assert results == [x for x in range(10) if x != 3]
    assert cancelled == [3]


def is_slow_once(folder: Path, x: int) -> int:
    try:
        (folder / str(x)).touch(exist_ok=False)
    except FileExistsError:
        return x
    if x == 2:
        time.sleep(10_000)
    return x


def test_a_task_over_its_time_is_tried_again(tmp_path: Path) -> None:
    func = functools.partial(is_slow_once, tmp_path)
    run = flatout.map(func, range(6), via="process", timeout=1.0, retry=Retry(2, backoff=0.0))
    assert run.results() == list(range(6))


# What cannot be pickled or loaded


class NotLoadable:
    def __init__(self, x: int) -> None:
        self.x = x

    def __setstate__(self, state: Any) -> None:
        raise ValueError("will not be loaded")


def gives_back(x: Any) -> Any:
    return x


def gives_not_loadable(x: int) -> Any:
    return NotLoadable(x) if x == 1 else x


@pytest.mark.parametrize("chunksize", [1, 3, None])
def test_an_input_that_cannot_be_pickled_fails_alone_and_is_named(chunksize: int | None) -> None:
    inputs = [0, threading.Lock(), 2, 3, {"key": threading.Lock()}]
    results: list[Any] = flatout.map(
        gives_back, inputs, via="process", chunksize=chunksize, on_error="return"
    ).results()
    assert [results[0], *results[2:4]] == [0, 2, 3]
    for index, where in ((1, "the input"), (4, "'key'")):
        assert isinstance(results[index].error, NotPicklable)
        assert where in str(results[index].error)


@pytest.mark.parametrize("chunksize", [1, 3, None])
def test_an_input_that_cannot_be_loaded_fails_alone(chunksize: int | None) -> None:
    inputs = [0, NotLoadable(1), 2, 3]
    results: list[Any] = flatout.map(
        gives_back, inputs, via="process", chunksize=chunksize, on_error="return"
    ).results()
    assert str(results.pop(1).error) == "will not be loaded"
    assert results == [0, 2, 3]


@pytest.mark.parametrize("chunksize", [1, 3, None])
def test_a_result_that_cannot_be_loaded_fails_alone(chunksize: int | None) -> None:
    results: list[Any] = flatout.map(
        gives_not_loadable, range(4), via="process", chunksize=chunksize, on_error="return"
    ).results()
    assert str(results.pop(1).error) == "will not be loaded"
    assert results == [0, 2, 3]


def test_a_function_that_cannot_be_pickled_is_refused_before_anything_runs() -> None:
    lock = threading.Lock()
    with pytest.raises(NotPicklable, match="lock"):
        flatout.map(lambda x: (x, lock), range(3), via="process").results()


# The initializer


def fails_to_begin() -> None:
    raise LookupError("no such model")


async def begins_in_a_loop() -> None:
    await asyncio.sleep(0)
    os.environ["BEGUN"] = f"{os.getpid()} {int(os.environ.get('BEGUN', '0 0').split()[1]) + 1}"


def begun(x: int) -> tuple[int, str]:
    time.sleep(0.01)
    return os.getpid(), os.environ["BEGUN"]


async def abegun(x: int) -> tuple[int, str]:
    return os.getpid(), os.environ["BEGUN"]


def test_an_initializer_that_raises_ends_the_run_with_its_own_exception() -> None:
    for _ in range(3):
        with pytest.raises(LookupError, match="no such model"):
            flatout.map(abs, range(100), via="process", initializer=fails_to_begin, on_error="return").results()
        assert flatout.map(abs, range(5), via="process").results() == list(range(5))  # nothing of it comes later


def test_an_async_initializer_is_awaited_once_in_every_worker() -> None:
    results = flatout.map(begun, range(40), via="process", max_concurrency=2, initializer=begins_in_a_loop).results()
    assert {value for _, value in results} == {f"{pid} 1" for pid, _ in results}


@types.coroutine
def begins_in_the_old_way() -> Generator[Any, Any, None]:
    yield from asyncio.sleep(0).__await__()
    os.environ["BEGUN"] = "in the old way"


@pytest.mark.parametrize("via", ["thread", "process", "async"])
def test_an_initializer_made_by_types_coroutine_is_awaited_too(via: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEGUN", "")
    func: Any = abegun if via == "async" else begun
    (result,) = flatout.map(func, [0], via=via, initializer=begins_in_the_old_way)
    assert result[1] == "in the old way"


def begins_for_ever(folder: Path) -> None:
    try:
        (folder / "first").touch(exist_ok=False)
    except FileExistsError:
        (folder / "written").write_text(str(os.getpid()))
        (folder / "written").rename(folder / "stuck")
        time.sleep(10_000)


def test_a_run_that_ends_does_not_leave_a_worker_in_its_initializer(tmp_path: Path) -> None:
    initializer = functools.partial(begins_for_ever, tmp_path)

    def until_the_other_is_stuck(x: int) -> int:
        deadline = time.monotonic() + GUARD
        while not (tmp_path / "stuck").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        return x

    run = flatout.map(until_the_other_is_stuck, range(2), via="process", max_concurrency=2, initializer=initializer)
    assert run.results() == [0, 1]
    wait_until_gone(int((tmp_path / "stuck").read_text()))
    assert flatout.map(abs, range(20), via="process", max_concurrency=4).results() == list(range(20))


# Fine-grained truth about deaths: what was finished before is not run again at chunksize 1


def notes_and_dies(folder: Path, x: int) -> int:
    with open(folder / str(x), "a") as file:
        file.write("x")
    if x == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def test_at_chunksize_1_no_task_runs_twice_when_a_worker_dies(tmp_path: Path) -> None:
    func = functools.partial(notes_and_dies, tmp_path)
    flatout.map(func, range(30), via="process", max_concurrency=2, chunksize=1, on_error="return").wait()
    assert {int(file.name): file.read_text() for file in tmp_path.iterdir()} == dict.fromkeys(range(30), "x")


class SlowToPack:
    """Made at once, so that no machine is too busy for a task that makes one."""

    def __reduce__(self) -> tuple[Any, ...]:
        time.sleep(0.06)
        return (str, ())


def makes_much(note: Path, x: int) -> list[object]:
    with note.open("a") as file:
        file.write(f"{x}\n")
    return [x] * 300_000 + [SlowToPack()]


def test_a_process_whose_results_take_long_to_pack_and_to_send_is_not_taken_for_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flatout._dispatch._dispatcher.UNRESPONSIVE", 0.05)
    call = functools.partial(makes_much, tmp_path / "note")
    # In a process that has had batches before, a second thread packs what there is as soon as a batch takes long.
    flatout.map(abs, range(4), via="process", chunksize=1, max_concurrency=1).wait()
    run = flatout.map(call, range(20), via="process", chunksize=20, max_concurrency=1, timeout=0.3)
    assert [values[0] for values in run] == list(range(20))
    assert (tmp_path / "note").read_text().split() == [str(x) for x in range(20)], "each has run once"
