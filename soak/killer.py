"""Kills the workers of this process, and now and then their supervisor, and remembers what it did."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

# How often which, of every so many; STOP is followed by CONT.
BLOWS = {"SIGKILL": 8, "SIGTERM": 4, "SIGSEGV": 4, "SIGSTOP": 4, "zygote": 1}
LONGEST_STOP = 0.3  # seconds
PAUSE = 0.01  # seconds between two looks at how far the runs are


class Killer:
    """A thread that kills about `per_second` processes a second from `start` until `stop`.

    It waits until a run has ended since the last time, by `runs`, which counts them: on a machine so busy that workers take
    longer to begin than to be killed, none ever would. diary: a file for the moments at which it has killed a zygote, by
    CLOCK_BOOTTIME.
    """

    def __init__(self, seed: int, per_second: float, runs: Callable[[], int], diary: Path) -> None:
        self.blows: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._per_second = per_second
        self._runs = runs
        self._runs_then = 0
        self._diary = diary
        self._struck: set[tuple[int, str]] = set()
        self._zygotes: list[float] = []
        self._stops: list[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._kill, name="soak-killer", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Kill no more."""
        self._over.set()
        self._thread.join()

    # What it did

    def struck(self, pid: int, name: str) -> bool:
        """Whether it sent that signal to that worker."""
        return (pid, name) in self._struck

    def killed_a_zygote(self, since: float) -> bool:
        """Whether it did so since then, by time.monotonic."""
        return any(when >= since for when in list(self._zygotes))

    def stopped_one(self, since: float) -> bool:
        """Whether a worker stood still for a while since then."""
        return any(when + LONGEST_STOP >= since for when in list(self._stops))

    # The killing

    def _kill(self) -> None:
        names, weights = list(BLOWS), list(BLOWS.values())
        while not self._over.wait(self._random.expovariate(self._per_second)):
            while self._runs() == self._runs_then:
                if self._over.wait(PAUSE):
                    return
            self._runs_then = self._runs()
            (name,) = self._random.choices(names, weights)
            with contextlib.suppress(OSError):  # it was gone before
                self._strike(name)

    def _strike(self, name: str) -> None:
        zygotes = _children(os.getpid(), b"_zygote")
        if not zygotes:
            return
        zygote = self._random.choice(zygotes)
        if name == "zygote":
            self._zygotes.append(time.monotonic())
            self._send(zygote, os.getpid(), signal.SIGKILL)
            with self._diary.open("a") as file:
                print(time.clock_gettime(time.CLOCK_BOOTTIME), file=file)
        elif workers := _children(zygote):
            self._strike_worker(self._random.choice(workers), zygote, name)
        else:
            return
        self.blows[name] += 1

    def _strike_worker(self, worker: int, zygote: int, name: str) -> None:
        self._struck.add((worker, name))  # first, since the failure may be there at once
        self._send(worker, zygote, signal.Signals[name])
        if name == "SIGSTOP":
            self._stops.append(time.monotonic())
            self._over.wait(self._random.uniform(0, LONGEST_STOP))
            with contextlib.suppress(OSError):
                self._send(worker, zygote, signal.SIGCONT)

    def _send(self, pid: int, parent: int, number: signal.Signals) -> None:
        """To that process and no other that may have its number by now."""
        fd = os.pidfd_open(pid)
        try:
            if _parent_of(pid) == parent:
                signal.pidfd_send_signal(fd, number)
        finally:
            os.close(fd)


def _children(pid: int, sign: bytes = b"") -> list[int]:
    """The children of all threads of a process whose command line has that in it."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                found += map(int, file.read().split())
    return [child for child in found if sign in _command(child)]


def _command(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


def _parent_of(pid: int) -> int:
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])
