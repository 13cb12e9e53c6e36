"""What a process has: threads, descriptors, children, memory; to be compared before and after."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable


def threads() -> list[str]:
    """The names of the threads that are not the soak's own; those that flatout keeps for the next run end after a while."""
    return sorted(thread.name for thread in threading.enumerate() if not thread.name.startswith(("soak", "Main")))


def descriptors() -> list[str]:
    """What they lead to."""
    links = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            links.append(os.readlink(f"/proc/self/fd/{fd}"))
    return sorted(link.partition(":[")[0] for link in links)


def zombies() -> list[int]:
    """Children that have ended and nobody has waited for."""
    found = []
    for pid in children():
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as file:
            if file.read().rpartition(")")[2].split()[0] == "Z":
                found.append(pid)
    return found


def children() -> list[int]:
    """Those of all threads of this process."""
    return _children_of(os.getpid())


def _children_of(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/children") as file:
                found += map(int, file.read().split())
    return found


def commands(zygote_killed: float = 0.0) -> list[str]:
    """What the children are, zombies apart: those are collected here.

    zygote_killed: when, by CLOCK_BOOTTIME, for the last time. What was a daemon by then has nobody to end it, which the
    documentation says: such are ended here.
    """
    for pid in zombies():
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    found = []
    for pid in children():
        with contextlib.suppress(OSError):
            if _began(pid) <= zygote_killed and os.getsid(pid) == pid:
                os.kill(pid, signal.SIGKILL)
                continue
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                found.append(f"{pid} {file.read().replace(bytes(1), b' ').decode(errors='replace'):.100}")
    return found


def below(pid: int) -> list[str]:
    """All processes below one: their state, seconds of CPU time, age in seconds, and where in the kernel they sleep."""
    found = []
    for child in _children_of(pid):
        with contextlib.suppress(OSError), open(f"/proc/{child}/stat") as file, open(f"/proc/{child}/wchan") as place:
            fields = file.read().rpartition(")")[2].split()
            cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            age = time.clock_gettime(time.CLOCK_BOOTTIME) - _began(child)
            found.append(f"{child} below {pid}: {fields[0]}, {cpu:.2f} s of {age:.1f}, {place.read()}")
        found += below(child)
    return found


def end_children() -> None:
    """What is left has been told: let it stay no longer."""
    for pid in children():
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def _began(pid: int) -> float:
    """When, by CLOCK_BOOTTIME."""
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")


_OF_OTHERS = ("psm_", "sem.", "loky", "joblib", "pym-")  # what the standard library and others leave there meanwhile


def named_memory() -> set[str]:
    """The names in /dev/shm."""
    with contextlib.suppress(OSError):
        return {name for name in os.listdir("/dev/shm") if not name.startswith(_OF_OTHERS)}
    return set()


def resident_mib() -> float:
    """MiB of memory in use."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def settled(read: Callable[[], list[str]], allowed: list[str], seconds: float = 10.0) -> list[str]:
    """What is more than allowed, when that has had the time to go."""
    deadline = time.monotonic() + seconds
    while (more := _beyond(read(), allowed)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return more


def _beyond(found: list[str], allowed: list[str]) -> list[str]:
    left = list(allowed)
    more = []
    for name in found:
        if name in left:
            left.remove(name)
        else:
            more.append(name)
    return more
