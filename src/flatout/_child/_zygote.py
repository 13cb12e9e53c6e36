"""The zygote: forks worker processes on request, supervises them, and alone kills them.

Started once for a user's process, with one stream socket. Orders come in as records of fixed size (operation, worker);
a FORK carries two descriptors: the worker's end of its socket and its page. Nothing is ever sent back: how a worker
ended is written into its page, and then the zygote lets go of its copy of the worker's socket, which the user's process
sees as the end of that stream.

To kill a worker is to send its process group SIGTERM, and SIGKILL after a short grace. What it has started outlives it no
longer than that grace: the zygote adopts it, whatever group it is in. Only direct children are ever sent a signal by their
pid, and they are not reaped before (where the system can tell of the dead without that): so no other process can have got it.

It leads a session of its own (Ctrl-C at the terminal does not reach it), adopts orphans of its workers, and dies with
the user's process, of which it learns by the end of the order stream or by a pidfd; every process below it dies first.
"""

from __future__ import annotations

import array
import contextlib
import gc
import importlib
import math
import os
import select
import signal
import socket
import struct
import sys
import time

from flatout._wire import _page

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any, NoReturn

ORDER = struct.Struct("<cQ")
FORK, KILL, PRELOAD = b"F", b"K", b"P"
PRELOADS = (CLOUDPICKLE := "cloudpickle", LOOP := "flatout._workers._loop")  # what only some workers need

_exit = (
    os._exit
)  # a worker that came back from here would go on as a zygote: no task is to put something else in its place
GRACE = 0.5  # seconds between SIGTERM and SIGKILL: for a file to be put in order, and yet gone in a blink; guessed

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
# The lowest of a worker's own: a task that closes what is open gets low numbers for its new files.
_OWN_DESCRIPTORS = 1000
_EXPENDABLE = (
    300  # added to the badness by which the kernel, out of memory, looks for a process to kill (of 1000); guessed
)


class _Child:
    def __init__(self, pid: int, sock: int, page: int) -> None:
        self.pid = pid
        self.sock = sock
        self.page = page
        self.ends_at: float | None = None  # when its grace is over


class Zygote:
    """The state of the supervisor."""

    def __init__(self, control: socket.socket, parent: int) -> None:
        self._control = control
        self._children: dict[int, _Child] = {}
        self._orphans: dict[int, float] = {}  # pids of adopted processes, and when their grace is over
        self._pid = os.getpid()
        self._wake, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self._wake_write = wake
        self._parent: int | None = None
        if hasattr(os, "pidfd_open"):
            with contextlib.suppress(OSError):
                self._parent = os.pidfd_open(parent)

    def serve(self) -> None:
        """Obey until the user's process is gone."""
        poll = select.poll()
        for fd in (self._control.fileno(), self._wake, *([] if self._parent is None else [self._parent])):
            poll.register(fd, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll(self._milliseconds_left())}
            self._kill_overdue()
            if self._wake in ready:
                os.read(self._wake, 4096)
                self._reap()
            if self._control.fileno() in ready and not self._obey():
                return
            if self._parent in ready:
                return

    def _obey(self) -> bool:
        """Carry out one order; return False at the end of orders."""
        data, ancillary, _, _ = self._control.recvmsg(ORDER.size, socket.CMSG_SPACE(8), socket.MSG_WAITALL)
        if len(data) < ORDER.size:
            return False
        operation, worker = ORDER.unpack(data)
        if operation == FORK:
            fds = array.array("i")
            for _level, _type, content in ancillary:
                fds.frombytes(content)
            for fd in fds:
                os.set_inheritable(fd, False)  # for the programs that tasks start
            self._fork(worker, *fds)
        elif operation == KILL:
            if worker in self._children:
                self._terminate(self._children[worker])
        elif operation == PRELOAD:
            with contextlib.suppress(ImportError):
                importlib.import_module(PRELOADS[worker])
        return True

    def _fork(self, worker: int, sock: int, page: int) -> None:
        gc.freeze()  # what is here now is shared with all workers: no collection shall touch its pages
        try:
            pid = os.fork()
        except OSError:  # no more processes, or no memory: the end of its stream tells
            os.close(sock)
            os.close(page)
            return
        if pid == 0:
            self._become_worker(sock, page)
        # Both sides set the group, so that it stands whoever runs first.
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)
        _page.write(page, _page.PID, pid)
        self._children[worker] = _Child(pid, sock, page)

    def _become_worker(self, sock: int, page: int) -> NoReturn:
        code = 70  # EX_SOFTWARE, should serving fail in a way that nobody foresaw
        try:
            os.setpgid(0, 0)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != self._pid:
                os._exit(1)
            _be_expendable()
            self._control.close()
            for fd in (self._wake, self._wake_write, self._parent):
                if fd is not None:
                    os.close(fd)
            for child in self._children.values():
                os.close(child.sock)
                os.close(child.page)
            from flatout._child import _main

            slots, crash = _page.slots(page), _out_of_the_way(_page.end_of(page))
            code = _main.serve(socket.socket(fileno=_out_of_the_way(sock)), slots, crash)
        except BaseException:
            import traceback

            traceback.print_exc(file=sys.__stderr__)
        finally:
            _exit(code)

    def _terminate(self, child: _Child) -> None:
        if child.ends_at is None:
            child.ends_at = time.monotonic() + GRACE
            for number in (signal.SIGTERM, signal.SIGCONT):  # one that is stopped would not hear of it
                _signal_all(child.pid, number)

    def _milliseconds_left(self) -> float | None:
        """Until somebody's grace is over."""
        ends = [child.ends_at for child in self._children.values()] + list(self._orphans.values())
        left = min((end for end in ends if end is not None), default=math.inf) - time.monotonic()
        return None if left == math.inf else max(0.0, left * 1000 + 1)

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        for child in self._children.values():
            if child.ends_at is not None and child.ends_at <= now:
                child.ends_at = math.inf
                _signal_all(child.pid, signal.SIGKILL)
        for pid, ends_at in self._orphans.items():
            if ends_at <= now:
                self._orphans[pid] = math.inf
                _signal(pid, signal.SIGKILL)

    def _reap(self) -> None:
        """Bury the dead, and adopt what they leave."""
        workers = {child.pid: worker for worker, child in self._children.items()}
        while (found := _one_of_the_dead()) is not None:
            pid, status = found
            child = self._children.pop(workers[pid]) if pid in workers else None
            if child is not None and child.ends_at is None:
                _signal_group(pid, signal.SIGTERM)  # nobody else can have this group, at least if it is not reaped
            if status is None:
                _, status = os.waitpid(pid, 0)
            ends_at = self._orphans.pop(pid, None) if child is None else child.ends_at
            self._adopt(pid, time.monotonic() + GRACE if ends_at is None else ends_at)
            if child is not None:
                _page.write(child.page, _page.STATUS, os.waitstatus_to_exitcode(status) + _page.STATUS_OFFSET)
                os.close(child.page)
                os.close(child.sock)

    def _adopt(self, leader: int, ends_at: float) -> None:
        """Take on what one of the dead has left: it ends with that, at the latest when that one's grace is over."""
        known = {child.pid for child in self._children.values()}
        for pid in _children_of(self._pid):
            if pid not in known and pid not in self._orphans:
                self._orphans[pid] = ends_at if ends_at < math.inf else 0.0
                if os.getpgid(pid) != leader:  # who is of its group has been told
                    _signal(pid, signal.SIGTERM)

    def end(self) -> None:
        """Kill and reap everything below."""
        for child in self._children.values():
            _signal_group(child.pid, signal.SIGKILL)
        while True:
            for pid in _children_of(self._pid):
                _signal(pid, signal.SIGKILL)
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                return


