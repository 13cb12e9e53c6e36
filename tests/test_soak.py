"""The soak itself is `make soak`: too much of it is left to chance for a test. Here is how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="it finds processes as Linux has them")
ROOT = Path(__file__).parents[1]


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
