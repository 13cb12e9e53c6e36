"""One contract for every way to run: the same results, the same order and the same errors as the plain loop."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import itertools
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import flatout
from flatout import Done, Failure, Retry, Run, RunCancelled

pytestmark = pytest.mark.timeout(100)


# What is run


class Refused(Exception):
    """An exception of the user's own."""


def double(item: int) -> int:
    return 2 * item


def picky(item: int) -> int:
    if item < 0:
        raise Refused(f"{item} was refused")
    return 2 * item


def late_picky(item: int) -> int:
    """The higher the failing input, the sooner it fails."""
    if item < 0:
        time.sleep(0.05 if item == -1 else 0.0)
        raise Refused(f"{item} was refused")
    return item


def subtract(minuend: int, subtrahend: int) -> int:
    return minuend - subtrahend


def stop_at_three(item: int) -> int:
    if item == 3:
        raise StopIteration("at three")
    return item


def interrupt_at_one(item: int) -> int:
    if item == 1:
        raise KeyboardInterrupt("by the task itself")
    return item


def fail_until(item: tuple[Path, int]) -> int:
    """Fail in the first so many attempts; returns how many there were."""
    file, failures = item
    with file.open("a") as stream:
        stream.write("attempt\n")
    attempts = len(file.read_text().splitlines())
    if attempts <= failures:
        raise Refused(f"attempt {attempts}")
    return attempts


def interval(item: int) -> tuple[float, float]:
    """When it began and ended; one clock for all processes."""
    began = time.monotonic()
    time.sleep(0.01)
    return began, time.monotonic()


def failure_of_my_own(item: int) -> Failure:
    return Failure(item, "mine", Refused("no failure of flatout's"), "inline", 1, 0.0)


def meet(item: tuple[Path, int]) -> int:
    """Wait until three are here."""
    folder, number = item
    (folder / str(number)).touch()
    while len(list(folder.iterdir())) < 3:
        time.sleep(0.005)
    return number


def wait_for(file: Path) -> None:
    while not file.exists():
        time.sleep(0.005)


def nap(item: float) -> float:
    time.sleep(item)
    return item


class Asynchronous:
    """A function as a coroutine function; one that blocks is called in a thread."""

    def __init__(self, func: Callable[..., Any]) -> None:
        self.func = func

    async def __call__(self, *inputs: Any) -> Any:
        if self.func is nap:
            return await asyncio.sleep(*inputs, *inputs)
        if self.func in (interval, meet, wait_for):
            return await asyncio.to_thread(self.func, *inputs)
        await asyncio.sleep(0)
        return self.func(*inputs)


# Ways to run it, and faces to consume it by


@dataclass(frozen=True)
class Way:
    """A `via` with a function that suits it."""

    via: Any
    asynchronous: bool = False

    @property
    def kind(self) -> Any:
        """The kind of worker that is asked for, or "auto"."""
        return self.via.kind if isinstance(self.via, flatout.Plan) else self.via

    def __str__(self) -> str:
        via = self.via.way if isinstance(self.via, flatout.Plan) else self.via
        return f"{via}{' async def' if self.asynchronous else ''}"

    @property
    def lives_in_a_loop(self) -> bool:
        """Whether tasks are sent nowhere, so that there are no batches."""
        return self.asynchronous and self.via in ("async", "auto")

    def map(self, func: Callable[..., Any], *iterables: Any, **options: Any) -> Run[Any]:
        return flatout.map(Asynchronous(func) if self.asynchronous else func, *iterables, via=self.via, **options)


INLINE, THREAD, PROCESS, AUTO = Way("inline"), Way("thread"), Way("process"), Way("auto")
ASYNC = Way("async", asynchronous=True)
WAYS = [
    INLINE,
    THREAD,
    PROCESS,
    AUTO,
    ASYNC,
    Way("auto", asynchronous=True),
    Way("inline", asynchronous=True),
    Way("thread", asynchronous=True),
    Way("process", asynchronous=True),
    Way(flatout.Plan("process", 4, processes=2, inside="thread")),
    Way(flatout.Plan("process", 4, processes=2, inside="async"), asynchronous=True),
]

