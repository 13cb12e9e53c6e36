"""`flatout.Executor`: what it adds to, and how it keeps, the contract of `concurrent.futures`. See also test_executor_cpython."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Iterator
from concurrent import futures
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from builds import needs_gil

import flatout
from flatout._child import _zygote
from flatout._workers._process import ProcessWorker

SECONDS = 60  # that a subprocess or an event may take

KINDS = ["auto", "thread", "process"]


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script as a user would."""
    script = folder / "script.py"
    script.write_text(code, encoding="utf-8")
    return subprocess.run([sys.executable, script], cwd=folder, capture_output=True, text=True, timeout=SECONDS)


def square(x: int) -> int:
    return x * x


def divide(a: float, b: float) -> float:
    return a / b


def die(code: int) -> None:
    os._exit(code)


def wait_for_file(path: Path) -> bool:
    while not path.exists():
        time.sleep(0.001)
    return True


def compute(seconds: float) -> int:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
    return os.getpid()


def nap() -> int:
    time.sleep(0.05)
    return os.getpid()


# What a death breaks


def test_a_death_breaks_only_its_own_future() -> None:
    with flatout.Executor(2, via="process") as pool:
        before = [pool.submit(square, x) for x in range(20)]
        deaths = [pool.submit(die, 3) for _ in range(3)]
        after = [pool.submit(square, x) for x in range(20)]
        assert [future.result() for future in before + after] == [x * x for x in range(20)] * 2
        for future in deaths:
            error = future.exception()
            assert isinstance(error, flatout.WorkerDied)
            assert error.exitcode == 3
        assert pool.submit(square, 5).result() == 25


def test_a_killed_worker_is_replaced() -> None:
    with flatout.Executor(1, via="process") as pool:
        first = pool.submit(os.getpid).result()
        os.kill(first, signal.SIGKILL)
        assert pool.submit(os.getpid).result() != first


@pytest.mark.parametrize("via", KINDS)
def test_a_failed_initializer_breaks_the_executor(via: Any) -> None:
    with flatout.Executor(2, via=via, initializer=int, initargs=("no number",)) as pool:
        future = pool.submit(square, 1)
        with pytest.raises(futures.BrokenExecutor, match="invalid literal") as caught:
            future.result()
        assert isinstance(caught.value.__cause__, ValueError)
        with pytest.raises(futures.BrokenExecutor, match="invalid literal"):
            pool.submit(square, 1)


def test_what_cannot_be_pickled_fails_in_its_future() -> None:
    with flatout.Executor(1, via="process") as pool:
        future = pool.submit(bool, threading.Lock())
        assert isinstance(future.exception(), flatout.NotPicklable)
        assert pool.submit(lambda x: x + 1, 1).result() == 2


# Where calls run


def test_no_call_waits_behind_another_while_a_worker_is_free(tmp_path: Path) -> None:
    with flatout.Executor(2, via="process") as pool:
        assert sum(pool.map(square, range(100))) == sum(x * x for x in range(100))  # they seem to be cheap
        waiting = pool.submit(wait_for_file, tmp_path / "file")
        others = [pool.submit(square, x) for x in range(5)]
        futures.wait(others)
        assert pool.submit(Path.touch, tmp_path / "file").result() is None
        assert waiting.result()


def test_threads_run_in_the_context_of_the_submitter() -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    with flatout.Executor(1, via="thread") as pool:
        assert pool.submit(variable.get).result() == "unset"
        variable.set("by the submitter")
        assert pool.submit(variable.get).result() == "by the submitter"
        pool.submit(variable.set, "by a call").result()
        assert variable.get() == "by the submitter"


async def doubled(x: int) -> int:
    await asyncio.sleep(0.001)
    return 2 * x


@pytest.mark.parametrize("via", ["auto", "thread", "process", "async"])
def test_coroutine_functions_are_awaited(via: Any) -> None:
    with flatout.Executor(2, via=via) as pool:
        values: Any = list(pool.map(doubled, range(20)))
    assert values == [2 * x for x in range(20)]


async def where() -> str:
    return threading.current_thread().name


def test_auto_awaits_on_a_loop() -> None:
    with flatout.Executor() as pool:
        thread: Any = pool.submit(where).result()
    assert thread == "flatout-loop"


@needs_gil
def test_auto_sends_what_computes_to_processes() -> None:
    for _ in range(3):  # a machine that is busy with other work may mislead the measurement
        with flatout.Executor() as pool:
            pids = {future.result() for future in [pool.submit(compute, 0.05) for _ in range(6)]}
        if len(pids) > 1:
            return
    raise AssertionError("three times everything stayed in this process")


