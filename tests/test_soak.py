"""A short soak: runs of every kind while their workers are killed, every outcome accounted for, nothing left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="it finds processes as Linux has them")
ROOT = Path(__file__).parents[1]


@pytest.mark.timeout(600)
def test_every_outcome_of_a_short_soak_is_accounted_for() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "soak", "--seconds", "12"], cwd=ROOT, capture_output=True, text=True, timeout=590
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "everything is accounted for" in done.stdout


def test_ctrl_c_ends_a_soak_quietly() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "soak", "--seconds", "600"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert "seed" in process.stdout.readline()
        assert "runs" in process.stdout.readline()  # it is under way
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors


ONLY_LOOPS = """
import asyncio, pathlib, sys
import flatout
from soak.inside import Soak

class OnlyLoops(Soak):
    def _plainly(self, rng):
        flatout.map(asyncio.sleep, [0, 0], via="async").wait()
    _by_executors = _in_a_loop = _plainly

sys.exit(0 if OnlyLoops(seed=1, seconds=0.0, kills_per_second=1e-3, diary=pathlib.Path("/dev/null")).run() else 1)
"""


def test_what_a_first_event_loop_opens_for_good_is_not_taken_for_a_leftover() -> None:
    done = subprocess.run([sys.executable, "-c", ONLY_LOOPS], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
