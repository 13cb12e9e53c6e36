"""What can go wrong in, around and to an executor: it costs the call that it belongs to, and nothing stays behind."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import itertools
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any, NoReturn

import psutil
import pytest

import flatout

SECONDS = 60  # that a subprocess or an event may take

KINDS = ["auto", "thread", "process"]


def square(x: int) -> int:
    return x * x


def wait_for_file(path: Path) -> int:
    while not path.exists():
        time.sleep(0.001)
    return os.getpid()


def meet(folder: Path, count: int) -> int:
    """Come back when so many calls are under way."""
    (folder / str(time.monotonic_ns())).touch()
    while len(os.listdir(folder)) < count:
        time.sleep(0.001)
    return os.getpid()


def hold_on(folder: Path) -> None:
    """Never come back from a call, of which the folder tells that it has begun."""
    (folder / str(time.monotonic_ns())).touch()
    time.sleep(1000)


def fail(error: BaseException) -> NoReturn:
    raise error


def crash() -> None:
    faulthandler.disable()
    faulthandler._sigsegv()  # type: ignore[attr-defined]


FAULTS: dict[str, Callable[[], object]] = {
    "error": lambda: fail(pickle.PickleError("faulty")),
    "exit": lambda: sys.exit(1),
    "interrupt": lambda: fail(KeyboardInterrupt("faulty")),
    "die": lambda: os._exit(5),
    "crash": crash,
}


def commit(fault: str) -> object:
    return FAULTS[fault]()


class AtPickle:
    """Does something when it is pickled."""

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def __reduce__(self) -> Any:
        commit(self.fault)


class AtUnpickle(AtPickle):
    """Does something when it is loaded."""

    def __reduce__(self) -> Any:
        return commit, (self.fault,)


class ErrorAtPickle(Exception):
    def __reduce__(self) -> Any:
        commit(str(self))


class ErrorAtUnpickle(Exception):
    def __reduce__(self) -> Any:
        return commit, (str(self),)


def returned(make: Callable[[str], object], fault: str) -> object:
    return make(fault)


def raised(make: Callable[[str], BaseException], fault: str) -> object:
    raise make(fault)


# What is done, where, and what becomes of the call: the like of the cases in CPython's `ExecutorDeadlockTest`. (An argument
# whose pickling ends the process ends the caller's, and a result whose loading does so, too.)
PICKLING: list[tuple[Any, ...]] = [
    (bool, (AtPickle("error"),), flatout.NotPicklable),
    (bool, (AtPickle("exit"),), flatout.NotPicklable),
    (bool, (AtPickle("interrupt"),), flatout.NotPicklable),
    (bool, (AtUnpickle("error"),), pickle.PickleError),
    (bool, (AtUnpickle("exit"),), SystemExit),
    (bool, (AtUnpickle("interrupt"),), KeyboardInterrupt),
    (bool, (AtUnpickle("die"),), flatout.WorkerDied),
    (bool, (AtUnpickle("crash"),), flatout.WorkerDied),
    (returned, (AtPickle, "error"), flatout.NotPicklable),
    (returned, (AtPickle, "exit"), flatout.NotPicklable),
    (returned, (AtPickle, "interrupt"), flatout.NotPicklable),
    (returned, (AtPickle, "die"), flatout.WorkerDied),
    (returned, (AtPickle, "crash"), flatout.WorkerDied),
    (returned, (AtUnpickle, "error"), pickle.PickleError),
    (returned, (AtUnpickle, "exit"), SystemExit),
    (returned, (AtUnpickle, "interrupt"), KeyboardInterrupt),
    (raised, (ErrorAtPickle, "error"), ErrorAtPickle),
    (raised, (ErrorAtPickle, "exit"), ErrorAtPickle),
    (raised, (ErrorAtPickle, "interrupt"), ErrorAtPickle),
    (raised, (ErrorAtPickle, "die"), flatout.WorkerDied),
    (raised, (ErrorAtPickle, "crash"), flatout.WorkerDied),
    (raised, (ErrorAtUnpickle, "error"), ErrorAtUnpickle),
    (raised, (ErrorAtUnpickle, "exit"), ErrorAtUnpickle),
    (raised, (ErrorAtUnpickle, "interrupt"), ErrorAtUnpickle),
    (raised, (ErrorAtUnpickle, "die"), flatout.WorkerDied),
    (raised, (ErrorAtUnpickle, "crash"), flatout.WorkerDied),
    (commit, ("error",), pickle.PickleError),
    (commit, ("exit",), SystemExit),
    (commit, ("interrupt",), KeyboardInterrupt),
    (commit, ("die",), flatout.WorkerDied),
    (commit, ("crash",), flatout.WorkerDied),
]


@pytest.fixture(scope="module")
def by_process() -> Iterator[flatout.Executor]:
    with flatout.Executor(2, via="process") as pool:
        yield pool


def name_of_case(case: tuple[Any, ...]) -> str:
    func, args, _ = case
    what = args[0] if len(args) == 2 else type(args[0]) if isinstance(args[0], AtPickle) else func
    return "-".join([func.__name__, what.__name__, getattr(args[-1], "fault", args[-1])])


@pytest.mark.parametrize("case", PICKLING, ids=map(name_of_case, PICKLING))
def test_a_fault_costs_its_own_call(by_process: flatout.Executor, case: tuple[Any, ...]) -> None:
    func, args, expected = case
    before = [by_process.submit(square, x) for x in range(3)]
    faulty = by_process.submit(func, *args)
    after = [by_process.submit(square, x) for x in range(3)]
    assert isinstance(faulty.exception(SECONDS), expected)
    assert [future.result(SECONDS) for future in before + after] == [0, 1, 4] * 2


# Deaths


def test_several_that_are_killed_at_once_cost_only_what_they_were_on(tmp_path: Path) -> None:
    with flatout.Executor(3, via="process") as pool:
        pids = {future.result(SECONDS) for future in [pool.submit(meet, tmp_path, 3) for _ in range(3)]}
        assert len(pids) == 3
        running = [pool.submit(hold_on, tmp_path) for _ in range(3)]
        waiting = [pool.submit(square, x) for x in range(10)]
        while len(os.listdir(tmp_path)) < 6:
            time.sleep(0.001)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        assert all(isinstance(future.exception(SECONDS), flatout.WorkerDied) for future in running)
        assert [future.result(SECONDS) for future in waiting] == [x * x for x in range(10)]


def test_a_zygote_that_is_killed_is_replaced(tmp_path: Path) -> None:
    with flatout.Executor(1, via="process") as pool:
        zygote = psutil.Process(pool.submit(os.getpid).result(SECONDS)).parent()
        running = pool.submit(hold_on, tmp_path)
        waiting = pool.submit(square, 3)
        while not os.listdir(tmp_path):
            time.sleep(0.001)
        assert zygote is not None
        zygote.kill()
        assert isinstance(running.exception(SECONDS), flatout.WorkerDied)
        assert waiting.result(SECONDS) == 9


def test_a_worker_that_lost_its_descriptors_is_replaced() -> None:
    with flatout.Executor(1, via="process") as pool:
        error = pool.submit(os.closerange, 0, 1 << 20).exception(SECONDS)
        assert isinstance(error, flatout.WorkerDied)
        assert pool.submit(square, 3).result(SECONDS) == 9


def test_deaths_count_as_calls_for_their_workers() -> None:
    with flatout.Executor(2, via="process", max_tasks_per_child=2) as pool:
        calls = [pool.submit(commit, "die") if x % 3 == 0 else pool.submit(square, x) for x in range(20)]
        for x, call in enumerate(calls):
            if x % 3 == 0:
                assert isinstance(call.exception(SECONDS), flatout.WorkerDied)
            else:
                assert call.result(SECONDS) == x * x


def test_an_initializer_that_dies_breaks_the_executor() -> None:
    with flatout.Executor(2, via="process", initializer=os._exit, initargs=(3,)) as pool:
        calls = [pool.submit(square, x) for x in range(3)]
        assert all(isinstance(call.exception(SECONDS), futures.BrokenExecutor) for call in calls)
        with pytest.raises(futures.BrokenExecutor):
            pool.submit(square, 1)


@pytest.mark.parametrize("via", KINDS)
@pytest.mark.parametrize("fault", ["exit", "interrupt"])
def test_an_initializer_may_raise_anything(via: Any, fault: str) -> None:
    with flatout.Executor(1, via=via, initializer=commit, initargs=(fault,)) as pool:
        with pytest.raises(futures.BrokenExecutor) as caught:
            pool.submit(square, 1).result(SECONDS)
        assert isinstance(caught.value.__cause__, (SystemExit, KeyboardInterrupt))


def test_an_initializer_that_hangs_can_be_left() -> None:
    pool = flatout.Executor(1, via="process", initializer=time.sleep, initargs=(1000,))
    call = pool.submit(square, 1)
    pool.kill_workers()
    pool.shutdown()
    assert call.done()


# The end of what does not end


@pytest.mark.parametrize("via", ["process", "thread", "async", "auto"])
def test_workers_can_be_killed(via: Any, tmp_path: Path) -> None:
    async def forever() -> None:
        await asyncio.sleep(1000)

    pool = flatout.Executor(1, via=via)
    running = pool.submit(forever) if via == "async" else pool.submit(wait_for_file, tmp_path / "file")
    while not running.running():
        time.sleep(0.001)
    waiting = pool.submit(square, 1)
    pool.kill_workers()
    pool.shutdown()
    assert waiting.done()
    if via in ("process", "async"):
        assert running.exception(SECONDS) is not None
    (tmp_path / "file").touch()
    with pytest.raises(RuntimeError):
        pool.submit(square, 1)


def test_leaving_by_ctrl_c_waits_for_nothing(tmp_path: Path) -> None:
    calls: list[futures.Future[None]] = []

    def interrupted() -> None:
        with flatout.Executor(2, via="process") as pool:
            calls.extend(pool.submit(hold_on, tmp_path) for _ in range(5))
            while not os.listdir(tmp_path):
                time.sleep(0.001)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert all(call.done() for call in calls)


def started(code: str, folder: Path) -> subprocess.Popen[str]:
    """A script that has written its first line; it leads a process group, as a shell would have it."""
    script = folder / "script.py"
    script.write_text(code, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


@pytest.mark.parametrize(
    "how", ["calls[0].result()", "wait(calls)", "list(pool.map(slow, calls))", "pool.shutdown()", ""]
)
@pytest.mark.parametrize("via", KINDS)
def test_one_ctrl_c_ends_a_program(via: str, how: str, tmp_path: Path) -> None:
    code = f"""