def test_auto_keeps_what_waits_and_what_is_tiny() -> None:
    with flatout.Executor() as pool:
        naps = [pool.submit(nap) for _ in range(6)]
        tiny = [pool.submit(os.getpid) for _ in range(6)]
        assert {future.result() for future in naps + tiny} == {os.getpid()}


def test_auto_keeps_what_changes_the_callers_memory() -> None:
    seen: list[int] = []

    def note(x: int) -> None:
        compute(0.04)
        seen.append(x)

    with flatout.Executor() as pool:
        futures.wait([pool.submit(note, x) for x in range(4)])
    assert sorted(seen) == [0, 1, 2, 3]


def test_auto_goes_on_when_a_first_call_is_cancelled() -> None:
    release = threading.Event()
    with flatout.Executor(1) as pool:
        blocking = pool.submit(release.wait)
        first = pool.submit(square, 2)
        held = pool.submit(square, 3)
        assert first.cancel()
        release.set()
        assert held.result(SECONDS) == 9
        assert pool.submit(square, 4).result(SECONDS) == 16
        assert blocking.result()


def test_auto_finishes_what_it_holds_back_when_it_is_shut_down() -> None:
    pool = flatout.Executor()
    calls = [pool.submit(compute, 0.04) for _ in range(5)]
    pool.shutdown()
    assert all(future.done() and future.exception() is None for future in calls)


def test_a_worker_process_is_replaced_after_its_most_calls() -> None:
    with flatout.Executor(1, via="process", max_tasks_per_child=2) as pool:
        pids = list(pool.map(lambda _: os.getpid(), range(6)))
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [2, 2, 2]


# Futures


@pytest.mark.parametrize("via", ["thread", "process"])
def test_a_call_that_waits_can_be_cancelled_and_one_that_runs_cannot(via: Any, tmp_path: Path) -> None:
    with flatout.Executor(1, via=via) as pool:
        running = pool.submit(wait_for_file, tmp_path / "file")
        waiting = pool.submit(square, 2)
        while not running.running():
            time.sleep(0.001)
        assert not running.cancel()
        assert waiting.cancel()
        (tmp_path / "file").touch()
        assert running.result()


@pytest.mark.parametrize("via", KINDS)
def test_a_callback_may_submit_and_wait(via: Any) -> None:
    with flatout.Executor(2, via=via) as pool:
        seen: list[int] = []
        called = threading.Event()

        def follow(future: futures.Future[int]) -> None:
            seen.append(pool.submit(square, future.result()).result(SECONDS))
            called.set()

        pool.submit(square, 3).add_done_callback(follow)
        assert called.wait(SECONDS)
        assert seen == [81]


def test_a_callback_may_wait_for_a_call_that_takes_long() -> None:
    seen: list[int] = []
    called = threading.Event()
    with flatout.Executor(2, via="process") as pool:

        def follow(future: futures.Future[int]) -> None:
            seen.append(pool.submit(slowly_squared, future.result()).result(SECONDS))
            called.set()

        pool.submit(slowly_squared, 3).add_done_callback(follow)
        assert called.wait(SECONDS)
    assert seen == [81]


def slowly_squared(x: int) -> int:
    time.sleep(0.1)
    return x * x


def test_a_call_may_submit_another_and_wait() -> None:
    with flatout.Executor(2, via="thread") as pool:
        assert pool.submit(lambda: pool.submit(square, 3).result() + 1).result() == 10


def test_exceptions_arrive_as_they_are_with_the_remote_traceback() -> None:
    with flatout.Executor(1, via="process") as pool:
        error = pool.submit(divide, 1, 0).exception()
    assert isinstance(error, ZeroDivisionError)
    assert "return a / b" in str(error.__cause__)


@pytest.mark.parametrize("via", KINDS)
def test_many_threads_may_submit_and_wait_at_once(via: Any) -> None:
    wrong: list[int] = []

    def client(start: int) -> None:
        for x in range(start, start + 100):
            if pool.submit(square, x).result() != x * x:
                wrong.append(x)

    with flatout.Executor(2, via=via) as pool:
        clients = [threading.Thread(target=client, args=(1000 * i,)) for i in range(6)]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join()
    assert not wrong


@pytest.mark.parametrize("via", KINDS)
def test_it_serves_an_event_loop(via: Any) -> None:
    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        with flatout.Executor(2, via=via) as pool:
            return await asyncio.gather(*(loop.run_in_executor(pool, square, x) for x in range(50)))

    assert asyncio.run(main()) == [x * x for x in range(50)]


