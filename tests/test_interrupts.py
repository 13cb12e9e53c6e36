"""Signal handlers that raise: an alarm that is to end what takes too long, wherever it strikes."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

import flatout
from flatout._dispatch._dispatcher import Dispatcher
from flatout._run._driver import Driver, Outlet
from flatout._threads import _interrupts
from flatout._threads._interrupts import Latch, is_raised_by_handler, put_off

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="there are no such signals here")
SECONDS = 30  # to wait for what must come


class Late(Exception):
    pass


def too_late(number: int, frame: FrameType | None) -> None:
    raise Late


class Clock:
    def __call__(self, number: int, frame: FrameType | None) -> None:
        raise Late

    def ring(self, number: int, frame: FrameType | None) -> None:
        raise Late


HANDLERS = [too_late, Clock(), Clock().ring, functools.partial(too_late)]


@pytest.fixture
def alarm() -> Iterator[Callable[[], None]]:
    """Sends SIGALRM, whose handler raises, to the main thread, which is on it at once."""
    before = signal.signal(signal.SIGALRM, too_late)
    yield lambda: signal.raise_signal(signal.SIGALRM)
    signal.signal(signal.SIGALRM, before)


def wait_for_it() -> None:
    """The signal that was put off is sent by another thread, and may come in the moment in which a wait begins."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        time.sleep(0.01)


def square(x: int) -> int:
    return x * x


@pytest.fixture
def strike(alarm: Callable[[], None]) -> Iterator[Callable[[Any, int], None]]:
    """Has the alarm strike as the main thread enters a function for the n-th time."""

    def at(func: Any, times: int) -> None:
        left = [times]

        def enter(frame: FrameType, event: str, _: object) -> None:
            if event == "call" and frame.f_code is func.__code__:
                left[0] -= 1
                if left[0] == 0:
                    sys.setprofile(None)
                    alarm()

        sys.setprofile(enter)

    yield at
    sys.setprofile(None)


# Put off


@pytest.mark.parametrize("inner", [contextlib.nullcontext, put_off], ids=["one block", "within another"])
def test_what_an_alarm_raises_comes_when_the_block_is_over(alarm: Callable[[], None], inner: Any) -> None:
    through = []

    def block() -> None:
        with put_off():
            with inner():
                alarm()
            through.append(True)
        wait_for_it()

    with pytest.raises(Late):
        block()
    assert through
    assert signal.getsignal(signal.SIGALRM) is too_late


def test_a_handler_that_raises_as_others_are_put_back_keeps_none_from_it(alarm: Callable[[], None]) -> None:
    calls: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: calls.append(number))
    block = put_off()
    try:
        block.__enter__()
        with pytest.raises(Late):
            strike_once_back(alarm, block)
        signal.raise_signal(signal.SIGUSR1)
        assert calls == [signal.SIGUSR1]
        assert signal.getsignal(signal.SIGALRM) is too_late
    finally:
        signal.signal(signal.SIGUSR1, before)


def strike_once_back(alarm: Callable[[], None], block: put_off) -> None:
    """The alarm comes as soon as its own handler is back, and that of SIGUSR1 is not."""

    def step(frame: FrameType, event: str, _: object) -> None:
        if event == "c_return" and signal.getsignal(signal.SIGALRM) is too_late:
            sys.setprofile(None)
            alarm()

    sys.setprofile(step)
    try:
        block.__exit__()
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize("error", [Late, ValueError])
def test_nor_does_one_that_raises_as_they_are_taken_away(
    strike: Callable[[Any, int], None], error: type[Exception]
) -> None:
    def raises(number: int, frame: FrameType | None) -> None:
        raise error

    signal.signal(signal.SIGALRM, raises)
    before = signal.getsignal(signal.SIGINT)
    strike(_interrupts._is_told_otherwise, 2)  # when that of SIGINT has been
    with pytest.raises(error), put_off():
        pytest.fail("it came too late")
    assert signal.getsignal(signal.SIGINT) is before
    assert signal.getsignal(signal.SIGALRM) is raises


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1], ids=lambda number: number.name)
def test_a_signal_of_an_event_loop_is_told_once(number: signal.Signals) -> None:
    told: list[int] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(number, told.append, 1)
        with put_off():
            signal.raise_signal(number)
        for _ in range(20):
            await asyncio.sleep(0.01)
        loop.remove_signal_handler(number)

    asyncio.run(main())
    assert told == [1]