import time, flatout
from concurrent.futures import wait

def slow(x):
    time.sleep(1000)

pool = flatout.Executor(2, via={via!r})
calls = [pool.submit(slow, x) for x in range(5)]
while not calls[0].running():
    time.sleep(0.001)
print(flush=True)
{how}
"""
    process = started(code, tmp_path)
    below = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode in (-signal.SIGINT, 0 if how == "" else -signal.SIGINT)  # 0 in CPython while it ends
    told_by_name_alone = how == "" and sys.version_info >= (3, 14)  # where no code of the program's is running any more
    assert errors.count("KeyboardInterrupt") == 1
    assert errors.count("Traceback") in ((0, 1) if told_by_name_alone else (1,))
    assert psutil.wait_procs(below, timeout=SECONDS)[1] == []


def test_calls_that_never_end_hold_no_program_that_kills_them(tmp_path: Path) -> None:
    code = """
import threading, time, flatout
for via in ("thread", "process", "auto"):
    pool = flatout.Executor(1, via=via)
    pool.submit(time.sleep, 1000)
    pool.shutdown(wait=False, cancel_futures=True)
    pool.kill_workers()
print("ended")
"""
    process = started(code, tmp_path)
    assert process.communicate(timeout=SECONDS) == ("", "")
    assert process.returncode == 0


CTRL_C_STORM = """
import signal, sys, threading, time
from concurrent import futures
import flatout

