"""Worker processes stand to the rest of the machine as the process that has them: niceness and cores."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

import pytest

COMMON = """
import os, flatout

def standing(_):
    threads = [os.getpriority(os.PRIO_PROCESS, int(thread)) for thread in os.listdir("/proc/self/task")]
    (nice,) = set(threads)
    return os.getpid(), nice, sorted(os.sched_getaffinity(0))

def workers(count=2):
    return flatout.map(standing, range(2 * count), via="process", max_concurrency=count, chunksize=1).results()
"""


# Takes CAP_SYS_NICE from what it becomes, should this be root: PR_CAPBSET_DROP.
WITHOUT_THE_RIGHT = [
    sys.executable,
    "-c",
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(24, 23, 0, 0, 0); os.execv(sys.argv[1], sys.argv[1:])",
]


def script(code: str, by: Sequence[str] = ()) -> str:
    """What it prints, as a program of its own, which another program becomes."""
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [*by, sys.executable, "-c", COMMON + code],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="as Linux tells it")


def test_workers_are_as_nice_as_who_started_the_zygote() -> None:
    script("os.nice(3); assert {nice for _, nice, _ in workers()} == {os.nice(0)}")


def test_and_so_is_their_session() -> None:
    """Else their niceness would count among themselves alone, where the kernel groups by session."""
    if not os.path.exists("/proc/self/autogroup"):
        pytest.skip("this kernel does not")
    code = """
def group(_):
    with open("/proc/self/autogroup") as file:
        return int(file.read().split()[-1])
def of_workers():
    return flatout.map(group, [0], via="process").results()
os.nice(3)
assert of_workers() == [os.nice(0)]
os.nice(5)
assert of_workers() == [os.nice(0)]
"""
    script(code)


def test_and_as_nice_as_the_process_has_become_since() -> None:
    code = """
before = workers()
os.nice(5)
after = workers()
assert {nice for _, nice, _ in after} == {os.nice(0)}
assert {pid for pid, _, _ in before} & {pid for pid, _, _ in after}  # the same are kept
"""
    script(code)


def test_a_worker_that_would_have_to_be_less_nice_is_replaced_where_it_must_not() -> None:
    """A thread may be nicer than others on Linux, and its run leaves workers that are too nice for the others."""
    code = """
import threading
def nicer():
    os.nice(7)
    seen.extend(workers())
seen = []
thread = threading.Thread(target=nicer); thread.start(); thread.join()
assert {nice for _, nice, _ in seen} == {os.nice(0) + 7}, seen
late = workers()
print({nice for _, nice, _ in late} == {os.nice(0)})
"""
    # The zygote is booted in the main thread, which stays as it is.
    assert script("import flatout._workers._pool as pool; pool.pool()\n" + code, WITHOUT_THE_RIGHT) == "True\n"


def test_workers_run_on_the_cores_that_the_process_has_been_bound_to_since() -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("there is one core only")
    code = """
workers()
cores = sorted(os.sched_getaffinity(0))
os.sched_setaffinity(0, cores[1:])
assert all(theirs == cores[1:] for _, _, theirs in workers())
os.sched_setaffinity(0, cores)
assert all(theirs == cores for _, _, theirs in workers())
"""
    script(code)
