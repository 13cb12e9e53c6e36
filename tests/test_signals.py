"""Ctrl-C and the death of the user's own process, on real scripts in sessions of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from test_faults import GUARD, wait_until_gone

MAPS = {
    "inline": 'for _ in flatout.map(work, range(1000), via="inline"): pass',
    "thread": 'for _ in flatout.map(work, range(1000), via="thread", max_concurrency=4): pass',
    "process": 'for _ in flatout.map(work, range(1000), via="process", max_concurrency=3): pass',
    "process-wait": 'flatout.map(work, range(1000), via="process", max_concurrency=3).wait()',
    "async": "for _ in flatout.map(work_in_loop, range(1000)): pass",
    "own-loop": "asyncio.run(consume())",
    "auto": "for _ in flatout.map(work, range(1000)): pass",
    "timeout": "for _ in flatout.map(work, range(1000), timeout=1000): pass",
    "in-the-body": 'for _ in flatout.map(abs, range(1000), via="process"): work(1)',
}

SCRIPT = """
import asyncio, os, pathlib, sys, time
import flatout

began = pathlib.Path(sys.argv[1])

def work(x):
    (began / f"{os.getpid()}-{x}").touch()
    time.sleep(10_000)

async def work_in_loop(x):
    (began / f"{os.getpid()}-{x}").touch()
    await asyncio.sleep(10_000)

async def consume():
    async for _ in flatout.map(work_in_loop, range(1000)):
        pass

"""


@contextlib.contextmanager
def program(tmp_path: Path, code: str) -> Iterator[tuple[subprocess.Popen[str], set[int]]]:
    """A script that is in the middle of its tasks, and the processes below it."""
    file = tmp_path / "script.py"
    file.write_text(textwrap.dedent(code))
    began = tmp_path / "began"
    began.mkdir()
    with subprocess.Popen(
        [sys.executable, str(file), str(began)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            wait_for_files(began, 1, process)
            wait_until_asleep(process.pid)
            below = {child.pid for child in psutil.Process(process.pid).children(recursive=True)}
            yield process, below | {int(name.partition("-")[0]) for name in os.listdir(began)}
        finally:
            process.kill()


def wait_until_asleep(pid: int) -> None:
    """Until its main thread waits: a signal in the moment in which Python begins to wait does not end the wait."""
    deadline = time.monotonic() + GUARD
    while psutil.Process(pid).status() != psutil.STATUS_SLEEPING:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def wait_for_files(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + GUARD
    while len(os.listdir(folder)) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


# The press falls into the start of auto's threads, of which Linux may give the signal to any: so it is tried more often.
@pytest.mark.parametrize("name", [*MAPS, *["auto"] * 9])
def test_ctrl_c_ends_everything_at_once_and_quietly(tmp_path: Path, name: str) -> None:
    with program(tmp_path, SCRIPT + MAPS[name]) as (process, below):
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, stderr = process.communicate(timeout=GUARD)
        assert process.returncode == -signal.SIGINT, stderr
        assert stderr.rstrip().endswith("KeyboardInterrupt"), stderr
        assert stderr.count("\nKeyboardInterrupt") == 1, stderr
        assert stderr.count("Traceback") == 1 + (name == "own-loop"), stderr  # where asyncio cancels it first
        for pid in below:
            wait_until_gone(pid)


def test_a_caught_ctrl_c_leaves_a_program_that_can_go_on(tmp_path: Path) -> None:
    code = """
        try:
            flatout.map(work, range(10), via="process", max_concurrency=2).wait()
        except KeyboardInterrupt:
            print(flatout.map(abs, range(5), via="process").results())
    """
    with program(tmp_path, SCRIPT + textwrap.dedent(code)) as (process, _):
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=GUARD)
    assert (process.returncode, stdout, stderr) == (0, "[0, 1, 2, 3, 4]\n", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP], ids=lambda number: number.name)
def test_when_the_program_is_killed_its_workers_and_all_they_started_vanish(
    tmp_path: Path, number: signal.Signals
) -> None:
    code = """
        import subprocess
        def start_and_work(x):
            program = subprocess.Popen(["sleep", "10000"])
            other = subprocess.Popen(["sleep", "10000"], start_new_session=True)
            (began / f"{program.pid}-x").touch()
            (began / f"{other.pid}-x").touch()
            (began / f"{os.getpid()}-{x}").touch()
            time.sleep(10_000)
        flatout.map(start_and_work, range(10), via="process", max_concurrency=1).wait()
    """
    with program(tmp_path, SCRIPT + textwrap.dedent(code)) as (process, _):
        while len(list((tmp_path / "began").iterdir())) < 3:
            time.sleep(0.01)
        below = {child.pid for child in psutil.Process(process.pid).children(recursive=True)}
        assert len(below) == 4  # zygote, worker and two programs
        process.send_signal(number)
        assert process.wait(GUARD) == -number
        for pid in below:
            wait_until_gone(pid)


def test_ctrl_c_at_the_terminal_does_not_reach_the_workers(tmp_path: Path) -> None:
    """A program that ignores it keeps its workers and its results."""
    code = """
        import signal
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        def slow(x):
            (began / f"{os.getpid()}-{x}").touch()
            while not (began / "go").exists():
                time.sleep(0.01)
            return x
        print(flatout.map(slow, range(4), via="process", max_concurrency=2).results())
    """
    with program(tmp_path, SCRIPT + textwrap.dedent(code)) as (process, _):
        os.killpg(process.pid, signal.SIGINT)
        (tmp_path / "began" / "go").touch()
        stdout, stderr = process.communicate(timeout=GUARD)
    assert (process.returncode, stdout, stderr) == (0, "[0, 1, 2, 3]\n", "")
