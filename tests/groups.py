"""Control groups for tests, where this process may make them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@contextmanager
def control_group(controller: str, settings: dict[str, str], unified: dict[str, str]) -> Iterator[Path]:
    """A new group with these settings, of version 1 or else of version 2; skips the test where there can be none."""
    for root, files in ((controller, settings), ("", unified)):
        group = Path("/sys/fs/cgroup", root, f"flatout-test-{os.getpid()}")
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            for name, text in files.items():
                (group / name).write_text(text)
        except OSError:
            group.rmdir()
            continue
        try:
            yield group
        finally:
            _remove(group)
        return
    pytest.skip("no control group can be made here")


def _remove(group: Path) -> None:
    deadline = time.monotonic() + 30  # seconds
    while (group / "cgroup.procs").read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    with suppress(FileNotFoundError):
        group.rmdir()
