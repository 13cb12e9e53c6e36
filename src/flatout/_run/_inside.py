"""What runs the tasks in a worker process of a mixture: an event loop, or threads. See `_child/_flight.py`.

The engine chooses one of these, and it comes to the child pickled by its name: the child itself knows neither.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from flatout._child._flight import Flight
from flatout._child._results import Outcomes
from flatout._events import BatchFinished, LoopIdle, WorkerExited, WorkerReady
from flatout._model import Batch, Work
from flatout._threads._interrupts import Bell
from flatout._workers._call import Caller, OwnLoop
from flatout._workers._threads import ThreadsWorker

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any

    from flatout._events import Event
    from flatout._workers._loop import LoopWorker

    Func = Callable[..., Any]
    Initializer = Callable[[], Any] | None

ENDING_SECONDS = 1.0  # that what was cancelled gets to clean up, when the next run is waiting; guessed


class Threads:
    """Threads that take one task after another; `most` and `ceiling` of them: see `ThreadsWorker`."""

    def __init__(
        self, most: int, ceiling: int, func: Func, star: bool, initializer: Initializer, flight: Flight
    ) -> None:
        self._initializer = initializer
        self._host = _Host(flight)
        self._worker = ThreadsWorker(0, Work(func, star), self._host, most, ceiling, _Inbox(flight))

    def start(self) -> None:
        """Run the initializer, and start the first thread."""
        if self._initializer is not None:
            loop = OwnLoop()
            value = Caller(Work(self._initializer, star=True), loop).run(Batch(0, [()]), 0)
            loop.close()
            for error in value.errors:
                raise error.error
        self._worker.start()
        self._host.wait()

    def send(self, tasks: Sequence[tuple[int, Any]]) -> None:
        """Begin tasks."""
        for batch in _batches(tasks):
            self._worker.send(batch)

    def cancel(self, index: int) -> None:
        """A thread cannot be made to end a call."""

    def end(self) -> None:
        """Let the threads go."""
        self._worker.stop()

    def let_go(self) -> None:
        """Only the thread that has forked is in the child, and it ends with its task."""


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self, func: Func, star: bool, initializer: Initializer, flight: Flight) -> None:
        from flatout._threads._loop import LoopThread

        self._work = Work(func, star, initializer)
        self._flight = flight
        self._thread = LoopThread(flight.give_up)
        self._host = _LoopHost(flight)
        self._inbox = _Inbox(flight)
        self._worker: LoopWorker

    def start(self) -> None:
        """Start the loop, and run the initializer in it."""
        from flatout._workers._loop import LoopWorker

        self._thread.start()
        self._thread.loop.set_exception_handler(self._raised)
        self._host.loop = self._thread.loop
        self._worker = self._thread.call(lambda: LoopWorker(0, self._work, self._host, {}, self._inbox))
        self._thread.call(self._worker.start)
        self._host.wait()

    def _raised(self, loop: Any, context: dict[str, Any]) -> None:
        """A callback has raised: one of flatout's own where a task has changed what that relies on."""
        error = context.get("exception")
        if "handle" in context and error is not None and _of_flatout(error):
            self._flight.give_up(error)
        loop.default_exception_handler(context)

    def send(self, tasks: Sequence[tuple[int, Any]]) -> None:
        """Begin tasks in the loop."""
        self._thread.loop.call_soon_threadsafe(self._send, _batches(tasks))

    def _send(self, batches: list[Batch]) -> None:
        for batch in batches:
            self._worker.send(batch)

    def cancel(self, index: int) -> None:
        """Cancel one task at its next `await`."""
        self._thread.loop.call_soon_threadsafe(self._worker.cancel, index)

    def end(self) -> None:
        """End the loop."""
        self._thread.loop.call_soon_threadsafe(self._worker.stop)
        self._thread.end(ENDING_SECONDS)

    def let_go(self) -> None:
        """The loop goes no further than the `await` that comes next. See `_loop`."""
        self._worker.let_go()