def square(x):
    return x * x

def press():  # each time that it is awaited: one more would come where the script deals with the last
    global awaited
    while presses < 300:
        time.sleep(0.002)
        if awaited:
            awaited = False
            signal.pthread_kill(main, signal.SIGINT)

awaited, presses, calls, main = False, 0, [], threading.main_thread().ident
pool = flatout.Executor(2, via=sys.argv[1])
pool.submit(square, 1).result()
presser = threading.Thread(target=press)
presser.start()
while presses < 300:
    try:
        awaited = True
        while True:
            calls += [pool.submit(square, 3) for _ in range(3)]
            assert calls[-1].result() == 9
    except KeyboardInterrupt:
        presses += 1
presser.join()
done, undone = futures.wait(calls, 60)
print(len(undone), {call.result() for call in done}, pool.submit(square, 4).result())
"""


@pytest.mark.parametrize("via", [*KINDS, "async"])
def test_no_ctrl_c_breaks_an_executor_or_loses_a_future(via: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(CTRL_C_STORM, encoding="utf-8")
    done = subprocess.run([sys.executable, script, via], capture_output=True, text=True, timeout=SECONDS)
    assert (done.stdout, done.stderr) == ("0 {9} 16\n", "")


# Calls from odd places


@pytest.mark.parametrize("via", KINDS)
def test_a_finalizer_may_submit(via: Any) -> None:
    class Last:
        def __init__(self) -> None:
            self.me = self  # found by the collector, wherever that happens to run

        def __del__(self) -> None:
            calls.append(pool.submit(square, 2))

    calls: list[futures.Future[int]] = []
    threshold = gc.get_threshold()
    with flatout.Executor(2, via=via) as pool:
        gc.set_threshold(10)
        try:
            for x in range(300):
                Last()
                calls.append(pool.submit(square, x))
        finally:
            gc.set_threshold(*threshold)
        gc.collect()
        assert len(calls) == 600
        assert futures.wait(calls, SECONDS).not_done == set()


@pytest.mark.parametrize("via", KINDS)
def test_a_signal_handler_may_submit_also_first(via: Any) -> None:
    calls: list[futures.Future[int]] = []

    def handle(*_: object) -> None:
        calls.append(pool.submit(square, 2))
        signal.setitimer(signal.ITIMER_REAL, 0.001)

    with flatout.Executor(2, via=via) as pool:
        before = signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.0001)
        try:
            while len(calls) < 100:
                assert pool.submit(square, 3).result() == 9
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert {future.result(SECONDS) for future in calls} == {4}


def test_a_signal_handler_that_waits_stops_no_other_thread() -> None:
    release = threading.Event()
    results: list[int] = []

    def other() -> None:
        for _ in range(20):
            results.append(pool.submit(square, 3).result())
        release.set()

    def handle(*_: object) -> None:
        if station._host._leader is None or station._host._pumping.locked():  # it is not in the middle of reading
            signal.setitimer(signal.ITIMER_REAL, 0.001)
            return
        thread.start()
        assert release.wait(SECONDS)

    with flatout.Executor(2, via="process") as pool:
        assert pool.submit(square, 2).result() == 4
        station: Any = pool._station
        thread = threading.Thread(target=other)
        before = signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        try:
            while not release.is_set():
                assert pool.submit(time.sleep, 0.0005).result() is None
        finally:
            signal.signal(signal.SIGALRM, before)
        thread.join(SECONDS)
    assert results == [9] * 20


def test_while_a_waiter_reads_it_does_not_hold_what_who_brings_his_result_wants(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A signal handler may come in the middle of it, and wait for the results of others."""
    held: list[bool] = []
    with flatout.Executor(1, via="process") as pool:
        future = pool.submit(time.sleep, 0.02)
        look = future._condition.__enter__

        def enter() -> Any:
            held.append(station._host._leader is not None and threading.current_thread() is threading.main_thread())
            return look()

        station: Any = pool._station
        monkeypatch.setattr(future, "_condition", _Entered(future._condition, enter))
        assert future.result(SECONDS) is None
    assert held
    assert not any(held)