Face = Callable[[Run[Any]], list[Any]]
Receive = Callable[[Run[Any], list[Any]], None]


def receive_by_for(run: Run[Any], received: list[Any]) -> None:
    for value in run:
        received.append(value)


def receive_by_next(run: Run[Any], received: list[Any]) -> None:
    while True:
        try:
            received.append(next(run))
        except StopIteration:
            return


def receive_by_async_for(run: Run[Any], received: list[Any]) -> None:
    async def main() -> None:
        async for value in run:
            received.append(value)

    asyncio.run(main())


def received(receive: Receive) -> Face:
    """A face that collects values one by one."""

    def face(run: Run[Any]) -> list[Any]:
        values: list[Any] = []
        receive(run, values)
        return values

    face.__name__ = receive.__name__.removeprefix("receive_")
    return face


ORDERED: list[Receive] = [receive_by_for, receive_by_next, receive_by_async_for]
by_for, by_next, by_async_for = map(received, ORDERED)


def by_results(run: Run[Any]) -> list[Any]:
    return run.results()


def by_as_completed(run: Run[Any]) -> list[Any]:
    return in_order(list(run.as_completed()))


def by_await(run: Run[Any]) -> list[Any]:
    async def main() -> list[Any]:
        return await run

    return asyncio.run(main())


def by_async_as_completed(run: Run[Any]) -> list[Any]:
    async def main() -> list[Any]:
        return in_order([done async for done in run.as_completed()])

    return asyncio.run(main())


def in_order(dones: list[Done]) -> list[Any]:
    return [done.failure or done.value for done in sorted(dones, key=lambda done: done.index)]


FACES: list[Face] = [by_for, by_next, by_async_for, by_results, by_await, by_as_completed, by_async_as_completed]

every_way = pytest.mark.parametrize("way", WAYS, ids=str)
every_face = pytest.mark.parametrize("face", FACES, ids=lambda face: face.__name__)
ordered_faces = pytest.mark.parametrize("face", ORDERED, ids=lambda face: face.__name__)


# Results


@every_face
@every_way
def test_values_come_in_the_order_of_the_inputs(way: Way, face: Face) -> None:
    assert face(way.map(double, range(50))) == [2 * item for item in range(50)]


@every_face
@every_way
def test_several_iterables_end_with_the_shortest(way: Way, face: Face) -> None:
    assert face(way.map(subtract, [10, 20, 30], itertools.count())) == [10, 19, 28]


@every_face
@every_way
def test_no_input_no_result(way: Way, face: Face) -> None:
    assert face(way.map(double, [])) == []
    assert face(way.map(double, iter(()))) == []


@every_way
def test_any_iterable_will_do(way: Way) -> None:
    class OldSequence:
        def __getitem__(self, index: int) -> int:
            return [1, 2, 3][index]

    async def agenerator() -> AsyncIterator[int]:
        for item in (1, 2, 3):
            yield item

    for inputs in ([1, 2, 3], (item for item in (1, 2, 3)), iter([1, 2, 3]), {1: 0, 2: 0, 3: 0}, OldSequence()):
        assert list(way.map(double, inputs)) == [2, 4, 6]
    assert by_results(way.map(double, agenerator())) == [2, 4, 6]
    assert by_async_for(way.map(double, agenerator())) == [2, 4, 6]


@every_way
def test_an_endless_input_is_left_early(way: Way) -> None:
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            closed.set()

    run = way.map(double, endless())
    assert list(itertools.islice(run, 20)) == [2 * item for item in range(20)]
    del run
    while not closed.wait(0.01):  # the feeder may be at it still, and a run is garbage that refers to itself
        gc.collect()


@every_way
def test_an_endless_input_is_left_early_by_async_for(way: Way) -> None:
    async def main() -> None:
        values = []
        async with way.map(double, itertools.count()) as run:
            async for value in run:
                values.append(value)
                if len(values) == 20:
                    break
        assert values == [2 * item for item in range(20)]
        assert run.report.tasks < 1_000_000

    asyncio.run(main())


