"""What holds for all tests: subprocesses find the same flatout, and no process is left behind."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

# Tests start Pythons in other folders: a relative entry (PYTHONPATH=src) would lead nowhere there.
if os.environ.get("PYTHONPATH"):
    os.environ["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, os.environ["PYTHONPATH"].split(os.pathsep)))

# Before any run: one that a test has left behind may have it short between two tests.
SWITCH_INTERVAL = sys.getswitchinterval()


def pytest_collection_finish() -> None:
    """Some tests collect garbage over and over: what is there by now need not be gone through each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def no_process_left_behind() -> Iterator[None]:
    """After the last test this process may have one child at most: the zygote, which lives as long as we do."""
    yield
    for name in ("forkserver", "resource_tracker"):  # which live until this process ends, once a test has used them
        server = getattr(sys.modules.get(f"multiprocessing.{name}"), f"_{name}", None)
        if server is not None:
            server._stop()
    _, running = psutil.wait_procs(psutil.Process().children(), timeout=0)
    others = [process for process in running if not _is_zygote(process)]
    _, left = psutil.wait_procs(others, timeout=5)  # seconds that a process may take to end
    assert not left, f"tests left processes behind: {[(process.pid, _command(process)) for process in left]}"


@pytest.fixture(autouse=True)
def no_short_switch_interval_left_behind() -> Iterator[None]:
    """What is measured in the tests that follow would be another Python's: at 0.1 ms threads fill a core by looking for it."""
    yield
    deadline = time.monotonic() + 5  # of a run that was left behind the call under way may last a little
    while sys.getswitchinterval() != SWITCH_INTERVAL and time.monotonic() < deadline:
        time.sleep(0.001)
    after = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL)
    assert after == SWITCH_INTERVAL


def _is_zygote(process: psutil.Process) -> bool:
    return any("_zygote" in argument for argument in _command(process))


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # it ended meanwhile
        return []