class _Entered:
    """A condition of which it is noted when its lock is taken."""

    def __init__(self, condition: threading.Condition, enter: Callable[[], Any]) -> None:
        self._condition, self._enter = condition, enter

    def __enter__(self) -> Any:
        return self._enter()

    def __exit__(self, *args: Any) -> Any:
        return self._condition.__exit__(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._condition, name)


@pytest.mark.parametrize("via", KINDS)
def test_a_callback_that_raises_anything_harms_nothing(via: Any, tmp_path: Path) -> None:
    with flatout.Executor(2, via=via) as pool:
        calls = [pool.submit(wait_for_file, tmp_path / "file") for _ in range(4)]
        for call, fault in zip(calls, itertools.cycle(["error", "exit", "interrupt"]), strict=False):
            call.add_done_callback(lambda _, fault=fault: commit(fault))  # type: ignore[misc]
        (tmp_path / "file").touch()
        assert futures.wait(calls, SECONDS).not_done == set()
        assert pool.submit(square, 3).result(SECONDS) == 9


@pytest.mark.parametrize("via", [*KINDS, "async"])
def test_to_wait_for_oneself_is_an_error(via: Any, tmp_path: Path) -> None:
    errors: list[str] = []
    called = threading.Event()

    def close(_: object) -> None:
        try:
            pool.shutdown()
        except RuntimeError as error:
            errors.append(str(error))
        called.set()

    pool = flatout.Executor(1, via=via)
    call = pool.submit(wait_for_file, tmp_path / "file")
    call.add_done_callback(close)
    (tmp_path / "file").touch()
    assert called.wait(SECONDS)
    pool.shutdown()
    assert "would wait for itself" in errors[0]
    if via != "process":
        pool = flatout.Executor(1, via=via)
        pool.submit(close, None).result(SECONDS)
        pool.shutdown()
        assert len(errors) == 2


