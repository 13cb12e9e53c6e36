"""A worker that is a process. What happens in it, to it and by it harms no other task."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from flatout._child import _native, _settings, _standing
from flatout._child._end import STATUS
from flatout._child._zygote import CLOUDPICKLE
from flatout._errors import NotPicklable, WorkerDied
from flatout._events import BatchFinished, TaskError, TasksReturned, WorkerExited, WorkerReady
from flatout._model import Batch, Work
from flatout._wire import _exceptions, _frames, _functions, _values
from flatout._wire._arena import AVAILABLE, WORTH, Parcel, seconds_per_byte
from flatout._wire._frames import Frame, Sender
from flatout._wire._modules import Definitions, may_name_main
from flatout._workers import _pool
from flatout._workers._base import Host
from flatout._workers._pool import Process

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any

    Emit = Callable[[str, Any], None]
    Inside = Callable[..., Any]

LOADING = 1e-8  # seconds a byte to unpickle a function with its data (measured: 10 ns for numbers, 20 for dictionaries)
LARGE = 1 << 23  # bytes from which it is asked how long it takes to write them; guessed: 5-20 ms


class Setup:
    """What every worker process of a run is told first; made once a run. Raises NotPicklable.

    cores: that each worker may count on. divisible: of a batch that takes long, the part that is not begun may be returned.
    inside: what makes the one that runs several tasks at once in each worker (`_inside`), None where they run one by one.
    preloads: modules that workers will need, of those that the zygote can load for all.
    """

    def __init__(
        self,
        work: Work,
        cores: int,
        divisible: bool = True,
        inside: Inside | None = None,
        preloads: Sequence[str] = (),
    ) -> None:
        self.packed = _functions.pack_callables(work.func, work.initializer)
        self.initializes = work.initializer is not None
        self.preloads = [CLOUDPICKLE] * self.packed.needs_cloudpickle + list(preloads)
        cwd = _pool.working_directory()
        main = sys.modules.get("__main__")
        self.meta = _values.dump(
            {
                "cores": cores,
                "standing": _standing.standing(),
                "settings": _settings.settings(work.context),
                "star": work.star,
                "timed": work.timed,
                "divisible": divisible,
                "inside": inside,
                "path": _pool.import_path(cwd),
                "argv": list(sys.argv),
                "environ": _native.users(os.environ),
                "cwd": cwd,
                "main_file": getattr(main, "__file__", None),
                "log_levels": _log_levels(),
                "authkey": _authkey(),
            }
        )

    @functools.cached_property
    def writing(self) -> float:
        """Seconds that it takes to write what is large; `write` does it."""
        size = self.packed.size if AVAILABLE else 0
        return size * seconds_per_byte() if size >= LARGE else 0.0

    @property
    def loading(self) -> float:
        """Seconds that it takes each worker to load the rest."""
        return LOADING * len(self.packed.payload)

    def write(self) -> None:
        """Write what is large now, before any worker needs it: in whatever thread has the time."""
        self._parcel  # noqa: B018

    @functools.cached_property
    def _parcel(self) -> Parcel | None:
        """What is large is written once, when the first worker needs it, and not again for each."""
        packed = self.packed
        if not AVAILABLE or packed.size < WORTH:
            return None
        with contextlib.suppress(OSError):  # no room: it goes by the socket
            return Parcel(packed.pieces)
        return None

    def put_all(self, sender: Sender) -> None:
        """Send a worker everything, the callables included."""
        if self._parcel is not None:
            sender.put_parcel(_frames.SETUP, self.meta, self._parcel)
        else:
            sender.put(_frames.SETUP, self.meta, self.packed.pieces)


class ProcessWorker:
    """One leased worker process.

    `emit("stdout" | "stderr" | "log", what)` is given what it prints and logs. `keep`: how many may stay warm after.
    """

    def __init__(self, number: int, setup: Setup, host: Host, emit: Emit, keep: int) -> None:
        self._number = number
        self._setup = setup
        self._host = host
        self._emit = emit
        self._keep = keep
        self._process: Process | None = None
        self._handlers: dict[int, Callable[[Frame], None]] = {
            _frames.READY: self._ready,
            _frames.STALE: self._stale,
            _frames.SETUP_FAILED: self._setup_failed,
            _frames.RESULTS: self._results,
            _frames.RETURNED: self._returned,
            _frames.OUTPUT: lambda frame: self._give_out(*_values.load(frame.head)),
            _frames.LOG: lambda frame: self._give_out("log", _values.load(frame.head)),
        }
        self._blocked = False  # the socket has not taken all of what is to be sent
        self._is_ready = self._is_stale = self._was_warm = False
        self._input_bytes = 0.0  # of a task, lately
        self._unreported: deque[tuple[int, int]] = deque()  # (first, end) of what was sent, in the order of sending

    @property
    def pid(self) -> int:
        """Of its process; 0 while it has none."""
        return self._process.pid if self._process is not None else 0

    def start(self) -> None:
        """Lease a process and set it up."""
        try:
            for module in self._setup.preloads:
                _pool.pool().preload(module)
            self._process = process = _pool.lease()
        except OSError as error:  # no descriptors, no memory, no zygote
            self._host.post(WorkerExited(self._number, error))
            return
        self._host.watch(process.sock.fileno(), self._readable)
        self._was_warm = process.setups > 0
        process.note_setup()
        packed = self._setup.packed
        if process.digest == packed.digest:
            process.sender.put(_frames.SETUP, self._setup.meta)
        else:  # it begins with a new `__main__`, and with the initializer
            process.digest, process.defined = packed.digest, dict(packed.definitions)
            self._setup.put_all(process.sender)
        self._writable()

    def send(self, batch: Batch) -> None:
        """Pickle the tasks and send them; what cannot be pickled fails here."""
        if self._process is None:
            return  # its end is reported, but not dealt with yet: the tasks come back with that
        packed, errors = _values.pack(batch.inputs, "the input", by_value=True)
        if not (errors or packed.plain) and may_name_main(packed.data):
            errors = self._define_each(batch.inputs)
        if errors:
            self._send_around(batch, dict(errors))
            return
        head = _values.dump((batch.first, len(batch), packed.lengths))
        self._input_bytes = sum(map(len, packed.pieces)) / len(batch)
        self._sent(batch)
        self._put(_frames.BATCH, head, packed.pieces)

    def _send_around(self, batch: Batch, errors: dict[int, BaseException]) -> None:
        """Send what can be sent, in the runs between the tasks that cannot."""
        start = batch.first
        for position, error in sorted(errors.items()):
            index = batch.first + position
            if start < index:
                self.send(batch.part(start, index))
            failed = TaskError(0, error, retryable=type(error) is not NotPicklable)
            self._host.post(BatchFinished(self._number, index, [None], (failed,)))
            start = index + 1
        if start < batch.end:
            self.send(batch.part(start, batch.end))

    def _define_each(self, inputs: Sequence[Any]) -> list[tuple[int, BaseException]]:
        """Have the worker know the classes of all inputs; returns (position, error) of those that cannot be sent."""
        with contextlib.suppress(BaseException):
            self._define(_functions.main_globals_in(list(inputs)))
            return []
        errors: list[tuple[int, BaseException]] = []
        for position, item in enumerate(inputs):
            try:
                names = _functions.main_globals_in(item)
            except BaseException:
                continue  # it cannot be pickled plainly: it went by value, classes and all
            try:
                self._define(names)
            except Exception as error:  # for want of descriptors, perhaps
                errors.append((position, error))
        return errors

    def _define(self, names: Definitions) -> None:
        process = self._process
        assert process is not None
        new = {name: value for name, value in names.items() if process.defined.get(name) is not value}
        if new:
            payload = _functions.pack_definitions(new)
            process.defined.update(new)
            self._put(_frames.DEFINE, b"", [payload])

    def _put(self, kind: int, head: _frames.Piece, buffers: Sequence[_frames.Piece]) -> None:
        assert self._process is not None
        self._process.sender.put(kind, head, buffers)
        self._writable()

    def _writable(self) -> None:
        process = self._process
        if process is None:
            return
        try:
            done = process.sender.flush()
        except OSError:
            return  # it is gone: the end of its stream tells the rest
        if done == self._blocked:
            self._blocked = not done
            self._host.watch(process.sock.fileno(), self._readable, None if done else self._writable)

    def _readable(self) -> None:
        process = self._process
        if process is None:
            return
        try:
            for frame in self._received(process):
                self._handlers[frame.kind](frame)
        except Exception as error:
            self._unintelligible(process, error)

    def _received(self, process: Process) -> Iterable[Frame]:
        try:
            return process.receiver.receive()
        except BlockingIOError:
            pass
        except (EOFError, OSError):
            self._gone(process)
        return ()

    def _give_out(self, stream: str, what: Any) -> None:
        with contextlib.suppress(Exception):  # a stream of the user's that is closed or broken is no fault of a task
            self._emit(stream, what)

    def _ready(self, frame: Frame) -> None:
        assert self._process is not None
        if _values.load(frame.head) != self._process.setups:
            return  # it was leased before its set-up for an earlier run had ended
        self._is_ready = True
        self._host.post(WorkerReady(self._number, f"process {self._process.pid}"))

    def _stale(self, frame: Frame) -> None:
        self._is_stale = True  # it has imported what was edited since; its end follows, and another takes its place

    def _setup_failed(self, frame: Frame) -> None:
        setup, packed = _values.load(frame.head)
        process = self._process
        if process is None or setup != process.setups:
            return  # as in `_ready`; it ends
        error = _exceptions.unpack_error(packed)
        self._release()
        process.pool.dismiss(process)
        self._host.post(WorkerExited(self._number, error, fatal=True))

    def _results(self, frame: Frame) -> None:
        first, count, indices, lengths, failed, seconds, cpu, queued = _values.load(frame.head)
        self._reported(first, count, indices)
        size = sum(map(len, frame.buffers)) + int(count * self._input_bytes)
        values, unloadable = _values.unpack(frame.buffers[0], frame.buffers[1:], lengths)
        tasks: tuple[TaskError, ...] = ()
        if failed or unloadable:
            errors = [(position, _exceptions.unpack_error(packed)) for position, packed in failed]
            tasks = tuple(TaskError(offset, error) for offset, error in sorted([*errors, *unloadable], key=_position))
        self._host.post(BatchFinished(self._number, first, values, tasks, seconds, cpu, size, indices or (), queued))

    def _returned(self, frame: Frame) -> None:
        for first, count in _values.load(frame.head):
            self._reported(first, count)
            self._host.post(TasksReturned(self._number, first, count))

    def _sent(self, batch: Batch) -> None:
        self._unreported.append((batch.first, batch.end))

    def _reported(self, first: int, count: int, indices: Sequence[int] | None = None) -> None:
        """Strike off tasks at the beginning or the end of a batch. Raises ValueError where they were not sent."""
        for place, (start, end) in enumerate(self._unreported):
            if start <= first and first + count <= end and (start == first or first + count == end):
                left = (first + count, end) if start == first else (start, first)
                self._unreported[place] = left
                if left[0] == left[1]:
                    del self._unreported[place]
                return
        raise ValueError(f"a report of tasks {first} to {first + count - 1}, which it was not sent")

    def _gone(self, process: Process) -> None:
        """The stream has ended, after everything that was sent before."""
        if process.exitcode is None and process.pid and not process.pool.lost:
            self._unintelligible(process, EOFError("nothing more, though it lives"))
            return
        if process.exitcode is None:
            _pool.kill_group(process.pid)
        starved = process.exitcode == -signal.SIGKILL and process.ran_out_of_memory()
        error = _death(process, self._is_ready, self._when(process), starved)
        self._exited(error, self._suspects(process), starved)
        process.forget()

    def _when(self, process: Process) -> str:
        """When a process that had been set up has died."""
        return "in the middle of a task" if _suspects(process) else "with no task in hand"

    def _suspects(self, process: Process) -> Sequence[int]:
        """The tasks that a process may have died of."""
        spoilt = process.reason() or process.exitcode == STATUS
        return self._up_to(process) if spoilt else _suspects(process)

    def _unintelligible(self, process: Process, error: Exception) -> None:
        """A task has written to the socket of its worker, or the like; or this process has not the means to take what came."""
        what = f"worker process {process.pid} sent what cannot be understood ({type(error).__name__}: {error})"
        if isinstance(error.__cause__, (OSError, MemoryError)):
            what = (
                f"what worker process {process.pid} sent could not be taken: {error.__cause__}. It is this process that has too "
                "few open files (ulimit -n) or too little memory left"
            )
        process.pool.kill(process)
        self._exited(WorkerDied(what), self._up_to(process))
        process.pool.dismiss(process)

    def _up_to(self, process: Process) -> Sequence[int]:
        """Who may have spoilt what is found out only when results are sent: all that are not reported, up to the last begun."""
        if not self._unreported:
            return []
        first, end = self._unreported[0]
        last = process.last
        return range(first, last + 1 if last is not None and first <= last < end else end)

    def _exited(self, error: WorkerDied, suspects: Sequence[int], starved: bool = False) -> None:
        # One that was warm may have died of what it did before it was leased.
        peaceful = self._is_stale or (self._was_warm and not self._is_ready)
        self._release()
        self._host.post(WorkerExited(self._number, None if peaceful else error, suspects, starved=starved))

    def running(self) -> Sequence[tuple[int, float]]:
        """What its page says it is on; one whose batch has run and goes home is on the last task of that, for no time."""
        process = self._process
        if process is None:
            return []
        return process.running or ([] if process.last is None else [(process.last, math.inf)])

    def cancel(self, index: int) -> None:
        """A process ends a task by ending itself: see `kill`."""

    def stop(self) -> None:
        """Give the process back, warm; also one that is still being set up, unless that may take for ever."""
        process = self._release()
        if process is None:
            return
        if self._is_ready or not self._setup.initializes:
            process.pool.give_back(process, self._keep)
        else:
            process.pool.kill(process)
            process.pool.dismiss(process)

    def retire(self) -> None:
        """Let the process go, which does not come back: it ends by itself."""
        self.close()
        self._host.post(WorkerExited(self._number))

    def kill(self) -> None:
        """Have it killed; its end is reported when its stream ends."""
        if self._process is not None:
            self._process.pool.kill(self._process)

    def close(self) -> None:
        """The run is over: do not wait for the end of one that is being killed."""
        process = self._release()
        if process is not None:
            process.pool.dismiss(process)

    def _release(self) -> Process | None:
        process, self._process = self._process, None
        if process is not None:
            self._host.unwatch(process.sock.fileno())
        return process


def _log_levels() -> dict[str, int]:
    """The level of every logger that has one of its own, the root's under "root"; empty where nothing logs here."""
    logging = sys.modules.get("logging")
    if logging is None:
        return {}
    named = logging.root.manager.loggerDict.copy()  # which holds placeholders too
    levels = {name: getattr(logger, "level", logging.NOTSET) for name, logger in named.items()}
    return {"root": logging.root.level, **{name: level for name, level in levels.items() if level != logging.NOTSET}}


