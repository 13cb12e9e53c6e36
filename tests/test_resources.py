"""The machine is looked at again while worker processes are in use: its cores and its memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from groups import control_group

import flatout
from flatout._events import RoomChanged
from flatout._machine._memory import ASSUMED, FILLING, LEAST, LONGEST, REMEMBERED, SHORTEST, Need, next_look
from flatout._machine._resources import CORES_EVERY, Resources, _size_and_peak
from flatout._model import Plan
from flatout._plan._choose import for_cores

GUARD = 100  # seconds after which a test is taken to hang
MIB = 1 << 20
GIB = 1 << 30


# Memory, from figures


def test_until_a_task_has_ended_a_worker_is_taken_to_need_what_is_usual() -> None:
    assert Need().workers(20 * GIB, 0) > 50
    assert Need().workers(ASSUMED, 0) == 1
    assert Need().workers(0, 0) == 1


def test_what_the_first_calls_took_is_believed() -> None:
    assert Need(known=GIB).workers(4 * GIB, 0) == 3
    assert Need(known=MIB).workers(GIB, 0) == int(0.9 * GIB / (MIB + LEAST))


def test_what_tasks_take_is_learnt() -> None:
    need = Need()
    need.saw([100 * MIB, 50 * MIB], 2)
    assert need.workers(450 * MIB, 50 * MIB) == 4
    need.saw([200 * MIB], 3)
    assert need.workers(450 * MIB, 50 * MIB) == 2


def test_what_is_under_way_can_only_raise_what_is_taken_for_granted() -> None:
    need = Need()
    need.saw([20 * MIB], 0)
    assert need.bytes == ASSUMED
    need.saw([2 * ASSUMED], 0)
    assert need.bytes == 2 * ASSUMED


def test_a_peak_is_forgotten_after_many_tasks() -> None:
    need = Need()
    assert not need.saw([900 * MIB], 1)
    assert need.saw([100 * MIB], REMEMBERED)
    assert need.bytes == 900 * MIB  # the tasks before may have been of that sort
    assert need.saw([100 * MIB], 2 * REMEMBERED)
    assert need.bytes == 100 * MIB


def test_where_memory_has_run_out_one_less_is_tried() -> None:
    need = Need()
    need.saw([50 * MIB], 1)
    assert need.workers(GIB, 200 * MIB) > 4
    need.not_enough(room=0, held=800 * MIB, workers=4)
    assert need.workers(0, 800 * MIB) == 3


def test_they_do_not_come_and_go() -> None:
    need = Need()
    need.saw([100 * MIB], 1)
    assert need.workers(int(3.05 * 100 * MIB / 0.9), 0) == 3
    assert need.workers(int(3.05 * 100 * MIB / 0.9), 0, before=2) == 2
    assert need.workers(int(3.5 * 100 * MIB / 0.9), 0, before=2) == 3
    assert need.workers(int(2.95 * 100 * MIB / 0.9), 0, before=3) == 2


def test_the_next_look_comes_before_memory_can_be_full() -> None:
    assert next_look(0, 4) == SHORTEST
    assert next_look(100 * GIB, 4) == LONGEST <= CORES_EVERY
    assert next_look(4 * GIB, 8) < 4 * GIB / FILLING


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells it")
def test_the_peak_of_a_process_is_seen_after_it_is_over() -> None:
    code = "b = bytearray(100 << 20); del b; print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        size, peak = _size_and_peak(process.pid)
        process.communicate(b"\n")
    assert size < 50 * MIB
    assert 100 * MIB <= peak < 150 * MIB
    assert _size_and_peak(process.pid) == (0, 0)


def looks_at(wanted: int, known: int) -> Resources:
    """At this process as if it were the only worker."""
    return Resources(
        pids=lambda: [os.getpid(), 0],
        finished=lambda: 0,
        wanted=lambda: (wanted, wanted),
        cores=1,
        thread=0,
        follow=lambda cores: None,
        let_go=lambda: None,
        known=known,
    )


def test_enough_memory_is_not_worth_a_word() -> None:
    resources = looks_at(2, MIB)
    assert resources.look(0.0) is None
    assert resources.note == ""
    assert resources.next_at is not None
    assert resources.look(resources.next_at - 0.001) is None


def test_too_little_memory_is_told_once() -> None:
    resources = looks_at(2, 1 << 50)
    assert resources.look(0.0) == RoomChanged(1)
    assert resources.next_at == SHORTEST
    assert resources.look(SHORTEST) is None
    assert resources.next_at == pytest.approx(2 * SHORTEST)
    assert "memory held workers back, to 1 of 2" in resources.note


# Cores

PLAN = Plan("process", 4, 8, reason="so")


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 2), (3, 3), (8, 8)])
def test_workers_follow_cores(cores: int, workers: int) -> None:
    plan = for_cores(PLAN, 4, cores)
    assert (plan.concurrency, plan.ceiling) == (workers, 2 * workers)
    assert "from 4 to" in plan.reason or cores == 4


def test_at_least_one_worker_stays() -> None:
    assert for_cores(Plan("process", 2), 8, 1).concurrency == 1


def burn(_: int) -> int:
    """Computes for 10 ms; tells by which process."""
    total = 0
    for i in range(150_000):
        total += i * i % 7
    return os.getpid()


def pids_until(run: Iterator[int], workers: int) -> None:
    """Consume results until the latest come from so many processes; the run is endless, so that it comes to pass or hangs."""
    lately: list[int] = []
    for pid in run:
        lately = [*lately, pid][-30:]
        if len(lately) == 30 and len(set(lately)) == workers:
            return


def endless() -> Iterator[int]:
    return iter(int, 1)


def test_the_number_of_workers_follows_the_affinity_in_mid_run() -> None:
    """As `taskset` would change it; the thread that has begun the run counts."""
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2:
        pytest.skip("there are no two cores to choose from")
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, sorted(before)[:2])
        with flatout.map(burn, endless(), buffersize=16) as run:
            results = iter(run)
            pids_until(results, 2)
            os.sched_setaffinity(0, sorted(before)[:1])
            pids_until(results, 1)
            assert "the cores went from 2 to 1" in str(run.plan)
            assert run.plan.concurrency == 1
            os.sched_setaffinity(0, sorted(before)[:2])
            pids_until(results, 2)
            assert run.plan.concurrency == 2
    finally:
        os.sched_setaffinity(0, before)


def test_and_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLATOUT_CORES", "3")
    with flatout.map(burn, endless(), via="process", buffersize=16) as run:
        results = iter(run)
        pids_until(results, 3)
        monkeypatch.setenv("FLATOUT_CORES", "no number")
        pids_until(results, 3)
        monkeypatch.setenv("FLATOUT_CORES", "1")
        pids_until(results, 1)


@pytest.mark.parametrize("fixed", ["max_concurrency", "plan"])
def test_a_number_that_the_user_has_fixed_stays(fixed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLATOUT_CORES", "2")
    options: dict[str, Any] = {"via": Plan("process", 2)}
    if fixed == "max_concurrency":
        options = {"max_concurrency": 2, "via": "process"}
    with flatout.map(burn, endless(), buffersize=16, **options) as run:
        results = iter(run)
        pids_until(results, 2)
        monkeypatch.setenv("FLATOUT_CORES", "1")
        assert run._engine is not None
        resources = run._engine._driver.resources
        assert resources is not None
        for _ in results:  # until it has been seen
            if resources._cores == 1:
                break
        pids_until(results, 2)


QUOTA = """
import os, sys
from pathlib import Path
group = Path(sys.argv[1])
(group / "cgroup.procs").write_text(str(os.getpid()))
os.environ.pop("FLATOUT_CORES", None)
import flatout
from test_resources import burn, endless, pids_until
assert flatout.machine().quota == 2, flatout.machine()
with flatout.map(burn, endless(), via="process", buffersize=16) as run:
    results = iter(run)
    pids_until(results, 2)
    (group / sys.argv[2]).write_text(sys.argv[3])
    pids_until(results, 1)
    print(run.plan)
