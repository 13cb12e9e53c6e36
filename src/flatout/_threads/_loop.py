"""An event loop in a thread of its own, for coroutines that have to run where no loop can run."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Coroutine
from contextvars import Context

from flatout._errors import RunError
from flatout._forks import leave
from flatout._threads._daemons import Daemon
from flatout._threads._interrupts import Bell, put_off

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    import asyncio
    from typing import Any

    Answer = Callable[[Any, BaseException | None], None]


def name_of(loop: asyncio.AbstractEventLoop) -> str:
    """Whose event loop it is: "asyncio", "uvloop" or another module."""
    return type(loop).__module__.partition(".")[0]


def clock_of(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    """The clock that a loop goes by, which may be a virtual one. (uvloop's own knows whole milliseconds only.)"""
    return time.monotonic if name_of(loop) in ("asyncio", "uvloop") else loop.time


def _new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it is installed (a quarter faster, measured with sleeping tasks), else asyncio's own."""
    import asyncio

    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def ended_by(error: BaseException) -> RunError:
    """What is said where something in a loop of flatout's own has ended that."""
    said = f"something in it has ended the event loop in which coroutines ran: {type(error).__name__}: {error}"
    ended = RunError(said)
    ended.__cause__ = error
    return ended


class LoopThread:
    """A daemon thread that runs an event loop from `start` to `end`. lost: told what else ends it, if anything does."""

    def __init__(self, lost: Callable[[BaseException], object] | None = None) -> None:
        self._lost = lost
        self.loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._error: BaseException | None = None
        self._asked = self._answered = 0  # signs of life
        self._silent = 0.0
        self._ready = threading.Event()
        self._thread = Daemon(self._serve, "flatout-loop")

    def start(self) -> None:
        """Start it. Raises what keeps a loop from being made."""
        with put_off():
            self._thread.start()
            self._ready.wait()
        if self._error is not None:
            raise self._error

    def call(self, func: Callable[[], Any]) -> Any:
        """Call a function in the loop's thread; returns what it returns."""
        return self._submit(lambda answer: answer(func(), None))

    def run(self, coroutine: Coroutine[Any, Any, Any], context: Context) -> Any:
        """Run a coroutine in the loop; returns its value. May be interrupted: then the coroutine is left behind."""

        def begin(answer: Answer) -> None:
            task = self.loop.create_task(coroutine, context=context)
            task.add_done_callback(lambda done: _pass_on(done, answer))

        return self._submit(begin)

    def end(self, seconds: float) -> None:
        """Cancel what is left in the loop, let it clean up and close it, but wait no longer than this."""
        if self._ready.is_set() and self._error is None:
            with contextlib.suppress(RuntimeError):
                self.stop()
            self.join(seconds)

    def silence(self, since: float) -> float:
        """Seconds for which it has not come round, as far as those tell that have passed from one question to the next.

        since: how many have passed since the last question.
        """
        if self._answered == self._asked:
            self._silent = 0.0
            self._asked += 1
            with contextlib.suppress(RuntimeError):  # it has ended
                self.loop.call_soon_threadsafe(self._answer)
        else:
            self._silent += since
        return self._silent

    def _answer(self) -> None:
        self._answered = self._asked

    def leave_behind(self, why: str) -> None:
        """It does not come round any more. Its name tells, in a debugger, what it was left with."""
        self._lost = None  # nobody waits for it any more
        self._thread.name = f"flatout-loop (left behind {why})"
        with contextlib.suppress(RuntimeError):
            self.stop()

    def stop(self) -> None:
        """Have it end; from any thread. Raises RuntimeError where it has ended."""
        self.loop.call_soon_threadsafe(self._stop.set)

    def join(self, seconds: float | None = None) -> None:
        """Wait for the end, unless this is the loop's thread."""
        if self._thread is not threading.current_thread():
            self._thread.join(seconds)

    def _submit(self, begin: Callable[[Answer], None]) -> Any:
        outcome: list[tuple[Any, BaseException | None]] = []
        bell = Bell()

        def answer(value: Any, error: BaseException | None) -> None:
            outcome.append((value, error))
            bell.ring()

        def guarded() -> None:
            try:
                begin(answer)
            except BaseException as error:
                answer(None, error)

        self.loop.call_soon_threadsafe(guarded)
        while not outcome:
            bell.wait()
        value, error = outcome.pop()
        try:
            if error is not None:
                raise error
            return value
        finally:
            del error  # which refers to this frame

    def _serve(self) -> None:
        import asyncio

        try:
            with asyncio.Runner(loop_factory=_new_loop) as runner:
                try:
                    runner.run(self._main())
                except BaseException as error:
                    if self._lost is not None:
                        self._lost(error)  # before everything in the loop is cancelled
                    raise
        except BaseException as error:
            self._error = error
        finally:
            _loops.pop(threading.get_ident(), None)
            self._ready.set()

    async def _main(self) -> None:
        import asyncio

        self.loop = _loops[threading.get_ident()] = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._ready.set()
        await self._stop.wait()


_loops: dict[int, asyncio.AbstractEventLoop] = {}  # that run, by their threads


def _leave_child() -> None:
    """In a child that something in such a loop has forked: end at the loop's next turn.

    It shares the descriptors by which the loop is woken: what the child hears, the loop itself never does.
    """
    if (loop := _loops.get(threading.get_ident())) is not None:
        loop.call_soon(leave, None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_child)


def _pass_on(done: asyncio.Task[Any], answer: Answer) -> None:
    if done.cancelled():
        from asyncio import CancelledError

        answer(None, CancelledError())
    elif (error := done.exception()) is not None:
        answer(None, error)
    else:
        answer(done.result(), None)