def test_a_wait_that_was_interrupted_leaves_the_executor_whole(tmp_path: Path) -> None:
    main = threading.main_thread().ident
    assert main is not None
    with flatout.Executor(1, via="process") as pool:
        square_of_3 = pool.submit(square, 3)
        assert square_of_3.result() == 9
        slow = pool.submit(wait_for_file, tmp_path / "file")
        threading.Timer(0.1, signal.pthread_kill, (main, signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            slow.result()
        (tmp_path / "file").touch()
        assert slow.result()
        assert pool.submit(square, 4).result() == 16


def test_a_timeout_is_kept_while_reading() -> None:
    with flatout.Executor(1, via="process") as pool:
        slow = pool.submit(time.sleep, 0.5)
        for timeout in (0, 1e-6, 0.0005, 0.01):
            with pytest.raises(futures.TimeoutError):
                slow.result(timeout)
        assert slow.exception() is None


# map


@pytest.mark.parametrize("chunksize", [1, 3])
@pytest.mark.parametrize("via", KINDS)
def test_map_keeps_the_order(via: Any, chunksize: int) -> None:
    with flatout.Executor(2, via=via) as pool:
        assert list(pool.map(pow, range(10), range(10), chunksize=chunksize)) == [x**x for x in range(10)]


def test_map_with_a_buffersize_draws_as_results_are_taken() -> None:
    drawn: list[int] = []

    def numbers() -> Iterator[int]:
        for x in range(10**9):
            drawn.append(x)
            yield x

    with flatout.Executor(2, via="thread") as pool:
        results = pool.map(square, numbers(), buffersize=3)
        assert len(drawn) == 3
        assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
        assert len(drawn) == 8


def test_map_asks_no_iterable_again_once_it_has_ended() -> None:
    inputs = iter(range(10))
    with flatout.Executor(1, via="thread") as pool:
        assert list(pool.map(pow, inputs, [1, 1], buffersize=1)) == [0, 1]
    assert next(inputs) == 3  # as the builtin leaves it


@pytest.mark.parametrize("options", [{"chunksize": 0}, {"buffersize": 0}])
def test_map_refuses_what_makes_no_sense(options: Any) -> None:
    with flatout.Executor(1, via="thread") as pool, pytest.raises(ValueError, match="size must be"):
        pool.map(square, [1], **options)


def test_arguments_are_checked() -> None:
    for wrong in ("2", 1.5, True):
        with pytest.raises(TypeError, match="max_workers must be a whole number or None"):
            flatout.Executor(wrong)  # type: ignore[arg-type]
    with pytest.raises(flatout.PlanError) as raised:
        flatout.Executor(via="inline")
    assert "skip" not in str(raised.value)
    with pytest.raises(ValueError, match="max_workers must be greater than 0"):
        flatout.Executor(0)
    with pytest.raises(ValueError, match="max_tasks_per_child"):
        flatout.Executor(max_tasks_per_child=0)
    with pytest.raises(flatout.PlanError, match='did you mean "process"'):
        flatout.Executor(via="processes")  # type: ignore[arg-type]
    with pytest.raises(flatout.PlanError, match="via must be one of"):
        flatout.Executor(via="inline")


# The end


def _resources() -> tuple[set[threading.Thread], int, int]:
    for thread in threading.enumerate():
        if thread.name == "flatout-probe":  # it has seen enough, and wakes once more
            thread.join(SECONDS)
    gc.collect()  # until then its open files may be kept
    return set(threading.enumerate()), len(os.listdir("/proc/self/fd")), len(psutil.Process().children(recursive=True))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files as Linux shows them")
@pytest.mark.parametrize("via", ["auto", "thread", "process", "async"])
def test_fifty_in_a_row_leave_nothing_behind(via: Any) -> None:
    def once() -> None:
        with flatout.Executor(2, via=via) as pool:
            assert list(pool.map(doubled if via == "async" else square, range(4))) in ([0, 1, 4, 9], [0, 2, 4, 6])

    for _ in range(3):  # until the zygote and as many workers as are kept are there
        once()
    threads, files, processes = _resources()
    for _ in range(50):
        once()
    after = _resources()
    assert after[0] <= threads
    assert after[1:] <= (files, processes)


@pytest.mark.parametrize("via", ["thread", "process"])
def test_one_that_is_dropped_finishes_what_was_submitted(via: Any) -> None:
    before = set(threading.enumerate())
    pool = flatout.Executor(1, via=via)
    station = weakref.ref(pool)
    calls = [pool.submit(time.sleep, 0.02) for _ in range(4)]
    del pool
    gc.collect()
    assert station() is None
    assert futures.wait(calls, SECONDS).not_done == set()
    for thread in set(threading.enumerate()) - before:
        thread.join(SECONDS)
        assert not thread.is_alive()


def test_one_that_is_never_used_starts_nothing() -> None:
    before = set(threading.enumerate())
    with flatout.Executor(via="process"):
        assert set(threading.enumerate()) == before


@pytest.mark.parametrize("wait", ["", "pool.shutdown(wait=False)"])
@pytest.mark.parametrize("via", ["auto", "thread", "process"])
def test_what_was_submitted_is_finished_at_the_end_of_the_program(via: str, wait: str, tmp_path: Path) -> None:
    code = f"""
import time, flatout

def slowly(word):
    time.sleep(0.1)
    print(word, flush=True)

pool = flatout.Executor(1, via={via!r})
for word in ("one", "two", "three"):
    pool.submit(slowly, word)
{wait}
"""
    done = python(code, tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == ("one\ntwo\nthree\n", "", 0)


@pytest.mark.parametrize("via", ["thread", "process"])
def test_nothing_can_be_submitted_after_the_end_of_the_program(via: str, tmp_path: Path) -> None:
    code = f"""
import atexit, flatout

@atexit.register
def late():
    for executor in (pool, flatout.Executor(1, via={via!r})):
        try:
            executor.submit(id, None)
        except RuntimeError as error:
            print(error)

pool = flatout.Executor(1, via={via!r})
pool.submit(id, None).result()
"""
    done = python(code, tmp_path)
    refusals = "cannot schedule new futures after shutdown\ncannot schedule new futures after interpreter shutdown\n"
    assert (done.stdout, done.stderr) == (refusals, "")


def test_functions_and_classes_of_main_need_no_guard(tmp_path: Path) -> None:
    code = """
import flatout

class Point:
    def __init__(self, x):
        self.x = x

def move(point):
    return Point(point.x + 1)

pool = flatout.Executor(2, via="process")
print([isinstance(pool.submit(move, Point(x)).result(), Point) for x in range(3)])
print(pool.submit(lambda x: x + 1, 1).result())
"""
    done = python(code, tmp_path)
    assert (done.stdout, done.stderr) == ("[True, True, True]\n2\n", "")


@pytest.mark.parametrize("via", ["thread", "process"])
def test_a_fork_of_the_program_ends_in_peace(via: Any) -> None:
    with flatout.Executor(1, via=via) as pool:
        assert pool.submit(square, 3).result() == 9
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of a fork in a program with threads
            pid = os.fork()
        if pid == 0:
            threading._shutdown()  # type: ignore[attr-defined]  # what the end of a program begins with
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert pool.submit(square, 4).result() == 16


def test_cancelled_futures_never_run() -> None:
    release = threading.Event()
    pool = flatout.Executor(1, via="thread")
    running = pool.submit(release.wait)
    while not running.running():
        time.sleep(0.001)
    ran: list[int] = []
    waiting = [pool.submit(ran.append, x) for x in range(5)]
    pool.shutdown(wait=False, cancel_futures=True)
    release.set()
    pool.shutdown()
    assert running.result()
    assert all(future.cancelled() for future in waiting)
    assert ran == []


@pytest.mark.parametrize("via", KINDS)
def test_who_waits_for_cancelled_futures_is_told(via: Any, tmp_path: Path) -> None:
    pool = flatout.Executor(1, via=via)
    calls = [pool.submit(wait_for_file, tmp_path / "file") for _ in range(5)]
    while not calls[0].running():
        time.sleep(0.001)
    pool.shutdown(wait=False, cancel_futures=True)
    (tmp_path / "file").touch()
    assert futures.wait(calls, SECONDS).not_done == set()
    assert calls[0].result()
    assert sum(call.cancelled() for call in calls) == 4
    pool.shutdown()


def test_partials_with_keywords_travel() -> None:
    with flatout.Executor(1, via="process") as pool:
        assert pool.submit(int, "ff", base=16).result() == 255
        assert pool.submit(partial(int, base=2), "11").result() == 3


def test_the_zygote_is_what_forks() -> None:
    with flatout.Executor(1, via="process") as pool:
        parent = psutil.Process(pool.submit(os.getpid).result()).parent()
    assert parent is not None
    assert _zygote.__name__ in " ".join(parent.cmdline())


def test_workers_that_were_replaced_are_forgotten() -> None:
    with flatout.Executor(1, via="process", max_tasks_per_child=1) as pool:
        assert list(pool.map(abs, range(20))) == list(range(20))
        gc.collect()
        assert sum(isinstance(each, ProcessWorker) for each in gc.get_objects()) < 5
