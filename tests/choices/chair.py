"""Runs cases in fresh processes, one at a time, on the machine as it is and beside others that compute."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from choices.model import PORT, Case, Choice
from flatout._machine._machine import usable_cores

ROOT = Path(__file__).parents[2]
LONGEST = 120.0  # seconds for one process; what the longest case takes is a tenth of it, guessed for slow machines
HOG = "while True: pass"
CORES = usable_cores()


@contextlib.contextmanager
def server() -> Iterator[None]:
    """The benchmark's server, in a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-m", "bench.server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        os.environ[PORT] = process.stdout.readline().decode().strip()
        try:
            yield
        finally:
            process.terminate()


@contextlib.contextmanager
def hogs(count: int) -> Iterator[None]:
    """So many other processes that never stop computing."""
    others = [subprocess.Popen([sys.executable, "-S", "-c", HOG]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
        for other in others:
            other.wait()


def choose(case: Case, load: int, record: bool = False) -> Choice:
    """What is chosen in a fresh process; record: with what the probe saw."""
    answer = _seated(case=case.name, load=load, record=record)
    return Choice(**answer) if "kind" in answer else Choice(case.name, load, "broken", answer["error"], 0.0)


def seconds_by(case: Case, via: str) -> float | None:
    """How long all of it takes with this kind; None where that is impossible."""
    seconds: float | None = _seated(case=case.name, via=via).get("seconds")
    return seconds


def _seated(**order: Any) -> dict[str, Any]:
    paths = [str(ROOT / "tests"), str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, paths))}
    command = [sys.executable, "-m", "choices.seat", json.dumps(order)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        return {"error": f"it did not end within {LONGEST:.0f} s"}
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        return {"error": (done.stderr or "it said nothing").strip()[-300:]}
    return answer
