"""Whatever cannot work is refused by `map` itself, before anything runs, and the message says what to do instead."""

from __future__ import annotations

import asyncio
import functools
import math
import threading
import types
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any

import pytest

import flatout
from flatout import NotPicklable, PlanError


def double(x: int) -> int:
    return 2 * x


async def adouble(x: int) -> int:
    return 2 * x


def numbers(x: int) -> Iterator[int]:
    yield from range(x)


async def anumbers(x: int) -> AsyncIterator[int]:
    yield x


class Doubler:
    def method(self, x: int) -> int:
        return 2 * x

    def generator_method(self, x: int) -> Iterator[int]:
        yield x

    async def async_generator_method(self, x: int) -> AsyncIterator[int]:
        yield x


class GeneratorCall:
    def __call__(self, x: int) -> Iterator[int]:
        yield x


class AsyncGeneratorCall:
    async def __call__(self, x: int) -> AsyncIterator[int]:
        yield x


class Untouchable:
    """Inputs that must not be looked at: nothing runs before the arguments are known to be good."""

    def __iter__(self) -> Iterator[int]:
        raise AssertionError("the inputs were touched")


def refused(*arguments: Any, **options: Any) -> str:
    with pytest.raises(PlanError) as caught:
        flatout.map(*arguments, **options)
    return str(caught.value)


# --- the function


@pytest.mark.parametrize("value", [3, None, "double", [double]])
def test_what_is_not_callable_is_refused(value: Any) -> None:
    assert "func must be callable" in refused(value, Untouchable())


def test_a_coroutine_that_was_called_already_is_refused_with_a_hint() -> None:
    coroutine = adouble(1)
    assert "did you call it already? pass the function itself" in refused(coroutine, Untouchable())
    coroutine.close()


def test_a_future_is_refused_as_a_coroutine_is() -> None:
    loop = asyncio.new_event_loop()
    assert "did you call it already" in refused(loop.create_future(), Untouchable())
    loop.close()


@pytest.mark.parametrize(
    "func",
    [
        numbers,
        functools.partial(numbers),
        functools.partial(functools.partial(numbers, 3)),
        Doubler().generator_method,
        GeneratorCall(),
        lambda x: (yield x),
    ],
    ids=["function", "partial", "partial of partial", "method", "object", "lambda"],
)
def test_generator_functions_are_refused_with_what_was_meant_perhaps(func: Callable[..., Any]) -> None:
    message = refused(func, Untouchable())
    assert "generator function" in message
    assert "list(" in message
    assert "async def" in message
    assert "asyncio.coroutine made those until Python 3.10" in message


@pytest.mark.parametrize(
    "func",
    [anumbers, functools.partial(anumbers), Doubler().async_generator_method, AsyncGeneratorCall()],
    ids=["function", "partial", "method", "object"],
)
def test_async_generator_functions_are_refused(func: Callable[..., Any]) -> None:
    message = refused(func, Untouchable())
    assert "async generator function" in message
    assert "async def" in message


def test_the_refused_function_is_named() -> None:
    assert "numbers" in refused(functools.partial(numbers), [1])
    assert "Doubler.generator_method" in refused(Doubler().generator_method, [1])


def test_coroutines_made_by_types_coroutine_are_accepted() -> None:
    @types.coroutine
    def old_style(x: int) -> Generator[Any, Any, int]:
        yield from asyncio.sleep(0).__await__()
        return 2 * x

    assert flatout.map(old_style, [1, 2]).results() == [2, 4]
    assert flatout.map(functools.partial(old_style), [1, 2], via="async").results() == [2, 4]


# --- the inputs


def test_no_inputs_at_all_are_refused_with_an_example() -> None:
    assert "flatout.map(func, items)" in refused(double)


@pytest.mark.parametrize("value", [3, None, 2.5, object()])
def test_what_is_not_iterable_is_refused(value: Any) -> None:
    assert "iterable 1 is not iterable" in refused(double, value)
    assert "iterable 2 is not iterable" in refused(double, Untouchable(), value)


def test_a_generator_function_as_inputs_is_refused_with_a_hint() -> None:
    assert "call it to get its iterator" in refused(double, numbers)
    assert "call it to get its iterator" in refused(double, anumbers)


# --- numbers


