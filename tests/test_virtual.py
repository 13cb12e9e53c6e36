"""The virtual clock: exact times, exact order, and no silent waiting."""

import asyncio
import contextlib
import contextvars
import gc
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flatout.testing import VirtualTimeError, virtual_run

pytestmark = pytest.mark.timeout(60)


def now() -> float:
    return asyncio.get_running_loop().time()


# --- the clock


def test_three_counters_say_one_together_and_two_a_second_later(capsys: pytest.CaptureFixture[str]) -> None:
    async def count() -> None:
        print("One")
        await asyncio.sleep(1)
        print("Two")

    async def main() -> float:
        await asyncio.gather(count(), count(), count())
        return now()

    assert virtual_run(main()) == 1.0
    assert capsys.readouterr().out.split() == ["One", "One", "One", "Two", "Two", "Two"]


def test_a_century_takes_no_time() -> None:
    async def main() -> float:
        assert now() == 0.0
        for _ in range(100):
            await asyncio.sleep(365 * 86_400)
        return now()

    began = time.monotonic()
    assert virtual_run(main()) == 100 * 365 * 86_400
    assert time.monotonic() - began < 5.0


def test_the_clock_stands_while_something_is_ready() -> None:
    async def main() -> float:
        for _ in range(1000):
            await asyncio.sleep(0)
        return now()

    assert virtual_run(main()) == 0.0


def test_sums_do_not_drift() -> None:
    async def main() -> list[float]:
        times = []
        for _ in range(36_000):
            await asyncio.sleep(0.1)
            times.append(now())
        return times

    assert 0.1 + 0.2 != 0.3  # what is avoided
    assert virtual_run(main()) == [tenths / 10 for tenths in range(1, 36_001)]


@given(st.lists(st.integers(min_value=0, max_value=10**13), min_size=1, max_size=30))
def test_any_whole_nanoseconds_add_up_exactly(naps: list[int]) -> None:
    async def main() -> float:
        for nap in naps:
            await asyncio.sleep(nap / 10**9)
        return now()

    assert virtual_run(main()) == sum(naps) / 10**9


def test_timers_of_one_instant_run_in_the_order_in_which_they_were_set() -> None:
    async def main() -> list[int]:
        loop, order = asyncio.get_running_loop(), list[int]()
        for number in range(200):
            loop.call_at(0.3 if number % 2 else 0.1 + 0.2, order.append, number)
        await asyncio.sleep(1)
        return order

    assert virtual_run(main()) == list(range(200))


@given(st.lists(st.tuples(st.integers(min_value=0, max_value=5), st.booleans()), max_size=300))
def test_timers_run_by_time_and_then_by_turn_whatever_is_cancelled(timers: list[tuple[int, bool]]) -> None:
    async def main() -> list[tuple[float, int]]:
        loop, ran = asyncio.get_running_loop(), list[tuple[float, int]]()

        def note(turn: int) -> None:
            ran.append((loop.time(), turn))

        for turn, (tenths, cancelled) in enumerate(timers):
            handle = loop.call_later(tenths / 10, note, turn)
            if cancelled:
                handle.cancel()
        await asyncio.sleep(10)
        return ran

    expected = sorted((tenths / 10, turn) for turn, (tenths, cancelled) in enumerate(timers) if not cancelled)
    assert virtual_run(main()) == expected


@given(st.lists(st.floats(min_value=0.0, max_value=1e12), min_size=1, max_size=20))
@settings(deadline=None)
def test_time_never_runs_backwards_and_every_sleeper_wakes_when_due(naps: list[float]) -> None:
    async def nap(seconds: float, woke: list[float]) -> None:
        await asyncio.sleep(seconds)
        woke.append(now())
        assert now() == pytest.approx(seconds, rel=1e-15, abs=0.5e-9)

    async def main() -> list[float]:
        woke: list[float] = []
        await asyncio.gather(*(nap(seconds, woke) for seconds in naps))
        return woke

    woke = virtual_run(main())
    assert woke == sorted(woke)
    assert len(woke) == len(naps)


def test_debug_mode_keeps_the_times() -> None:
    async def main() -> tuple[float, bool]:
        await asyncio.sleep(0.5)
        return now(), asyncio.get_running_loop().get_debug()

    assert virtual_run(main(), debug=True) == (0.5, True)


# --- what asyncio has works


