"""The worker process: sets itself up for a run, runs batches, sends results. Obeys and reports; decides nothing.

One thread runs the tasks, in the order in which they came. A second one, the postman, sends finished results of a batch
when the next task of it takes long. What tasks print and log goes home by the same socket, whole lines at a time.
"""

from __future__ import annotations

import contextlib
import contextvars
import faulthandler
import gc
import math
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

from flatout import _child
from flatout._child._output import Output
from flatout._errors import trimmed
from flatout._wire import _frames, _functions, _page, _values
from flatout._wire._frames import Frame, Piece, Receiver, Sender

_CLOCK_SECONDS = 0.02  # by how much a file system's clock may be behind: two ticks of the slowest kernel
POSTMAN_SECONDS = 0.05  # a finished result stays in the worker no longer than this; ten times a good batch


class Channel:
    """The socket home, for any thread of the worker."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sender = Sender(sock)
        self._lock = threading.RLock()
        self._sending = False

    def send(self, kind: int, meta: Any, buffers: list[Piece] | None = None) -> None:
        """Send one frame; blocks until the socket has taken it.

        May be called in the middle of itself, by a finalizer or a signal handler that prints: then it only queues.
        """
        frame = _frames.pieces(kind, _values.dump(meta), buffers or ())
        with self._lock:
            self._sender.put(frame)
            if self._sending:
                return
            self._sending = True
            try:
                self._sender.flush()
            finally:
                self._sending = False

    def close(self) -> None:
        """Close this process's end."""
        self._sock.close()


class Results:
    """The results of the batch in hand that are not sent yet."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lock = threading.Lock()
        self._first = 0
        self._values: list[Any] = []
        self._errors: list[tuple[int, BaseException]] = []
        self._since = 0.0
        self._cpu_since = 0.0
        self._open = threading.Event()
        self._postman: threading.Thread | None = None

    def begin(self, first: int, many: bool) -> None:
        """A batch begins; with `many` tasks in it the postman is on duty."""
        self._first, self._values, self._errors = first, [], []
        self._since, self._cpu_since = time.perf_counter(), time.thread_time()
        if many:
            self._open.set()
            if self._postman is None:
                self._postman = threading.Thread(target=self._deliver, name="flatout-postman", daemon=True)
                self._postman.start()

    def add(self, value: Any) -> None:
        """The next task gave this value."""
        with self._lock:
            self._values.append(value)

    def fail(self, error: BaseException) -> None:
        """The next task raised."""
        with self._lock:
            self._errors.append((len(self._values), error))
            self._values.append(None)

    def end(self) -> None:
        """The batch is finished."""
        self._open.clear()
        with self._lock:
            cpu = time.thread_time() - self._cpu_since
            self._flush(cpu)

    def _deliver(self) -> None:
        while self._open.wait():
            time.sleep(POSTMAN_SECONDS)
            with self._lock:
                if self._open.is_set() and time.perf_counter() - self._since > POSTMAN_SECONDS:
                    self._flush(0.0)

    def _flush(self, cpu: float) -> None:
        """Send what is there. The lock is held: results of one batch must not overtake each other."""
        values, errors, first = self._values, self._errors, self._first
        if not values:
            return
        self._first, self._values, self._errors = first + len(values), [], []
        now = time.perf_counter()
        seconds, self._since = now - self._since, now
        packed, unpicklable = _values.pack(values, "the result", by_value=False)
        failed = [(position, _values.pack_error(error)) for position, error in errors + unpicklable]
        meta = (first, len(values), packed.lengths, failed, seconds, cpu)
        self._channel.send(_frames.RESULTS, meta, [packed.data, *(buffer.raw() for buffer in packed.buffers)])


class Worker:
    """The state of a worker process."""

    def __init__(self, sock: socket.socket, page: int) -> None:
        self._receiver = Receiver(sock)
        self._channel = Channel(sock)
        self._results = Results(self._channel)
        self._slots = _page.slots(page)
        self._initializer: Callable[[], Any] | None = None
        self._initialized = False
        self._setups = 0
        self._path: list[str] | None = None  # sys.path as the last set-up would have it
        self._modules: dict[str, float] = {}
        self._func: Callable[..., Any] = _not_set_up
        self._star = False
        self._await = _Awaiter()
        self._output = Output(lambda name, text: self._channel.send(_frames.OUTPUT, (name, text)))
        self._handlers = {
            _frames.SETUP: self._set_up,
            _frames.DEFINE: self._define,
            _frames.BATCH: self._batch,
        }
        self._forked = False  # whether this is a child that a task has forked
        faulthandler.enable(page)
        os.register_at_fork(after_in_child=self._let_go)

    def serve(self) -> int:
        """Obey until a set-up fails or finds this process stale; returns the exit code."""
        while True:
            for frame in self._receiver.receive():
                if self._handlers[frame.kind](frame):
                    return 0

    def _set_up(self, frame: Frame) -> bool | None:
        """Make this process like the user's, as far as a run can tell; returns True to exit instead."""
        setup, began = _values.load(frame.head), time.time()
        self._setups += 1
        if self._stale(setup["path"]):
            self._channel.send(_frames.STALE, None)
            return True
        try:
            _take_on(setup)
            self._output.take_over()
            if frame.buffers:
                self._func, self._initializer = _functions.unpack_callables(bytes(frame.buffers[0]))
                self._initialized = False
            self._star = setup["star"]
            self._output.capture_logs(setup["log_levels"], lambda record: self._channel.send(_frames.LOG, record))
            if self._initializer is not None and not self._initialized:
                self._await.finished(self._initializer())
                self._initialized = True
            self._note_modules(began)
        except BaseException as error:
            self._output.flush()
            self._channel.send(_frames.SETUP_FAILED, (self._setups, _values.pack_error(error)))
            return True
        self._channel.send(_frames.READY, self._setups)
        return None

    def _define(self, frame: Frame) -> None:
        _functions.define(bytes(frame.buffers[0]))

    def _batch(self, frame: Frame) -> None:
        first, lengths = _values.load(frame.head)
        began = time.time()
        inputs, errors = _values.unpack(frame.buffers[0], frame.buffers[1:], lengths)
        unloadable = dict(errors)
        results, slots, func = self._results, self._slots, self._func
        results.begin(first, len(inputs) > 1)
        for position, item in enumerate(inputs):
            slots[_page.BEGAN] = time.monotonic_ns()
            slots[_page.CURRENT] = first + position + 1
            try:
                if position in unloadable:
                    raise unloadable[position]
                value = contextvars.Context().run(self._call, func, item)
            except BaseException as error:
                results.fail(trimmed(error, __file__))
            else:
                results.add(value)
        del inputs
        self._output.flush()
        self._note_modules(began)
        results.end()
        slots[_page.CURRENT] = 0

    def _call(self, func: Callable[..., Any], item: Any) -> Any:
        try:
            return self._await.finished(func(*item) if self._star else func(item))
        finally:
            if self._forked:
                self._output.flush()
                _leave(sys.exception())

    def _let_go(self) -> None:
        """In a child that a task has forked: be no worker, but a process that prints for itself and ends with its task."""
        self._forked = True
        self._channel.close()
        self._output.let_go()
        faulthandler.enable(2)

    # Modules that were edited since they were imported, or whose names may now lead elsewhere

    def _note_modules(self, since: float) -> None:
        """Note how the files of new modules stand; none of these was imported before `since`."""
        if len(sys.modules) == len(self._modules):
            return
        for name, module in list(sys.modules.items()):
            if name not in self._modules:
                self._modules[name] = _changed_at(module, since - _CLOCK_SECONDS)

    def _stale(self, path: list[str]) -> bool:
        """Whether a new process might import something else than this one has."""
        last, self._path = self._path, path
        if last is not None and path != last:
            return True
        return any(
            noted and name in sys.modules and _changed_at(sys.modules[name]) != noted
            for name, noted in self._modules.items()
        )


