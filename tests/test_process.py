"""The life of worker processes: warm between runs, replaced when they die, like the caller's own process, gone after it."""

from __future__ import annotations

import array
import contextlib
import ctypes
import dataclasses
import functools
import importlib
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest
from test_faults import GUARD, wait_until_gone

import flatout
from flatout import Failure, Retry, WorkerDied
from flatout._workers import _pool


def pid_of_worker(x: Any = None) -> int:
    time.sleep(0.01)
    return os.getpid()


def zygote() -> psutil.Process:
    """The living zygote of this process."""
    (found,) = [
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE and any("_zygote" in argument for argument in child.cmdline())
    ]
    return found


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    wait_until_gone(pid)


def script(tmp_path: Path, code: str, *options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a file as `__main__`, without any guard in it."""
    file = tmp_path / "script.py"
    file.write_text(textwrap.dedent(code))
    command = [sys.executable, *options, str(file)]
    return subprocess.run(command, check=check, capture_output=True, text=True, timeout=GUARD)


# Warm, dead, replaced


def test_workers_are_warm_in_the_next_run_and_are_no_child_of_ours() -> None:
    first = set(flatout.map(pid_of_worker, range(20), via="process", max_concurrency=1).results())
    second = set(flatout.map(pid_of_worker, range(20), via="process", max_concurrency=1).results())
    assert first == second
    assert os.getpid() not in first
    assert {psutil.Process(pid).ppid() for pid in first} == {zygote().pid}


def test_workers_that_died_between_two_runs_are_replaced_without_a_word() -> None:
    flatout.map(pid_of_worker, range(40), via="process", max_concurrency=8).wait()
    idle = [child.pid for child in zygote().children()]
    assert len(idle) >= 2
    for pid in idle:
        kill(pid)
    run = flatout.map(pid_of_worker, range(20), via="process", max_concurrency=8)
    assert not set(run.results()) & set(idle)
    assert run.report.workers_lost == 0


def test_workers_that_were_stopped_between_two_runs_go_on() -> None:
    before = set(flatout.map(pid_of_worker, range(40), via="process", max_concurrency=2).results())
    for pid in before:
        os.kill(pid, signal.SIGSTOP)
    assert set(flatout.map(pid_of_worker, range(40), via="process", max_concurrency=2).results()) == before


def test_a_zygote_that_died_between_two_runs_is_replaced_and_its_workers_are_gone() -> None:
    before = set(flatout.map(pid_of_worker, range(20), via="process", max_concurrency=2).results())
    old = zygote().pid
    kill(old)
    after = set(flatout.map(pid_of_worker, range(20), via="process", max_concurrency=2).results())
    assert not before & after
    assert zygote().pid != old
    for pid in before:
        wait_until_gone(pid)


@pytest.mark.parametrize("attempts", [1, 3])
def test_a_zygote_killed_in_mid_run_costs_at_most_the_tasks_in_flight(attempts: int) -> None:
    run = flatout.map(
        pid_of_worker,
        range(60),
        via="process",
        max_concurrency=2,
        chunksize=1,
        on_error="return",
        retry=Retry(attempts, on=WorkerDied, backoff=0.0),
    )
    results: list[Any] = []
    for result in run:
        results.append(result)
        if len(results) == 10:
            os.kill(zygote().pid, signal.SIGKILL)
    failures = [result for result in results if isinstance(result, Failure)]
    assert len(results) == 60
    assert len(failures) <= (2 if attempts == 1 else 0)
    for failure in failures:
        assert isinstance(failure.error, WorkerDied)
        assert failure.error.exitcode is None
        assert "supervisor" in str(failure.error)


def starts_a_program(folder: Path) -> None:
    program = subprocess.Popen(["sleep", "10000"])
    (folder / str(program.pid)).touch()
    time.sleep(10_000)


def test_what_a_task_has_started_goes_with_the_zygote(tmp_path: Path) -> None:
    def kill_it() -> None:
        deadline = time.monotonic() + GUARD
        while not os.listdir(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(zygote().pid, signal.SIGKILL)

    flatout.map(abs, [1], via="process").wait()  # so that there is a zygote
    thread = threading.Thread(target=kill_it)
    thread.start()
    (failure,) = flatout.map(starts_a_program, [tmp_path], via="process", on_error="return").results()
    thread.join()
    assert isinstance(failure, Failure)
    (program,) = os.listdir(tmp_path)
    wait_until_gone(int(program))


def starts_a_program_and_stops_the_zygote(x: int) -> tuple[int, int]:
    program = subprocess.Popen(["sleep", "10000"])
    program.returncode = 0  # nobody waits for it
    os.kill(os.getppid(), signal.SIGSTOP)
    return os.getpid(), program.pid


def test_what_a_task_has_started_goes_also_where_the_zygote_dies_before_it_has_buried_the_worker() -> None:
    """A worker that was let go has ended, and nobody waits for it any more."""
    flatout.map(abs, [1], via="process").wait()  # so that there is a zygote
    with flatout.Executor(1, via="process", max_tasks_per_child=1) as pool:
        worker, program = pool.submit(starts_a_program_and_stops_the_zygote, 0).result()
    supervisor = zygote()
    deadline = time.monotonic() + GUARD
    while psutil.Process(worker).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    supervisor.kill()
    flatout.map(abs, [1], via="process").wait()  # with another
    wait_until_gone(program)


LET_GO_AFTER_THE_END = """
import psutil
from flatout._workers import _pool

before = psutil.Process().num_fds()
pool = _pool.Pool()
process = pool.lease()
while not process.pid:
    pass
pool.close()
pool.dismiss(process)
assert psutil.Process().num_fds() == before
"""


def test_a_worker_that_is_let_go_when_its_zygote_has_ended_leaves_nothing_open() -> None:
    command = [sys.executable, "-c", LET_GO_AFTER_THE_END]
    done = subprocess.run(command, capture_output=True, text=True, timeout=GUARD)
    assert (done.returncode, done.stderr) == (0, "")


def taken_from(pid: int, fd: int) -> int:
    """A copy of a descriptor of another process."""
    pidfd_getfd = 438  # the number of the system call, on all machines
    pidfd = os.pidfd_open(pid)
    try:
        copy = ctypes.CDLL(None, use_errno=True).syscall(pidfd_getfd, pidfd, fd, 0)
    finally:
        os.close(pidfd)
    if copy < 0:
        pytest.skip(f"not allowed: {os.strerror(ctypes.get_errno())}")
    return int(copy)


def waits_to_be_killed(pids: Path) -> None:
    (pids / str(os.getpid())).touch()
    time.sleep(10_000)


def test_the_end_of_a_zygote_is_known_from_the_first_thing_it_lets_go_of(tmp_path: Path) -> None:
    """As where it dies with a worker that it has not buried, and the end of that one's stream comes before all others."""

    def kill_both() -> None:
        deadline = time.monotonic() + GUARD
        while not os.listdir(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.01)
        found, (worker,) = zygote(), map(int, os.listdir(tmp_path))
        found.suspend()
        os.kill(worker, signal.SIGKILL)
        found.kill()

    flatout.map(abs, [1], via="process").wait()  # so that there is a zygote
    (orders,) = re.findall(r"main\((\d+), \d+\)", " ".join(zygote().cmdline()))
    kept_open = taken_from(zygote().pid, int(orders))
    thread = threading.Thread(target=kill_both)
    thread.start()
    (failure,) = flatout.map(waits_to_be_killed, [tmp_path], via="process", on_error="return").results()
    thread.join()
    os.close(kept_open)
    assert isinstance(failure, Failure)
    assert "was lost together with its supervisor" in str(failure.error)


def test_workers_killed_again_and_again_from_outside_cost_no_result_with_retry() -> None:
    retry = Retry(1000, on=WorkerDied, backoff=0.0)
    results: list[int] = []
    run = flatout.map(functools.partial(pow, 2), range(3000), via="process", retry=retry, chunksize=3, buffersize=60)
    for result in run:
        results.append(result)
        if len(results) % 100 == 0:
            for child in zygote().children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGKILL)
    assert results == [2**x for x in range(3000)]