@pytest.mark.parametrize("name", ["max_concurrency", "chunksize", "buffersize"])
@pytest.mark.parametrize("value", [0, -1, True, False, 1.0, 2.5, math.nan, math.inf, "4"])
def test_counts_are_whole_numbers_from_one_on(name: str, value: Any) -> None:
    message = refused(double, Untouchable(), **{name: value})
    assert f"{name} must be a whole number from 1 on" in message
    assert repr(value) in message


@pytest.mark.parametrize("value", [0, 0.0, -1, -0.5, math.nan, True, False, "5", math.inf, -math.inf, 10**400])
def test_a_timeout_is_a_positive_number_of_seconds(value: Any) -> None:
    message = refused(adouble, Untouchable(), timeout=value)
    assert "timeout must be a positive number of seconds, or None for no limit" in message
    assert repr(value) in message


@pytest.mark.parametrize("value", [0, 0.0, -1, math.nan, True, "5", math.inf, 10**400])
def test_a_rate_is_a_positive_number_of_starts_a_second(value: Any) -> None:
    message = refused(adouble, Untouchable(), max_per_second=value)
    assert "max_per_second must be a positive number of task starts a second" in message
    assert repr(value) in message


def test_a_timeout_cannot_be_kept_in_the_callers_own_thread() -> None:
    for via in ("inline", flatout.Plan("inline")):
        message = refused(double, Untouchable(), via=via, timeout=5)
        assert 'via="inline"' in message
        assert 'Use via="process"' in message


@pytest.mark.parametrize("value", [0, -1, True, 2.0, "3"])
def test_retry_counts_attempts_from_one_on(value: Any) -> None:
    message = refused(double, Untouchable(), retry=value)
    assert "retry" in message
    assert "attempts" in message
    assert repr(value) in message


@pytest.mark.parametrize("attempts", [0, -1, 1.5, True])
def test_a_retry_object_is_checked_too(attempts: Any) -> None:
    assert "attempts" in refused(double, Untouchable(), retry=flatout.Retry(attempts))


@pytest.mark.parametrize("backoff", [-1, math.nan, math.inf, "soon"])
def test_a_retry_needs_a_backoff_in_seconds(backoff: Any) -> None:
    assert "backoff" in refused(double, Untouchable(), retry=flatout.Retry(3, backoff=backoff))


@pytest.mark.parametrize("on", ["ValueError", int, (ValueError, 3), None])
def test_a_retry_needs_exceptions_to_retry_on(on: Any) -> None:
    assert "exception" in refused(double, Untouchable(), retry=flatout.Retry(3, on=on))


# --- names


@pytest.mark.parametrize(
    ("via", "meant"),
    [
        ("threads", "thread"),
        ("Thread", "thread"),
        ("proces", "process"),
        ("multiprocessing", "process"),
        ("asyncio", "async"),
        ("serial", "inline"),
        ("atuo", "auto"),
    ],
)
def test_an_unknown_kind_is_refused_with_the_nearest_name(via: str, meant: str) -> None:
    message = refused(double, Untouchable(), via=via)
    assert f'did you mean "{meant}"?' in message
    assert '"auto", "inline", "async", "thread", "process"' in message


@pytest.mark.parametrize("via", ["", "zzz", None, 3, ["thread"]])
def test_a_kind_that_resembles_nothing_is_refused_without_a_guess(via: Any) -> None:
    message = refused(double, Untouchable(), via=via)
    assert "via must be one of" in message
    assert "did you mean" not in message


def test_a_plan_is_checked_too() -> None:
    message = refused(double, Untouchable(), via=flatout.Plan("fiber"))  # type: ignore[arg-type]
    assert "a Plan needs one of the kinds" in message


@pytest.mark.parametrize("name", ["concurrency", "ceiling", "chunksize", "buffersize"])
@pytest.mark.parametrize("value", [0, -1, True, 2.5, math.inf, "4"])
def test_the_numbers_of_a_plan_are_whole_and_from_one_on(name: str, value: Any) -> None:
    message = refused(double, Untouchable(), via=flatout.Plan("thread", **{name: value}))
    assert f"{name} " in message
    assert f"whole number from 1 on{'' if name == 'concurrency' else ', or None'}; it is {value!r}" in message


def test_processes_of_a_plan_need_something_inside() -> None:
    message = refused(double, Untouchable(), via=flatout.Plan("process", 2, processes=5))
    assert "write Plan('process', 5)" in message
    assert list(flatout.map(double, [1], via=flatout.Plan("process", 2, processes=1, inside="thread"))) == [2]


