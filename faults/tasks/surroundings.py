"""Ways to leave the process in which one runs in a state that the next task must not suffer from."""

from __future__ import annotations

import builtins
import contextlib
import gc
import io
import os
import pickle
import select
import signal
import socket
import sys
import threading
import time

from faults.tasks import SURVIVED, folder
from faults.tasks.deaths import reads_address_0

TYPE_CHECKING = False  # see `faults.tasks`
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

PAIRS = 200  # of sockets: enough to take whatever numbers were freed
ENOUGH = 64 << 20  # bytes that a process may still take


# Descriptors


def closes(first: int, last: int) -> str:
    os.closerange(first, last)
    return SURVIVED


def closes_all() -> str:
    for fd in _open():
        os.close(fd)
    return SURVIVED


def closes_all_and_opens_files() -> str:
    """The files get the numbers that were freed."""
    closes_all()
    for number in range(2 * PAIRS):
        fd = os.open(folder() / f"mine {number}", os.O_RDWR | os.O_CREAT)
        os.write(fd, b"mine")
    return SURVIVED


def files_are_as_written(folder: Path) -> str:
    spoilt = [file.name for file in folder.glob("mine *") if file.read_bytes() not in (b"", b"mine")]
    return f"written to by somebody else: {spoilt}" if spoilt else ""


_sockets: list[socket.socket] = []


def closes_all_and_opens_sockets() -> str:
    """Whatever comes out at their other ends was not meant for them."""
    closes_all()
    pairs = [socket.socketpair() for _ in range(PAIRS)]
    _sockets.extend(one for one, _ in pairs)
    heard = os.fsencode(folder() / "heard")
    threading.Thread(target=_listen, args=([other for _, other in pairs], heard), daemon=True).start()
    return SURVIVED


def _listen(sockets: list[socket.socket], heard: bytes) -> None:
    poll = select.poll()
    by_fd = {sock.fileno(): sock for sock in sockets}
    for fd in by_fd:
        poll.register(fd, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            data = by_fd[fd].recv(1 << 16)
            with open(heard, "ab") as file:
                file.write(data)


def nothing_was_heard(folder: Path) -> str:
    heard = folder / "heard"
    return f"sockets of the user's got {heard.read_bytes()[:100]!r}" if heard.exists() else ""


def covers_descriptors() -> str:
    null = os.open(os.devnull, os.O_RDWR)
    for fd in _open():
        if fd != null:
            os.dup2(null, fd)
    return SURVIVED


def sets_all_nonblocking() -> str:
    import fcntl

    for fd in _open():
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_NONBLOCK)
    return SURVIVED


def shuts_all_sockets_down() -> str:
    for fd in _open():
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as sock:
            sock.shutdown(socket.SHUT_RDWR)
    return SURVIVED


def truncates_all() -> str:
    for fd in _open():
        with contextlib.suppress(OSError):
            os.ftruncate(fd, 0)
    return SURVIVED


def writes_to_all() -> str:
    for fd in _open():
        with contextlib.suppress(OSError):
            os.write(fd, b"\xff" * 100)
    return SURVIVED


def writes_over_all() -> str:
    """From the beginning of whatever has one."""
    for fd in _open():
        with contextlib.suppress(OSError):
            os.pwrite(fd, b"\xff" * 100, 0)
    return SURVIVED


def rewinds_all_and_crashes() -> None:
    for fd in _open():
        with contextlib.suppress(OSError):
            os.lseek(fd, 0, os.SEEK_SET)
    reads_address_0()


def puts_files_in_place_and_crashes() -> None:
    closes_all_and_opens_files()
    reads_address_0()


def _open() -> list[int]:
    return [fd for fd in map(int, os.listdir("/proc/self/fd")) if fd > 2 and os.path.exists(f"/proc/self/fd/{fd}")]


# Standard streams


def closes_stdout() -> str:
    sys.stdout.close()
    return SURVIVED


def replaces_stdout(stream: Any) -> str:
    sys.stdout = sys.stderr = stream
    return SURVIVED


def replaces_stdout_by_text() -> str:
    return replaces_stdout(io.StringIO())