def test_a_worker_killed_while_it_is_set_up_is_replaced(tmp_path: Path) -> None:
    def dies_at_first() -> None:
        try:
            (tmp_path / "first").touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    run = flatout.map(abs, range(20), via="process", max_concurrency=2, initializer=dies_at_first)
    assert run.results() == list(range(20))


def test_workers_that_cannot_even_begin_end_the_run_loudly() -> None:
    with pytest.raises(WorkerDied, match="SIGKILL"):
        flatout.map(abs, range(20), via="process", initializer=functools.partial(os.kill, 0, signal.SIGKILL)).results()
    assert flatout.map(abs, range(20), via="process").results() == list(range(20))


def test_leaving_a_run_early_ends_what_its_workers_are_on(tmp_path: Path) -> None:
    def note_and_hang(x: int) -> int:
        if x:
            (tmp_path / f"{os.getpid()}").touch()
            time.sleep(10_000)
        return x

    for value in flatout.map(note_and_hang, range(3), via="process", max_concurrency=2, chunksize=1):
        assert value == 0
        while not list(tmp_path.iterdir()):
            time.sleep(0.01)
        break
    for file in tmp_path.iterdir():
        wait_until_gone(int(file.name))


# Like the caller's own process


def surroundings(x: int) -> tuple[Any, ...]:
    return os.environ.get("FLATOUT_TEST"), os.getcwd(), list(sys.path), list(sys.argv)