@pytest.mark.parametrize(("on_error", "meant"), [("Raise", "raise"), ("ignore", "skip"), ("returns", "return")])
def test_an_unknown_on_error_is_refused_with_the_nearest_name(on_error: str, meant: str) -> None:
    message = refused(double, Untouchable(), on_error=on_error)
    assert f'did you mean "{meant}"?' in message


@pytest.mark.parametrize("on_error", [None, 3, ["raise"]])
def test_an_on_error_of_another_type_is_refused(on_error: Any) -> None:
    assert "on_error must be one of" in refused(double, Untouchable(), on_error=on_error)


@pytest.mark.parametrize(
    "func",
    [double, functools.partial(double), Doubler().method, abs, functools.wraps(double)(lambda x: double(x))],
    ids=["function", "partial", "method", "builtin", "wrapped"],
)
def test_a_plain_function_is_not_for_the_event_loop(func: Callable[..., Any]) -> None:
    message = refused(func, Untouchable(), via="async")
    for works in ('via="thread"', 'via="process"', 'via="auto"', "async def"):
        assert works in message


def wrapped(func: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(func)
    def call(*arguments: Any) -> Any:
        return func(*arguments)

    return call


@pytest.mark.parametrize("func", [lambda x: adouble(x), wrapped(adouble), wrapped(wrapped(adouble))])
def test_what_may_return_an_awaitable_is_let_through(func: Callable[[int], Any]) -> None:
    assert flatout.map(func, [1, 2], via="async").results() == [2, 4]


def test_an_initializer_is_a_function_too() -> None:
    assert "initializer must be callable" in refused(double, Untouchable(), initializer=3)
    assert "initializer" in refused(double, Untouchable(), initializer=lambda: (yield))


# --- what cannot be sent to a process


class Holder:
    def __init__(self) -> None:
        self.lock = threading.Lock()

    def work(self, x: int) -> int:
        return x


def test_a_closure_variable_that_cannot_be_sent_is_named() -> None:
    guard = threading.Lock()

    def work(x: int) -> int:
        with guard:
            return x

    run = flatout.map(work, [1, 2], via="process")
    with pytest.raises(NotPicklable, match="'guard'"):
        run.results()


def test_an_attribute_that_cannot_be_sent_is_named() -> None:
    with pytest.raises(NotPicklable, match="lock"):
        flatout.map(Holder().work, [1, 2], via="process").results()


def test_an_argument_of_a_partial_that_cannot_be_sent_is_named() -> None:
    def work(x: int, lock: Any = None) -> int:
        return x

    with pytest.raises(NotPicklable, match="lock"):
        flatout.map(functools.partial(work, lock=threading.Lock()), [1], via="process").results()


def test_an_input_that_cannot_be_sent_fails_alone() -> None:
    inputs: list[Any] = [1, threading.Lock(), 3]
    values = flatout.map(str, inputs, via="process", on_error="return").results()
    assert (values[0], values[2]) == ("1", "3")
    assert isinstance(values[1], flatout.Failure)
    assert isinstance(values[1].error, NotPicklable)
    assert "lock" in str(values[1].error)


# --- nothing has run


def test_a_run_that_is_dropped_unused_says_so() -> None:
    run = flatout.map(double, [1])
    with pytest.warns(ResourceWarning, match="nothing has run"):
        del run


def test_nothing_runs_before_the_first_result_is_asked_for() -> None:
    calls: list[int] = []
    run = flatout.map(calls.append, Untouchable())
    assert calls == []
    assert "nothing has run yet" in str(run.plan)
    run.cancel()


def test_a_run_is_consumed_once() -> None:
    run = flatout.map(double, [1, 2])
    assert run.results() == [2, 4]
    with pytest.raises(PlanError, match=r"call flatout\.map again"):
        run.results()


def test_any_number_is_a_number_of_inputs() -> None:
    assert (
        flatout.map(abs, range(5), chunksize=10**30).results()
        == flatout.map(abs, range(5), buffersize=10**30).results()
    )


def test_the_plan_of_a_run_that_is_looking_does_not_say_that_nothing_has_run() -> None:
    run = flatout.map(abs, iter(range(20_000)))
    assert "nothing has run yet" in run.plan.reason
    next(run)
    assert "nothing has run" not in run.plan.reason
    run.cancel()
