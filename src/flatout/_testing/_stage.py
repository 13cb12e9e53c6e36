"""Where a worker is tried out: alone, on a real host, with everything written down that it reports."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, TypeVar

from flatout._events import BatchFinished, Event, LoopIdle, WorkerExited, WorkerReady
from flatout._model import Batch, Work
from flatout._run._hosts import LoopHost, ThreadHost
from flatout._workers._base import Host, Worker

T = TypeVar("T")
Hire = Callable[[int, Work, Host], Worker]


@dataclass(frozen=True)
class Filling:
    """One kind of worker under test: how it is hired, and what may be expected of it.

    hire(number, work, host) makes one. number: the one it gets. loop: it lives in a running event loop. apart: it shares
    no memory with its driver (a process), so functions and values must be picklable and the context is a fresh one.
    concurrent: it is on many tasks at once. ends_tasks: `cancel` ends a task. killable: `kill` rids us of it.

    patience: seconds until a worker that should report counts as silent; only a broken one needs them.
    grace: seconds to listen for what must not come.
    """

    name: str
    hire: Hire
    number: int = 7
    loop: bool = False
    apart: bool = False
    concurrent: bool = False
    ends_tasks: bool = False
    killable: bool = True
    patience: float = 60.0
    grace: float = 0.02

    def __str__(self) -> str:
        return self.name

    def hurried(self, patience: float, grace: float) -> Filling:
        """The same with other seconds."""
        return replace(self, patience=patience, grace=grace)


@dataclass(frozen=True)
class Attempt:
    """How one task ended, by the worker's account."""

    value: Any
    error: BaseException | None


class Stage:
    """A worker and its host, for a `with` block. The worker's methods are called in the thread of the host, as they must be.

    Whatever is not as it should be is an AssertionError.
    """

    def __init__(self, filling: Filling, work: Work) -> None:
        self.events: list[Event] = []
        self._filling = filling
        self._work = work
        self._news = threading.Condition()
        self._place: _Place = _LoopPlace() if filling.loop else _ThreadPlace()
        self._sent: list[int] = []
        self._worker: Worker

    def __enter__(self) -> Stage:
        try:
            self._worker = self._call(lambda: self._filling.hire(self._filling.number, self._work, self))
            self._call(lambda: self._worker.start())
        except BaseException:
            self._place.end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._check()
                self.listen("in the end")
                self._check()  # what came before it listened
        finally:
            self._clear()

    def _clear(self) -> None:
        """Take everything away."""
        try:
            if not self._exits():
                self._call(lambda: self._worker.kill())
            self._call(lambda: self._worker.close())
        finally:
            self._place.end()

    def _check(self) -> None:
        """No worker ever reports anything else."""
        self.attempts()
        ready = [event for event in self.events if isinstance(event, WorkerReady)]
        assert len(ready) <= 1, f"it was ready more than once: {self.events}"
        assert not ready or self.events[0] is ready[0], f"something was reported before it was ready: {self.events}"
        assert not self._exits() or self.events[-1:] == self._exits(), f"its end was not its last word: {self.events}"

    # What the worker has of it: it is its Host

    def post(self, event: Event) -> None:
        """Write down what a worker reports. That a loop has nothing to run is a hint, and may come or not."""
        if isinstance(event, LoopIdle):
            return
        with self._news:
            self.events.append(event)
            self._news.notify_all()

    def soon(self, report: Callable[[], Event | None]) -> None:
        """See `Host`."""

        def post() -> None:
            if (event := report()) is not None:
                self.post(event)

        self._place.have_done(post)

    def hurry(self) -> None:
        """See `Host`: here nothing is in a hurry."""

    def watch(self, fd: int, readable: Callable[[], None], writable: Callable[[], None] | None = None) -> None:
        """See `Host`."""
        self._place.host.watch(fd, readable, writable)

    def unwatch(self, fd: int) -> None:
        """See `Host`."""
        self._place.host.unwatch(fd)

    # What a test asks of the worker

    def send(self, first: int, inputs: Sequence[Any]) -> range:
        """Send a batch; returns its indices."""
        batch = Batch(first, list(inputs))
        self._sent += range(batch.first, batch.end)
        self._call(lambda: self._worker.send(batch))
        return range(batch.first, batch.end)

    def running(self) -> list[tuple[int, float]]:
        """The tasks that it says it is on."""
        return self._call(lambda: list(self._worker.running()))

    def cancel(self, index: int) -> None:
        """Have it end a task."""
        self._call(lambda: self._worker.cancel(index))

    def stop(self) -> None:
        """Let it go, and listen whether it goes in silence."""
        before = len(self.events)
        self._call(lambda: self._worker.stop())
        self.listen("after it was stopped", before)

    def kill(self) -> None:
        """Kill it, and wait until it has reported its end."""
        self._call(lambda: self._worker.kill())
        self.exited()

    # What a test expects of it

    def ready(self) -> WorkerReady:
        """Wait until it has reported for work, and first of all that."""
        self.until("report for work", lambda: bool(self.events))
        event = self.events[0]
        assert isinstance(event, WorkerReady), f"the first report was not WorkerReady but {event}"
        assert event.worker == self._filling.number, f"it was hired as {self._filling.number} and reported {event}"
        return event

    def exited(self) -> WorkerExited:
        """Wait until it has reported its end; returns the report."""
        self.until("report its end", lambda: self._exits() != [])
        (event, *more) = self._exits()
        assert not more, f"its end was reported {1 + len(more)} times: {self.events}"
        assert event.worker == self._filling.number, f"it was hired as {self._filling.number} and reported {event}"
        assert self.events[-1] is event, f"something was reported after its end: {self.events}"
        return event

    def ended(self, *indices: int) -> list[Attempt]:
        """Wait until these tasks have been reported; returns how they ended."""

        def missing() -> list[int]:
            reported = self.attempts()
            return [index for index in indices if index not in reported]

        self.until(f"report tasks {list(indices)}", lambda: not missing() or self._exits() != [])
        assert not missing(), f"tasks {missing()} are missing from the reports: {self.events}"
        return [self.attempts()[index] for index in indices]

    def attempts(self) -> dict[int, Attempt]:
        """How tasks ended, by index, as far as is known; in the order of the reports."""
        attempts: dict[int, Attempt] = {}
        for event in list(self.events):
            if isinstance(event, BatchFinished):
                for index, attempt in self._read(event):
                    assert index in self._sent, f"task {index} was reported, which was never sent: {event}"
                    assert index not in attempts, f"task {index} was reported twice: {self.events}"
                    attempts[index] = attempt
        return attempts

    def listen(self, when: str, before: int | None = None) -> None:
        """Make sure that nothing more is reported, after the first so many events (None: those that are there)."""
        with self._news:
            before = len(self.events) if before is None else before
            self._news.wait_for(lambda: len(self.events) > before, self._filling.grace)
            assert len(self.events) == before, f"{when} there came {self.events[before:]}"

    def until(self, what: str, fulfilled: Callable[[], bool]) -> None:
        """Wait until something is so; looked at again after every report and every few milliseconds."""
        deadline = time.monotonic() + self._filling.patience
        with self._news:
            while not fulfilled():
                left = deadline - time.monotonic()
                assert left > 0, f"the worker did not {what} within {self._filling.patience} s, but {self.events}"
                self._news.wait(min(left, 0.005))

    def _exits(self) -> list[WorkerExited]:
        return [event for event in list(self.events) if isinstance(event, WorkerExited)]

    def _read(self, event: BatchFinished) -> list[tuple[int, Attempt]]:
        assert event.worker == self._filling.number, f"it was hired as {self._filling.number} and reported {event}"
        assert event.seconds >= 0.0, f"a task cannot take less than no time: {event}"
        assert event.cpu_seconds >= 0.0, f"a task cannot compute less than nothing: {event}"
        errors = {error.offset: error.error for error in event.errors}
        for offset in errors:
            assert 0 <= offset < len(event.values), f"there is no task at offset {offset}: {event}"
            assert event.values[offset] is None, f"a task has ended both ways: {event}"
        indices = event.indices or range(event.first, event.first + len(event.values))
        assert list(indices) == sorted(set(indices)), f"the tasks are not in their order: {event}"
        assert event.first == indices[0], f"the first task is not the first: {event}"
        ended = enumerate(zip(indices, event.values, strict=True))
        return [(index, Attempt(value, errors.get(offset))) for offset, (index, value) in ended]

    def _call(self, func: Callable[[], T]) -> T:
        """Call a function in the host's thread."""
        future: Future[T] = Future()

        def call() -> None:
            try:
                future.set_result(func())
            except BaseException as error:
                future.set_exception(error)

        self._place.have_done(call)
        try:
            return future.result(self._filling.patience)
        except TimeoutError:
            raise AssertionError(f"the worker kept its driver waiting for {self._filling.patience} s") from None


