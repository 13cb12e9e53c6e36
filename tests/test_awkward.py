"""Awkward moments and companions: what once went wrong when something unusual happened around a run."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any

import pytest

import flatout
from flatout._threads._one_at_a_time import OneAtATime
from flatout.testing import virtual_run

GUARD = 60.0  # seconds: a test that needs them has failed

number: contextvars.ContextVar[Any] = contextvars.ContextVar("number")


def threads_named(part: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if part in thread.name]


class Incomparable:
    """As an array of NumPy: comparing it gives no truth."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("the truth value is ambiguous")

    __hash__ = object.__hash__


def test_a_context_variable_that_cannot_be_compared_moves_no_result() -> None:
    number.set(Incomparable())
    called = []

    def sets(x: int) -> int:
        called.append(x)
        number.set(Incomparable())
        return x

    assert flatout.map(sets, range(40), via="inline").results() == list(range(40))
    assert called == list(range(40))


def test_an_awaitable_that_comes_after_the_decision_is_awaited_once() -> None:
    called = []
    lock = threading.Lock()

    async def answer(x: int) -> int:
        await asyncio.sleep(0)
        return 2 * x

    def slow_to_begin(x: int) -> Any:
        with lock:
            called.append(x)
        time.sleep(0.2 if x == 0 else 0)  # in the middle of it flatout takes it for one that waits
        return answer(x)

    assert flatout.map(slow_to_begin, range(20)).results() == [2 * x for x in range(20)]
    assert sorted(called) == list(range(20))


def test_an_initializer_runs_in_the_thread_of_the_tasks_also_in_a_loop() -> None:
    local = threading.local()

    def initialize() -> None:
        local.there = True

    async def main() -> list[bool]:
        return await flatout.map(lambda x: local.there, range(3), via="inline", initializer=initialize)

    assert asyncio.run(main()) == [True, True, True]


def test_an_initializer_that_fails_in_a_loop_is_told() -> None:
    def initialize() -> None:
        raise LookupError("no model")

    async def main() -> None:
        await flatout.map(abs, range(3), via="inline", initializer=initialize)

    with pytest.raises(LookupError, match="no model"):
        asyncio.run(main())


def test_an_interrupt_in_a_call_ends_the_awaited_run() -> None:
    def interrupts(x: int) -> int:
        raise KeyboardInterrupt("of its own")

    async def main() -> None:
        await asyncio.wait_for(flatout.map(interrupts, range(3), via="inline").__aiter__().__anext__(), GUARD)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())


def test_a_timeout_of_years_is_no_timeout() -> None:
    assert flatout.map(abs, range(3), via="thread", timeout=1e12).results() == [0, 1, 2]


def test_a_plain_loop_within_async_with_ends() -> None:
    async def double(x: int) -> int:
        return 2 * x

    async def main() -> list[int]:
        got = []
        async with flatout.map(double, range(100)) as run:
            for value in run:
                got.append(value)
                if len(got) == 3:
                    break
        return got

    assert asyncio.run(main()) == [0, 2, 4]


def test_with_around_async_for_does_not_wait_for_the_loop_it_is_in() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        with flatout.map(asyncio.sleep, [0.0] * 3 + [30.0] * 3) as run:
            async for _ in run:
                break
        return loop.time() - began

    assert virtual_run(main()) == 0.0


def test_a_loop_that_is_closed_early_takes_its_run_along() -> None:
    release = threading.Event()

    async def leave() -> None:
        run = flatout.map(lambda x: release.wait(GUARD), range(100), via="thread", max_concurrency=4)
        iterator = run.__aiter__()
        task = asyncio.ensure_future(iterator.__anext__())
        await asyncio.sleep(0)
        kept.append((run, iterator, task))

    kept: list[Any] = []
    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave())
    loop.close()
    release.set()
    (driver,) = threads_named("flatout-driver") or (threading.Thread(),)
    if driver.ident is not None:
        driver.join(GUARD)
        assert not driver.is_alive()
    kept[0][2]._log_destroy_pending = False
    kept.clear()
    gc.collect()


def test_a_coroutine_that_ignores_its_timeout_does_not_hold_the_others() -> None:
    async def stubborn(x: int) -> int:
        end = asyncio.get_running_loop().time() + (60.0 if x == 1 else 0.0)
        while (now := asyncio.get_running_loop().time()) < end:
            try:
                await asyncio.sleep(end - now)
            except asyncio.CancelledError:
                continue
        return x

    async def main() -> tuple[list[Any], float]:
        results = await flatout.map(stubborn, range(3), timeout=1.0, on_error="return")
        return results, asyncio.get_running_loop().time()

    results, took = virtual_run(_without_the_rest(main()))
    assert isinstance(results[1], flatout.Failure)
    assert isinstance(results[1].error, TimeoutError)
    assert (results[0], results[2]) == (0, 2)
    assert took == 2.0  # one timeout until it is cancelled, another until it is left behind


async def _without_the_rest(coroutine: Any) -> Any:
    """The value at once, and then time for what was left behind to end."""
    value = await coroutine
    await asyncio.sleep(100)
    return value


def test_an_input_generator_is_closed_when_the_run_is_over_not_when_it_is_dropped() -> None:
    closed = threading.Event()

    def numbers() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed.set()

    run = flatout.map(abs, numbers(), via="inline")
    for value in run:
        if value == 3:
            break
    assert closed.wait(GUARD)
    assert run.report.succeeded >= 4


def test_a_report_is_final_when_the_loop_has_been_left() -> None:
    async def main() -> tuple[int, int]:
        run = flatout.map(time.sleep, [0.001] * 5000, via="thread", max_concurrency=4)
        async for _ in run:
            break
        await asyncio.sleep(0)
        for _ in range(1000):
            if run.report.cancelled:
                break
            await asyncio.sleep(0.01)
        first = run.report
        await asyncio.sleep(0.05)
        return first.tasks, run.report.tasks

    before, after = asyncio.run(main())
    assert before == after


