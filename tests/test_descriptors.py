"""No more in flight than files can be opened, and where there are none left, nothing wrong comes of it."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator

import pytest

from flatout._machine._machine import open_files_left
from flatout._model import Plan
from flatout._plan._descriptors import SPARE, within_open_files


@pytest.fixture
def few_files() -> Iterator[int]:
    """The limit of this process lowered to what is open and 200 more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = len(os.listdir("/proc/self/fd")) + 200
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    yield 200
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_what_is_open_is_taken_off(few_files: int) -> None:
    left = open_files_left()
    assert left is not None
    assert abs(left - few_files) <= 1
    assert open_files_left(enough=10) is None


def test_the_ceiling_comes_down_and_the_plan_says_why(few_files: int) -> None:
    plan = within_open_files(Plan("async", 100, 1000, reason="it waits"))
    assert plan.concurrency == 100
    assert plan.ceiling is not None
    assert abs(plan.ceiling - (few_files - SPARE)) <= 1
    assert plan.reason.startswith("it waits; at most ")
    assert "ulimit -n" in plan.reason


@pytest.mark.parametrize(
    "plan", [Plan("async", 50, 100), Plan("thread", 100), Plan("process", 4, 1000), Plan("inline")]
)
def test_what_is_below_it_stays(few_files: int, plan: Plan) -> None:
    assert within_open_files(plan) is plan


def script(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.splitlines()


def test_workers_that_cannot_be_started_cost_no_descriptors() -> None:
    code = """
import os, resource, flatout
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # so that no page can be made
before = os.listdir("/proc/self/fd")
try:
    flatout.map(abs, range(9), via="process").wait()
except flatout.WorkerDied as error:
    print(error)
print(len(os.listdir("/proc/self/fd")) - len(before))  # the zygote's socket
"""
    told, more = script(code)
    assert "no worker could be started" in told
    assert "File too large" in told
    assert int(more) <= 1


def test_a_function_that_cannot_be_described_to_a_worker_says_why() -> None:
    """As where descriptors are short, and cloudpickle cannot be loaded: not that the worker does not know it."""
    code = """
import sys
import flatout
sys.modules["cloudpickle"] = None
def double(x):
    return 2 * x
with flatout.Executor(via="process") as pool:
    print(type(pool.submit(double, 1).exception()).__name__)
"""
    assert script(code) == ["ModuleNotFoundError"]


def test_what_cannot_be_taken_for_want_of_descriptors_is_no_fault_of_the_worker() -> None:
    code = """
import os, resource, flatout
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
taken = [os.open("/dev/null", 0) for _ in range(200 - {left})]
try:
    results = flatout.map(bytes, [2_000_000] * 20, via="process", on_error="return").results()
except OSError:
    results = []  # not even enough to begin
print(*{{str(result.error) for result in results if isinstance(result, flatout.Failure)}})
"""
    told = ""
    for left in range(20, 4, -1):  # how many are needed to begin is not the same everywhere
        if "could not be taken" not in told:
            told = script(code.format(left=left))[0]
    assert "could not be taken" in told
    assert "open files" in told
    assert "ulimit -n" in told