@every_way
def test_wait_runs_everything_and_keeps_nothing(way: Way) -> None:
    report = way.map(double, range(20)).wait()
    assert (report.tasks, report.succeeded, report.failed, report.cancelled) == (20, 20, 0, 0)


@every_way
def test_as_completed_says_whose_result_it_is(way: Way) -> None:
    dones = list(way.map(double, range(10)).as_completed())
    assert sorted((done.index, done.value) for done in dones) == [(item, 2 * item) for item in range(10)]
    assert all(done.failure is None and done.seconds >= 0.0 and done.worker for done in dones)


@pytest.mark.parametrize("way", [THREAD, PROCESS, ASYNC], ids=str)
def test_as_completed_does_not_wait_for_the_slow(way: Way, tmp_path: Path) -> None:
    inputs = [tmp_path / "not yet there", tmp_path]
    dones = iter(way.map(wait_for, inputs, max_concurrency=2).as_completed())
    assert next(dones).index == 1
    inputs[0].touch()
    assert next(dones).index == 0


@every_way
def test_a_failure_that_the_function_returns_is_a_value(way: Way) -> None:
    for on_error in ("raise", "return", "skip"):
        values = list(way.map(failure_of_my_own, [1, 2], on_error=on_error))
        assert [value.input for value in values] == ["mine", "mine"]


@pytest.mark.parametrize("chunksize", [1, 3, 100])
@pytest.mark.parametrize("way", [way for way in WAYS if not way.lives_in_a_loop], ids=str)
def test_chunksize_changes_no_result(way: Way, chunksize: int) -> None:
    assert by_for(way.map(double, range(20), chunksize=chunksize)) == [2 * item for item in range(20)]
    inputs = [1, -2, 3, -4, 5]
    values = list(way.map(picky, inputs, chunksize=chunksize, on_error="skip"))
    assert values == [2, 6, 10]


# Failures


@ordered_faces
@every_way
def test_results_before_a_failure_come_first_then_its_own_exception(way: Way, face: Receive) -> None:
    received: list[int] = []
    with pytest.raises(Refused, match=r"^-4 was refused") as caught:
        face(way.map(picky, [1, 2, 3, -4, 5, -6]), received)
    assert received == [2, 4, 6]
    assert any("task 3" in note and "-4" in note for note in caught.value.__notes__)


@every_face
@every_way
def test_a_failure_is_raised_as_what_it_is(way: Way, face: Face) -> None:
    with pytest.raises(Refused, match=r"^-1 was refused") as caught:
        face(way.map(picky, [0, -1]))
    assert any("task 1" in note for note in caught.value.__notes__)


@every_way
def test_after_the_exception_the_iterator_is_finished(way: Way) -> None:
    values = iter(way.map(picky, [1, -2, 3]))
    assert next(values) == 2
    with pytest.raises(Refused):
        next(values)
    assert list(values) == []


@every_way
def test_the_lowest_index_is_raised_even_if_it_fails_last(way: Way) -> None:
    run = way.map(late_picky, [0, -1, -2, -3], max_concurrency=None if way.kind in ("inline", "auto") else 4)
    with pytest.raises(Refused, match=r"^-1 was refused"):
        list(run)


@every_face
@every_way
def test_on_error_return_puts_failures_in_place(way: Way, face: Face) -> None:
    values = face(way.map(picky, [1, -2, 3, -4], on_error="return"))
    assert [value for value in values if not isinstance(value, Failure)] == [2, 6]
    for index, item in ((1, -2), (3, -4)):
        failure = values[index]
        assert isinstance(failure, Failure)
        assert (failure.index, failure.input, failure.attempts) == (index, str(item), 1)
        assert type(failure.error) is Refused
        assert str(failure.error) == f"{item} was refused"
        assert failure.seconds >= 0.0
        assert way.kind == "auto" or failure.kind == way.kind
        assert str(item) in str(failure)


@every_face
@every_way
def test_on_error_skip_leaves_failures_out(way: Way, face: Face) -> None:
    assert face(way.map(picky, [1, -2, 3, -4], on_error="skip")) == [2, 6]


