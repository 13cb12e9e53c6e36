"""What tasks do: their square for most inputs, something awful for others. They can be imported wherever they are sent.

Every new worker imports this, and whoever dies is replaced by a new one: what is heavy is imported where it is used.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    Fault = Callable[[], Any]

SURVIVED = "survived"  # what a task returns after a fault that it survives
SLEEPER = "86399"  # seconds that programs which tasks start sleep: how they are known
TASK = 0.005  # seconds that a healthy one takes: the others are not over when one dies
OVER = "over"  # the file by which what goes on beside a run sees that it is over
FOLDER = "FAULTS_FOLDER"  # the environment variable that names the folder for what tasks write


def call(fault: Fault, at: frozenset[int], notes: bytes, x: Any) -> Any:
    """One task, of the kind that returns."""
    _note(notes, x)
    if type(x) is not int or x in at:
        return fault()
    time.sleep(TASK)
    return x * x


async def call_async(fault: Fault, at: frozenset[int], notes: bytes, x: Any) -> Any:
    """One task, of the kind that is awaited."""
    import asyncio

    _note(notes, x)
    if type(x) is int and x not in at:
        await asyncio.sleep(TASK)
        return x * x
    value = fault()
    return await value if hasattr(type(value), "__await__") else value


def healthy(x: int) -> int:
    return x * x


async def healthy_async(x: int) -> int:
    return x * x


def _note(notes: bytes, x: Any) -> None:
    """Write down that it ran, as the system can: a task before it may have left Python in any state."""
    if type(x) is not int:
        return
    try:
        fd = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC)
        os.write(fd, b"%d\n" % x)
        os.close(fd)
    except Exception:  # no descriptor is left, say: then it is not known
        return


def folder() -> Path:
    """Where a task may write what is looked at later."""
    from pathlib import Path

    return Path(os.environ[FOLDER])
