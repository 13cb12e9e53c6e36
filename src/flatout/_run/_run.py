"""One execution, seen by its user: iterate it, await it, collect it, cancel it, ask it what it did."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from types import TracebackType

from flatout._errors import PlanError, RunCancelled
from flatout._machine._machine import gil_enabled
from flatout._model import Done, Failure, Kind, OnError, Plan, Settled, Statistics
from flatout._threads._interrupts import put_off

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any, Protocol, TypeVar

    from flatout._run._engine import Engine
    from flatout._run._report import Report

    T = TypeVar("T", covariant=True)
else:
    Protocol = object

LONGEST_TURN = 0.005  # seconds that ready results may keep the caller's loop from its other tasks
_WHERE: dict[Kind, str] = {
    "inline": "the plain loop",
    "async": "an event loop",
    "thread": "a thread",
    "process": "a worker process",
}
_UNDECIDED = Plan("inline", reason="nothing has run yet: flatout decides by what the first calls do")
_LOOKING = Plan("inline", reason="nothing is decided yet: the first calls are made here, and looked at")


class Watcher(Protocol):
    """An observer with a beginning and an end."""

    def start(self, total: int | None) -> None:
        """The run begins; `total`: number of inputs where known."""

    def __call__(self, event: Any, statistics: Callable[[], Statistics]) -> None:
        """See `flatout._run._driver.Observer`."""

    def stop(self) -> None:
        """The run is over."""


class Run(Iterator["T"]):
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
        return _shareable(_values(self._chunks(ordered=True, collect=False), self._on_error))

    def __next__(self) -> T:
        """The next value in the order of the inputs."""
        if self._values is None:
            self._values = iter(self)
        return next(self._values)

    def __aiter__(self) -> AsyncIterator[T]:
        """Values in the order of the inputs."""
        return _avalues(self._in_loop(ordered=True, collect=False), self._on_error)

    def __await__(self) -> Generator[Any, None, list[T]]:
        """All values, in the order of the inputs."""
        return _alist(self._in_loop(ordered=True, collect=True), self._on_error).__await__()

    def results(self) -> list[T]:
        """All values, in the order of the inputs."""
        values: list[Any] = []
        for settled in self._chunks(ordered=True, collect=True):
            values += _told(settled, self._on_error)
        return values

    def wait(self) -> Report:
        """Run everything for its effects, keep no value; returns the report."""
        for settled in self._chunks(ordered=False, collect=True):
            _told(settled, self._on_error)
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

    def __repr__(self) -> str:
        if self._engine is None:
            return "<flatout run: nothing of it has been asked for yet; iterate it, or call .results() or .wait()>"
        counts = self._engine.statistics()
        state = "over" if self._engine.outlet.finished else "under way"
        return f"<flatout run by {self.plan.kind}, {state}: {counts.settled} of {self._engine.total or '?'} tasks done>"

    @property
    def plan(self) -> Plan:
        """How it is done, and why."""
        plan = self._engine.plan if self._engine is not None else self._planned
        return plan or (_UNDECIDED if self._engine is None else _LOOKING)

    @property
    def report(self) -> Report:
        """What it has cost so far."""
        from flatout._run._report import Report

        engine = self._engine
        if engine is None:
            return Report.of(self.plan, Statistics(), 0.0)
        return Report.of(self.plan, engine.statistics(), engine.seconds, engine.choice, engine.process_seconds)

    # Within

    def _chunks(self, ordered: bool, collect: bool) -> Generator[Settled, None, None]:
        return _chunks(self._begin(ordered, collect), self._observers, collect)

    def _in_loop(self, ordered: bool, collect: bool) -> _InLoop:
        return _InLoop(self._begin(ordered, collect), self._observers, collect)

    def _begin(self, ordered: bool, collect: bool) -> Engine:
        if self._engine is not None:
            raise PlanError("this run has been consumed before: call flatout.map again for another one")
        if self._cancelled:
            raise RunCancelled("the run was cancelled before it began")
        start, self._start = self._start, _spent  # which holds the inputs
        self._engine = start(ordered=ordered, collect=collect, observers=self._observers)
        if self._cancelled:  # meanwhile, by another thread
            self._engine.cancel()
        return self._engine


def _spent(**how: Any) -> Engine:
    raise AssertionError("a run begins once")


class Completed:
    """The finished tasks of a run as `Done` objects, in the order of finishing; for `for` and `async for`."""

    def __init__(self, run: Run[Any]) -> None:
        self._run = run

    def __iter__(self) -> Iterator[Done]:
        return _shareable(self._dones())

    def _dones(self) -> Generator[Done, None, None]:
        with closing(self._run._chunks(ordered=False, collect=False)) as chunks:
            for settled in chunks:
                yield from _dones(settled, self._run._on_error)

    async def __aiter__(self) -> AsyncIterator[Done]:
        turn = _Turn()
        async with self._run._in_loop(ordered=False, collect=False) as chunks:
            async for settled in chunks:
                for done in _dones(settled, self._run._on_error):
                    yield done
                    if turn.over:
                        await turn.pass_on()


def _shareable(values: Generator[T, None, None]) -> Iterator[T]:
    """The same, for threads that share it."""
    if gil_enabled():
        return values
    from flatout._threads._one_at_a_time import OneAtATime

    return OneAtATime(values)


# The generators below know the engine and not the run, which holds them: a run that is dropped ends at once, not when the
# garbage collector finds a circle.


def _chunks(engine: Engine, observers: Sequence[Watcher], collect: bool) -> Generator[Settled, None, None]:
    """Outcomes as they come, in this thread, which works where the plan has it work."""
    outlet = engine.outlet
    try:
        _start_observers(observers, engine)
        engine.start()
        while not outlet.drained:
            while (settled := outlet.take()) is not None:
                yield settled
                if not collect:
                    engine.consume(len(settled))
            if not outlet.drained:
                engine.attend()
        _raise_end(engine)
    finally:
        try:
            engine.end()
        finally:
            _stop_observers(observers)


class _InLoop:
    """Outcomes as they come, in the running event loop, within `async with`.

    Not an async generator within another: a loop that ends closes all that are open at once, and the outer one fails.
    """

    def __init__(self, engine: Engine, observers: Sequence[Watcher], collect: bool) -> None:
        self._engine = engine
        self._observers = observers
        self._collect = collect
        self._given = 0  # tasks in what was given last
        self._ended = False

    async def __aenter__(self) -> _InLoop:
        import asyncio

        loop, self._news = asyncio.get_running_loop(), asyncio.Event()
        try:
            _start_observers(self._observers, self._engine)
            self._engine.start_in(loop, _notifier(loop, self._news, self._engine))
        except BaseException:
            await self.__aexit__()
            raise
        return self

    def __aiter__(self) -> _InLoop:
        return self

    async def __anext__(self) -> Settled:
        outlet = self._engine.outlet
        if self._given and not self._collect:
            self._engine.consume(self._given)
        while not outlet.drained:
            if (settled := outlet.take()) is not None:
                self._given = len(settled)
                return settled
            self._news.clear()
            if not outlet.ready:
                await self._news.wait()
        _raise_end(self._engine)
        raise StopAsyncIteration

    async def __aexit__(self, *error: object) -> None:
        try:
            await self._engine.end_in_loop()
            self._ended = True
        finally:
            _stop_observers(self._observers)

    def __del__(self) -> None:
        """A loop that ends does not always close an async generator that was left a moment before."""
        if not (self._ended or sys.is_finalizing()):
            self._engine.abandon()
            _stop_observers(self._observers)


class _Turn:
    """How long ready results have kept the caller's loop from its other tasks."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @property
    def over(self) -> bool:
        """Whether it is time to let them run."""
        return time.monotonic() - self._began > LONGEST_TURN

    async def pass_on(self) -> None:
        """Let them."""
        import asyncio

        await asyncio.sleep(0)
        self._began = time.monotonic()