@every_way
def test_wait_raises_and_skips_and_counts(way: Way) -> None:
    with pytest.raises(Refused):
        way.map(picky, [1, -2, 3]).wait()
    report = way.map(picky, [1, -2, 3], on_error="skip").wait()
    assert (report.tasks, report.succeeded, report.failed, report.cancelled) == (3, 2, 1, 0)


@every_face
@every_way
def test_stop_iteration_of_a_task_does_not_end_the_loop_without_a_word(way: Way, face: Face) -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        face(way.map(stop_at_three, range(6)))
    values = face(way.map(stop_at_three, range(6), on_error="skip"))
    assert values == [0, 1, 2, 4, 5]


@every_way
def test_a_keyboard_interrupt_of_a_task_is_raised(way: Way) -> None:
    with pytest.raises(KeyboardInterrupt, match="by the task itself"):
        way.map(interrupt_at_one, range(3)).results()


@every_way
def test_the_input_fails(way: Way) -> None:
    def broken() -> Iterator[int]:
        yield 1
        yield 2
        raise Refused("the input is broken")

    values: list[int] = []
    with pytest.raises(flatout.InputError) as caught:
        receive_by_for(way.map(double, broken()), values)
    assert values == [2, 4]
    assert isinstance(caught.value.__cause__, Refused)


# Retry


@every_way
def test_retry_counts_attempts(way: Way, tmp_path: Path) -> None:
    files = [tmp_path / str(number) for number in range(3)]
    retry = Retry(attempts=3, on=Refused, backoff=0.001)
    values = list(way.map(fail_until, [(file, 2) for file in files], retry=retry))
    assert values == [3, 3, 3]


@every_way
def test_the_last_attempt_decides(way: Way, tmp_path: Path) -> None:
    run = way.map(fail_until, [(tmp_path / "file", 9)], retry=Retry(attempts=3, backoff=0.001), on_error="return")
    (failure,) = run
    assert failure.attempts == 3
    assert str(failure.error) == "attempt 3"
    assert run.report.retried == 2
    with pytest.raises(Refused, match="attempt 5") as caught:
        list(way.map(fail_until, [(tmp_path / "file", 9)], retry=Retry(attempts=2, backoff=0.001)))
    assert any("the last of 2 attempts" in note for note in caught.value.__notes__)


@every_way
def test_only_what_retry_names_is_tried_again(way: Way, tmp_path: Path) -> None:
    run = way.map(fail_until, [(tmp_path / "file", 9)], retry=Retry(attempts=5, on=OSError), on_error="return")
    (failure,) = run
    assert failure.attempts == 1


@every_way
def test_backoff_is_asked_by_attempts_made_and_waited_for(way: Way, tmp_path: Path) -> None:
    asked = []

    def backoff(attempts_made: int) -> float:
        asked.append(attempts_made)
        return 0.05

    began = time.monotonic()
    retry = Retry(attempts=3, backoff=backoff)
    assert list(way.map(fail_until, [(tmp_path / "file", 2)], retry=retry)) == [3]
    assert asked == [1, 2]
    assert time.monotonic() - began >= 0.1


# Bounds


class Tap:
    """Counts what is drawn from it and remembers how far ahead of the consumer it ever was."""

    def __init__(self, count: int) -> None:
        self.received = 0
        self.furthest = 0
        self._count = count

    def __iter__(self) -> Iterator[int]:
        for drawn in range(1, self._count + 1):
            self.furthest = max(self.furthest, drawn - self.received)
            yield drawn


@pytest.mark.parametrize("buffersize", [1, 2, 7])
@every_way
def test_buffersize_bounds_what_is_drawn_ahead_of_the_consumer(way: Way, buffersize: int) -> None:
    tap = Tap(60)
    for value in way.map(double, tap, buffersize=buffersize):
        tap.received += 1
        assert value == 2 * tap.received
        if tap.received % 10 == 0:
            time.sleep(0.005)  # a chance to run ahead
    assert tap.received == 60
    assert tap.furthest <= buffersize