def test_warm_workers_see_the_surroundings_of_the_moment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for n in range(3):
        (tmp_path / str(n)).mkdir()
        monkeypatch.setenv("FLATOUT_TEST", f"value {n} \udce9")
        monkeypatch.chdir(tmp_path / str(n))
        monkeypatch.syspath_prepend(str(tmp_path / f"lib{n}"))
        monkeypatch.setattr(sys, "argv", ["prog", str(n)])
        seen = flatout.map(surroundings, range(4), via="process", max_concurrency=2).results()
        assert seen == [(f"value {n} \udce9", str(tmp_path / str(n)), list(sys.path), ["prog", str(n)])] * 4
    monkeypatch.delenv("FLATOUT_TEST")
    assert flatout.map(surroundings, [0], via="process").results()[0][0] is None


def test_the_current_directory_may_be_deleted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "away"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert flatout.map(abs, [-1], via="process").results() == [1]


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str], ModuleType]]:
    """Writes, and imports anew, a module that tasks are taken from."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    name = "flatout_test_library"

    def write(code: str) -> ModuleType:
        file = tmp_path / f"{name}.py"
        before = file.stat().st_mtime_ns if file.exists() else 0
        file.write_text(code)
        os.utime(file, ns=(before + 10**10, before + 10**10))  # not to depend on how fine the file system's clock is
        importlib.invalidate_caches()
        return importlib.reload(sys.modules[name]) if name in sys.modules else importlib.import_module(name)

    yield write
    sys.modules.pop(name, None)


def test_workers_run_what_is_in_the_file_now(library: Callable[[str], ModuleType]) -> None:
    for version in range(3):
        module = library(f"def version(x):\n    return {version}\n")
        for count in (1, 10):  # with one task, one of the two workers has only imported it
            assert set(flatout.map(module.version, range(count), via="process", max_concurrency=2)) == {version}
        assert set(flatout.map(module.version, [1, 2], via="process", max_concurrency=2, chunksize=2)) == {version}


def test_a_module_edited_while_a_worker_imports_it_is_run_as_it_is_now(library: Callable[[str], ModuleType]) -> None:
    new = "def version(x):\n    return 1\n"
    module = library(
        "import flatout._child, pathlib\n"
        "def version(x):\n    return 0\n"
        f"if flatout._child.inside:\n    pathlib.Path(__file__).write_text({new!r})\n"
    )
    assert flatout.map(module.version, [1], via="process", max_concurrency=1).results() == [0]
    module = importlib.reload(module)
    assert flatout.map(module.version, [1], via="process", max_concurrency=1).results() == [1]


def test_a_program_runs_under_the_flags_of_the_caller(tmp_path: Path) -> None:
    code = "import flatout, sys; print(flatout.map(lambda x: (sys.flags.optimize, sys.flags.utf8_mode), [0], via='process').results())"
    assert script(tmp_path, code, "-O", "-X", "utf8").stdout == "[(1, 1)]\n"


MAIN = """
    import collections, dataclasses, enum, os, sys
    import flatout

    class MyError(Exception):
        def __init__(self, name, code):
            super().__init__(f"{name}: {code}")
            self.code = code

    class Point:
        count = 0
        def __init__(self, x): self.x = x
        def moved(self): return type(self)(self.x + 1)

    @dataclasses.dataclass(frozen=True)
    class Row:
        x: int
        at: Point

    class Colour(enum.Enum):
        RED = 1
        BLUE = 2

    Pair = collections.namedtuple("Pair", "a b")

    class Late:
        x = 5

    def f(item):
        assert isinstance(item, Point), type(item)
        if item.x == 3:
            raise MyError("three", 3)
        try:
            raise MyError("inside", 1)
        except MyError:
            return Row(item.x, item.moved()), Colour(1 + item.x % 2), Pair(item.x, Point)

    def kind(item):
        return type(item).__name__, getattr(item, "x", None)

    # no `if __name__ == "__main__"`
    results = flatout.map(f, map(Point, range(6)), via="process", max_concurrency=2, on_error="return").results()
    failure = results.pop(3)
    try:
        raise failure.error
    except MyError as error:
        assert error.code == 3 and str(error) == "three: 3", error
    for row, colour, pair in results:
        assert isinstance(row, Row) and isinstance(row.at, Point) and row.at.x == row.x + 1, row
        assert colour is (Colour.BLUE if row.x % 2 else Colour.RED)
        assert isinstance(pair, Pair) and pair.b is Point
    try:
        flatout.map(f, [Point(3)], via="process").results()
    except MyError as error:
        assert "task 0" in error.__notes__[0]
    else:
        raise AssertionError("not raised")
    inputs = [1, 2.0, *[Point(x) for x in range(50)], Late(), Colour.RED, Row(1, Point(2)), lambda: 1, Late(), [Late()]]
    kinds = flatout.map(kind, inputs, via="process", max_concurrency=2, chunksize=4).results()
    assert kinds == [kind(item) for item in inputs], kinds
    print("good", os.path.basename(sys.argv[0]))
