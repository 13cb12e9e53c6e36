"""The end of the programs that tasks in this process have started.

Those of worker processes end with these. What a task in a thread has started is a child of this process and would outlive it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from flatout import _child
from flatout._threads._times import children

if TYPE_CHECKING:
    import psutil

_KILL_SECONDS = 0.5  # between SIGTERM and SIGKILL, as for the programs of worker processes
_GIVE_UP_SECONDS = 2.0  # what is promised of Ctrl-C
_LOOK_SECONDS = 0.01  # guessed: a program that ends at SIGTERM takes some milliseconds


def inherited() -> set[int]:
    """The children that this process has already, by pid: of a shell, say, which has become this command by `exec`."""
    return set(children(f"/proc/self/task/{os.getpid()}"))


def end_programs(others: set[int]) -> None:
    """End all that this process has started, and what that has started. others: children that it had before.

    They are watched and not waited for: the thread that does so would take a program whose status is lost for one that
    has succeeded.
    """
    began = time.monotonic()
    told: set[psutil.Process] = set()
    programs = list(_below(others))
    while programs and (seconds := time.monotonic() - began) < _GIVE_UP_SECONDS:
        for program in programs:
            _end(program, program not in told, seconds > _KILL_SECONDS)
        told.update(programs)
        time.sleep(_LOOK_SECONDS)
        programs = list(filter(_is_alive, dict.fromkeys([*programs, *_below(others)])))


def _end(program: psutil.Process, is_new: bool, now: bool) -> None:
    import psutil

    with contextlib.suppress(psutil.Error):  # it has ended, or belongs to somebody else by now
        if now:
            program.kill()
        elif is_new:
            program.terminate()


def _below(others: set[int]) -> Iterator[psutil.Process]:
    """A program before those that it has started: a shell would go on with its next command when they end."""
    import psutil

    # these end by themselves, when they have cleared away what is left of others
    tracker = getattr(sys.modules.get("multiprocessing.resource_tracker"), "_resource_tracker", None)
    spared = {_child.zygote, getattr(tracker, "_pid", None), *others}
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if child.pid not in spared:
                yield child
                yield from child.children(recursive=True)


def _is_alive(program: psutil.Process) -> bool:
    import psutil

    try:
        return bool(program.is_running() and program.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