"""


def test_the_number_of_workers_follows_the_quota_of_a_control_group_in_mid_run() -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("there are no two cores")
    v1 = {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "200000"}
    with control_group("cpu", v1, {"cpu.max": "200000 100000"}) as group:
        change = (
            ("cpu.cfs_quota_us", "100000") if (group / "cpu.cfs_quota_us").exists() else ("cpu.max", "100000 100000")
        )
        done = in_group(QUOTA, group, *change)
    assert "the cores went from 2 to 1" in done


def in_group(script: str, group: Path, *arguments: str) -> str:
    """What a script prints that joins a control group."""
    done = subprocess.run(
        [sys.executable, "-c", script, str(group), *arguments],
        capture_output=True,
        text=True,
        timeout=GUARD,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *filter(None, sys.path)])},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


# Memory, for real


@pytest.fixture
def small() -> Iterator[Path]:
    """A control group with 400 MB for all that is in it."""
    with control_group("memory", {"memory.limit_in_bytes": "400M"}, {"memory.max": "400M"}) as group:
        yield group


JOIN = """
import os, sys, time
from pathlib import Path
(Path(sys.argv[1]) / "cgroup.procs").write_text(str(os.getpid()))
os.environ["FLATOUT_CORES"] = "4"
import flatout

def takes(mib):
    block = bytearray(mib << 20)
    block[::4096] = b"x" * (mib << 8)
    time.sleep(0.05)
    return os.getpid()

