"""Several tasks in flight in one worker process: what goes wrong with one, what is printed, what is set up."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import flatout
from flatout import Plan

THREADS = Plan("process", 4, processes=1, inside="thread")
LOOPS = Plan("process", 4, processes=1, inside="async")

every_mixture = pytest.mark.parametrize("plan", [THREADS, LOOPS], ids=["threads", "loops"])


class Both:
    """A task as a function, and as a coroutine function."""

    def __init__(self, func: Any, plan: Plan) -> None:
        self.func = func
        self.plan = plan

    def run(self, *inputs: Any, **options: Any) -> Any:
        """A run of it by its mixture."""
        func = Awaited(self.func) if self.plan.inside == "async" else self.func
        return flatout.map(func, *inputs, via=self.plan, **options)


class Awaited:
    def __init__(self, func: Any) -> None:
        self.func = func

    async def __call__(self, item: Any) -> Any:
        await asyncio.sleep(0)
        return self.func(item)


def meets_and_dies(item: tuple[Path, int]) -> int:
    """Be there with three others; then one dies."""
    folder, number = item
    (folder / f"{number}-{time.monotonic_ns()}").touch()
    if number < 4:
        deadline = time.monotonic() + 20
        while len({name.split("-")[0] for name in os.listdir(folder)}) < 4 and time.monotonic() < deadline:
            time.sleep(0.002)
        if number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.2 if len(os.listdir(folder)) <= 5 else 0.0)
    return number


def test_a_death_fails_all_that_is_in_flight_there_and_nothing_else(tmp_path: Path) -> None:
    inputs = [(tmp_path, number) for number in range(8)]
    results = Both(meets_and_dies, THREADS).run(inputs, on_error="return").results()
    failed = [value for value in results if isinstance(value, flatout.Failure)]
    assert [failure.index for failure in failed] == [0, 1, 2, 3]
    assert all(isinstance(failure.error, flatout.WorkerDied) for failure in failed)
    assert "with 4 tasks in flight" in str(failed[0].error)
    assert results[4:] == [4, 5, 6, 7]


def test_with_retry_only_the_task_that_kills_fails(tmp_path: Path) -> None:
    inputs = [(tmp_path, number) for number in range(8)]
    retry = flatout.Retry(2, backoff=0.0)
    results = Both(meets_and_dies, THREADS).run(inputs, on_error="return", retry=retry).results()
    assert [value if isinstance(value, int) else value.index for value in results] == list(range(8))
    assert [index for index, value in enumerate(results) if not isinstance(value, int)] == [2]


async def sleeps(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


async def blocks(seconds: float) -> float:
    if seconds > 10:
        time.sleep(seconds)
    await asyncio.sleep(seconds)
    return seconds


def test_a_coroutine_over_its_time_is_cancelled_alone() -> None:
    results: Any = flatout.map(sleeps, [0.0, 60.0, 0.01, 0.02], via=LOOPS, timeout=0.3, on_error="return").results()
    assert isinstance(results[1].error, flatout.TaskTimeout)
    assert [results[0], *results[2:]] == [0.0, 0.01, 0.02]


def test_one_that_blocks_its_loop_is_ended_with_its_process_and_the_others_are_run() -> None:
    run: Any = flatout.map(blocks, [60.0, 0.0, 0.01, 0.02], via=LOOPS, timeout=0.3, on_error="return")
    results = run.results()
    assert isinstance(results[0].error, flatout.TaskTimeout)
    assert [type(value) for value in results[1:]] == [float] * 3 or run.report.workers_lost


def hangs(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def test_a_thread_over_its_time_costs_its_process_and_no_other_task() -> None:
    results: Any = flatout.map(hangs, [0.0, 60.0, 0.01, 0.0], via=THREADS, timeout=0.5, on_error="return").results()
    assert isinstance(results[1].error, flatout.TaskTimeout)
    assert [results[0], *results[2:]] == [0.0, 0.01, 0.0]


class Unloadable:
    def __reduce__(self) -> Any:
        return _refuse, ()


def _refuse() -> None:
    raise ValueError("not here")


def give(item: Any) -> Any:
    return (lambda: item) if item == "unpicklable" else item


@every_mixture
def test_what_cannot_cross_costs_only_its_task(plan: Plan) -> None:
    results = Both(give, plan).run([1, Unloadable(), "unpicklable", 4], on_error="return").results()
    assert (results[0], results[3]) == (1, 4)
    assert "not here" in str(results[1].error)
    assert isinstance(results[2].error, flatout.NotPicklable)


def prints(item: int) -> int:
    sys.stdout.write(f"task {item}\n")  # print writes the end of the line apart: threads may come between
    sys.stderr.write(f"error {item}\n")
    return item


@every_mixture
def test_what_tasks_print_comes_home_in_whole_lines(plan: Plan, capfd: pytest.CaptureFixture[str]) -> None:
    Both(prints, plan).run(range(20)).wait()
    out, err = capfd.readouterr()
    assert sorted(out.split("\n")[:-1]) == sorted(f"task {item}" for item in range(20))
    assert sorted(err.split("\n")[:-1]) == sorted(f"error {item}" for item in range(20))


def interval(item: int) -> float:
    return sys.getswitchinterval()


@every_mixture
def test_the_next_run_finds_the_worker_as_it_was(plan: Plan) -> None:
    brisk = set(Both(interval, plan).run(range(4)).results())
    assert set(flatout.map(interval, range(4), via="process").results()) == {0.005}
    assert brisk != {0.005}


def forks(item: int) -> tuple[int, int]:
    if os.fork() == 0:
        return item, os.getpid()  # ends here: it does not speak for the worker
    return item, os.getpid()


@every_mixture
def test_a_child_that_a_task_forks_does_not_report(plan: Plan) -> None:
    results = Both(forks, plan).run(range(6)).results()
    assert [item for item, _ in results] == list(range(6))
    assert len({pid for _, pid in results}) == 1


async def forks_and_waits(path: Path) -> int:
    with path.open("a") as file:
        file.write("began\n")
    child = os.fork()
    await asyncio.sleep(0.001)
    with path.open("a") as file:
        file.write("went on\n")
    return child


def test_a_child_that_a_coroutine_forks_begins_no_other_and_goes_no_further_than_its_await(tmp_path: Path) -> None:
    """It shares the descriptors of its loop with the worker, which would miss what the child hears."""
    children = flatout.map(forks_and_waits, [tmp_path / "log"] * 40, via=LOOPS).results()
    assert all(children)
    assert sorted((tmp_path / "log").read_text().split("\n")[:-1]) == ["began"] * 40 + ["went on"] * 40


async def forks_and_raises(_: int) -> int:
    child = os.fork()
    if child == 0:
        raise SystemExit(7)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_child_that_a_coroutine_forks_ends_with_the_status_of_its_task() -> None:
    assert flatout.map(forks_and_raises, range(3), via=LOOPS).results() == [7, 7, 7]


where: list[int] = []


def note_the_thread() -> None:
    where.append(threading.get_ident())


async def same_thread(item: int) -> bool:
    return where == [threading.get_ident()]


def test_the_initializer_of_loops_runs_in_the_loop() -> None:
    """So what it opens belongs to the loop that the tasks are in."""
    assert set(flatout.map(same_thread, range(8), via=LOOPS, initializer=note_the_thread).results()) == {True}


@pytest.mark.parametrize(
    ("plan", "what"),
    [
        (Plan("process", 2, inside="rocket"), "inside"),  # type: ignore[arg-type]
        (Plan("thread", 2, inside="async"), "inside"),
        (Plan("process", 2, inside="thread", processes=0), "processes"),
    ],
)
def test_a_mixture_that_cannot_be_is_refused(plan: Plan, what: str) -> None:
    with pytest.raises(flatout.PlanError, match=what):
        flatout.map(abs, [1], via=plan)
