"""One execution, seen by its user: iterate it, await it, collect it, cancel it, ask it what it did."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

from flatout._engine import Engine
from flatout._errors import PlanError, RunCancelled
from flatout._model import Done, Failure, OnError, Plan, Settled, Statistics
from flatout._report import Report

T = TypeVar("T", covariant=True)

_UNDECIDED = Plan("inline", reason="nothing has run yet: flatout decides by what the first calls do")


class Watcher(Protocol):
    """An observer with a beginning and an end."""

    def start(self, total: int | None) -> None:
        """The run begins; `total`: number of inputs where known."""

    def __call__(self, event: Any, statistics: Callable[[], Statistics]) -> None:
        """See `flatout._driver.Observer`."""

    def stop(self) -> None:
        """The run is over."""


class Run(Generic[T]):
    """The results of `flatout.map` and `flatout.gather`, on their way.

    Nothing runs before the first result is asked for. A run is consumed once, in one of these ways:

    `for value in run`, `async for value in run`: in the order of the inputs, each as soon as it can be had.
    `run.results()`, `await run`: all of them, as a list.
    `run.as_completed()`: `Done` objects in the order of finishing, by `for` or `async for`.
    `run.wait()`: for the effects alone.

    `async for` and `await` run coroutines on the caller's own loop; the others on a loop in another thread, also where a
    loop is running in this one. Leaving a loop early, or a `with` block, cancels what is left.

    What is raised: under `on_error="raise"` a failed task's own exception, the lowest index first, after the results
    before it; `InputError` when the iterable of inputs fails; `RunCancelled` after `cancel()`.
    """

    def __init__(
        self,
        start: Callable[..., Engine],
        on_error: OnError,
        observers: Sequence[Watcher] = (),
        plan: Plan | None = None,
    ) -> None:
        self._start = start
        self._on_error = on_error
        self._observers = observers
        self._planned = plan
        self._engine: Engine | None = None
        self._cancelled = False
        self._values: Iterator[T] | None = None

    # Consuming

    def __iter__(self) -> Iterator[T]:
        """Values in the order of the inputs."""
        if self._values is not None:
            return self._values
        return self._iterate(self._chunks(ordered=True, collect=False))

    def __next__(self) -> T:
        """The next value in the order of the inputs."""
        if self._values is None:
            self._values = self._iterate(self._chunks(ordered=True, collect=False))
        return next(self._values)

    def __aiter__(self) -> AsyncIterator[T]:
        """Values in the order of the inputs."""
        return self._aiterate()

    def __await__(self) -> Generator[Any, None, list[T]]:
        """All values, in the order of the inputs."""
        return self._aresults().__await__()

    def results(self) -> list[T]:
        """All values, in the order of the inputs."""
        values: list[Any] = []
        for settled in self._chunks(ordered=True, collect=True):
            values += settled.values if not settled.failed else self._told(settled)
        return values

    def wait(self) -> Report:
        """Run everything for its effects, keep no value; returns the report."""
        for settled in self._chunks(ordered=False, collect=True):
            if settled.failed:
                self._told(settled)
        return self.report

    def as_completed(self) -> Completed:
        """What is finished, as it finishes: iterate it by `for` or `async for`."""
        return Completed(self)

    def cancel(self) -> None:
        """Give up what is left. From any thread. Who asks for results now, or is waiting for some, gets RunCancelled."""
        self._cancelled = True
        if self._engine is not None:
            self._engine.cancel()

    def __enter__(self) -> Run[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._engine is not None:
            self._engine.end()
        self._cancelled = True

    async def __aenter__(self) -> Run[T]:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._engine is not None:
            await self._engine.end_in_loop()
        self._cancelled = True

    def __del__(self) -> None:
        if self._engine is None and not self._cancelled:
            warnings.warn(
                "a flatout run was dropped before anything of it was asked for, so nothing has run: iterate it, or "
                "call .results() or .wait()",
                ResourceWarning,
                stacklevel=2,
            )

    # What it shows

    @property
    def plan(self) -> Plan:
        """How it is done, and why."""
        plan = self._engine.plan if self._engine is not None else self._planned
        return plan or _UNDECIDED

    @property
    def report(self) -> Report:
        """What it has cost so far."""
        if self._engine is None:
            return Report.of(self.plan, Statistics(), 0.0)
        return Report.of(self.plan, self._engine.statistics(), self._engine.seconds)

    # Within

    def _begin(self, ordered: bool, collect: bool) -> Engine:
        if self._engine is not None:
            raise PlanError("this run has been consumed before: call flatout.map again for another one")
        if self._cancelled:
            raise RunCancelled("the run was cancelled before it began")
        self._engine = self._start(ordered=ordered, collect=collect, observers=self._observers)
        for observer in self._observers:
            observer.start(self._engine.total)
        return self._engine

    def _chunks(self, ordered: bool, collect: bool) -> Generator[Settled, None, None]:
        """Outcomes as they come, in this thread, which works where the plan has it work."""
        engine = self._begin(ordered, collect)
        outlet = engine.outlet
        try:
            engine.start()
            while True:
                while (settled := outlet.take()) is not None:
                    yield settled
                    if not collect:
                        engine.consume(len(settled))
                if outlet.drained:
                    break
                engine.attend()
            self._ended_well(engine)
        finally:
            engine.end()
            self._stop_observers()

    async def _achunks(self, ordered: bool, collect: bool) -> AsyncIterator[Settled]:
        """Outcomes as they come, in the running event loop."""
        import asyncio

        loop, news = asyncio.get_running_loop(), asyncio.Event()
        engine = self._begin(ordered, collect)
        outlet = engine.outlet
        try:
            engine.start_in(loop, _notifier(loop, news))
            while True:
                while (settled := outlet.take()) is not None:
                    yield settled
                    if not collect:
                        engine.consume(len(settled))
                if outlet.drained:
                    break
                news.clear()
                if not outlet.ready:
                    await news.wait()
            self._ended_well(engine)
        finally:
            await engine.end_in_loop()
            self._stop_observers()

    def _stop_observers(self) -> None:
        for observer in self._observers:
            observer.stop()

    def _ended_well(self, engine: Engine) -> None:
        if engine.outlet.error is not None:
            raise engine.outlet.error
        if engine.outlet.cancelled:
            statistics = engine.statistics()
            raise RunCancelled(f"the run was cancelled after {statistics.succeeded + statistics.failed} tasks")

    def _iterate(self, chunks: Generator[Settled, None, None]) -> Iterator[T]:
        try:
            for settled in chunks:
                yield from settled.values if not settled.failed else self._told(settled)
        finally:
            chunks.close()

    async def _aiterate(self) -> AsyncIterator[T]:
        chunks = self._achunks(ordered=True, collect=False)
        try:
            async for settled in chunks:
                for value in settled.values if not settled.failed else self._told(settled):
                    yield value
        finally:
            await chunks.aclose()  # type: ignore[attr-defined]

    async def _aresults(self) -> list[T]:
        values: list[Any] = []
        async for settled in self._achunks(ordered=True, collect=True):
            values += settled.values if not settled.failed else self._told(settled)
        return values

    def _told(self, settled: Settled) -> list[Any]:
        """The values of outcomes among which are failures, as `on_error` has them told."""
        if self._on_error == "return":
            return list(settled.values)
        if self._on_error == "raise":
            raise_failure(settled.values[min(settled.failed)])
        return [value for position, value in enumerate(settled.values) if position not in settled.failed]

    def _dones(self, settled: Settled) -> list[Done]:
        if self._on_error == "raise" and settled.failed:
            raise_failure(settled.values[min(settled.failed)])
        dones = []
        for position, value in enumerate(settled.values):
            failed = position in settled.failed
            if not (failed and self._on_error == "skip"):
                value, failure = (None, value) if failed else (value, None)
                dones.append(Done(settled.first + position, value, failure, settled.seconds, settled.worker))
        return dones


class Completed:
    """The finished tasks of a run as `Done` objects, in the order of finishing; for `for` and `async for`."""

    def __init__(self, run: Run[Any]) -> None:
        self._run = run

    def __iter__(self) -> Iterator[Done]:
        chunks = self._run._chunks(ordered=False, collect=False)
        try:
            for settled in chunks:
                yield from self._run._dones(settled)
        finally:
            chunks.close()

    async def __aiter__(self) -> AsyncIterator[Done]:
        chunks = self._run._achunks(ordered=False, collect=False)
        try:
            async for settled in chunks:
                for done in self._run._dones(settled):
                    yield done
        finally:
            await chunks.aclose()  # type: ignore[attr-defined]


def raise_failure(failure: Failure) -> None:
    """Raise the exception of a failed task, with a note that names the task."""
    error = failure.error
    note = f"flatout: raised by task {failure.index}, input {failure.input}"
    if failure.attempts > 1:
        note += f", in the last of {failure.attempts} attempts"
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)
    if isinstance(error, (StopIteration, StopAsyncIteration)):
        # Raised on, it would end the consumer's loop without a word (as in PEP 479).
        raise RuntimeError(f"task {failure.index} raised {type(error).__name__}") from error
    raise error


def _notifier(loop: Any, news: Any) -> Callable[[], None]:
    """Sets an asyncio.Event from any thread."""
    import threading

    home = threading.get_ident()

    def notify() -> None:
        if threading.get_ident() == home:
            news.set()
        else:
            try:
                loop.call_soon_threadsafe(news.set)
            except RuntimeError:  # the loop is closed: nobody waits any more
                pass

    return notify
