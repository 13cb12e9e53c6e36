"""How a worker stands to the rest of the machine: on the cores and with the niceness of the thread that has begun the run.

The zygote may have been started before these were changed, and a worker may have served another.
"""

from __future__ import annotations

import contextlib
import os

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any


def standing() -> dict[str, Any]:
    """That of this thread, for workers to take on."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return {"nice": os.getpriority(os.PRIO_PROCESS, 0), "affinity": cores}


def take_on(standing: dict[str, Any]) -> bool:
    """Make it that of this process; returns False where it would have to be less nice, which the system forbids."""
    cores = set(standing["affinity"])
    if cores and cores != os.sched_getaffinity(0):
        with contextlib.suppress(OSError):  # they are not ours any more
            os.sched_setaffinity(0, cores)
    nice, before = standing["nice"], os.getpriority(os.PRIO_PROCESS, 0)
    if nice != before and not _be_as_nice(nice):
        return False
    if max(nice, before) > 0:  # else nobody has ever asked for it
        _be_as_nice_among_sessions(max(0, nice))
    return True


def _be_as_nice(nice: int) -> bool:
    for thread in _threads():
        try:
            os.setpriority(os.PRIO_PROCESS, thread, nice)
        except PermissionError:
            return False
        except ProcessLookupError:  # that one has ended
            pass
    return True


def _threads() -> list[int]:
    """All of this process: on Linux each has a niceness of its own."""
    try:
        return [int(name) for name in os.listdir("/proc/self/task")]
    except OSError:
        return [0]


def _be_as_nice_among_sessions(nice: int) -> None:
    """Desktop kernels share the processor out among sessions (autogroups) first, and the zygote leads one of its own.

    Niceness would only tell the workers from each other there: beside a busy program in another session those with
    `nice 10` got 50 % of a core, and 14 % when their session is told so (measured).
    """
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "r+") as file:
        if int(file.read().rpartition(" ")[2]) != nice:
            file.seek(0)
            file.write(str(nice))
