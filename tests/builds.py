"""What differs from one build of Python to the other: marks of tests, and what these wait for."""

from __future__ import annotations

import threading
import time

import pytest

from flatout._machine._machine import gil_enabled

needs_gil = pytest.mark.skipif(
    not gil_enabled(), reason="where there is no GIL threads do as well as processes, and an object may die later"
)


def happens(event: threading.Event, seconds: float = 20) -> bool:
    """Whether it happens in that time. Where there is no GIL an object that others let go dies when the thread that made it looks."""
    deadline = time.monotonic() + seconds
    while not event.wait(0.01):
        if time.monotonic() > deadline:
            return False
    return True
