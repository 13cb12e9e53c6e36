"""How a child ends that a task has forked and in which it came back: with its task, as Python ends."""

from __future__ import annotations

import os
import sys

_exit = os._exit  # before a task can put something else in its place


def leave(error: BaseException | None) -> None:
    """End this process, a child that a task has forked; `error` is what the task has raised there."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # the task may have closed it
            pass
    code = error.code if isinstance(error, SystemExit) else int(error is not None)
    _exit(code if isinstance(code, int) else int(code is not None))
