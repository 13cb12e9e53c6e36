"""The worker process: sets itself up for a run, runs batches, sends results. Obeys and reports; decides nothing.

One thread runs the tasks, in the order in which they came (`_calls`). A second one, the postman, sends finished results
of a batch when the next task of it takes long (`_results`). In a mixture several tasks are in flight, in threads or on an
event loop, which come with the set-up (`_flight`); the main thread only reads then. What tasks print and log goes home by
the same socket, whole lines at a time (`_output`).
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import math
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import ModuleType

from flatout import _child
from flatout._child import _native, _settings, _standing
from flatout._child._calls import Caller, Unloadable
from flatout._child._end import give_up
from flatout._child._flight import Flight
from flatout._child._output import Output
from flatout._child._results import Channel, Results
from flatout._wire import _exceptions, _frames, _functions, _page, _values
from flatout._wire._frames import Frame, Receiver

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any

_LIMITS = [number for name, number in vars(resource).items() if name.startswith("RLIMIT_")]
_CLOCK_SECONDS = 0.02  # by how much a file system's clock may be behind: two ticks of the slowest kernel


class Worker:
    """The state of a worker process."""

    def __init__(self, sock: socket.socket, slots: memoryview, crash: int) -> None:
        self._receiver = Receiver(sock)
        self._channel = Channel(sock)
        self._results = Results(self._channel, slots, self._withdraw)
        self._frames: deque[Frame] = deque()  # which have come and wait
        self._frame: Frame | None = None  # which is to be handled
        self._reading = threading.Lock()
        self._slots = slots
        self._caller = Caller(slots)
        self._initializer: Callable[[], Any] | None = None
        self._initialized = False
        self._flight: Flight | None = None  # in a mixture
        self._setups = 0
        self._path: list[str] | None = None  # sys.path as the last set-up would have it
        self._modules: dict[str, float] = {}
        self._settings: dict[str, Any] | None = None  # which the last set-up brought
        self._habits: list[Any] = []  # after the last set-up
        self._streams: list[int] = []  # of the descriptors 0-2 those that are open, after the last set-up
        self._stops_alarms = True  # unless it was the initializer that has set one
        self._output = Output(lambda name, text: self._channel.send(_frames.OUTPUT, (name, text)))
        self._handlers: dict[int, Callable[[], bool | None]] = {
            _frames.SETUP: self._set_up,
            _frames.DEFINE: self._define,
            _frames.BATCH: self._batch,
            _frames.CANCEL: self._cancel,
        }
        faulthandler.enable(crash)
        os.register_at_fork(after_in_child=self._let_go)

    def serve(self) -> int:
        """Obey until a set-up fails or finds this process stale, or a task leaves it so; returns the exit code."""
        while True:
            self._frame = self._next_frame()
            if self._handlers[self._frame.kind]():
                return 0

    def _take(self) -> Frame:
        """The frame that is to be handled, of which no more is kept here than its handler keeps."""
        frame, self._frame = self._frame, None
        assert frame is not None
        return frame

    def _next_frame(self) -> Frame:
        with self._reading:
            while not self._frames:
                self._channel.check()
                try:
                    self._frames.extend(self._receiver.receive())
                except BlockingIOError:  # see `Channel`
                    self._channel.rest()
            return self._frames.popleft()

    def _withdraw(self) -> list[tuple[int, int]]:
        """The (first task, count) of each batch that waits here, which this worker will not run."""
        if not self._reading.acquire(blocking=False):
            return []  # the batch in hand is over
        try:
            with contextlib.suppress(BlockingIOError, EOFError, OSError):
                self._frames.extend(self._receiver.receive(wait=False))
            batches = [frame for frame in self._frames if frame.kind == _frames.BATCH]
            self._frames = deque(frame for frame in self._frames if frame.kind != _frames.BATCH)
        finally:
            self._reading.release()
        return [_values.load(frame.head)[:2] for frame in batches]

    def _set_up(self) -> bool | None:
        """Make this process like the user's, as far as a run can tell; returns True to exit instead."""
        frame = self._take()
        setup, began = _values.load(frame.head), time.time()
        self._setups += 1
        if self._stale(setup["path"]) or not self._fit(setup):
            self._channel.send(_frames.STALE, None)
            return True
        try:
            _take_on(setup)
            self._output.take_over()
            if frame.buffers or setup["settings"] != self._settings:
                _settings.take_on(setup["settings"])
                self._settings = setup["settings"]
            if frame.buffers:
                with _loading():
                    self._caller.func, self._initializer = _functions.unpack_callables(frame.buffers)
                self._initialized, self._stops_alarms = False, True
                _settings.take_on(setup["settings"])  # modules that were imported for that may have set their own
            self._stop_alarm()
            self._caller.star, self._caller.timed = setup["star"], setup["timed"]
            self._results.divisible = setup["divisible"]
            if setup["inside"] is not None or self._flight is not None:
                self._take_off(setup["inside"])
            self._output.capture_logs(setup["log_levels"], lambda record: self._channel.send(_frames.LOG, record))
            if self._initializer is not None and not self._initialized and self._flight is None:
                self._caller.finished(self._initializer())
                self._initialized = True
                self._stops_alarms = signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
            self._habits, self._streams = _habits(), _open_streams()
            self._note_modules(began)
        except BaseException as error:
            self._output.flush()
            self._channel.send(_frames.SETUP_FAILED, (self._setups, _exceptions.pack_error(error)))
            return True
        self._channel.send(_frames.READY, self._setups)
        return None

    def _take_off(self, inside: Any) -> None:
        """Have the tasks of this run in flight together; None: one after another."""
        if self._flight is not None:
            self._flight.end()
            self._flight = None
        if inside is not None:
            initializer, self._initialized = self._initializer, False
            self._flight = Flight(self._channel, self._slots, self._output.flush)
            self._flight.begin(inside(self._caller.func, self._caller.star, initializer, self._flight))

    def _define(self) -> None:
        _functions.define(self._take().buffers[0])

    def _batch(self) -> bool | None:
        """Run a batch; returns True to exit instead of running another."""
        frame = self._take()
        first, _, lengths = _values.load(frame.head)
        began = time.time()
        with _loading():
            inputs, unloadable = _values.unpack(
                frame.buffers[0], frame.buffers[1:], lengths, lambda position: self._caller.begins(first + position)
            )
        if self._flight is not None:
            self._slots[_page.CURRENT] = 0  # loaded
            self._flight.send(first, inputs, unloadable)
            self._note_modules(began)
            return None
        for position, error in unloadable:
            inputs[position] = Unloadable(error)
        tasks = deque(enumerate(inputs, first + 1))
        del frame, inputs  # an input is let go when its task is done
        self._results.begin(first, tasks)
        self._caller.run(tasks, self._results)
        self._stop_alarm()
        self._output.flush()
        self._note_modules(began)
        self._results.end()
        self._slots[_page.CURRENT] = 0  # only now: until its results are sent, the batch may have died of its last task
        if len(_open_streams()) < len(self._streams):  # programs that the next task starts would not bear it
            self._channel.send(_frames.STALE, None)
            return True
        return None

    def _stop_alarm(self) -> None:
        """One that a task has set and left, as where it has failed before it could stop it, would strike another task."""
        if self._stops_alarms:
            signal.setitimer(signal.ITIMER_REAL, 0.0)

    def _cancel(self) -> None:
        if self._flight is not None:
            self._flight.cancel(_values.load(self._take().head))

    def _let_go(self) -> None:
        """In a child that a task has forked: be no worker, but a process that prints for itself and ends with its task."""
        self._caller.forked = True
        self._channel.close()
        self._output.let_go()
        if self._flight is not None:
            self._flight.let_go()
        faulthandler.enable(2)

    # Modules that were edited since they were imported, or whose names may now lead elsewhere

    def _note_modules(self, since: float) -> None:
        """Note how the files of new modules stand; none of these was imported before `since`."""
        if len(sys.modules) == len(self._modules):
            return
        for name, module in list(sys.modules.items()):
            if name not in self._modules:
                self._modules[name] = _changed_at(module, since - _CLOCK_SECONDS)

    def _fit(self, setup: dict[str, Any]) -> bool:
        """Whether this process could be made fit for the run, where another might be."""
        native, standing = _native.share_out(setup["environ"], setup["cores"]), _standing.take_on(setup["standing"])
        return self._setups == 1 or (native and standing)

    def _stale(self, path: list[str]) -> bool:
        """Whether a new process might import something else than this one has."""
        last, self._path = self._path, path
        if last is not None and (path != last or _habits() != self._habits):
            return True
        return any(
            noted and name in sys.modules and _changed_at(sys.modules[name]) != noted
            for name, noted in self._modules.items()
        )