def test_an_exception_that_takes_no_notes_arrives_all_the_same() -> None:
    class Closed(Exception):
        def add_note(self, note: str) -> None:
            raise TypeError("no notes")

    def fails(x: int) -> int:
        raise Closed("mine")

    with pytest.raises(Closed, match="mine"):
        flatout.map(fails, [1], via="inline").results()


def test_ready_results_leave_the_loop_to_others_now_and_then() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def main() -> int:
        task = asyncio.create_task(other())
        async for _ in flatout.map(abs, range(100), via="thread", chunksize=100):
            time.sleep(0.001)
        task.cancel()
        return turns

    assert asyncio.run(main()) > 10


def test_a_run_that_is_cancelled_as_it_begins_does_not_begin() -> None:
    run = flatout.map(abs, range(3))
    run.cancel()
    with pytest.raises(flatout.RunCancelled):
        run.results()


def test_who_is_cancelled_again_while_his_run_ends_leaves_nobody_watching() -> None:
    drawing, go_on = threading.Event(), threading.Event()

    def inputs() -> Iterator[int]:
        yield 0
        drawing.set()
        go_on.wait(GUARD)  # meanwhile the run cannot be ended

    async def consume() -> None:
        async for _ in flatout.map(abs, inputs()):
            pass

    async def main() -> BaseException:
        task = asyncio.create_task(consume())
        while not drawing.is_set():
            await asyncio.sleep(0.001)
        for _ in range(2):
            task.cancel()
            await asyncio.sleep(0.02)
        go_on.set()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        return caught.value

    error = asyncio.run(main())  # whose traceback refers to all that has to do with the run
    deadline = time.monotonic() + GUARD
    while threads_named("flatout-probe") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not threads_named("flatout-probe"), error


def test_a_run_whose_function_asks_it_for_the_next_value_raises_and_goes_on() -> None:
    """As a generator does. The interpreter crashed of it where values came out of `itertools.chain`."""
    asked: list[BaseException] = []

    def ask(x: int) -> int:
        if x == 1:
            try:
                next(values)
            except ValueError as error:
                asked.append(error)
        return x

    values = iter(flatout.map(ask, range(4), via="inline"))
    assert list(values) == [0, 1, 2, 3]
    assert len(asked) == 1


@pytest.mark.parametrize("via", ["inline", "thread", "process"])
def test_threads_that_share_a_run_get_each_value_once_between_them(via: Any) -> None:
    """Whoever comes while another is at it is told so, as by a generator, and may come again."""
    values = iter(flatout.map(abs, range(3000), via=via))
    got: list[int] = []

    def take() -> None:
        while True:
            try:
                got.append(next(values))
            except ValueError:
                continue
            except StopIteration:
                return

    threads = [threading.Thread(target=take) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == list(range(3000))


def test_what_guards_a_run_without_the_gil_lets_one_at_a_time_in() -> None:
    def ask() -> Generator[int, None, None]:
        for way in (lambda: next(values), values.close):
            with pytest.raises(ValueError, match="already executing"):
                way()
        yield 1

    values = OneAtATime(ask())
    assert list(values) == [1]
    values.close()


async def ends_its_loop(x: int) -> int:
    if x == 3:
        asyncio.create_task(leaves())  # noqa: RUF006 - which nobody waits for
    await asyncio.sleep(0.05)
    return x


async def leaves() -> None:
    raise SystemExit(4)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_where_something_in_it_ends_an_event_loop_nobody_waits_for_ever() -> None:
    with pytest.raises(flatout.RunError, match="has ended the event loop in which coroutines ran: SystemExit: 4"):
        flatout.map(ends_its_loop, range(3000), via="async", on_error="skip").results()
    with flatout.Executor(4, via="async") as executor:
        futures = [executor.submit(ends_its_loop, x) for x in range(20)]
        assert all(isinstance(future.exception(60.0), BaseException) for future in futures[3:])
        with pytest.raises(RuntimeError, match="cannot go on"):
            executor.submit(ends_its_loop, 0)


def test_in_a_process_the_task_that_ends_its_loop_dies_with_it_and_the_others_are_run() -> None:
    plan = flatout.Plan("process", 8, processes=1, inside="async")
    run = flatout.map(ends_its_loop, range(12), via=plan, retry=flatout.Retry(2, backoff=0.0), on_error="return")
    results: list[Any] = run.results()
    assert [x for x in range(12) if results[x] != x] == [3]
    assert isinstance(results[3].error, flatout.WorkerDied)


async def cancelled_after_five() -> AsyncIterator[int]:
    for x in range(5):
        yield x
    raise asyncio.CancelledError


def plainly_cancelled_after_five() -> Iterator[int]:
    yield from range(5)
    raise asyncio.CancelledError


@pytest.mark.parametrize("inputs", [cancelled_after_five, plainly_cancelled_after_five])
@pytest.mark.parametrize("via", ["inline", "thread", "process", "async"])
def test_inputs_that_raise_a_cancellation_of_their_own_have_failed(via: Any, inputs: Callable[[], Any]) -> None:
    """Nobody has cancelled who draws from them."""
    given: list[object] = []
    func: Callable[..., Any] = double if via == "async" else abs

    async def main() -> None:
        async for value in flatout.map(func, inputs(), via=via):
            given.append(value)

    with pytest.raises(flatout.InputError) as raised:
        asyncio.run(main())
    assert isinstance(raised.value.__cause__, asyncio.CancelledError)
    assert len(given) == 5


async def double(x: int) -> int:
    return 2 * x
