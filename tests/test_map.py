"""Every sort of callable by every kind of worker: the same results, errors and order as the plain loop."""

from __future__ import annotations

import asyncio
import builtins
import functools
import operator
import os
import threading
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import pytest

import flatout
from flatout._model import KINDS, Kind

ALL = ("auto", *KINDS)
PLAIN = ("auto", "inline", "thread", "process")

Via = Any


def double(x: int) -> int:
    return 2 * x


def scale(factor: int, x: int, offset: int = 0) -> int:
    return factor * x + offset


async def adouble(x: int) -> int:
    await asyncio.sleep(0)
    return 2 * x


async def ascale(factor: int, x: int, offset: int = 0) -> int:
    await asyncio.sleep(0)
    return factor * x + offset


def later(x: int) -> Awaitable[int]:
    """A plain function that returns something to await."""
    return adouble(x)


class Doubler:
    def __init__(self, factor: int = 2) -> None:
        self.factor = factor

    def method(self, x: int) -> int:
        return self.factor * x

    async def amethod(self, x: int) -> int:
        await asyncio.sleep(0)
        return self.factor * x

    @classmethod
    def of_class(cls, x: int) -> int:
        return 2 * x

    @staticmethod
    def static(x: int) -> int:
        return 2 * x


class Call:
    def __call__(self, x: int) -> int:
        return 2 * x


class AsyncCall:
    async def __call__(self, x: int) -> int:
        await asyncio.sleep(0)
        return 2 * x


class Promise:
    """An awaitable that is no coroutine."""

    def __init__(self, x: int) -> None:
        self.x = x

    def __await__(self) -> Generator[Any, None, int]:
        yield from asyncio.sleep(0).__await__()
        return 2 * self.x


def closure(factor: int) -> Callable[[int], int]:
    return lambda x: factor * x


def aclosure(factor: int) -> Callable[[int], Awaitable[int]]:
    async def times(x: int) -> int:
        await asyncio.sleep(0)
        return factor * x

    return times


def wrapped(func: Callable[[int], int]) -> Callable[[int], int]:
    @functools.wraps(func)
    def wrapper(x: int) -> int:
        return func(x)

    return wrapper


PLAIN_ONES: dict[str, Callable[[int], int]] = {
    "function": double,
    "lambda": lambda x: 2 * x,
    "closure": closure(2),
    "partial": functools.partial(scale, 2),
    "partial of partial with a keyword": functools.partial(functools.partial(scale, 2), offset=0),
    "method": Doubler().method,
    "class method": Doubler.of_class,
    "static method": Doubler.static,
    "object": Call(),
    "decorated": wrapped(double),
    "cached": functools.lru_cache(double),
    "built-in method": (2).__mul__,
    "operator": functools.partial(operator.mul, 2),
}
ASYNC_ONES: dict[str, Callable[[int], Any]] = {
    "function": adouble,
    "partial": functools.partial(ascale, 2),
    "partial of partial with a keyword": functools.partial(functools.partial(ascale, 2), offset=0),
    "method": Doubler().amethod,
    "object": AsyncCall(),
    "closure": aclosure(2),
    "lambda": lambda x: adouble(x),
    "plain function that returns a coroutine": later,
    "class whose objects can be awaited": Promise,
}
INPUTS = list(range(20))
DOUBLES = [2 * x for x in INPUTS]


@pytest.mark.parametrize("via", PLAIN)
@pytest.mark.parametrize("name", PLAIN_ONES)
def test_every_plain_callable_by_every_kind(name: str, via: Via) -> None:
    assert flatout.map(PLAIN_ONES[name], INPUTS, via=via).results() == DOUBLES


@pytest.mark.parametrize("via", ALL)
@pytest.mark.parametrize("name", ASYNC_ONES)
def test_every_callable_that_gives_an_awaitable_by_every_kind(name: str, via: Via) -> None:
    assert flatout.map(ASYNC_ONES[name], INPUTS, via=via).results() == DOUBLES


@pytest.mark.parametrize("name", ASYNC_ONES)
def test_every_callable_that_gives_an_awaitable_runs_on_a_loop_by_itself(name: str) -> None:
    run = flatout.map(ASYNC_ONES[name], INPUTS)
    assert run.results() == DOUBLES
    assert run.plan.kind == "async"


