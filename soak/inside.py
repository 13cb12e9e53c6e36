"""The soak itself: threads and loops that make one run after another, and the thread that watches them."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import io
import math
import os
import random
import re
import sys
import threading
import time
from pathlib import Path
from typing import TextIO

import flatout
from flatout._threads import _kept
from flatout._workers import _pool
from soak import leftovers
from soak.account import Account, Scene
from soak.executors import use_an_executor
from soak.killer import Killer
from soak.runs import run_in_loop, run_plainly

_LINE = re.compile(r"(soak: line \d+)?\n|soak: line \d+")
PATIENCE = (
    120.0  # seconds that one run may take; guessed: the longest replace some 60 workers, on a machine that is busy
)
IDLE_SECONDS = 5.0  # for which threads are kept from run to run: in the end none may be there
TELLING = 10.0  # seconds between two lines of progress
RUNS_OF_A_LOOP = 3  # at once
GIVEN_UP = 0.01  # of all runs, so many may be given up as their workers are killed time after time
GROWTH_MIB = 64  # by which the memory of the last third may exceed that of the first


class Printed(io.StringIO):
    """Stands for stdout: what tasks print comes whole lines at a time."""

    def __init__(self, account: Account) -> None:
        super().__init__()
        self._account = account

    def write(self, text: str) -> int:
        """Take it in."""
        lines = text.splitlines(keepends=True)
        self._account.count(lines=len(lines))
        for line in lines:
            if not _LINE.fullmatch(line):
                with self._account.scene("what tasks print") as scene:
                    self._account.mismatch(scene, f"{line!r:.200} was printed")
        return len(text)


class Soak:
    """Runs of every kind for so many seconds, in five threads, one of which has an event loop."""

    def __init__(self, seed: int, seconds: float, kills_per_second: float, diary: Path) -> None:
        _kept.IDLE_SECONDS = IDLE_SECONDS
        self.killer = Killer(seed, kills_per_second, lambda: self.account.figures["runs"], diary)
        self.account = Account(self.killer)
        self._seed = seed
        self._seconds = seconds
        self._began = time.monotonic()
        self._memory: list[tuple[float, float]] = []  # (seconds since the start, MiB)
        uses = [self._plainly, self._plainly, self._plainly, self._by_executors, self._in_a_loop]
        self._threads = [
            threading.Thread(target=use, args=(random.Random(seed * 1000 + n),), name=f"soak-{n}", daemon=True)
            for n, use in enumerate(uses)
        ]

    def run(self) -> bool:
        """Until the time is over; returns whether everything is accounted for and nothing left."""
        stdout, sys.stdout = sys.stdout, Printed(self.account)
        try:
            self._run(stdout)
        finally:
            sys.stdout = stdout
            print(self._figures())
        return not self.account.mismatches

    def _run(self, out: TextIO) -> None:
        run_plainly(random.Random(0), self.account)  # so that what stays is there
        _make_a_loop()
        before = leftovers.descriptors()
        self.killer.start()
        for thread in self._threads:
            thread.start()
        told = self._began - TELLING + 1  # the first after a second
        while any(thread.is_alive() for thread in self._threads):
            time.sleep(0.2)
            self._watch()
            if time.monotonic() > told + TELLING:
                told = time.monotonic()
                print(self._figures(), file=out, flush=True)
        self.killer.stop()
        self._look_for_leftovers(before)
        self._judge()

    # What the threads do

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _plainly(self, rng: random.Random) -> None:
        while self._elapsed < self._seconds:
            run_plainly(rng, self.account)

    def _by_executors(self, rng: random.Random) -> None:
        while self._elapsed < self._seconds:
            use_an_executor(rng, self.account)

    def _in_a_loop(self, rng: random.Random) -> None:
        async def run_after_run() -> None:
            while self._elapsed < self._seconds:
                await run_in_loop(rng, self.account)

        async def several() -> None:
            await asyncio.gather(*[run_after_run() for _ in range(RUNS_OF_A_LOOP)])

        asyncio.run(several())

    # Watching

    def _watch(self) -> None:
        faulthandler.dump_traceback_later(2 * PATIENCE, exit=True)  # should this thread not come round again
        self._memory.append((self._elapsed, leftovers.resident_mib()))
        for scene in list(self.account.under_way):
            if time.monotonic() - scene.began > PATIENCE:
                self._hangs(scene)

    def _hangs(self, scene: Scene) -> None:
        """Say what does, and where every thread stands; and end."""
        print(f"HANG after {PATIENCE:g} s, seed {self._seed}: {scene.text}", file=sys.stderr)
        print(f"    in thread {scene.thread:#x}\n{self._figures()}", file=sys.stderr)
        print("\n".join(leftovers.below(os.getpid())), file=sys.stderr, flush=True)
        faulthandler.dump_traceback(all_threads=True)
        os._exit(1)

    def _look_for_leftovers(self, before: list[str]) -> None:
        gc.collect()
        with self.account.scene("what is left at the end") as scene:
            if left := leftovers.settled(leftovers.threads, []):
                self.account.mismatch(scene, f"threads: {left}")
                faulthandler.dump_traceback(all_threads=True)
            _pool.age()  # looks at the zygote, which may have been killed since it was needed last
            if zombies := leftovers.zombies():
                self.account.mismatch(scene, f"zombies: {zombies}")
            _pool._close()
            if left := leftovers.settled(leftovers.descriptors, before):
                self.account.mismatch(scene, f"descriptors: {left}")
            if children := leftovers.children():
                self.account.mismatch(scene, f"processes: {children}")

    def _judge(self) -> None:
        """Whether the figures are what they should be."""
        figures = self.account.figures
        with self.account.scene("all in all") as scene:
            if figures["given_up"] > 1 + GIVEN_UP * figures["runs"]:
                self.account.mismatch(scene, f"{figures['given_up']} runs were given up")
            third = self._elapsed / 3
            first = max((mib for when, mib in self._memory if when < third), default=math.inf)
            last = max((mib for when, mib in self._memory if when > 2 * third), default=0.0)
            if last > first + GROWTH_MIB:
                self.account.mismatch(scene, f"memory has grown from {first:.0f} to {last:.0f} MiB")

    def _figures(self) -> str:
        """All of them in one line."""
        counts = self.account.figures
        killed = ", ".join(f"{name} {number}" for name, number in sorted(self.killer.blows.items()))
        most = max((mib for _, mib in self._memory), default=0.0)
        return (
            f"{self._elapsed:4.0f} s: {counts['runs']:,} runs, {counts['tasks']:,} tasks: {counts['values']:,} values, "
            f"{counts['own_faults']:,} failed by themselves, {counts['killed']} as they were killed, {counts['unseen']:,} skipped, "
            f"{counts['cancelled']:,} cancelled; {counts['died']:,} workers died, {counts['retried']:,} retries, "
            f"{counts['given_up']} runs given up; sent {killed or 'nothing'}; {leftovers.resident_mib():.0f} MiB, "
            f"at most {most:.0f}; {len(self.account.mismatches)} mismatches"
        )


def _make_a_loop() -> None:
    """Where it is uvloop's, the first in a process opens a pair of pipes for signals, which libuv keeps to the end."""
    flatout.map(asyncio.sleep, [0], via="async").wait()


def soak(seed: int, seconds: float, kills: float, diary: Path) -> int:
    """The exit status: 0 where everything is accounted for. diary: see `Killer`."""
    faulthandler.enable()
    try:
        return 0 if Soak(seed, seconds, kills, diary).run() else 1
    except KeyboardInterrupt:
        sys.stdout.flush()
        os._exit(130)  # as a program that is killed: its workers have to notice that
