"""Where the driver of a run lives, and how it moves there.

kind      iterated by `for`                          iterated by `async for`
inline    the caller's thread pumps it               a helper thread pumps it
thread    a driver thread                            a driver thread
process   a driver thread                            a driver thread
async     an event loop in a thread of flatout's     the caller's own event loop
auto      starts like inline, then moves to where the chosen kind has it
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable

from flatout._errors import RunError, TaskTimeout
from flatout._events import Event, WorkerExited
from flatout._model import Kind
from flatout._run._driver import Driver
from flatout._run._hiring import Hiring
from flatout._run._hosts import LoopHost, ThreadHost
from flatout._threads._interrupts import LONGEST_WAIT, Bell
from flatout._threads._loop import LoopThread, clock_of, ended_by, name_of

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    import asyncio


class Residence:
    """That of one run's driver. news: rung where the caller's thread is to look.

    settled: told the clock that a loop goes by, and whose it is, before the driver lives there.
    """

    def __init__(
        self, driver: Driver, hiring: Hiring, news: Bell, settled: Callable[[Callable[[], float], str], None]
    ) -> None:
        self.callers_loop: asyncio.AbstractEventLoop | None = None
        self._driver = driver
        self._hiring = hiring
        self._news = news
        self._settled = settled
        self._loop: LoopThread | None = None
        self._lost: BaseException | None = None  # what has ended it
        self._pid = os.getpid()

    def move_to(self, kind: Kind, event: Event) -> None:
        """Have the driver live where this kind needs it, and only then give it the event that has it hire."""
        if kind == "process":
            self._hiring.watch_machine()
        if kind != "async":
            self._driver.hand_over()
            self._driver.post(event)
        elif self.callers_loop is None:
            loop = self.own_loop()
            loop.call(lambda: self._live_in(loop.loop, False, event))
        elif self.in_callers_loop():
            self._live_in(self.callers_loop, True, event)
        else:
            self.callers_loop.call_soon_threadsafe(self._live_in, self.callers_loop, True, event)

    def own_loop(self) -> LoopThread:
        """The loop in a thread of flatout's, from now on."""
        if self._loop is None:
            self._loop = LoopThread(self._lose)
            self._loop.start()
        return self._loop

    def _lose(self, error: BaseException) -> None:
        """In the thread of flatout's own loop, which something in it has ended."""
        self._lost = error
        self._news.ring()

    def _live_in(self, loop: asyncio.AbstractEventLoop, draws_here: bool, event: Event) -> None:
        driver, clock = self._driver, clock_of(loop)
        with driver.lock:
            whose = "the caller's loop" if draws_here else "a loop in a thread of flatout's own"
            self._settled(clock, f"{whose} ({name_of(loop)})")
            driver.clock = clock
            driver.draws_here = draws_here
            driver.host = host = LoopHost(loop)
        driver.post(event)  # a worker's end must be known before it is asked whether its tasks are overdue
        host.run(driver)

    def in_callers_loop(self) -> bool:
        """Whether this is called in the loop whose consumer has begun the run."""
        if self.callers_loop is None:
            return False
        import asyncio

        with contextlib.suppress(RuntimeError):
            return asyncio.get_running_loop() is self.callers_loop
        return False

    @property
    def in_a_fork(self) -> bool:
        """Whether this is a copy of the process in which the run goes on."""
        return os.getpid() != self._pid

    def check(self) -> None:
        """Raises RunError where nothing will come any more: for who is about to wait."""
        if self._lost is not None:
            raise ended_by(self._lost)
        if self._driver.host is not None and self.in_a_fork:
            raise RunError(
                "a run goes on in the process that has begun it, not in a fork of that: call flatout.map there"
            )

    def heed(self, timeout: float, shared: bool) -> None:
        """Where a task has blocked its event loop for longer than it may take, leave both behind, and go on in another.

        shared: something else that cannot be left lives in that loop, too: then TaskTimeout is raised.
        """
        loop, worker, host = self._loop, self._hiring.loop_worker, self._driver.host
        if loop is None or loop.silence(LONGEST_WAIT) < timeout + LONGEST_WAIT:
            return
        if worker is None or not isinstance(host, LoopHost):
            return
        suspects = worker.suspects()
        whose = f"task {suspects[0]}" if len(suspects) == 1 else "a task"
        error = TaskTimeout(
            f"{whose} ran longer than its timeout of {timeout:g} s, and in all that time it did not await anything: "
            "the event loop in which it ran is left behind"
        )
        if host.watching or shared:
            raise error
        host.leave()
        if (ended := worker.leave_behind()) is not None:
            self._driver.post(ended)
        loop.leave_behind(f"in {whose}")
        self._loop = None
        self.move_to("async", WorkerExited(worker.number, error, suspects))

    # The end

    @property
    def here(self) -> bool:
        """Whether this is called in the very thread that carries the run out, as where a run is collected there."""
        host = self._driver.host
        return isinstance(host, ThreadHost | LoopHost) and host.here

    def pump_in_loop(self) -> None:
        """In the loop in which the driver lives, if it lives in one: nothing else would pump it by now."""
        if isinstance(self._driver.host, LoopHost):
            self._driver.pump()

    def close(self, deadline: float) -> None:
        """Wait until nobody lives there any more, but no longer than until then, by time.monotonic."""
        if self._driver.host is not None:
            self._driver.host.join(max(0.0, deadline - time.monotonic()))
        if self._loop is not None:
            self._loop.end(max(0.0, deadline - time.monotonic()))
