"""The event loop as a worker: a few asyncio tasks take one task after another, and none meets what another has left."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import pytest

import flatout
from flatout.testing import virtual_run

LATER = 0.5  # seconds (virtual ones) after which what was left behind goes off
LONG = 2.0  # seconds that the next task takes, so that it would meet it

variable: contextvars.ContextVar[Any] = contextvars.ContextVar("variable", default=None)
shared: list[int] = []
kept: list[Any] = []
registry: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()


def me() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


async def set_a_variable() -> None:
    variable.set("left")


async def set_a_variable_to_an_equal_object() -> None:
    variable.set([])


async def cancel_itself_at_the_end() -> None:
    me().cancel()


async def cancel_itself_and_take_it_back() -> None:
    me().cancel()
    me().uncancel()


async def survive_a_cancellation() -> None:
    me().cancel()
    try:
        await asyncio.sleep(LONG)
    except asyncio.CancelledError:
        pass


async def be_cancelled() -> None:
    me().cancel()
    await asyncio.sleep(LONG)


async def run_out_of_time() -> None:
    async with asyncio.timeout(LATER):
        await asyncio.sleep(LONG)


async def enter_a_timeout_and_never_leave() -> None:
    await asyncio.timeout(LATER).__aenter__()


async def fail_in_a_timeout_that_is_never_left() -> None:
    await asyncio.timeout(LATER).__aenter__()
    raise OSError("wrong")


async def enter_a_group_and_never_leave() -> None:
    async def fail() -> None:
        await asyncio.sleep(LATER)
        raise OSError("wrong")

    group = await asyncio.TaskGroup().__aenter__()
    kept.append(group.create_task(fail()))


async def leave_a_generator_in_the_middle_of_a_timeout() -> None:
    async def numbers() -> AsyncIterator[int]:
        async with asyncio.timeout(LATER):
            yield 1

    generator = numbers()
    kept.append(generator)
    await anext(generator)


async def leave_somebody_who_cancels_it_later() -> None:
    asyncio.get_running_loop().call_later(LATER, me().cancel)


async def rename_itself() -> None:
    me().set_name("left")


async def be_noted_in_a_registry() -> None:
    registry[me()] = "left"


async def be_kept() -> None:
    kept.append(me())


MESSES = [
    set_a_variable,
    set_a_variable_to_an_equal_object,
    cancel_itself_at_the_end,
    cancel_itself_and_take_it_back,
    survive_a_cancellation,
    be_cancelled,
    run_out_of_time,
    enter_a_timeout_and_never_leave,
    fail_in_a_timeout_that_is_never_left,
    enter_a_group_and_never_leave,
    leave_a_generator_in_the_middle_of_a_timeout,
    leave_somebody_who_cancels_it_later,
    rename_itself,
    be_noted_in_a_registry,
    be_kept,
]


async def wait(seconds: float) -> None:
    await asyncio.sleep(seconds)


async def find_nothing() -> str:
    """What a task of its own would see: nothing of those before."""
    before = variable.get()
    await asyncio.sleep(LONG)
    assert variable.get() is before is shared
    assert me().cancelling() == 0
    assert me().get_name() != "left"
    assert me() not in registry
    assert not any(task is me() for task in kept)
    return "nothing"


@pytest.mark.filterwarnings("ignore:coroutine method 'aclose':RuntimeWarning")
@pytest.mark.parametrize("most", [1, 3])
@pytest.mark.parametrize("mess", MESSES, ids=lambda mess: mess.__name__)
def test_no_task_meets_what_another_has_left(mess: Callable[[], Awaitable[None]], most: int) -> None:
    async def task(number: int) -> str:
        if number % 3 == 0:
            await mess()
            return "mess"
        return await find_nothing()

    async def main() -> list[Any]:
        variable.set(shared)
        asyncio.get_running_loop().set_exception_handler(lambda loop, what: None)
        try:
            return await flatout.map(task, range(12), max_concurrency=most, on_error="return")
        finally:
            for thing in kept:
                if hasattr(thing, "aclose"):
                    await thing.aclose()

    try:
        assert [value for value in virtual_run(main()) if value == "nothing"] == ["nothing"] * 8
    finally:
        kept.clear()
        registry.clear()


def test_who_asks_to_be_told_of_a_tasks_end_is_told_before_the_next() -> None:
    told: list[int] = []

    async def task(number: int) -> list[int]:
        before = list(told)
        me().add_done_callback(lambda _: told.append(number))
        return before

    assert flatout.map(task, range(4), max_concurrency=1).results() == [[], [0], [0, 1], [0, 1, 2]]


async def my_name(number: int) -> str:
    await asyncio.sleep(0)
    return me().get_name()


async def at_once(number: int) -> str:
    return me().get_name()


@pytest.mark.parametrize("func", [my_name, at_once])
def test_a_few_asyncio_tasks_do_for_many_tasks(func: Callable[[int], Awaitable[str]]) -> None:
    names = flatout.map(func, range(1000), max_concurrency=10).results()
    assert len(set(names)) <= 10


def test_one_that_leaves_nothing_may_be_followed_in_its_asyncio_task_and_others_may_not() -> None:
    async def task(number: int) -> str:
        if number % 2:
            variable.set(number)
        return me().get_name()

    names = flatout.map(task, range(10), max_concurrency=1).results()
    assert [a == b for a, b in pairwise(names)] == [True, False] * 4 + [True]


def test_an_asyncio_task_that_is_cancelled_before_it_took_a_task_loses_none() -> None:
    async def task(number: int) -> int:
        if number == 0:
            variable.set("so that this one ends, too")
            for other in asyncio.all_tasks() - {me()}:
                if type(other) is type(me()):
                    other.cancel()
        await asyncio.sleep(0)
        return number

    assert flatout.map(task, range(10)).results() == list(range(10))


def test_what_the_inputs_set_in_the_context_is_seen_by_the_tasks_that_begin_later() -> None:
    def inputs() -> Any:
        for number in range(4):
            variable.set(number)
            yield number

    async def task(number: int) -> bool:
        return bool(variable.get() >= number)

    assert all(flatout.map(task, inputs(), max_concurrency=1, buffersize=1))


def test_a_task_factory_of_the_callers_loop_is_for_the_callers_tasks() -> None:
    made: list[str] = []

    def factory(loop: Any, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        made.append(coroutine.__qualname__)
        return asyncio.Task(coroutine, loop=loop, **options)

    async def task(number: int) -> int:
        await asyncio.create_task(asyncio.sleep(0))
        return number

    async def main() -> list[int]:
        asyncio.get_running_loop().set_task_factory(factory)
        return await flatout.map(task, range(3))

    assert asyncio.run(main()) == [0, 1, 2]
    assert made[:3] == ["sleep"] * 3, "and then comes what ends the loop"


# How many are in flight


class Count:
    """How many are in flight."""

    def __init__(self) -> None:
        self.now = self.most = 0

    async def wait(self, seconds: float) -> float:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(seconds)
        self.now -= 1
        return asyncio.get_running_loop().time()


@pytest.mark.parametrize("inputs", [list, iter], ids=["list", "iterator"])
def test_while_all_wait_and_the_loop_is_idle_more_are_started_at_once(inputs: Callable[[Any], Any]) -> None:
    count = Count()

    async def main() -> list[float]:
        return await flatout.map(count.wait, inputs([1.0] * 500))

    assert set(virtual_run(main())) == {1.0}, "none waited for another"
    assert count.most == 500


def test_the_same_once_the_first_have_done_what_they_compute_before_they_wait() -> None:
    count = Count()

    async def computes_and_waits(seconds: float) -> float:
        for _ in range(10):
            sum(range(1000))
            await asyncio.sleep(0)
        return await count.wait(seconds)

    async def main() -> list[float]:
        return await flatout.map(computes_and_waits, [1.0] * 500)

    assert virtual_run(main())[-1] < 1.1
    assert count.most == 500


def test_a_thousand_are_in_flight_and_no_more() -> None:
    count = Count()

    async def main() -> list[float]:
        return await flatout.map(count.wait, [1.0] * 2500)

    assert virtual_run(main())[-1] == 3.0
    assert count.most == 1000


def test_max_concurrency_is_what_it_says() -> None:
    count = Count()

    async def main() -> list[float]:
        return await flatout.map(count.wait, [1.0] * 500, max_concurrency=50)

    assert virtual_run(main())[-1] == 10.0
    assert count.most == 50


def test_while_the_loop_computes_no_more_are_started() -> None:
    begun: list[int] = []
    seen: list[int] = []

    async def busy(number: int) -> None:
        begun.append(number)
        for _ in range(30):
            sum(range(1000))  # a hundred of these are more than a turn in which nothing happens could take
            await asyncio.sleep(0)
        seen.append(len(begun))

    flatout.map(busy, range(1000)).wait()
    assert seen[0] == 100


# Which loop it is


async def loop_of(number: int) -> str:
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]


needs_uvloop = pytest.mark.skipif(find_spec("uvloop") is None, reason="uvloop is not installed")


@needs_uvloop
def test_a_loop_of_flatouts_own_is_uvloops_where_that_is_installed() -> None:
    run = flatout.map(loop_of, range(2))
    assert run.results() == ["uvloop"] * 2
    assert "on a loop in a thread of flatout's own (uvloop)" in run.plan.reason


def test_a_loop_of_flatouts_own_is_asyncios_where_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    run = flatout.map(loop_of, range(2))
    assert run.results() == ["asyncio"] * 2
    assert "on a loop in a thread of flatout's own (asyncio)" in run.plan.reason


@pytest.mark.parametrize("name", ["asyncio", pytest.param("uvloop", marks=needs_uvloop)])
def test_the_callers_loop_is_the_callers_choice(name: str) -> None:
    run = flatout.map(loop_of, range(2))

    async def main() -> list[str]:
        return await run

    with asyncio.Runner(loop_factory=import_module(name).new_event_loop) as runner:
        assert runner.run(main()) == [name] * 2
    assert f"on the caller's loop ({name})" in run.plan.reason


@needs_uvloop
def test_times_on_uvloop_are_no_coarser_than_elsewhere() -> None:
    async def compute(number: int) -> None:
        sum(range(10_000))  # some 0.1 ms

    seconds = [done.seconds for done in flatout.map(compute, range(20), max_concurrency=1).as_completed()]
    assert min(seconds) > 0.0


# Time and the end


def test_one_that_is_over_its_time_is_cancelled_alone() -> None:
    async def task(number: int) -> int:
        await asyncio.sleep(9.0 if number == 3 else 1.0)
        return number

    async def main() -> list[Any]:
        return await flatout.map(task, range(10), timeout=2.0, max_concurrency=2, on_error="return")

    results = virtual_run(main())
    assert isinstance(results[3].error, flatout.TaskTimeout)
    assert [value for value in results if not isinstance(value, flatout.Failure)] == [0, 1, 2, 4, 5, 6, 7, 8, 9]


def test_nothing_is_left_in_the_callers_loop() -> None:
    async def main() -> None:
        async for _ in flatout.map(wait, [0.001] * 49 + [3600.0]):
            break
        while asyncio.all_tasks() != {me()}:  # a generator that is left is closed by a task of its own
            await asyncio.sleep(0)

    asyncio.run(main())


def test_coroutines_clean_up_when_the_loop_is_left() -> None:
    cleaned: list[int] = []

    async def task(number: int) -> int:
        try:
            await asyncio.sleep(0 if number == 0 else 60)
        finally:
            cleaned.append(number)
        return number

    for _ in flatout.map(task, range(5)):
        break
    assert sorted(cleaned) == [0, 1, 2, 3, 4]