def _start_observers(observers: Sequence[Watcher], engine: Engine) -> None:
    from flatout._events import PlanChosen

    for observer in observers:
        observer.start(engine.total)
        if engine.plan is not None:
            observer(PlanChosen(engine.plan), engine.statistics)


def _stop_observers(observers: Sequence[Watcher]) -> None:
    if observers:
        with put_off():
            for observer in observers:
                observer.stop()


def _raise_end(engine: Engine) -> None:
    """Raise what the consumer has to be told after the last outcome."""
    if engine.outlet.error is not None:
        raise engine.outlet.error
    if engine.outlet.cancelled:
        statistics = engine.statistics()
        raise RunCancelled(f"the run was cancelled after {statistics.succeeded + statistics.failed} tasks")


def _values(chunks: Generator[Settled, None, None], on_error: OnError) -> Generator[Any, None, None]:
    """A generator: `itertools.chain` would be quicker by 9 ns a value, but crashes where one of its values asks for the next."""
    with closing(chunks):
        for settled in chunks:
            for value in _told(settled, on_error):  # noqa: UP028  (`yield from` takes 4 ns more)
                yield value


async def _avalues(outcomes: _InLoop, on_error: OnError) -> AsyncIterator[Any]:
    turn = _Turn()
    async with outcomes as chunks:
        async for settled in chunks:
            for value in _told(settled, on_error):
                yield value
                if turn.over:
                    await turn.pass_on()


async def _alist(outcomes: _InLoop, on_error: OnError) -> list[Any]:
    values: list[Any] = []
    async with outcomes as chunks:
        async for settled in chunks:
            values += _told(settled, on_error)
    return values


def _told(settled: Settled, on_error: OnError) -> Sequence[Any]:
    """The values, and of failures what `on_error` has told of them."""
    if not settled.failed or on_error == "return":
        return settled.values
    if on_error == "raise":
        raise_failure(settled.values[min(settled.failed)])
    return [value for position, value in enumerate(settled.values) if position not in settled.failed]


def _dones(settled: Settled, on_error: OnError) -> Iterator[Done]:
    if on_error == "raise" and settled.failed:
        raise_failure(settled.values[min(settled.failed)])
    for position, value in enumerate(settled.values):
        index = settled.first + position
        if position not in settled.failed:
            yield Done(index, value, None, settled.seconds, settled.worker)
        elif on_error == "return":
            yield Done(index, None, value, settled.seconds, settled.worker)


def raise_failure(failure: Failure) -> None:
    """Raise the exception of a failed task, with a note that names the task."""
    error = failure.error
    note = f"flatout: raised by task {failure.index}, input {failure.input}, in {_WHERE[failure.kind]}"
    if failure.attempts > 1:
        note += f", in the last of {failure.attempts} attempts"
    with suppress(BaseException):  # an exception class may have ideas of its own about notes
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)
    if issubclass(type(error), (StopIteration, StopAsyncIteration)):
        # Raised on, it would end the consumer's loop without a word (as in PEP 479).
        raise RuntimeError(f"task {failure.index} raised {type(error).__name__}") from error
    raise error


def _notifier(loop: Any, news: Any, engine: Engine) -> Callable[[], None]:
    """Sets an asyncio.Event from any thread; where its loop was closed, nobody waits any more, and the run is given up."""
    import threading

    home = threading.get_ident()

    def notify() -> None:
        if threading.get_ident() == home:
            news.set()
        else:
            try:
                loop.call_soon_threadsafe(news.set)
            except Exception:  # a loop on a virtual clock refuses other threads, too
                engine.cancel()

    return notify