def test_timeouts_fire_at_their_second() -> None:
    async def main() -> list[float]:
        times = []
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.5):
                await asyncio.sleep(60)
        times.append(now())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.get_running_loop().create_future(), 1)
        times.append(now())
        assert await asyncio.wait_for(asyncio.sleep(1, "in time"), 2) == "in time"
        return [*times, now()]

    assert virtual_run(main()) == [2.5, 3.5, 4.5]


def test_a_task_group_cancels_its_other_tasks_when_one_fails() -> None:
    ended: list[tuple[str, float]] = []

    async def sleeper() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            ended.append(("cancelled", now()))

    async def failing() -> None:
        await asyncio.sleep(3)
        raise ValueError("at three")

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(sleeper())
            group.create_task(failing())

    with pytest.raises(ExceptionGroup) as caught:
        virtual_run(main())
    assert [str(error) for error in caught.value.exceptions] == ["at three"]
    assert ended == [("cancelled", 3.0)]


def test_locks_queues_and_events_hand_over_without_time() -> None:
    async def main() -> tuple[list[int], float]:
        queue: asyncio.Queue[int] = asyncio.Queue(maxsize=1)

        async def produce() -> None:
            for number in range(5):
                await asyncio.sleep(1)
                await queue.put(number)

        producer = asyncio.create_task(produce())
        got = [await queue.get() for _ in range(5)]
        await producer
        return got, now()

    assert virtual_run(main()) == ([0, 1, 2, 3, 4], 5.0)


def test_the_callers_context_is_seen_and_each_task_has_its_own() -> None:
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="nobody")

    async def rename(value: str) -> str:
        name.set(value)
        await asyncio.sleep(1)
        return name.get()

    async def main() -> list[str]:
        return [name.get(), *await asyncio.gather(rename("a"), rename("b")), name.get()]

    token = name.set("caller")
    try:
        assert virtual_run(main()) == ["caller", "a", "b", "caller"]
        assert name.get() == "caller"
    finally:
        name.reset(token)


# --- the end


def test_exceptions_propagate() -> None:
    async def main() -> None:
        await asyncio.sleep(1)
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        virtual_run(main())


def test_remaining_tasks_are_cancelled_and_their_cleanup_runs_in_virtual_time() -> None:
    ended: list[float] = []

    async def background() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(5)
            ended.append(now())

    async def main() -> None:
        task = asyncio.create_task(background())
        await asyncio.sleep(1)
        assert not task.done()

    virtual_run(main())
    assert ended == [6.0]


def test_asynchronous_generators_are_finished() -> None:
    finished: list[float] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
                await asyncio.sleep(1)
        finally:
            await asyncio.sleep(2)
            finished.append(now())

    kept: list[AsyncIterator[int]] = []

    async def main() -> None:
        kept.append(numbers())
        await anext(kept[0])
        await anext(kept[0])

    virtual_run(main())
    assert finished == [3.0]


def test_it_refuses_to_run_inside_a_running_loop() -> None:
    async def main() -> None:
        inner = asyncio.sleep(1)
        with pytest.raises(RuntimeError, match="running event loop"):
            virtual_run(inner)
        inner.close()

    virtual_run(main())
    asyncio.run(main())


def test_no_loop_is_left_behind() -> None:
    virtual_run(asyncio.sleep(1))
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    assert virtual_run(asyncio.sleep(1, "again")) == "again"


@pytest.fixture
def keyboard() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_control_c_ends_an_endless_run(keyboard: None) -> None:
    cleaned: list[bool] = []

    async def main() -> None:
        try:
            while True:
                await asyncio.sleep(1)
        finally:
            cleaned.append(True)

    finger = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    finger.start()
    with pytest.raises(KeyboardInterrupt):
        virtual_run(main())
    finger.join()
    assert cleaned == [True]


# --- the world outside


async def never() -> None:
    await asyncio.get_running_loop().create_future()


def test_waiting_for_what_nobody_sets_names_the_tasks_and_the_places() -> None:
    async def reader() -> None:
        await never()

    async def main() -> None:
        await asyncio.sleep(2)
        waiting = asyncio.create_task(reader(), name="the reader")
        await asyncio.gather(waiting, asyncio.Event().wait())

    with pytest.raises(VirtualTimeError) as caught:
        virtual_run(main())
    message = str(caught.value)
    assert "stands still at 2.0 s" in message
    assert "3 task(s)" in message
    assert "the reader" in message
    assert "<locals>.reader: await never()" in message
    assert "in never: await asyncio.get_running_loop().create_future()" in message
    assert "await asyncio.gather(waiting, asyncio.Event().wait())" in message
    assert "in Event.wait" in message


