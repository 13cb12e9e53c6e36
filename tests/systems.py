"""Takes from Python what other systems do not have, so that flatout finds as little as there. Imported before flatout.

What the standard library, or psutil, keeps of it for itself stays: these are others' concern.
"""

from __future__ import annotations

import asyncio  # noqa: F401 (what it has of these it has by now)
import builtins
import concurrent.futures.thread  # noqa: F401
import io
import os
import select
import selectors
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

_WINDOWS_OS = """
    chown ctermid eventfd fchdir fchmod fchown fork forkpty fpathconf fstatvfs get_blocking getegid geteuid getgid getgroups
    getloadavg getpgid getpgrp getpriority getsid getuid killpg lockf memfd_create mkfifo nice openpty pathconf pidfd_open pipe2
    posix_fallocate posix_spawn posix_spawnp preadv pwritev readv register_at_fork sched_getaffinity sched_setaffinity
    sched_yield sendfile set_blocking setpgid setpriority setsid splice statvfs sysconf uname wait wait3 wait4 waitid writev
    O_CLOEXEC O_NONBLOCK P_ALL PRIO_PROCESS WNOHANG
"""
_WINDOWS_SIGNAL = """
    SIGALRM SIGBUS SIGCHLD SIGCONT SIGHUP SIGIO SIGKILL SIGPIPE SIGPROF SIGQUIT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGUSR1
    SIGUSR2 SIGVTALRM SIGWINCH SIGXCPU SIGXFSZ SIG_BLOCK SIG_SETMASK SIG_UNBLOCK ITIMER_REAL alarm getitimer pause pthread_kill
    pthread_sigmask setitimer siginterrupt sigpending sigtimedwait sigwait sigwaitinfo
"""
_MACOS_OS = """
    eventfd memfd_create pidfd_open pipe2 sched_getaffinity sched_setaffinity splice waitid P_ALL WEXITED WNOWAIT MFD_CLOEXEC
    MFD_ALLOW_SEALING
"""


def be_windows() -> None:
    """Leave what Windows has."""
    _take_away(os, _WINDOWS_OS)
    _take_away(signal, _WINDOWS_SIGNAL)
    _take_away(import_module("_signal"), _WINDOWS_SIGNAL)
    _take_away(select, "poll epoll")
    _take_away(socket, "CMSG_LEN CMSG_SPACE SCM_RIGHTS send_fds recv_fds")
    _take_away(time, "clock_gettime pthread_getcpuclockid CLOCK_THREAD_CPUTIME_ID")
    for name in ("fcntl", "resource", "termios", "pwd", "grp", "tty", "pty", "uvloop"):
        sys.modules[name] = None  # type: ignore[assignment] # to import it raises ImportError
    vars(selectors).update(SelectSelector=_OnlySockets, DefaultSelector=_OnlySockets)
    _hide_files_of_linux()


def be_macos() -> None:
    """Leave what macOS has; epoll stays in the place of kqueue, which does the same."""
    _take_away(os, _MACOS_OS)
    _take_away(socket, "MSG_CMSG_CLOEXEC")
    _take_away(time, "pthread_getcpuclockid")
    _hide_files_of_linux()


class _OnlySockets(selectors.SelectSelector):
    """What `select` takes on Windows."""

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """See `selectors.BaseSelector`."""
        number = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        if not stat.S_ISSOCK(os.fstat(number).st_mode):
            raise OSError("[WinError 10038] An operation was attempted on something that is not a socket")
        return super().register(fileobj, events, data)


def _take_away(module: ModuleType, names: str) -> None:
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)


def _hide_files_of_linux() -> None:
    if sys.version_info >= (3, 13):
        os.process_cpu_count = lambda: os.cpu_count() or 1
    for name in ("open", "listdir", "scandir", "stat", "readlink"):
        setattr(os, name, _without_proc(getattr(os, name)))
    for module, name in ((builtins, "open"), (io, "open")):
        setattr(module, name, _without_proc(getattr(module, name)))


def _without_proc(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(path: Any, *args: Any, **kwargs: Any) -> Any:
        hidden = isinstance(path, str) and path.startswith(("/proc/", "/sys/"))
        if hidden and not sys._getframe(1).f_globals.get("__name__", "").startswith("psutil"):
            raise FileNotFoundError(2, "No such file or directory", path)
        return function(path, *args, **kwargs)

    return call