@pytest.mark.parametrize("handler", HANDLERS, ids=["function", "object", "method", "partial"])
def test_what_a_handler_raises_is_told_from_other_errors(handler: Any) -> None:
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(Late) as caught:
            signal.raise_signal(signal.SIGUSR1)
        assert is_raised_by_handler(caught.value)
        with pytest.raises(ZeroDivisionError) as other:
            print(1 / 0)
        assert not is_raised_by_handler(other.value)
    finally:
        signal.signal(signal.SIGUSR1, before)


# Latches


def test_a_latch_that_is_struck_as_it_is_set_can_be_set_again(strike: Callable[[Any, int], None]) -> None:
    latch = Latch()
    strike(type(latch._bell).ring, 1)
    with pytest.raises(Late):
        latch.set()
    latch.set()
    assert latch.wait(SECONDS)


def test_a_latch_is_waited_for_so_long_and_by_any_number() -> None:
    latch = Latch()
    assert not latch.wait(0.0)
    assert not latch.wait(0.01)
    heard: list[bool] = []
    threads = [threading.Thread(target=lambda: heard.append(latch.wait())) for _ in range(5)]
    for thread in threads:
        thread.start()
    latch.set()
    for thread in threads:
        thread.join(SECONDS)
    assert heard == [True] * 5


# In a run and in an executor


def test_what_strikes_in_a_call_or_as_inputs_are_drawn_is_told_so(alarm: Callable[[], None]) -> None:
    def strikes(x: int) -> int:
        if x == 3:
            alarm()
        return x

    results = flatout.map(strikes, range(6), via="inline", on_error="return").results()
    assert [x for x in results if isinstance(x, int)] == [0, 1, 2, 4, 5]
    assert isinstance(results[3].error, Late)  # type: ignore[attr-defined]
    with pytest.raises(flatout.InputError) as caught:
        flatout.map(square, map(strikes, range(6)), via="inline").results()
    assert isinstance(caught.value.__cause__, Late)


@pytest.mark.parametrize(
    ("func", "times"),
    [*itertools.product([Dispatcher.handle, Driver.pump], [1, 2, 5]), (Outlet.finish, 1)],
    ids=lambda value: getattr(value, "__qualname__", str(value)),
)
def test_what_strikes_in_the_middle_of_a_run_ends_that_and_is_raised(
    strike: Callable[[Any, int], None], func: Any, times: int
) -> None:
    run = flatout.map(square, range(50), via="inline")
    strike(func, times)
    with pytest.raises(Late):
        run.results()
    assert flatout.map(square, range(50), via="inline").results() == [x * x for x in range(50)]


@pytest.mark.parametrize("via", ["thread", "process"])
def test_what_strikes_in_the_middle_of_an_executor_breaks_nothing(via: Any, strike: Callable[[Any, int], None]) -> None:
    def submit_on() -> None:
        for _ in range(10_000):
            call = pool.submit(square, 3)
            while not call.done():  # not by `result`: what strikes there may leave the lock of a future taken
                time.sleep(0.001)

    with flatout.Executor(2, via=via) as pool:
        assert pool.submit(square, 2).result(SECONDS) == 4
        for times in range(1, 4):
            strike(Driver.pump, times)  # in the middle of submitting
            with pytest.raises(Late):
                submit_on()
            assert pool.submit(square, 4).result(SECONDS) == 16
