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
from typing import IO, Any

import psutil

from bench.seat import Order

PATIENCE = 60  # seconds for a seat to open: Ray's servers take their time; guessed
LEAVE = 5  # seconds for a seat to end by itself; guessed


class Failed(Exception):
    """A contender could not do it; the message says why, for the table."""


class Chair:
    def __init__(self, order: Order) -> None:
        self._log: IO[bytes] = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.seat", json.dumps(asdict(order))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment(),
        )

    def wait_ready(self) -> None:
        self._answer(PATIENCE)

    def turn(self, cutoff: float) -> dict[str, Any]:
        """One measurement. Raises Failed after `cutoff` seconds, too."""
        assert self._process.stdin
        self._process.stdin.write(b"go\n")
        self._process.stdin.flush()
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

    def close(self, at_once: bool = False) -> None:
        assert self._process.stdin and self._process.stdout
        family = descendants(self._process.pid)
        try:
            self._process.stdin.close()
            self._process.wait(0 if at_once else LEAVE)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            self._process.kill()
        for process in family:
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
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
