"""Ways to take too long."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

from faults.tasks import SLEEPER, folder

TYPE_CHECKING = False  # see `faults.tasks`
if TYPE_CHECKING:
    from typing import Any


def loops_endlessly() -> None:
    while True:
        pass


def sleeps() -> None:
    time.sleep(float(SLEEPER))


def ignores_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    loops_endlessly()


def blocks_all_signals() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    sleeps()


def catches_everything() -> None:
    """Also what a signal handler raises."""
    while True:
        try:
            time.sleep(1)
        except BaseException:
            continue


def holds_the_gil() -> None:
    import ctypes

    while True:
        ctypes.PyDLL(None).usleep(1000)  # C code that does not let go of it


def matches_for_ever() -> Any:
    import re

    return re.match(r"(a+)+$", "a" * 60 + "b")


def waits_for_a_lock() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def stops_itself() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)
    sleeps()


def leaves_its_group_and_sleeps() -> None:
    os.setpgid(0, os.getpgid(os.getppid()))
    sleeps()


_DAEMON = f"""
import os, subprocess
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        subprocess.run(["sleep", "{SLEEPER}"])
    os._exit(0)
"""


def breed() -> None:
    """Start a program, one in a session of its own, and one whose parents have gone."""
    import subprocess

    subprocess.Popen(["sleep", SLEEPER])
    subprocess.Popen(["sleep", SLEEPER], start_new_session=True)
    subprocess.run([sys.executable, "-c", _DAEMON], check=True)


def breeds_and_sleeps() -> None:
    breed()
    sleeps()


def sleeps_then_notes() -> None:
    """Ends long after its time: it must not get so far."""
    time.sleep(4)
    (folder() / "too late").touch()


async def sleeps_async() -> None:
    import asyncio

    await asyncio.sleep(float(SLEEPER))


async def swallows_its_cancellation() -> None:
    import asyncio

    while True:
        try:
            await asyncio.sleep(float(SLEEPER))
        except asyncio.CancelledError:
            continue


class _SlowToPickle:
    def __reduce__(self) -> Any:
        sleeps()


def returns_what_takes_for_ever_to_pickle() -> Any:
    return _SlowToPickle()


class _SlowToPickleError(Exception):
    def __reduce__(self) -> Any:
        sleeps()


def raises_what_takes_for_ever_to_pickle() -> None:
    raise _SlowToPickleError("slow")