"""


def test_classes_of_main_are_the_same_on_both_sides(tmp_path: Path) -> None:
    assert script(tmp_path, MAIN).stdout == "good script.py\n"


# Large and many


def doubled(block: bytearray) -> bytearray:
    block[0] = 7  # inputs are private to the task
    return block * 2


def test_large_inputs_and_results_cross_at_once_without_a_deadlock() -> None:
    blocks = [bytearray(random.Random(n).randbytes(1 << 16)) * 200 for n in range(6)]  # 13 MB each
    originals = [bytes(block) for block in blocks]
    results = flatout.map(doubled, blocks, via="process", max_concurrency=2, chunksize=2).results()
    for result, block, original in zip(results, blocks, originals, strict=True):
        assert block == original
        assert result == (b"\x07" + original[1:]) * 2
        result[-1] = 1  # results belong to the user


def test_fifty_megabytes_each_way() -> None:
    data = random.Random(1).randbytes(1 << 20) * 50
    assert flatout.map(bytes, [data], via="process").results() == [data]


def reverse(values: array.array[float]) -> array.array[float]:
    return values[::-1]


def test_arrays_come_back_writable() -> None:
    values = array.array("d", range(1_000_000))
    (result,) = flatout.map(reverse, [values], via="process").results()
    result[0] = 5.0
    assert list(result[1:4]) == [999_998.0, 999_997.0, 999_996.0]


def test_twenty_thousand_tiny_tasks() -> None:
    assert flatout.map(str, range(20_000), via="process").results() == list(map(str, range(20_000)))


@dataclasses.dataclass
class Record:
    number: int
    text: str


def record(x: int) -> Record:
    return Record(x, "x" * (x % 100))


def test_what_waits_behind_a_long_task_is_given_to_others(tmp_path: Path) -> None:
    long = 6000

    def task(n: int) -> int:
        if n > long:
            (tmp_path / str(n)).touch()
        while n == long and not all((tmp_path / str(after)).exists() for after in range(long + 1, long + 20)):
            time.sleep(0.001)
        return n

    assert flatout.map(task, range(long + 20), via="process", max_concurrency=2).results() == list(range(long + 20))


def test_tasks_that_were_to_travel_together_stay_together(tmp_path: Path) -> None:
    def task(n: int) -> int:
        if n == 0:
            time.sleep(0.2)  # four times what it takes to be thought long
        return os.getpid()

    first, *others = flatout.map(task, range(4), via="process", max_concurrency=2, chunksize=4).results()
    assert others == [first] * 3


def test_many_objects_with_code_behind_them() -> None:
    assert flatout.map(record, range(5000), via="process").results() == [record(x) for x in range(5000)]


# Within a worker


def maps_itself(x: int) -> tuple[list[int], list[int]]:
    inner = flatout.map(pid_of_worker, range(4), via="process", max_concurrency=2).results()
    return inner, [os.getpid(), os.getppid()]


def test_a_map_in_a_worker_has_workers_of_its_own_which_go_with_it() -> None:
    results = flatout.map(maps_itself, range(2), via="process", max_concurrency=2, chunksize=1).results()
    everyone = {pid for inner, own in results for pid in inner}
    assert everyone.isdisjoint(pid for _, own in results for pid in own)
    kill(zygote().pid)
    for pid in everyone:
        wait_until_gone(pid)


def dies_with_a_map_inside(folder: Path, x: int) -> None:
    for pid in flatout.map(pid_of_worker, range(4), via="process", max_concurrency=2):
        (folder / str(pid)).touch()
    os._exit(1)


def test_workers_of_a_worker_die_with_it(tmp_path: Path) -> None:
    func = functools.partial(dies_with_a_map_inside, tmp_path)
    flatout.map(func, [1], via="process", on_error="return").wait()
    pids = [int(file.name) for file in tmp_path.iterdir()]
    assert pids
    for pid in pids:
        wait_until_gone(pid)


def spoils_the_process(_: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    os.umask(0o777)


def writes_much(path: Path) -> int:
    path.write_bytes(bytes(10_000))
    return subprocess.run(["false"], check=False).returncode


def test_what_a_task_has_done_to_its_process_does_not_reach_the_next_run(tmp_path: Path) -> None:
    flatout.map(spoils_the_process, range(4), via="process", max_concurrency=2).wait()
    run = flatout.map(writes_much, [tmp_path / "a", tmp_path / "b"], via="process", max_concurrency=2)
    assert run.results() == [1, 1]
    assert (tmp_path / "a").read_bytes() == bytes(10_000)


def puts(queue: Any, x: int) -> None:
    queue.put(x)


def test_tasks_reach_the_managers_of_multiprocessing() -> None:
    with multiprocessing.Manager() as manager:
        queue = manager.Queue()
        flatout.map(puts, [queue] * 5, range(5), via="process").wait()
        flatout.map(functools.partial(puts, queue), range(5, 8), via="process").wait()
        assert sorted(queue.get() for _ in range(8)) == list(range(8))


# Forks of the caller


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_of_the_caller_has_workers_of_its_own() -> None:
    ours = flatout.map(pid_of_worker, range(4), via="process", max_concurrency=1).results()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            theirs = flatout.map(pid_of_worker, range(4), via="process", max_concurrency=1).results()
            code = 0 if not set(theirs) & set(ours) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert set(flatout.map(pid_of_worker, range(4), via="process", max_concurrency=1).results()) == set(ours)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_of_the_caller_keeps_no_worker_of_an_open_run_from_ending() -> None:
    process = _pool.lease()
    stop, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(go)
        os.read(stop, 1)
        os._exit(0)
    try:
        worker = wait_for_pid(process)
        process.forget()  # as one that is not kept: it ends when nobody holds the other end of its stream
        wait_until_gone(worker)
    finally:
        os.close(go)
        os.close(stop)
        os.waitpid(pid, 0)


def wait_for_pid(process: _pool.Process) -> int:
    deadline = time.monotonic() + 60
    while not process.pid:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return process.pid


# Nothing is left


MANY_RUNS = """
import os, pathlib, threading, time
import psutil
import flatout
from flatout._workers import _pool