def nested(via: Any) -> set[int]:
    with flatout.Executor(via=via) as pool:
        return {future.result(SECONDS) for future in [pool.submit(os.getpid) for _ in range(10)]}


@pytest.mark.parametrize("inner", KINDS)
@pytest.mark.parametrize("outer", KINDS)
def test_executors_can_be_nested(outer: Any, inner: Any) -> None:
    with flatout.Executor(2, via=outer) as pool:
        found = [future.result(SECONDS) for future in [pool.submit(nested, inner) for _ in range(4)]]
    most = 1 if inner != "process" or outer == "process" else flatout.machine().usable_cores
    assert all(len(pids) <= most for pids in found)


@pytest.mark.parametrize("via", [*KINDS, "async"])
def test_a_fork_is_told_that_the_executor_is_not_its_own(via: Any, tmp_path: Path) -> None:
    with flatout.Executor(2, via=via) as pool:
        assert pool.submit(square, 3).result() == 9
        running = pool.submit(wait_for_file, tmp_path / "file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of a fork in a program with threads
            pid = os.fork()
        if pid == 0:
            signal.alarm(SECONDS)
            try:
                pool.submit(square, 4)
            except futures.BrokenExecutor as error:
                pool.shutdown()
                with flatout.Executor(1, via=via) as another:
                    os._exit(another.submit(square, 4).result() if "forked" in str(error) else 1)
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 16
        (tmp_path / "file").touch()
        assert running.result(SECONDS)
        assert pool.submit(square, 4).result(SECONDS) == 16


def test_what_belongs_to_an_executor_is_not_sent() -> None:
    with flatout.Executor(1, via="process") as pool:
        call = pool.submit(square, 3)
        for mine in (pool, call, pool.submit, lambda: pool):
            with pytest.raises(flatout.NotPicklable, match=r"make one there|ask it for its result"):
                pool.submit(bool, mine).result(SECONDS)
        assert call.result() == 9


class NoHash:
    __hash__ = None  # type: ignore[assignment]

    def __call__(self) -> int:
        return 1


class Unfriendly:
    __slots__ = ()

    def __call__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        raise ValueError("incomparable")

    def __hash__(self) -> int:
        raise ValueError("no hash")


@pytest.mark.parametrize("via", [*KINDS, "async"])
@pytest.mark.parametrize("func", [None, 3, NoHash(), Unfriendly()], ids=["None", "number", "no hash", "unfriendly"])
def test_what_can_hardly_be_called_is_called_all_the_same(via: Any, func: Any) -> None:
    with flatout.Executor(1, via=via) as pool:
        for keywords in ({}, {"keyword": 1}):
            good = callable(func) and not keywords
            error = pool.submit(func, **keywords).exception(SECONDS)
            assert error is None if good else isinstance(error, TypeError)
        assert pool.submit(square, 3).result(SECONDS) == 9


# Many at once


@pytest.mark.parametrize("via", KINDS)
def test_each_call_is_cancelled_or_made(via: Any) -> None:
    ran: list[int] = []
    lost: list[object] = []

    def client(start: int) -> None:
        for x in range(start, start + 100):
            call = pool.submit(square, x)
            time.sleep(0.0001 * (x % 3))
            if call.cancel():
                if not call.cancelled():
                    lost.append(call)
            elif call.result(SECONDS) == x * x:
                ran.append(x)
            else:
                lost.append(call)

    with flatout.Executor(2, via=via) as pool:
        clients = [threading.Thread(target=client, args=(1000 * i,)) for i in range(5)]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join()
    assert lost == []
    assert ran


@pytest.mark.parametrize("cancel", [False, True])
@pytest.mark.parametrize("via", KINDS)
def test_what_is_submitted_during_shutdown_is_refused_or_settled(via: Any, cancel: bool) -> None:
    calls: list[futures.Future[int]] = []

    def client() -> None:
        while True:
            try:
                calls.append(pool.submit(square, 3))
            except RuntimeError:
                return

    pool = flatout.Executor(2, via=via)
    clients = [threading.Thread(target=client) for _ in range(3)]
    for thread in clients:
        thread.start()
    while len(calls) < 20:
        time.sleep(0.0001)
    pool.shutdown(cancel_futures=cancel)
    for thread in clients:
        thread.join(SECONDS)
    assert all(call.done() for call in calls)


def test_large_arguments_and_results_travel() -> None:
    large = os.urandom(1 << 20) * 64
    with flatout.Executor(2, via="process") as pool:
        assert pool.submit(len, large).result(SECONDS) == 1 << 26
        assert pool.submit(bytes.upper, large).result(SECONDS) == large.upper()


def test_exceptions_keep_their_causes() -> None:
    def causing() -> None:
        try:
            fail(KeyError("first"))
        except KeyError as error:
            raise ValueError("second") from error

    with flatout.Executor(1, via="process") as pool:
        error = pool.submit(causing).exception(SECONDS)
    assert isinstance(error, ValueError)
    assert repr(error.__cause__) == "KeyError('first')"


@pytest.mark.parametrize("via", KINDS)
def test_an_endless_map_takes_what_it_gives(via: Any) -> None:
    with flatout.Executor(2, via=via) as pool:
        results = pool.map(square, itertools.count(), buffersize=4)
        assert list(itertools.islice(results, 50)) == [x * x for x in range(50)]


@pytest.mark.parametrize("via", KINDS)
def test_a_map_that_is_over_its_time_cancels_the_rest(via: Any, tmp_path: Path) -> None:
    with flatout.Executor(1, via=via) as pool:
        results = pool.map(wait_for_file, [tmp_path / "file"] * 5, timeout=0.05)
        with pytest.raises(TimeoutError):
            next(results)
        (tmp_path / "file").touch()
        assert pool.submit(square, 3).result(SECONDS) == 9


def test_as_many_processes_as_workers_work_at_once(tmp_path: Path) -> None:
    with flatout.Executor(4, via="process") as pool:
        assert len(set(pool.map(meet, [tmp_path] * 4, [4] * 4))) == 4
