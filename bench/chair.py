"""The coordinator's end of a seat: starts it, gives it its turn, ends it with all that it has started."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from bench.seat import Order

PATIENCE = 60  # seconds for a seat to open (Ray's servers take their time), or to make its inputs; guessed
LEAVE = 5  # seconds for a seat to end by itself; guessed


class Failed(Exception):
    """A contender could not do it; the message says why, for the table."""


class Chair:
    """fresh: each turn is the first call of a new process. module: what runs there."""

    def __init__(self, order: Order, fresh: bool = False, module: str = "bench.seat") -> None:
        self._order, self._fresh, self._module = order, fresh, module
        self._start()

    def _start(self) -> None:
        self._used = False
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the chair
        self._process = subprocess.Popen(
            [sys.executable, "-m", self._module, json.dumps(asdict(self._order))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment(),
        )

    def wait_ready(self) -> None:
        self._answer(PATIENCE)

    def turn(self, cutoff: float, what: str = "go") -> dict[str, Any]:
        """One measurement, of what the seat is told in a line. Raises Failed, too, where the call and its check take more than `cutoff` seconds."""
        if self._fresh and self._used:
            self.close()
            self._start()
            self.wait_ready()
        self._used = True
        assert self._process.stdin
        self._process.stdin.write(what.encode() + b"\n")
        self._process.stdin.flush()
        self._answer(PATIENCE)  # the inputs are made
        return self._answer(cutoff)

    def _answer(self, patience: float) -> dict[str, Any]:
        assert self._process.stdout
        if not select.select([self._process.stdout], [], [], patience)[0]:
            raise Failed(f"> {patience:g} s")
        line = self._process.stdout.readline()
        if not line:
            raise Failed(f"died with exit code {self._process.wait()}: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise Failed(answer["error"])
        return answer

    def _last_words(self) -> str:
        self._log.seek(0)
        return (self._log.read().decode(errors="replace").strip().splitlines() or ["no word"])[-1]

    def leave(self) -> None:
        """Tell it to end, and do not wait for it."""
        assert self._process.stdin
        self._process.stdin.close()

    def close(self, patience: float = LEAVE) -> None:
        """Let it end by itself for so many seconds; then end it, with all that it has started."""
        assert self._process.stdout
        family = descendants(self._process.pid)
        self.leave()
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
        # Those that clean up after a peer's workers end only after these.
        for process in psutil.wait_procs(family, timeout=patience)[1]:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                pass
        self._process.wait()
        self._process.stdout.close()
        self._log.close()


def descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def environment() -> dict[str, str]:
    """Ours, with an import path on which the seats and their workers find `bench`, wherever they run."""
    given = os.environ.get("PYTHONPATH", "")
    paths = [str(Path(__file__).parents[1]), *map(os.path.abspath, filter(None, given.split(os.pathsep)))]
    # Whoever is not allowed to keep what it has compiled compiles it at each start, which is not what is measured.
    others = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**others, "PYTHONPATH": os.pathsep.join(paths)}
