"""The worker processes of this process: forked by a zygote, kept warm between runs.

The zygote is started once, through a socket pair, with the interpreter flags of this process; the user's `__main__` is
not imported in it. It is lost to a fork of this process, which starts its own. See `_child/_zygote.py` for its side.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref

from flatout import _child
from flatout._child import _zygote
from flatout._machine import _machine
from flatout._machine._machine import oom_kills
from flatout._wire import _frames, _page
from flatout._wire._arena import Arena

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any

ENDING_SECONDS = 5  # that the zygote gets to end all its workers; it takes 1-2 ms (measured)
_KEPT_BYTES = (
    1 << 25
)  # of an idle worker's memory for inputs: room for three of 8 MiB, one in hand and two on their way
_PF_EXITING = 4  # among the flags of a process: set before anything that it has open is closed
_SOCKET_BYTES = 1 << 22  # asked for each way; an 8 MiB array takes 1.2 ms so, 1.6 with the system's default (measured)


class Process:
    """One worker process of a pool, as its parent sees it."""

    def __init__(self, pool: Pool, number: int, sock: socket.socket, page: int) -> None:
        self.pool = pool
        self.number = number
        self.setups = 0  # how often it was set up for a run
        self._oom_kills = 0  # of the system, when that was done last
        self.sock = sock
        self._arena = Arena()
        self.sender = _frames.Sender(sock, self._arena)
        self.receiver = _frames.Receiver(sock)
        self.digest = b""  # of the callables that it has unpacked
        self.defined: dict[str, Any] = {}  # what stands in its `__main__`
        self._page = page
        self._slots = _page.slots(page)

    @property
    def pid(self) -> int:
        """0 while the zygote has not forked it yet."""
        return int(self._slots[_page.PID])

    @property
    def exitcode(self) -> int | None:
        """As in `subprocess`, negative for a signal; None while it lives or when the zygote died before it could tell."""
        status = int(self._slots[_page.STATUS])
        return None if status == 0 else status - _page.STATUS_OFFSET

    @property
    def running(self) -> list[tuple[int, float]]:
        """(index, when it began by time.monotonic) of the task that it runs, and of one whose result it pickles."""
        slots = self._slots
        pairs = ((slots[_page.CURRENT], slots[_page.BEGAN]), (slots[_page.PACKED], slots[_page.PACKING_BEGAN]))
        return [(index - 1, began / 1e9) for index, began in pairs if index > 0]

    @property
    def last(self) -> int | None:
        """The task that it has begun last, of those whose results are not all sent."""
        return abs(self._slots[_page.CURRENT]) - 1 if self._slots[_page.CURRENT] else None

    @property
    def begun(self) -> int:
        """Where several tasks are in flight in it: as so manieth of all was the one sent that has begun last; 0: none has."""
        return int(self._slots[_page.BEGUN])

    def wake(self) -> None:
        """Have it go on, where something that a task of an earlier run has left behind has stopped it."""
        if self.pid and self.exitcode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, signal.SIGCONT)

    def note_setup(self) -> None:
        """It is set up for a run."""
        self.setups += 1
        self._oom_kills = oom_kills()

    def ran_out_of_memory(self) -> bool:
        """Whether the system has killed processes for their memory since it was set up last."""
        return oom_kills() > self._oom_kills

    def crash_text(self) -> str:
        """The traceback that faulthandler wrote when it crashed, if it did."""
        return _page.crash_text(self._page)

    def reason(self) -> str:
        """Why it could not go on, if it has said so."""
        return _page.reason(self._slots)

    def rest(self) -> None:
        """It has nothing to do: give back memory that only much work needs."""
        self._arena.rest(_KEPT_BYTES)

    def part(self) -> None:
        """Close the stream, at whose end it ends; its page still tells how."""
        self.receiver.close()
        self.sock.close()

    def forget(self) -> None:
        """Close this side; once is enough."""
        if self._page >= 0:
            self.part()
            os.close(self._page)
            self._slots.release()
            self._page = -1


class Pool:
    """The zygote and its workers. Runs lease workers and give them back; any thread may."""

    def __init__(self) -> None:
        # Taken again where the garbage collector ends a run in the middle of this.
        self._lock = threading.RLock()
        self._idle: list[Process] = []
        self._leaving: list[Process] = []  # let go of, and not known to have ended
        self._all: weakref.WeakSet[Process] = weakref.WeakSet()
        self._last = 0
        self._broken = False  # it takes no orders any more
        self._control, theirs = socket.socketpair()
        with theirs:
            self._zygote = _start_zygote(theirs.fileno())
            _child.zygote = self._zygote.pid

    @property
    def alive(self) -> bool:
        """Whether the zygote still takes orders."""
        return not self._broken and self._zygote.poll() is None

    @property
    def idle(self) -> int:
        """Workers that wait for a run."""
        return len(self._idle)

    @property
    def lost(self) -> bool:
        """Whether the zygote is gone, or about to be: it has let go of some that it has open, and not yet of the rest."""
        if self._zygote.poll() is not None or _is_exiting(self._zygote.pid):
            return True
        try:
            return not self._control.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError as error:
            return not isinstance(error, BlockingIOError)

    def lease(self) -> Process:
        """A warm worker, or a new one. Raises OSError where none can be had."""
        with self._lock:
            if not self._idle:
                return self._new()
            process = self._idle.pop()
        process.wake()
        return process

    def _new(self) -> Process:
        self._last += 1
        with contextlib.ExitStack() as undo:
            ours, theirs = socket.socketpair()
            undo.callback(ours.close)
            with theirs:
                page = _page.create()
                undo.callback(os.close, page)
                self._order(_zygote.FORK, self._last, [theirs.fileno(), page])
            process = Process(self, self._last, ours, page)
            self._all.add(process)
            undo.pop_all()
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            ours.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BYTES)
        ours.setblocking(False)
        return process

    def give_back(self, process: Process, keep: int) -> None:
        """Keep it warm, unless there are `keep` already. One that is not kept ends by itself: its stream has ended."""
        with self._lock:
            kept = len(self._idle) < keep and not self._broken
            if kept:
                self._idle.append(process)
        if kept:
            process.rest()
        else:
            self.dismiss(process)

    def dismiss(self, process: Process) -> None:
        """Wait no longer for it: it ends by itself, or is being killed.

        What it has started ends with it, also where the zygote does not live to see to that: with the next one that is let
        go, or with the pool.
        """
        process.part()
        with self._lock:
            self._leaving.append(process)
            self._forget_the_dead()

    def _forget_the_dead(self) -> None:
        """Of those that were let go. Where the zygote was killed, it did not end what they had started."""
        status = self._zygote.poll()
        for process in list(self._leaving):
            if status is not None and status < 0 and process.exitcode is None:
                kill_group(process.pid)
            if status is not None or process.exitcode is not None or not process.pid:
                self._leaving.remove(process)
                process.forget()

    def kill(self, process: Process) -> None:
        """Have the zygote kill it with all it started. Its stream ends when it is gone."""
        try:
            with self._lock:
                self._order(_zygote.KILL, process.number)
        except OSError:
            if process.exitcode is None:  # the zygote is gone, and so is the worker, but not what that has started
                kill_group(process.pid)

    def let_go(self) -> None:
        """End the workers that are kept warm, for their memory: their streams end."""
        with self._lock:
            idle, self._idle = self._idle, []
        for process in idle:
            self.dismiss(process)

    def preload(self, module: str) -> None:
        """Have new workers find one of `PRELOADS` loaded."""
        with self._lock, contextlib.suppress(OSError):
            self._order(_zygote.PRELOAD, _zygote.PRELOADS.index(module))

    def _order(self, operation: bytes, number: int, fds: list[int] | None = None) -> None:
        record = _zygote.ORDER.pack(operation, number)
        try:
            self._zygote.send_signal(signal.SIGCONT)  # a task may have stopped it
            if fds:
                socket.send_fds(self._control, [record], fds)
            else:
                self._control.sendall(record)
        except ConnectionError:
            self._broken = True  # before its end can be seen in any other way
            raise

    def close(self) -> None:
        """End the zygote, and with it every worker."""
        with self._lock:
            self._broken = True
            for process in self._idle:
                process.part()
            self._leaving += self._idle
            self._idle.clear()
        with self._control:
            try:
                self._zygote.send_signal(signal.SIGCONT)
                self._control.shutdown(socket.SHUT_WR)
                self._control.settimeout(ENDING_SECONDS)
                # Comes back as the zygote ends; a `wait` with a timeout would sleep longer than that takes.
                self._control.recv(1)
            except TimeoutError:  # it was stopped, or the like; its workers are killed with it
                self._zygote.kill()
            except OSError:  # it was gone before
                pass
        self._zygote.wait()
        with self._lock:
            self._forget_the_dead()

    def abandon(self) -> None:
        """In a fork of the process that owns it: close the copies of its descriptors, also of workers that are leased."""
        for process in list(self._all):
            process.forget()
        self._idle.clear()
        self._leaving.clear()
        self._control.close()
        self._zygote.returncode = 0  # not our child: nothing to wait for


def _is_exiting(pid: int) -> bool:
    """Whether a process is on its way out; False where the system does not tell."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return bool(int(file.read().rpartition(")")[2].split()[6]) & _PF_EXITING)
    except OSError:
        return False