def _authkey() -> bytes:
    """By which a worker may reach the managers of `multiprocessing` that this process has; empty where it can have none."""
    if "multiprocessing.managers" not in sys.modules:
        return b""
    return bytes(sys.modules["multiprocessing.process"].current_process().authkey)


def _suspects(process: Process) -> Sequence[int]:
    """What it was on: one that ran, one whose result was pickled, or both; else the last one, whose result was being sent."""
    return [index for index, _ in process.running] or ([] if process.last is None else [process.last])


def _position(entry: tuple[int, BaseException]) -> int:
    return entry[0]


def _death(process: Process, ready: bool, when: str, starved: bool) -> WorkerDied:
    said, _, trace = process.reason().partition("\n")
    when = when if ready else "as it was set up"
    how = f"could not go on: {said}" if said else f"{_how(process, starved)} {when}"
    return WorkerDied(
        f"worker process {process.pid or '(none)'} {how}", process.exitcode, process.crash_text() or trace
    )


def _how(process: Process, starved: bool) -> str:
    code = process.exitcode
    if not process.pid:
        return "could not be started"
    if code is None:
        return "was lost together with its supervisor"
    if code < 0:
        return f"was killed by {_signal_name(-code)}{', as the system ran out of memory' if starved else ''}"
    return f"exited with status {code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