# Directory, environment, limits, signals


def deletes_its_directory() -> str:
    import tempfile

    os.chdir(tempfile.mkdtemp())
    os.rmdir(os.getcwd())
    return SURVIVED


def deletes_the_callers_directory() -> str:
    import shutil

    with contextlib.suppress(FileNotFoundError):  # it may have been
        shutil.rmtree(os.getcwd())
    return SURVIVED


def clears_the_environment() -> str:
    os.environ.clear()
    return SURVIVED


def spoils_the_environment() -> str:
    os.environb[b"\xff\xfe"] = b"\xff"
    return SURVIVED


def limits_itself(which: int, most: int) -> str:
    import resource

    resource.setrlimit(which, (most, most))
    return SURVIVED


def asks_for_more_than_its_limit() -> Any:
    import resource

    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + ENOUGH, resource.RLIM_INFINITY))
    return bytearray(16 * ENOUGH)


def returns_much_under_a_limit(size: int) -> bytes:
    """Where nothing may be written to files, memory without a name included."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    return bytes(size)


def ignores_signals() -> str:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    return SURVIVED


def takes_default_signals() -> str:
    for number in (signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    return SURVIVED


def blocks_signals() -> str:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    return SURVIVED


def wakes_nobody() -> str:
    signal.set_wakeup_fd(_nonblocking_pipe())
    return SURVIVED


def _nonblocking_pipe() -> int:
    _, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    return write


def leaves_its_group() -> str:
    os.setpgid(0, os.getpgid(os.getppid()))
    return SURVIVED


def is_slow_and_alone() -> str:
    os.nice(19)
    os.umask(0o777)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    return SURVIVED


# The interpreter


def clears_modules() -> str:
    sys.modules.clear()
    return SURVIVED


def clears_path() -> str:
    sys.path.clear()
    sys.meta_path.clear()
    sys.path_hooks.clear()
    return SURVIVED


def deletes_builtins() -> str:
    for name in ("print", "len", "isinstance", "range", "open", "list", "tuple", "type", "Exception"):
        delattr(builtins, name)
    return SURVIVED


def _refuse(*_: Any, **__: Any) -> Any:
    raise ValueError("patched")


def patches_pickle() -> str:
    pickle.dumps = pickle.loads = _refuse
    pickle.Pickler = pickle.Unpickler = _refuse  # type: ignore[misc,assignment]
    return SURVIVED


def patches_much() -> str:
    for module, names in {
        time: ("time", "monotonic", "perf_counter", "thread_time", "monotonic_ns", "sleep"),
        threading: ("Thread", "Lock", "Event"),
        os: ("getpid", "read", "write", "close", "stat"),
        socket: ("socket", "send_fds", "recv_fds"),
    }.items():
        for name in names:
            setattr(module, name, _refuse)
    return SURVIVED


def patches_the_exit() -> str:
    os._exit = sys.exit = _refuse
    return SURVIVED


def turns_off_collection() -> str:
    gc.disable()
    gc.set_threshold(1, 1, 1)
    return SURVIVED


def allows_little_recursion() -> str:
    depth, frame = 0, sys._getframe()
    while frame.f_back is not None:
        frame, depth = frame.f_back, depth + 1
    sys.setrecursionlimit(depth + 25)
    return SURVIVED


def traces() -> str:
    sys.settrace(_refuse)
    sys.setprofile(_refuse)
    threading.settrace(_refuse)
    return SURVIVED


def switches_seldom() -> str:
    sys.setswitchinterval(1000)
    return SURVIVED


def makes_warnings_errors() -> str:
    import warnings

    warnings.simplefilter("error")
    return SURVIVED


def spoils_hooks() -> str:
    import atexit

    sys.excepthook = sys.unraisablehook = threading.excepthook = _refuse
    os.register_at_fork(before=_refuse, after_in_parent=_refuse, after_in_child=_refuse)
    atexit.register(time.sleep, 86399)
    return SURVIVED


def audits() -> str:
    """Forbids whatever is worth a word, for ever: no hook can be taken away again."""
    sys.addaudithook(_refuse)
    return SURVIVED
