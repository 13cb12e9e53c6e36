"""Ways to end the process that one runs in."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

from faults.tasks import OVER, SURVIVED, folder

TYPE_CHECKING = False  # see `faults.tasks`
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

LONG = 3600.0  # seconds: it is not to get so far
SOON = 0.03  # seconds: while the tasks after it run
_SECCOMP, _STRICT = 22, 1  # prctl: from now on read, write and exit only; for all else the kernel kills


def reads_address_0() -> Any:
    import ctypes

    return ctypes.string_at(0)


def exits(status: int) -> None:
    os._exit(status)


def aborts() -> None:
    os.abort()


def kill_itself(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(LONG)  # a handler may run a little later


def interrupts_itself() -> str:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(SOON)  # a handler may run a little later
    return SURVIVED


def frees_what_is_not_its_own() -> None:
    """The C library sees it, says so on stderr, and aborts."""
    import ctypes

    libc = ctypes.CDLL(None)
    libc.free(ctypes.c_void_p(ctypes.addressof(ctypes.create_string_buffer(64)) + 8))
    os.abort()  # it may have been overlooked


def reads_behind_the_end_of_a_file() -> Any:
    import mmap
    import tempfile

    with tempfile.TemporaryFile() as file:
        file.truncate(mmap.PAGESIZE)
        mapped = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        file.truncate(0)
        return mapped[0]


class _Bottomless:
    def __repr__(self) -> str:
        return repr(self)


def overflows_the_stack() -> Any:
    """Through C: some Pythons notice, in others the stack overflows."""
    sys.setrecursionlimit(100_000_000)
    return repr(_Bottomless())


def is_killed_from_outside() -> None:
    """Says who it is, and waits for it."""
    file = folder() / "pid"
    file.with_suffix(".new").write_text(str(os.getpid()))
    file.with_suffix(".new").rename(file)
    time.sleep(LONG)


def kill_who_says_so(folder: Path) -> None:
    """The one outside; kills the next one, too, until the run is over."""
    from faults.traces import PATIENCE, wait_until

    said, over = folder / "pid", folder / OVER
    while wait_until(lambda: said.exists() or over.exists(), 4 * PATIENCE) and not over.exists():
        pid = int(said.read_text())
        said.unlink()  # first: the next one may say so at once
        os.kill(pid, signal.SIGKILL)


def kills_its_group() -> None:
    os.killpg(0, signal.SIGKILL)


def kills_its_parent() -> None:
    """In a worker of flatout's that is the zygote."""
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(LONG)


def stops_its_parent() -> str:
    os.kill(os.getppid(), signal.SIGSTOP)
    return SURVIVED


def becomes(*command: str) -> None:
    os.execvp(command[0], command)


def exits_in_a_thread() -> None:
    thread = threading.Thread(target=os._exit, args=(7,))
    thread.start()
    thread.join()


def exits_in_half_a_line() -> None:
    print("half a line", end="", flush=True)
    os._exit(3)


def computes_past_its_limit() -> None:
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    while True:
        pass


def may_only_read_and_write() -> None:
    """Whatever it does next ends the thread that it runs in, and that alone."""
    import ctypes

    ctypes.CDLL(None).prctl(_SECCOMP, _STRICT, 0, 0, 0)
    os.stat("/")


def ends_its_thread() -> None:
    """Without telling Python. Where another thread is left, so is the process."""
    import ctypes

    ctypes.PyDLL(None).pthread_exit(None)


# After the task


def is_killed_later_by_a_timer() -> str:
    signal.setitimer(signal.ITIMER_REAL, SOON)
    return SURVIVED


def is_killed_later_by_a_thread() -> str:
    def kill() -> None:
        time.sleep(SOON)
        os._exit(5)

    threading.Thread(target=kill, daemon=True).start()
    return SURVIVED


def is_killed_later_by_faulthandler() -> str:
    import faulthandler

    with open(os.devnull, "w") as file:
        faulthandler.dump_traceback_later(SOON, exit=True, file=os.dup(file.fileno()))
    return SURVIVED


class _LastWords:
    def __init__(self) -> None:
        self.circle = self

    def __del__(self) -> None:
        os._exit(6)


def is_killed_by_garbage() -> str:
    """By whoever collects it: here at once, within the task."""
    import gc

    _LastWords()
    gc.collect()
    return SURVIVED
