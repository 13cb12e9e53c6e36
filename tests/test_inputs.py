"""Any iterable is a source of inputs: endless, slow, async, failing, bound to its thread."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import sqlite3
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from builds import happens

import flatout
from flatout import InputError
from flatout._run._inputs import Inputs

PLAIN = ("auto", "inline", "thread", "process")
Via = Any


def double(x: int) -> int:
    return 2 * x


async def adouble(x: int) -> int:
    await asyncio.sleep(0)
    return 2 * x


async def aadd(x: int, y: int) -> int:
    await asyncio.sleep(0)
    return x + y


async def arange(n: int) -> AsyncIterator[int]:
    for i in range(n):
        await asyncio.sleep(0)
        yield i


class Squares:
    """An iterable by `__getitem__` alone, as in Python 1."""

    def __getitem__(self, i: int) -> int:
        if i >= 4:
            raise IndexError
        return i * i


class AsyncSquares:
    """An async iterable that is no generator."""

    def __init__(self) -> None:
        self.i = 0

    def __aiter__(self) -> AsyncSquares:
        return self

    async def __anext__(self) -> int:
        if self.i == 4:
            raise StopAsyncIteration
        self.i += 1
        return (self.i - 1) ** 2


@pytest.mark.parametrize("via", PLAIN)
@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ([1, 2], [2, 4]),
        ((1, 2), [2, 4]),
        (range(3), [0, 2, 4]),
        ({1: "a", 2: "b"}, [2, 4]),
        ({1: "a", 2: "b"}.keys(), [2, 4]),
        ({7}, [14]),
        ("ab", ["aa", "bb"]),
        (b"\1\2", [2, 4]),
        (deque([1, 2]), [2, 4]),
        (Squares(), [0, 2, 8, 18]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_sort_of_collection(inputs: Any, expected: list[Any], via: Via) -> None:
    assert flatout.map(double, inputs, via=via).results() == expected


@pytest.mark.parametrize("via", PLAIN)
def test_generators_are_drawn_from_once(via: Via) -> None:
    assert flatout.map(double, (i for i in range(500)), via=via).results() == [2 * i for i in range(500)]
    assert flatout.map(double, iter([1, 2]), via=via).results() == [2, 4]
    assert flatout.map(double, itertools.chain([1], [2]), via=via).results() == [2, 4]


@pytest.mark.parametrize("via", [*PLAIN, "async"])
def test_an_endless_input_is_fine(via: Via) -> None:
    func: Any = adouble if via == "async" else double
    assert list(itertools.islice(flatout.map(func, itertools.count(), via=via), 300)) == [2 * i for i in range(300)]


@pytest.mark.parametrize("via", PLAIN)
@pytest.mark.parametrize("buffersize", [1, 2, 30])
def test_no_more_inputs_are_held_than_buffersize(via: Via, buffersize: int) -> None:
    drawn = 0

    def source() -> Iterator[int]:
        nonlocal drawn
        while True:
            drawn += 1
            yield drawn

    for taken, _ in enumerate(itertools.islice(flatout.map(double, source(), via=via, buffersize=buffersize), 200), 1):
        assert drawn <= taken + buffersize


@pytest.mark.parametrize("via", PLAIN)
def test_a_window_is_kept_without_being_asked_for(via: Via) -> None:
    """An endless input is not drawn dry while the consumer thinks: it is held to what the workers can use."""
    drawn = itertools.count()
    run = flatout.map(double, (next(drawn) for _ in itertools.count()), via=via)
    for _ in itertools.islice(run, 100):
        pass
    assert next(drawn) < 200_000
    run.cancel()


class Liar:
    """Says it is longer, or shorter, than it is."""

    def __init__(self, said: int, given: int) -> None:
        self.said, self.given = said, given

    def __len__(self) -> int:
        return self.said

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.given))


@pytest.mark.parametrize("via", PLAIN)
@pytest.mark.parametrize(("said", "given"), [(3, 50), (50, 3), (0, 5), (5, 0)])
def test_a_length_that_is_not_true_does_no_harm(via: Via, said: int, given: int) -> None:
    assert flatout.map(double, Liar(said, given), via=via).results() == [2 * i for i in range(given)]


# --- several at once


def add(x: int, y: int) -> int:
    return x + y


@pytest.mark.parametrize("via", PLAIN)
def test_several_iterables_of_different_sorts(via: Via) -> None:
    assert flatout.map(add, [1, 2, 3], itertools.count(), via=via).results() == [1, 3, 5]
    assert flatout.map(add, (i for i in (1, 2)), {10: "a", 20: "b", 30: "c"}, via=via).results() == [11, 22]


# --- async inputs


@pytest.mark.parametrize("via", PLAIN)
def test_async_inputs_for_plain_functions(via: Via) -> None:
    assert flatout.map(double, arange(50), via=via).results() == [2 * i for i in range(50)]
    assert flatout.map(double, AsyncSquares(), via=via).results() == [0, 2, 8, 18]


def test_async_inputs_for_coroutine_functions() -> None:
    assert flatout.map(adouble, arange(50)).results() == [2 * i for i in range(50)]
    assert flatout.map(adouble, AsyncSquares()).results() == [0, 2, 8, 18]


def test_sync_and_async_inputs_together() -> None:
    assert flatout.map(aadd, arange(50), [1, 2, 3]).results() == [1, 3, 5]
    assert flatout.map(add, [10, 20], AsyncSquares()).results() == [10, 21]


@pytest.mark.parametrize("via", PLAIN)
def test_async_inputs_in_a_running_loop(via: Via) -> None:
    async def main() -> list[int]:
        return [value async for value in flatout.map(double, arange(50), via=via)]

    assert asyncio.run(main()) == [2 * i for i in range(50)]


def test_async_inputs_of_coroutines_in_a_running_loop() -> None:
    async def main() -> list[list[int]]:
        collected = [value async for value in flatout.map(adouble, arange(50))]
        return [collected, await flatout.map(aadd, arange(3), AsyncSquares())]

    assert asyncio.run(main()) == [[2 * i for i in range(50)], [0, 2, 6]]


def test_an_async_generator_is_closed_when_the_loop_is_left_early() -> None:
    closed = threading.Event()

    async def endless() -> AsyncIterator[int]:
        try:
            for i in itertools.count():
                await asyncio.sleep(0)
                yield i
        finally:
            closed.set()

    async def main() -> None:
        async with flatout.map(adouble, endless()) as run:
            async for value in run:
                if value == 10:
                    break

    asyncio.run(main())
    assert closed.is_set()


# --- inputs that fail


def failing(n: int) -> Iterator[int]:
    yield from range(n)
    raise OSError("the disk is gone")


async def afailing(n: int) -> AsyncIterator[int]:
    for i in range(n):
        yield i
    raise OSError("the disk is gone")


@pytest.mark.parametrize("n", [0, 1, 20])
@pytest.mark.parametrize("via", PLAIN)
@pytest.mark.parametrize("source", [failing, afailing])
def test_the_results_before_a_failing_input_come_first(source: Any, via: Via, n: int) -> None:
    values: list[int] = []
    with pytest.raises(InputError, match=f"OSError after {n} inputs: the disk is gone") as caught:
        values.extend(flatout.map(double, source(n), via=via))
    assert values == [2 * i for i in range(n)]
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize("on_error", ["return", "skip"])
def test_a_failing_input_is_told_whatever_is_done_about_failing_tasks(on_error: Any) -> None:
    with pytest.raises(InputError):
        flatout.map(double, failing(3), via="thread", on_error=on_error).results()


def test_a_failing_task_before_a_failing_input_is_told_first() -> None:
    def call(x: int) -> float:
        return 1 / (x - 3)

    with pytest.raises(ZeroDivisionError):
        flatout.map(call, failing(10), via="thread").results()


# --- inputs bound to their thread


def test_a_sqlite_cursor_works_in_the_plain_loop() -> None:
    with sqlite3.connect(":memory:") as connection:
        rows = connection.execute("values (1), (2), (3)")
        assert flatout.map(lambda row: row[0], rows, via="inline").results() == [1, 2, 3]
        rows = connection.execute("values (1), (2), (3)")
        assert flatout.map(lambda row: row[0], rows).results() == [1, 2, 3]
    connection.close()


@pytest.mark.parametrize("via", ["thread", "process"])
def test_a_sqlite_cursor_elsewhere_gets_an_error_that_says_what_to_do(via: Via) -> None:
    connection = sqlite3.connect(":memory:")
    rows = connection.execute("values (1), (2), (3)")
    with pytest.raises(InputError, match=r"pass list\(\.\.\.\) of it instead") as caught:
        flatout.map(str, rows, via=via).results()
    assert isinstance(caught.value.__cause__, sqlite3.ProgrammingError)
    connection.close()


def test_a_sqlite_cursor_in_a_running_loop_gets_it_too() -> None:
    """The plain loop is run by another thread there."""
    connection = sqlite3.connect(":memory:")

    async def main() -> None:
        await flatout.map(str, connection.execute("values (1), (2), (3)"), via="inline")

    with pytest.raises(InputError, match=r"pass list\(\.\.\.\) of it instead"):
        asyncio.run(main())
    connection.close()


def test_a_sqlite_cursor_beside_async_inputs_gets_it_too() -> None:
    connection = sqlite3.connect(":memory:")
    rows = connection.execute("values (1), (2), (3)")
    with pytest.raises(InputError, match=r"pass list\(\.\.\.\) of it instead"):
        flatout.map(lambda row, i: row, rows, arange(3), via="thread").results()
    connection.close()


def no_more_threads() -> Iterator[int]:
    yield 1
    raise RuntimeError("can't start new thread")


@pytest.mark.parametrize("via", PLAIN)
def test_advice_is_given_only_where_it_fits(via: Via) -> None:
    with pytest.raises(InputError, match="RuntimeError after 1 inputs: can't start new thread"):
        flatout.map(str, no_more_threads(), via=via).results()


@pytest.mark.parametrize("here", [True, False])
def test_a_generator_is_closed_with_the_inputs(here: bool) -> None:
    closed = threading.Event()
    drawn = threading.Event()

    def endless() -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            closed.set()

    inputs = Inputs((endless(),), contextvars.copy_context())
    inputs.draw(3, here, lambda event: drawn.set())
    assert drawn.wait(20)
    assert not closed.is_set()
    inputs.close()
    assert happens(closed)


# --- slow inputs


@pytest.mark.parametrize("via", ["auto", "inline"])
def test_the_plain_loop_gives_a_result_before_it_goes_on(via: Via) -> None:
    calls: list[int] = []
    for taken, _ in enumerate(flatout.map(calls.append, range(5), via=via, chunksize=1), 1):
        assert len(calls) == taken


@pytest.mark.parametrize("via", [*PLAIN, "async"])
def test_a_slow_input_delays_no_finished_result(via: Via) -> None:
    """The second input comes only after the first result was seen."""
    seen = threading.Event()

    def source() -> Iterator[int]:
        yield 1
        assert seen.wait(60)
        yield 2

    values = []
    func: Any = adouble if via == "async" else double
    for value in flatout.map(func, source(), via=via):
        values.append(value)
        seen.set()
    assert values == [2, 4]


@pytest.mark.parametrize("via", [*PLAIN, "async"])
def test_a_burst_before_a_silence_is_not_held_back(via: Via) -> None:
    """Ten quick inputs, then none until all ten results were seen."""
    seen = threading.Event()

    def source() -> Iterator[int]:
        yield from range(10)
        assert seen.wait(60)
        yield 10

    values = []
    func: Any = adouble if via == "async" else double
    for value in flatout.map(func, source(), via=via):
        values.append(value)
        if len(values) == 10:
            seen.set()
    assert values == [2 * i for i in range(11)]


def test_a_burst_of_async_inputs_before_a_silence_is_not_held_back() -> None:
    async def main() -> list[int]:
        seen = asyncio.Event()

        async def source() -> AsyncIterator[int]:
            for i in range(10):
                yield i
            await seen.wait()
            yield 10

        values = []
        async for value in flatout.map(adouble, source()):
            values.append(value)
            if len(values) == 10:
                seen.set()
        return values

    assert asyncio.run(main()) == [2 * i for i in range(11)]


def test_inputs_whose_len_raises_are_inputs_like_any_others() -> None:
    class Uncounted(list[int]):
        def __len__(self) -> int:
            raise ValueError("uncounted")

    assert flatout.map(abs, Uncounted([1, 2, 3])).results() == [1, 2, 3]