def test_many_waiting_tasks_are_counted_not_listed() -> None:
    async def main() -> None:
        await asyncio.gather(*(never() for _ in range(1000)))

    with pytest.raises(VirtualTimeError, match="and 991 more") as caught:
        virtual_run(main())
    assert len(str(caught.value).splitlines()) < 60


def test_sleeping_for_ever_is_waiting_for_nothing() -> None:
    async def main() -> None:
        await asyncio.gather(asyncio.sleep(float("inf")), asyncio.sleep(1))

    with pytest.raises(VirtualTimeError, match=r"stands still at 1\.0 s"):
        virtual_run(main())


def test_sleeping_longer_than_the_universe_is_not() -> None:
    async def main() -> float:
        await asyncio.sleep(1e308)
        return now()

    assert virtual_run(main()) == 1e308


def test_a_standstill_still_runs_the_cleanup() -> None:
    cleaned: list[float] = []

    async def main() -> None:
        try:
            await never()
        finally:
            await asyncio.sleep(1)
            cleaned.append(now())

    with pytest.raises(VirtualTimeError):
        virtual_run(main())
    assert cleaned == [1.0]


def test_a_task_that_will_not_be_cancelled_does_not_hang_the_end() -> None:
    async def stubborn() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await never()
        await never()

    async def main() -> None:
        task = asyncio.create_task(stubborn(), name="stubborn")
        await asyncio.sleep(1)
        assert not task.done()

    with pytest.raises(VirtualTimeError, match="stubborn"):
        virtual_run(main())
    gc.collect()  # the task is destroyed here and not at the end of all tests, where asyncio's complaint would be seen


def test_threads_are_refused_where_they_are_asked_for() -> None:
    ran: list[bool] = []

    async def main() -> None:
        with pytest.raises(VirtualTimeError, match=r"Task-\d+ uses run_in_executor\(\)"):
            await asyncio.to_thread(ran.append, True)
        await asyncio.get_running_loop().run_in_executor(None, ran.append, True)

    with pytest.raises(VirtualTimeError, match="run_in_executor"):
        virtual_run(main())
    assert ran == []


def test_sockets_processes_and_signals_are_refused() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        here, there = socket.socketpair()
        with here, there:
            here.setblocking(False)
            with pytest.raises(VirtualTimeError, match="sock_recv"):
                await loop.sock_recv(here, 1)
            with pytest.raises(VirtualTimeError, match="add_reader"):
                loop.add_reader(here, print)
        with pytest.raises(VirtualTimeError, match="create_connection"):
            await asyncio.open_connection("127.0.0.1", 9)
        with pytest.raises(VirtualTimeError, match="run_in_executor"):
            await loop.getaddrinfo("localhost", 80)
        with pytest.raises(VirtualTimeError, match="subprocess_exec"):
            await asyncio.create_subprocess_exec("true")
        with pytest.raises(VirtualTimeError, match="add_signal_handler"):
            loop.add_signal_handler(signal.SIGTERM, print)

    virtual_run(main())


def test_a_loop_that_waits_for_a_thread_says_so_at_once() -> None:
    errors: list[BaseException] = []
    asked, called = threading.Event(), threading.Event()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        future = loop.create_future()

        def answer() -> None:
            asked.wait(10)
            try:
                loop.call_soon_threadsafe(future.set_result, None)
            except VirtualTimeError as error:
                errors.append(error)
            called.set()

        threading.Thread(target=answer, name="oracle", daemon=True).start()
        try:
            await future
        finally:
            asked.set()
            called.wait(10)  # the loop is still open: the thread's call meets the loop, not a closed one

    with pytest.raises(VirtualTimeError, match="stands still") as caught:
        virtual_run(main())
    assert "await future" in str(caught.value)
    assert len(errors) == 1
    assert "thread 'oracle' calls into an event loop on a virtual clock" in str(errors[0])


def test_call_soon_threadsafe_from_the_loops_own_thread_works() -> None:
    async def main() -> float:
        loop, future = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()
        loop.call_soon_threadsafe(future.set_result, None)
        await future
        return now()

    assert virtual_run(main()) == 0.0


def test_it_runs_in_any_thread() -> None:
    async def main() -> float:
        await asyncio.sleep(7)
        return now()

    times: list[float] = []
    thread = threading.Thread(target=lambda: times.append(virtual_run(main())))
    thread.start()
    thread.join(10)
    assert times == [7.0]