class _Inbox(deque[tuple[int, "Any"]]):
    """The (index, input) of tasks that have not begun; the order in which they do is that in which they were sent."""

    def __init__(self, flight: Flight) -> None:
        super().__init__()
        self._flight = flight
        self._taking = threading.Lock()  # what is noted last must have been taken last

    def popleft(self) -> tuple[int, Any]:
        """Begin the next one. Raises IndexError where there is none."""
        with self._taking:
            task = super().popleft()
            self._flight.note_begun()
        return task


class _Host:
    """Stands between a worker with many tasks in flight and the way home."""

    def __init__(self, flight: Flight) -> None:
        self._flight = flight
        self._started = Bell()
        self._ready = False
        self._error: BaseException | None = None
        self._handlers: dict[type[Event], Callable[[Any], None]] = {
            BatchFinished: lambda event: flight.land(_outcomes(event)),
            LoopIdle: lambda event: flight.idle(),
            WorkerReady: self._is_ready,
            WorkerExited: self._has_exited,
        }

    def wait(self) -> None:
        """Until the worker is ready; raises what kept it from that."""
        while not (self._ready or self._error):
            self._started.wait()
        if self._error is not None:
            raise self._error

    def post(self, event: Event) -> None:
        """See `_workers._base.Host`."""
        self._handlers[event.__class__](event)  # which works where a task has taken away `type` and `isinstance`, too

    def _is_ready(self, event: WorkerReady) -> None:
        self._ready = True
        self._started.ring()

    def _has_exited(self, event: WorkerExited) -> None:
        if self._ready and event.error is not None:
            self._flight.give_up(event.error.__cause__ or event.error)
        self._error = event.error
        self._started.ring()

    def soon(self, report: Callable[[], Event | None]) -> None:
        """See `_workers._base.Host`."""
        if (event := report()) is not None:
            self.post(event)

    def hurry(self) -> None:
        """See `_workers._base.Host`."""

    def watch(self, fd: int, readable: Callable[[], None], writable: Callable[[], None] | None = None) -> None:
        """None of these workers has descriptors."""
        raise AssertionError("nothing is watched here")

    def unwatch(self, fd: int) -> None:
        """As `watch`."""


class _LoopHost(_Host):
    """The same in an event loop, where what ends in one turn goes home together."""

    def __init__(self, flight: Flight) -> None:
        super().__init__(flight)
        self.loop: Any = None
        self._reports: list[Callable[[], Event | None]] = []

    def soon(self, report: Callable[[], Event | None]) -> None:
        """See `_workers._base.Host`."""
        self._reports.append(report)
        if self._flight.forked:
            self.hurry()
        else:
            self.loop.call_soon(self.hurry)

    def hurry(self) -> None:
        """See `_workers._base.Host`."""
        reports, self._reports = self._reports, []
        for report in reports:
            super().soon(report)


def _of_flatout(error: BaseException) -> bool:
    """Whether it was flatout that the event loop called."""
    trace = error.__traceback__
    while trace is not None:
        package = trace.tb_frame.f_globals.get("__name__", "").partition(".")[0]
        if package not in ("asyncio", "uvloop"):
            return bool(package == "flatout")
        trace = trace.tb_next
    return False


def _outcomes(event: BatchFinished) -> Outcomes:
    errors = [(error.offset, error.error) for error in event.errors]
    indices = list(event.indices) or None
    return Outcomes(event.first, list(event.values), errors, event.seconds, event.cpu_seconds, indices, event.queued)


def _batches(tasks: Sequence[tuple[int, Any]]) -> list[Batch]:
    """The tasks in runs of consecutive indices."""
    batches: list[Batch] = []
    inputs: list[Any] = []
    for index, item in tasks:
        if not batches or index != batches[-1].end:
            inputs = []
            batches.append(Batch(index, inputs))
        inputs.append(item)
    return batches
