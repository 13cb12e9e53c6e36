"""Imported first, it takes from Python what only POSIX systems have, so that flatout finds as little as on Windows.

What the standard library keeps of it for itself stays: it is no part of what is tested.
"""

from __future__ import annotations

import asyncio  # noqa: F401 (what it has of these it has by now)
import concurrent.futures.thread  # noqa: F401
import os
import select
import selectors
import signal
import socket
import stat
import sys
import time
from importlib import import_module
from types import ModuleType
from typing import Any

OS = """
    chown ctermid eventfd fchdir fchmod fchown fork forkpty fpathconf fstatvfs get_blocking getegid geteuid getgid getgroups
    getloadavg getpgid getpgrp getpriority getsid getuid killpg lockf memfd_create mkfifo nice openpty pathconf pidfd_open pipe2
    posix_fallocate posix_spawn posix_spawnp preadv pwritev readv register_at_fork sched_getaffinity sched_setaffinity
    sched_yield sendfile set_blocking setpgid setpriority setsid splice statvfs sysconf uname wait wait3 wait4 waitid writev
    O_CLOEXEC O_NONBLOCK P_ALL PRIO_PROCESS WNOHANG
"""
SIGNAL = """
    SIGALRM SIGBUS SIGCHLD SIGCONT SIGHUP SIGIO SIGKILL SIGPIPE SIGPROF SIGQUIT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGUSR1
    SIGUSR2 SIGVTALRM SIGWINCH SIGXCPU SIGXFSZ SIG_BLOCK SIG_SETMASK SIG_UNBLOCK ITIMER_REAL alarm getitimer pause pthread_kill
    pthread_sigmask setitimer siginterrupt sigpending sigtimedwait sigwait sigwaitinfo
"""
NAMES = {
    os: OS,
    signal: SIGNAL,
    import_module("_signal"): SIGNAL,
    select: "poll epoll kqueue",
    socket: "CMSG_LEN CMSG_SPACE SCM_RIGHTS send_fds recv_fds",
    time: "clock_gettime pthread_getcpuclockid CLOCK_THREAD_CPUTIME_ID",
}
MODULES = ("fcntl", "resource", "termios", "pwd", "grp", "tty", "pty", "uvloop")


class OnlySockets(selectors.SelectSelector):
    """What `select` takes on Windows."""

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """See `selectors.BaseSelector`."""
        number = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        if not stat.S_ISSOCK(os.fstat(number).st_mode):
            raise OSError("[WinError 10038] An operation was attempted on something that is not a socket")
        return super().register(fileobj, events, data)


def take_away(module: ModuleType, names: str) -> None:
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)


for module, names in NAMES.items():
    take_away(module, names)
sys.modules.update(dict.fromkeys(MODULES))  # type: ignore[arg-type] # to import them raises ImportError
vars(selectors).update(SelectSelector=OnlySockets, DefaultSelector=OnlySockets)
if sys.version_info >= (3, 13):
    os.process_cpu_count = os.cpu_count