def held():
    "Descriptors here and in the zygote without those of the idle workers, threads, shared memory (which has no names)."
    (supervisor,) = psutil.Process().children()
    idle = len(_pool.pool()._idle)
    while len(supervisor.children()) != idle:  # the last that was killed may still be ending
        time.sleep(0.01)
    ours, theirs = psutil.Process().num_fds(), supervisor.num_fds()
    shared = [pathlib.Path(f"/proc/{pid}/maps").read_text().count("/memfd:flatout") for pid in ("self", supervisor.pid)]
    return ours - 3 * idle, theirs - 2 * idle, threading.active_count(), shared[0] - idle, shared[1]

def runs(count):
    for n in range(count):
        flatout.map(abs, range(6), via="process", max_concurrency=2).wait()
        if n % 10 == 0:
            flatout.map(divmod, [1], [0], via="process", on_error="return").wait()
            flatout.map(os._exit, [n], via="process", on_error="return").wait()
            next(iter(flatout.map(time.sleep, [0, 1000], via="process", max_concurrency=2)))

runs(11)
before, memory = held(), psutil.Process().memory_info().rss
runs(200)
assert held() == before, (held(), before)
assert psutil.Process().memory_info().rss - memory < 16 << 20
"""


def test_two_hundred_runs_leave_nothing_behind(tmp_path: Path) -> None:
    script(tmp_path, MANY_RUNS)  # in a program of its own: other tests leave warm workers and threads


def test_after_the_interpreter_nothing_is_left(tmp_path: Path) -> None:
    code = """
        import flatout, os, psutil, time
        def f(x):
            time.sleep(0.01)
            return os.getpid()
        run = flatout.map(f, range(1000), via="process", max_concurrency=3)
        next(run)  # and the rest is never asked for
        print(*[child.pid for child in psutil.Process().children(recursive=True)])
    """
    done = script(tmp_path, code)
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) >= 2
    assert done.stderr == ""
    for pid in pids:
        wait_until_gone(pid)


def alarm_then_set(seconds: float) -> tuple[int, float]:
    """Of the worker, and the seconds left of the alarm that was found; another is set where `seconds` is not 0."""
    left = signal.getitimer(signal.ITIMER_REAL)[0]
    if seconds:
        signal.setitimer(signal.ITIMER_REAL, seconds)
    return os.getpid(), left


@pytest.mark.parametrize("inside", ["", "thread"])
def test_an_alarm_that_a_task_has_left_strikes_no_other_task_and_no_other_run(inside: Any) -> None:
    """Workers are warm: another run's task would have died of it."""
    one = flatout.Plan("process", 1, processes=1, inside=inside, chunksize=1)
    found = flatout.map(alarm_then_set, [600.0, 600.0], via=one).results()
    found += flatout.map(alarm_then_set, [0.0], via=one).results()
    assert len({pid for pid, _ in found}) == 1
    assert found[-1][1] == 0.0
    if not inside:  # in a mixture other tasks are in flight, one of which may be what it is for
        assert found[1][1] == 0.0


def test_an_alarm_that_the_initializer_has_set_goes_on() -> None:
    initializer = functools.partial(alarm_then_set, 600.0)
    run = flatout.map(
        alarm_then_set, [0.0, 0.0], via="process", max_concurrency=1, chunksize=1, initializer=initializer
    )
    (pid, first), (_, second) = run.results()
    assert first > 0
    assert second > 0
    again = flatout.map(alarm_then_set, [0.0], via="process", max_concurrency=1).results()
    assert again == [(pid, 0.0)], "of another run, and gone with it"