def _one_of_the_dead() -> tuple[int, int | None] | None:
    """Its pid; and its status where it had to be reaped, since it cannot be looked at before (macOS, up to Python 3.12)."""
    try:
        if hasattr(os, "waitid"):
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            return None if found is None else (found.si_pid, None)
        pid, status = os.waitpid(-1, os.WNOHANG)
        return (pid, status) if pid else None
    except ChildProcessError:
        return None


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _signal_all(pid: int, number: signal.Signals) -> None:
    """A worker and its group, which it may have left."""
    _signal_group(pid, number)
    _signal(pid, number)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _children_of(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(child) for child in file.read().split()]
    except OSError:
        return []


def _out_of_the_way(fd: int) -> int:
    """The same file under a high number."""
    import fcntl
    import resource

    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    lowest = _OWN_DESCRIPTORS if most == resource.RLIM_INFINITY else min(_OWN_DESCRIPTORS, most - 4)
    try:
        moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, lowest)
    except OSError:
        return fd
    os.close(fd)
    return moved


def _be_expendable() -> None:
    """Have the kernel, out of memory, kill this process rather than the user's."""
    with contextlib.suppress(OSError, ValueError), open("/proc/self/oom_score_adj", "r+") as file:
        badness = int(file.read()) + _EXPENDABLE
        file.seek(0)
        file.write(str(min(badness, 1000)))


def _prctl(option: int, value: int) -> None:
    if _libc is not None:
        _libc.prctl(option, value, 0, 0, 0)


def _load_libc() -> Any:
    if sys.platform != "linux":
        return None
    import ctypes

    return ctypes.CDLL(None)


_libc: Any = None


def main(control: int, parent: int) -> None:
    """Be the zygote of the user's process `parent`, whose orders come by the descriptor `control`."""
    global _libc
    _libc = _load_libc()
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    from flatout._child import _main  # noqa: F401  (loaded once here, shared by all workers)

    with socket.socket(fileno=control) as orders:
        zygote = Zygote(orders, parent)
        try:
            zygote.serve()
        finally:
            zygote.end()
        os._exit(0)  # nothing is left to do: Python would take 5 ms to clear up, for which the user's process waits