@pytest.mark.parametrize("via", PLAIN)
def test_builtins_and_classes(via: Via) -> None:
    assert flatout.map(abs, [-1, 2, -3], via=via).results() == [1, 2, 3]
    assert flatout.map(len, ["a", "bb"], via=via).results() == [1, 2]
    assert flatout.map(str.upper, ["a", "b"], via=via).results() == ["A", "B"]
    assert flatout.map(int, ["1", "2"], via=via).results() == [1, 2]
    assert flatout.map(dict, [[("a", 1)], []], via=via).results() == [{"a": 1}, {}]
    doublers = flatout.map(Doubler, [3, 4], via=via).results()
    assert [doubler.method(1) for doubler in doublers] == [3, 4]
    assert all(type(doubler) is Doubler for doubler in doublers)


@pytest.mark.parametrize("via", ALL)
def test_several_iterables_end_with_the_shortest(via: Via) -> None:
    func: Any = ascale if via == "async" else scale
    assert flatout.map(func, [1, 2, 3, 4], (10, 20, 30), range(9), via=via).results() == [10, 41, 92]


@pytest.mark.parametrize("via", ALL)
def test_no_input_gives_no_result(via: Via) -> None:
    func: Any = adouble if via == "async" else double
    run = flatout.map(func, [], via=via)
    assert run.results() == []
    assert run.report.tasks == 0


# --- where they run


def pid_of(x: int) -> int:
    return os.getpid()


def thread_of(x: int) -> int:
    return threading.get_ident()


async def loop_of(x: int) -> tuple[int, int]:
    return id(asyncio.get_running_loop()), threading.get_ident()


def test_inline_runs_in_the_callers_thread() -> None:
    assert set(flatout.map(thread_of, range(5), via="inline")) == {threading.get_ident()}


def test_processes_run_in_no_process_of_the_caller() -> None:
    pids = set(flatout.map(pid_of, range(20), via="process"))
    assert os.getpid() not in pids


def test_threads_run_in_other_threads_of_this_process() -> None:
    assert set(flatout.map(pid_of, range(5), via="thread")) == {os.getpid()}
    assert threading.get_ident() not in set(flatout.map(thread_of, range(5), via="thread"))


def test_coroutines_share_one_loop_in_another_thread() -> None:
    ((loop, thread),) = set(flatout.map(loop_of, range(5)))
    assert thread != threading.get_ident()
    assert loop


def test_many_calls_are_under_way_at_once() -> None:
    """Four that wait for each other all come back: each kind that promises it really runs so many at once."""
    barrier = threading.Barrier(4)

    def meet(x: int) -> int:
        barrier.wait(timeout=60)
        return x

    assert flatout.map(meet, range(4), via="thread", max_concurrency=4).results() == [0, 1, 2, 3]


def test_max_concurrency_is_kept() -> None:
    lock = threading.Lock()
    running = most = 0

    def busy(x: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.002)
        with lock:
            running -= 1

    flatout.map(busy, range(60), via="thread", max_concurrency=3).wait()
    assert most == 3


# --- order, laziness, ways of asking


def waits_for_its_turn(turns: list[threading.Event], i: int) -> int:
    """Task i ends only after task i + 1 has."""
    if i + 1 < len(turns):
        assert turns[i + 1].wait(60)
    turns[i].set()
    return i


def test_results_come_in_the_order_of_the_inputs_whatever_the_order_of_finishing() -> None:
    turns = [threading.Event() for _ in range(6)]
    run = flatout.map(functools.partial(waits_for_its_turn, turns), range(6), via="thread", max_concurrency=6)
    assert list(run) == [0, 1, 2, 3, 4, 5]


def test_as_completed_gives_the_first_to_finish_first() -> None:
    turns = [threading.Event() for _ in range(6)]
    run = flatout.map(functools.partial(waits_for_its_turn, turns), range(6), via="thread", max_concurrency=6)
    dones = list(run.as_completed())
    assert [done.index for done in dones] == [5, 4, 3, 2, 1, 0]
    assert all(done.value == done.index and done.failure is None for done in dones)