@every_way
def test_buffersize_bounds_what_is_drawn_ahead_of_async_for(way: Way) -> None:
    async def main() -> None:
        async for value in way.map(double, tap, buffersize=3):
            tap.received += 1
            assert value == 2 * tap.received
            await asyncio.sleep(0.005 if tap.received % 10 == 0 else 0)

    tap = Tap(60)
    asyncio.run(main())
    assert tap.furthest <= 3


@every_way
def test_an_endless_input_is_not_drawn_far_ahead_of_who_takes_none(way: Way) -> None:
    tap = Tap(10_000_000)
    values = iter(way.map(nap, itertools.chain([0.0], (0.0 for _ in tap))))
    assert next(values) == 0.0
    time.sleep(0.1)  # a chance to run ahead
    assert tap.furthest < 1_000_000
    del values


@pytest.mark.parametrize("most", [1, 2, 3])
@every_way
def test_max_concurrency_is_never_exceeded(way: Way, most: int) -> None:
    intervals = list(way.map(interval, range(12), max_concurrency=most))
    assert most_at_once(intervals) <= most


@pytest.mark.parametrize("way", [THREAD, PROCESS, ASYNC], ids=str)
def test_max_concurrency_is_reached(way: Way, tmp_path: Path) -> None:
    inputs = [(tmp_path, number) for number in range(3)]
    assert list(way.map(meet, inputs, max_concurrency=3)) == [0, 1, 2]


def most_at_once(intervals: list[tuple[float, float]]) -> int:
    changes = sorted([(began, 1) for began, _ in intervals] + [(ended, -1) for _, ended in intervals])
    return max(itertools.accumulate(change for _, change in changes))


# The end


@every_face
@every_way
def test_a_run_is_consumed_once(way: Way, face: Face) -> None:
    run = way.map(double, range(3))
    assert face(run) == [0, 2, 4]
    if face is by_next:
        assert by_next(run) == []
    else:
        with pytest.raises(flatout.PlanError, match="consumed"):
            face(run)


@every_way
def test_cancel_from_another_thread(way: Way) -> None:
    run = way.map(double, itertools.count())
    values = iter(run)
    assert [next(values) for _ in range(5)] == [0, 2, 4, 6, 8]
    canceller = threading.Thread(target=run.cancel)
    canceller.start()
    canceller.join()
    with pytest.raises(RunCancelled):
        list(values)


@pytest.mark.parametrize("way", [THREAD, PROCESS, ASYNC], ids=str)
def test_cancel_wakes_who_waits(way: Way) -> None:
    run = way.map(nap, [0.0, 3600.0], max_concurrency=2)
    values = iter(run)
    assert next(values) == 0.0
    threading.Timer(0.05, run.cancel).start()
    with pytest.raises(RunCancelled):
        next(values)


@every_way
def test_cancelled_before_it_began(way: Way) -> None:
    run = way.map(double, range(3))
    run.cancel()
    with pytest.raises(RunCancelled):
        run.results()


@every_way
def test_the_end_of_a_with_block_cancels_what_is_left(way: Way) -> None:
    with way.map(double, itertools.count()) as run:
        for value in run:
            if value == 10:
                break
    assert run.report.succeeded >= 6
    drawn = run.report.tasks
    time.sleep(0.02)
    assert run.report.tasks == drawn, "it goes on"


@every_way
def test_a_run_of_which_nothing_was_asked_warns(way: Way) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        run = way.map(double, range(3))
        del run
        gc.collect()
    assert [warning.category for warning in seen] == [ResourceWarning]
    assert "nothing has run" in str(seen[0].message)


# Context


_marker: contextvars.ContextVar[str] = contextvars.ContextVar("marker", default="unset")


def mark(item: str) -> str:
    before = _marker.get()
    _marker.set(item)
    return before


@every_way
def test_tasks_see_the_context_of_the_call_of_map(way: Way) -> None:
    _marker.set("at the call")
    run = way.map(mark, ["first", "second", "third"])
    _marker.set("later")
    seen = list(run)
    assert seen == ["unset" if way.kind == "process" else "at the call"] * 3
    assert _marker.get() == "later"
