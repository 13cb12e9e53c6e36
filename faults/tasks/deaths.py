"""Ways to end the process that one runs in."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

from faults.tasks import folder
from faults.traces import PATIENCE, SLEEPER, wait_until


def reads_address_0() -> Any:
    return ctypes.string_at(0)


def exits_0() -> None:
    os._exit(0)


def exits_1() -> None:
    os._exit(1)


def aborts() -> None:
    os.abort()


def kill_itself(number: int) -> None:
    os.kill(os.getpid(), number)


def is_killed_from_outside() -> None:
    """Says who it is, and waits for it."""
    file = folder() / "pid"
    file.with_suffix(".new").write_text(str(os.getpid()))
    file.with_suffix(".new").rename(file)
    time.sleep(float(SLEEPER))


def kill_who_says_so(folder: Path) -> None:
    """The one outside."""
    if wait_until((folder / "pid").exists, 4 * PATIENCE):
        os.kill(int((folder / "pid").read_text()), signal.SIGKILL)


def kills_its_group() -> None:
    os.killpg(0, signal.SIGKILL)