class _Awaiter:
    """Finishes what a function left to be awaited, on an event loop that this worker keeps."""

    def __init__(self) -> None:
        self._plain: set[type] = set()
        self._runner: Any = None

    def finished(self, value: Any) -> Any:
        """The value itself, or what awaiting it gives."""
        kind = type(value)
        if kind in self._plain:
            return value
        if not _values.is_awaitable(value):
            self._plain.add(kind)
            return value
        import asyncio

        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(_wait_for(value), context=contextvars.copy_context())


async def _wait_for(awaitable: Any) -> Any:
    return await awaitable


def _not_set_up(*_: Any) -> Any:
    raise AssertionError("a batch came before the set-up")


def _leave(error: BaseException | None) -> None:
    code = error.code if isinstance(error, SystemExit) else error and 1
    os._exit(code if isinstance(code, int) else int(code is not None))


def _take_on(setup: dict[str, Any]) -> None:
    """Take on what a run may rely on: import path, environment, working directory, command line, `__main__`."""
    sys.path[:] = setup["path"]
    sys.argv[:] = setup["argv"]
    if setup["environ"] != dict(os.environ):
        os.environ.clear()
        os.environ.update(setup["environ"])
    with contextlib.suppress(OSError):
        os.chdir(setup["cwd"])
    if setup["main_file"]:
        sys.modules["__main__"].__file__ = setup["main_file"]


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


def serve(sock: socket.socket, page: int) -> int:
    """Be a worker until the other end of the socket stops it or is gone; returns the exit code."""
    gc.enable()
    _child.inside = True
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        return Worker(sock, page).serve()
    except (EOFError, ConnectionError):  # nobody is there to be told anything
        return 0