class _Place:
    """A real host, in a thread of its own, that does nothing but what it is asked to. It is its own `Driven`."""

    host: ThreadHost | LoopHost

    def __init__(self) -> None:
        self.finished = False
        self.wake_at: float | None = None
        self._calls: deque[Callable[[], None]] = deque()

    @property
    def pending(self) -> bool:
        """See `Driven`."""
        return bool(self._calls)

    def pump(self) -> None:
        """See `Driven`."""
        while self._calls:
            self._calls.popleft()()

    def fail(self, error: BaseException) -> None:
        """See `Driven`."""
        raise error

    def have_done(self, call: Callable[[], None]) -> None:
        """Have something called in the host's thread."""
        self._calls.append(call)
        self.host.wake()

    def end(self) -> None:
        """End the host."""
        self.have_done(lambda: setattr(self, "finished", True))


class _ThreadPlace(_Place):
    def __init__(self) -> None:
        super().__init__()
        self.host = host = ThreadHost(self, time.monotonic)
        host.run()

    def end(self) -> None:
        super().end()
        self.host.join(timeout=60.0)


class _LoopPlace(_Place):
    def __init__(self) -> None:
        super().__init__()
        self._open = threading.Event()
        self._closing: asyncio.Event
        self._loop: asyncio.AbstractEventLoop
        self._thread = threading.Thread(target=asyncio.run, args=(self._live(),), name="stage", daemon=True)
        self._thread.start()
        self._open.wait()

    async def _live(self) -> None:
        self._loop, self._closing = asyncio.get_running_loop(), asyncio.Event()
        self.host = LoopHost(self._loop)
        self.host.run(self)
        self._open.set()
        await self._closing.wait()

    def end(self) -> None:
        super().end()
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join(timeout=60.0)