"""

TOO_MANY = """
run = flatout.map(takes, [100] * 24, via="process", chunksize=1)
pids = run.results()
print(run._engine.statistics().peak_workers, run.report.workers_lost, run.plan, len(set(pids)))
"""


def test_workers_are_held_back_before_memory_runs_out(small: Path) -> None:
    """Four at once would take what the group has not: none is killed, though `retry` is not given."""
    workers, lost, plan = in_group(JOIN + TOO_MANY, small).split(" ", 2)
    assert int(workers) < 4
    assert int(lost) == 0
    assert "memory held workers back" in plan


GROWS_AGAIN = """
ballast = bytearray(250 << 20)
ballast[::4096] = b"x" * (250 << 8)
lately, few = [], False
run = flatout.map(takes, iter(lambda: 40, 0), via="process", chunksize=1, buffersize=8)
for pid in run:
    lately = [*lately, pid][-40:]
    if len(lately) == 40 and not few:
        few = len(set(lately)) < 4
        assert few, set(lately)
        ballast = None
        lately = []
    if few and len(set(lately)) == 4:
        break
run.cancel()
print("grew again")
"""


def test_with_room_again_the_crew_grows_again(small: Path) -> None:
    assert "grew again" in in_group(JOIN + GROWS_AGAIN, small)


ALONE = """
folder = Path(sys.argv[2])

def others():
    here = [path for path in folder.glob("at-*") if path.name != f"at-{os.getpid()}"]
    return [path.read_text() for path in here if os.path.exists("/proc/" + path.name[3:])]

def begun(number):
    with open(folder / f"begun-{number}", "a") as file:
        file.write("x")
        return file.tell()

def needs(number, mib):
    again = begun(number) > 1
    mark = folder / f"at-{os.getpid()}"
    mark.write_text(str(number))
    beside = others() if again else []
    try:
        takes(mib)
        return again, beside + (others() if again else [])
    finally:
        mark.unlink()

sizes = [10] * 20 + [250] * 4  # first those by which it learns that there is room for four
run = flatout.map(needs, range(24), sizes, via=flatout.Plan("process", 4), chunksize=1, retry=3)
results = run.results()
print(run.report.workers_lost, sum(again for again, _ in results), sum((beside for _, beside in results), []))
"""


def test_a_task_killed_for_memory_is_run_again_alone(small: Path, tmp_path: Path) -> None:
    """No two of these fit: with `retry` each that was killed gets its turn, by itself, and all end well."""
    lost, again, beside = in_group(JOIN + ALONE, small, str(tmp_path)).split(" ", 2)
    assert int(lost) >= int(again) >= 1
    assert beside.strip() == "[]"