@contextlib.contextmanager
def _loading() -> Iterator[None]:
    """Modules that are imported here must not start processes, or these would import them in turn, and so on."""
    _child.loading = threading.get_ident()
    try:
        yield
    finally:
        _child.loading = 0


def _take_on(setup: dict[str, Any]) -> None:
    """Take on what a run may rely on: import path, environment, working directory, command line, `__main__`."""
    _child.cores = setup["cores"]
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak of its memory counts from now on: who sent the set-up goes by it
    sys.path[:] = setup["path"]
    sys.argv[:] = setup["argv"]
    if setup["environ"] != dict(os.environ):
        os.environ.clear()
        os.environ.update(setup["environ"])
    with contextlib.suppress(OSError):
        os.chdir(setup["cwd"])
    if setup["authkey"]:
        from multiprocessing import process

        process.current_process().authkey = setup["authkey"]
    if setup["main_file"]:
        sys.modules["__main__"].__file__ = setup["main_file"]


def _habits() -> list[Any]:
    """What a task may have changed in this process for the runs that follow, and no set-up puts right.

    The limits among them it does, but only where the caller has set others.
    """
    umask = os.umask(0o077)
    os.umask(umask)
    handlers = [signal.getsignal(number) for number in range(1, signal.NSIG)]
    limits = [resource.getrlimit(number) for number in _LIMITS]
    return [
        umask,
        os.nice(0),
        sys.getrecursionlimit(),
        sys.get_int_max_str_digits(),
        signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        *handlers,
        *limits,
    ]


def _open_streams() -> list[int]:
    streams = []
    for fd in (0, 1, 2):
        with contextlib.suppress(OSError):
            os.fstat(fd)
            streams.append(fd)
    return streams


def _changed_at(module: ModuleType, imported_after: float = math.inf) -> float:
    """When the file of a module was last written; 0.0 where that cannot be told or cannot matter.

    Not a number, which equals nothing, where it has changed since the import may have read it.
    """
    file = getattr(module, "__file__", None)
    if not isinstance(file, str) or file.startswith(sys.base_prefix):
        return 0.0
    try:
        status = os.stat(file)
    except OSError:
        return 0.0
    return math.nan if status.st_ctime > imported_after else status.st_mtime


def serve(sock: socket.socket, slots: memoryview, crash: int) -> int:
    """Be a worker until the other end of the socket stops it or is gone; returns the exit code.

    slots: of its page. crash: the descriptor by which faulthandler writes.
    """
    gc.enable()
    _child.inside = True
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        return Worker(sock, slots, crash).serve()
    except BaseException as error:
        give_up(slots, error)