def kill_group(pid: int) -> None:
    """Kill what a worker has started, where the zygote was killed and can end nothing any more: the worker died with it."""
    if pid:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)  # it is ours now, if this is the first process of its container


def import_path(cwd: str) -> list[str]:
    """What `sys.path` means here, for a process that may be elsewhere: an empty entry is the current directory."""
    return [entry or cwd for entry in sys.path if isinstance(entry, str)]


def working_directory() -> str:
    """The current directory; empty where it was deleted."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


def _start_zygote(control: int) -> subprocess.Popen[bytes]:
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    # Ours goes first until flatout is imported, so that it is this one, wherever the caller has gone since; and no longer,
    # since in front of the standard library it might hide modules of that (old backports in site-packages).
    home = os.path.dirname(os.path.dirname(_child.__path__[0]))
    code = (
        f"import sys; sys.path[:] = {[home, *import_path(working_directory())]!r}\nimport flatout; del sys.path[0]\n"
        f"from flatout._child._zygote import main\nmain({control}, {os.getpid()})"
    )
    return subprocess.Popen(
        [sys.executable, *flags, "-c", code],
        stdin=subprocess.DEVNULL,
        pass_fds=[control],
        start_new_session=True,
    )


_pool: Pool | None = None
_pool_lock = threading.RLock()
_began: float | None = None  # when the start of its zygote did, by time.monotonic


def pool() -> Pool:
    """The pool of this process; its zygote is started by the first call, and replaced when it has died."""
    global _pool, _began
    with _pool_lock:
        if _machine.ending:
            raise OSError("the interpreter is ending: no more worker processes")
        if _pool is not None and not _pool.alive:
            _pool.close()
            _pool = None
        if _pool is None:
            _began = time.monotonic()
            try:
                _pool = Pool()
            except BaseException:
                _began = None
                raise
        return _pool


def lease() -> Process:
    """A worker process. Raises OSError where none can be had."""
    try:
        return pool().lease()
    except ConnectionError:  # the zygote has just died
        return pool().lease()


def let_go() -> None:
    """End the workers that nobody has leased."""
    if _pool is not None:
        _pool.let_go()


def age() -> float | None:
    """Seconds since the zygote's start began; None where there is none."""
    pool, began = _pool, _began
    return None if began is None or (pool is not None and not pool.alive) else time.monotonic() - began


def idle() -> int:
    """How many workers wait for a run."""
    pool = _pool
    return pool.idle if pool is not None and pool.alive else 0


def _forget_parents_pool() -> None:
    global _pool, _pool_lock, _began
    _pool_lock = threading.RLock()
    _began = None
    if _pool is not None:
        _pool.abandon()
        _pool = None


@atexit.register
def _close() -> None:
    global _pool, _began
    ctrl_c = signal.getsignal(signal.SIGINT)
    if (
        ctrl_c is signal.default_int_handler
    ):  # an exception here would be told as one that was ignored, and change nothing
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    with _pool_lock:
        _machine.ending = True
        if _pool is not None:
            _pool.close()
            _pool = _began = None
    if ctrl_c is signal.default_int_handler:
        signal.signal(signal.SIGINT, ctrl_c)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents_pool)
