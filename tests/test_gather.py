"""Unlike calls at once, each where it belongs."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from builds import needs_gil

import flatout
from flatout import PlanError
from flatout.testing import virtual_run


async def value_of(x: Any) -> Any:
    await asyncio.sleep(0)
    return x


def compute(n: int) -> int:
    total = 0
    for i in range(n):
        total += i * i % 7
    return total


def compute_and_tell(n: int) -> tuple[int, int]:
    return compute(n), os.getpid()


# --- order and unpacking


def test_coroutines_callables_and_partials_in_the_order_of_the_calls() -> None:
    run = flatout.gather(
        value_of(1), functools.partial(max, 2, 1), lambda: 3, functools.partial(value_of, 4), Promise(5), dict
    )
    assert run.results() == [1, 2, 3, 4, 5, {}]


class Promise:
    def __init__(self, value: int) -> None:
        self.value = value

    def __await__(self) -> Generator[Any, None, int]:
        yield from asyncio.sleep(0).__await__()
        return self.value


def test_a_gather_unpacks() -> None:
    a, b = flatout.gather(value_of("a"), lambda: "b")
    assert (a, b) == ("a", "b")
    (only,) = flatout.gather(lambda: 1)
    assert only == 1


def test_a_gather_of_nothing_is_empty() -> None:
    assert flatout.gather().results() == []


def test_a_gather_can_be_awaited_in_a_running_loop() -> None:
    async def main() -> list[Any]:
        first, *rest = await flatout.gather(value_of(1), lambda: 2, functools.partial(value_of, 3))
        return [first, *rest]

    assert asyncio.run(main()) == [1, 2, 3]


def test_awaited_coroutines_run_on_the_callers_own_loop() -> None:
    async def which() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    async def main() -> bool:
        here = asyncio.get_running_loop()
        loops = await flatout.gather(which(), which, functools.partial(which))
        return all(loop is here for loop in loops)

    assert asyncio.run(main())


def test_tasks_and_futures_of_the_callers_loop_can_be_gathered() -> None:
    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        loop.call_soon(future.set_result, "future")
        return await flatout.gather(asyncio.create_task(value_of("task")), future, lambda: "call")

    assert asyncio.run(main()) == ["task", "future", "call"]


def test_finished_calls_come_as_they_finish() -> None:
    second = threading.Event()

    def first() -> str:
        assert second.wait(60)
        return "first"

    async def other() -> str:
        second.set()
        return "second"

    run = flatout.gather(first, other())
    assert [done.value for done in run.as_completed()] == ["second", "first"]


# --- what happens at once


def test_waiting_calls_overlap() -> None:
    """All must be under way at once, or none gets past the barrier."""
    barrier = threading.Barrier(3)
    assert sorted(flatout.gather(*[functools.partial(barrier.wait, 60)] * 3).results()) == [0, 1, 2]


def test_two_that_sleep_overlap() -> None:
    barrier = threading.Barrier(2)

    def sleep() -> int:
        time.sleep(0.05)
        return barrier.wait(60)

    assert sorted(flatout.gather(sleep, sleep).results()) == [0, 1]


def test_coroutines_and_callables_overlap() -> None:
    said = threading.Event()

    def wait() -> bool:
        return said.wait(60)

    async def say() -> None:
        await asyncio.sleep(0)
        said.set()

    assert flatout.gather(wait, say()).results() == [True, None]


def compute_until(folder: Path, mine: str, others: str) -> int:
    """Computes until the others have left their file."""
    (folder / mine).touch()
    deadline = time.monotonic() + 60
    while not (folder / others).exists():
        compute(20_000)
        assert time.monotonic() < deadline
    return os.getpid()


@needs_gil
def test_computing_calls_go_to_processes_once_the_first_has_shown_what_it_does(tmp_path: Path) -> None:
    """The first computes until the second, elsewhere, has begun, and the other way round."""
    first, second = flatout.gather(
        functools.partial(compute_until, tmp_path, "a", "b"), functools.partial(compute_until, tmp_path, "b", "a")
    )
    assert first == os.getpid()
    assert second != os.getpid()


def test_what_cannot_leave_stays_in_a_thread() -> None:
    lock = threading.Lock()

    def guarded() -> int:
        with lock:
            compute(1_000_000)
            return os.getpid()

    assert set(flatout.gather(guarded, guarded, guarded)) == {os.getpid()}


def test_effects_are_not_lost() -> None:
    done: list[int] = []

    def work(i: int) -> None:
        compute(1_000_000)
        done.append(i)

    flatout.gather(*[functools.partial(work, i) for i in range(4)]).wait()
    assert sorted(done) == [0, 1, 2, 3]


# --- errors


async def wrong(text: str) -> None:
    await asyncio.sleep(0)
    raise ValueError(text)


def plain_wrong() -> None:
    raise KeyError("plain")


def test_the_lowest_failure_is_raised() -> None:
    with pytest.raises(ValueError, match="first") as caught:
        flatout.gather(lambda: 1, wrong("first"), wrong("second"), plain_wrong).results()
    assert any("task 1" in note for note in caught.value.__notes__)


def test_failures_can_be_had_in_place() -> None:
    values = flatout.gather(wrong("first"), lambda: 2, plain_wrong, on_error="return").results()
    assert values[1] == 2
    assert [type(values[i].error) for i in (0, 2)] == [ValueError, KeyError]
    assert [values[i].kind for i in (0, 2)] == ["async", "thread"]


def test_failures_can_be_skipped() -> None:
    assert flatout.gather(wrong("first"), lambda: 2, plain_wrong, on_error="skip").results() == [2]


@pytest.mark.parametrize("bad", [3, None, "print", [abs]])
def test_what_is_no_call_is_refused_by_its_position(bad: Any) -> None:
    with pytest.raises(PlanError, match=r"call 1 is neither awaitable nor callable.*functools\.partial"):
        flatout.gather(lambda: 1, bad)


def test_a_generator_function_is_refused_by_its_position() -> None:
    def numbers() -> Generator[int]:
        yield 1

    with pytest.raises(PlanError, match=r"call 0 .*generator function"):
        flatout.gather(numbers)


def test_an_unknown_on_error_is_refused() -> None:
    with pytest.raises(PlanError, match="on_error"):
        flatout.gather(lambda: 1, on_error="ignore")  # type: ignore[arg-type]


# --- on a virtual clock


def test_three_counters_say_one_together_and_two_a_second_later(capsys: pytest.CaptureFixture[str]) -> None:
    async def count() -> None:
        print("One")
        await asyncio.sleep(1)
        print("Two")

    async def main() -> float:
        await flatout.gather(count(), count(), count())
        return asyncio.get_running_loop().time()

    assert virtual_run(main()) == 1.0
    assert capsys.readouterr().out.split() == ["One", "One", "One", "Two", "Two", "Two"]


def sitting(tables: int, at_once: int | None, seconds: float) -> list[tuple[float, int]]:
    """When each of so many tables is served, where serving one takes so many seconds, on a virtual clock."""

    async def serve(table: int) -> int:
        await asyncio.sleep(seconds)
        return table

    async def main() -> list[tuple[float, int]]:
        loop = asyncio.get_running_loop()
        run = flatout.map(serve, range(tables), max_concurrency=at_once)
        return [(loop.time(), table) async for table in run]

    return virtual_run(main())


@pytest.mark.parametrize("at_once", [1, 2, 5, 24, 100])
def test_tables_are_served_at_exact_times(at_once: int) -> None:
    assert sitting(24, at_once, 5.0) == [(5.0 * (1 + table // at_once), table) for table in range(24)]


def test_all_tables_are_served_at_once_where_nothing_is_said() -> None:
    assert sitting(24, None, 5.0) == [(5.0, table) for table in range(24)]


def test_as_completed_follows_the_virtual_clock() -> None:
    async def nap(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    async def main() -> list[tuple[float, float]]:
        loop = asyncio.get_running_loop()
        return [(loop.time(), done.value) async for done in flatout.map(nap, [3.0, 1.0, 2.0]).as_completed()]

    assert virtual_run(main()) == [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]


def test_a_timeout_follows_the_virtual_clock() -> None:
    async def nap(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    async def main() -> tuple[list[Any], float]:
        values: list[Any] = await flatout.map(nap, [1.0, 50.0, 2.0], timeout=10, on_error="return")
        return values, asyncio.get_running_loop().time()

    values, ended = virtual_run(main())
    assert (values[0], values[2], ended) == (1.0, 2.0, 10.0)
    assert isinstance(values[1].error, flatout.TaskTimeout)


def test_retries_follow_the_virtual_clock() -> None:
    calls: list[float] = []

    async def fails_twice(x: int) -> int:
        calls.append(asyncio.get_running_loop().time())
        if len(calls) < 3:
            raise OSError
        return x

    async def main() -> list[int]:
        return await flatout.map(fails_twice, [7], retry=flatout.Retry(3, OSError, backoff=10.0))

    assert virtual_run(main()) == [7]
    assert calls == [0.0, 10.0, 30.0]


# --- the caller's own loop


def test_a_client_bound_to_the_callers_loop_works() -> None:
    async def main() -> list[Any]:
        lock, queue = asyncio.Lock(), asyncio.Queue[int]()
        here = asyncio.get_running_loop()

        async def use(i: int) -> int:
            assert asyncio.get_running_loop() is here
            async with lock:
                await queue.put(i)
                await asyncio.sleep(0)
            return await queue.get()

        collected = [value async for value in flatout.map(use, range(20))]
        return [sorted(collected), sorted(await flatout.map(use, range(20)))]

    assert asyncio.run(main()) == [list(range(20))] * 2


def test_a_function_that_returns_a_coroutine_runs_on_the_callers_loop_as_well() -> None:
    async def main() -> bool:
        here = asyncio.get_running_loop()

        async def which(i: int) -> bool:
            await asyncio.sleep(0)
            return asyncio.get_running_loop() is here

        def later(i: int) -> Awaitable[bool]:
            return which(i)

        return all([same async for same in flatout.map(later, range(20))])

    assert asyncio.run(main())


def test_the_callers_loop_goes_on_while_plain_functions_run() -> None:
    """The task waits for what only the loop can do."""

    async def main() -> list[bool]:
        said = threading.Event()

        def wait(i: int) -> bool:
            return said.wait(60)

        asyncio.get_running_loop().call_later(0.05, said.set)
        return [value async for value in flatout.map(wait, range(3))]

    assert asyncio.run(main()) == [True] * 3


def many(call: Callable[[], Any]) -> list[Any]:
    return list(flatout.gather(*[call] * 50))


def test_a_gather_of_many() -> None:
    assert many(lambda: 1) == [1] * 50
    assert many(functools.partial(value_of, 2)) == [2] * 50