def test_nothing_is_called_before_the_first_result_is_asked_for() -> None:
    calls: list[int] = []
    run = flatout.map(calls.append, range(3))
    assert calls == []
    run.wait()
    assert calls == [0, 1, 2]


@pytest.mark.parametrize("via", PLAIN)
def test_next_takes_one_at_a_time(via: Via) -> None:
    with flatout.map(double, range(100), via=via) as run:
        assert next(run) == 0
        assert next(run) == 2
        assert list(run)[:2] == [4, 6]


def test_leaving_the_loop_early_ends_it() -> None:
    calls: list[int] = []

    def note(x: int) -> int:
        calls.append(x)
        return x

    for x in flatout.map(note, range(10**9), via="thread", buffersize=10):
        if x == 5:
            break
    assert len(calls) < 100


@pytest.mark.parametrize("via", PLAIN)
def test_wait_is_for_the_effects_alone(via: Via) -> None:
    report = flatout.map(double, range(50), via=via).wait()
    assert (report.tasks, report.succeeded, report.failed) == (50, 50, 0)


# --- errors


def odd_is_wrong(x: int) -> int:
    if x % 2:
        raise ValueError(f"{x} is odd")
    return x


async def aodd_is_wrong(x: int) -> int:
    await asyncio.sleep(0)
    return odd_is_wrong(x)


def wrong_for(via: Via) -> Any:
    return aodd_is_wrong if via == "async" else odd_is_wrong


@pytest.mark.parametrize("via", ALL)
def test_raise_gives_the_results_before_it_and_then_the_users_own_exception(via: Via) -> None:
    run = iter(flatout.map(wrong_for(via), [0, 2, 4, 5, 6, 7], via=via))
    assert [next(run), next(run), next(run)] == [0, 2, 4]
    with pytest.raises(ValueError, match="5 is odd") as caught:
        next(run)
    assert type(caught.value) is ValueError
    assert any("task 3, input 5" in note for note in caught.value.__notes__)
    with pytest.raises(StopIteration):
        next(run)


@pytest.mark.parametrize("via", ALL)
def test_return_puts_a_failure_in_the_place_of_a_value(via: Via) -> None:
    values: list[Any] = flatout.map(wrong_for(via), range(4), via=via, on_error="return").results()
    assert (values[0], values[2]) == (0, 2)
    failure = values[1]
    assert isinstance(failure, flatout.Failure)
    assert (failure.index, failure.input, failure.attempts) == (1, "1", 1)
    assert isinstance(failure.error, ValueError)
    assert failure.kind in KINDS
    assert str(failure) == "task 1 (input 1) failed: ValueError: 1 is odd"


@pytest.mark.parametrize("via", ALL)
def test_skip_leaves_failed_ones_out(via: Via) -> None:
    assert flatout.map(wrong_for(via), range(6), via=via, on_error="skip").results() == [0, 2, 4]


class Unusual(Exception):
    """An error of the user's own, with arguments that its base knows nothing of."""

    def __init__(self, x: int, *, why: str = "for a reason") -> None:
        super().__init__(x)
        self.why = why


def raises_unusual(x: int) -> None:
    raise Unusual(x, why="because")


async def araises_unusual(x: int) -> None:
    raise Unusual(x, why="because")


@pytest.mark.parametrize("via", ALL)
def test_an_error_of_the_users_own_class_arrives_whole(via: Via) -> None:
    with pytest.raises(Unusual) as caught:
        flatout.map(araises_unusual if via == "async" else raises_unusual, [7], via=via).wait()
    assert caught.value.args == (7,)
    assert caught.value.why == "because"


# --- a user's own plan


@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_written_by_hand_is_followed(kind: Kind) -> None:
    plan = flatout.Plan(kind, 3)
    func: Any = adouble if kind == "async" else double
    run = flatout.map(func, range(10), via=plan)
    assert run.results() == DOUBLES[:10]
    assert (run.plan.kind, run.plan.concurrency) == (kind, 3)
    assert str(run.plan).startswith(f"{kind}: given by the caller")


def test_the_builtin_map_agrees() -> None:
    assert list(flatout.map(scale, [1, 2], [3, 4])) == list(builtins.map(scale, [1, 2], [3, 4]))
