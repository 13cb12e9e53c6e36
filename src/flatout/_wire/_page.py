"""The page that a worker process shares with its parent: what it is on, and how it ended.

Eight-byte slots. The worker writes when it began before what it began, so that a reader never sees a task with an older
one's start. The zygote writes STATUS once the process is gone and only then lets go of its end of the worker's socket: who
reads the end of the stream finds the status there. Behind the slots a worker that cannot go on says why: it may have no
descriptor left to say it by. faulthandler writes behind the page.
"""

from __future__ import annotations

import mmap
import os
import struct
import time

CURRENT = 0  # index of the task the worker is on, plus 1; 0: none; negative: it has run, and its batch goes home
BEGAN = 1  # when it began that task, CLOCK_MONOTONIC in ns
PID = 2
STATUS = 3  # exit code plus STATUS_OFFSET once the process is gone; 0: it lives
PACKED = 4  # index of the task whose result is being pickled by code of the user's, plus 1; 0: none
PACKING_BEGAN = 5  # when that began, as BEGAN
BEGUN = 6  # in a mixture: the task that has begun last is the one that was sent as so manieth in this run; 0: none has begun

STATUS_OFFSET = 1000  # makes every exit code, those of signals (negative) included, differ from 0
SIZE = mmap.PAGESIZE
_SLOT = struct.Struct("<q")
_REASON = 8 * _SLOT.size  # where the reason begins


def create() -> int:
    """A new page without a name: nothing can be left behind. Returns its file descriptor."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("flatout", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    else:
        import tempfile

        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    try:
        os.ftruncate(fd, SIZE)
        if hasattr(os, "memfd_create"):
            import fcntl

            # Who reads beyond the end of a file that was cut is killed, and that could be the user.
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        os.lseek(fd, SIZE, os.SEEK_SET)
    except BaseException:
        os.close(fd)
        raise
    return fd


def slots(fd: int) -> memoryview:
    """The slots, mapped: item assignment writes."""
    return memoryview(mmap.mmap(fd, SIZE)).cast("q")


def end_of(fd: int) -> int:
    """A descriptor by which everything is written behind the slots, and behind what was, wherever a task moves it.

    Takes the place of `fd`.
    """
    try:
        end = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    except OSError:  # only Linux has such names
        return fd
    os.close(fd)
    return end


def write(fd: int, slot: int, value: int) -> None:
    """Write a slot without mapping the page."""
    os.pwrite(fd, _SLOT.pack(value), slot * _SLOT.size)


def note_packing(slots: memoryview, index: int) -> None:
    """This task is to blame for what comes now: code of the user's is run to pickle its result."""
    slots[PACKING_BEGAN] = time.monotonic_ns()
    slots[PACKED] = index + 1


def give_reason(slots: memoryview, text: str) -> None:
    """Write why this worker cannot go on; of a long text the end."""
    data = text.encode(errors="replace")[-(SIZE - _REASON) :]
    slots.cast("B")[_REASON : _REASON + len(data)] = data


def reason(slots: memoryview) -> str:
    """Why the worker could not go on; empty where it has not said so."""
    return bytes(slots.cast("B")[_REASON:]).rstrip(b"\0").decode(errors="replace")


def crash_text(fd: int) -> str:
    """What faulthandler wrote."""
    return os.pread(fd, 1 << 16, SIZE).decode(errors="replace").strip()
