"""The one loop that blocks: events -> dispatcher -> commands -> workers.

A driver lives in a host (a thread or an event loop). Before it has one, the caller's own thread pumps it between two
tasks that it runs by itself; `hand_over` moves it to a thread, even while the caller is in the middle of a task.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from flatout._dispatch._dispatcher import Dispatcher
from flatout._errors import InternalError, RunError
from flatout._events import (
    SEAT,
    BatchFinished,
    CancelTask,
    Command,
    Consumed,
    CpuRead,
    Deliver,
    Draw,
    Event,
    Finish,
    KillWorker,
    Observe,
    ReadCpu,
    SendBatch,
    StartWorker,
    StopWorker,
    TakeBack,
    Tick,
    WorkerExited,
    WorkerObserved,
    WorkerReady,
)
from flatout._model import Settled, Statistics
from flatout._run._hosts import LoopHost, ThreadHost
from flatout._threads._interrupts import Latch, is_raised_by_handler, put_off
from flatout._workers._base import Worker

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any, Protocol

    from flatout._machine._resources import Resources
    from flatout._run._shared_host import SharedHost
else:
    Protocol = object

_IN_ROWS = (BatchFinished, WorkerReady)  # events of which several often come at once

Observer = Callable[[Event | Command, Callable[[], Statistics]], None]
Hire = Callable[[StartWorker], Worker]


class Source(Protocol):
    """Where inputs come from."""

    def draw(self, count: int, here: bool, post: Any) -> None:
        """See `Inputs.draw`."""

    def close(self) -> None:
        """Draw no more."""


class Outlet:
    """Where outcomes wait for the consumer. `notify` is called, in any thread, when there is news."""

    def __init__(self) -> None:
        self.notify: Callable[[], None] = lambda: None
        self.over = Latch()
        self.finished = False  # whether nothing more will be put in
        self.cancelled = False
        self.error: BaseException | None = None
        self._settled: deque[Settled] = deque()

    @property
    def ready(self) -> bool:
        """Whether outcomes wait, or none will ever come."""
        return bool(self._settled) or self.finished

    @property
    def drained(self) -> bool:
        """Whether nothing is left to take and nothing will come."""
        return self.finished and not self._settled

    def put(self, settled: Settled) -> None:
        """Add outcomes."""
        self._settled.append(settled)
        self.notify()

    def take(self) -> Settled | None:
        """The next outcomes, if any are there."""
        return self._settled.popleft() if self._settled else None

    def finish(self, error: BaseException | None, cancelled: bool) -> None:
        """Nothing more will come."""
        self.error, self.cancelled, self.finished = error, cancelled, True
        self.over.set()
        self.notify()


class Driver:
    """Carries the dispatcher's commands out."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        source: Source,
        outlet: Outlet,
        clock: Callable[[], float],
        observers: Sequence[Observer] = (),
    ) -> None:
        self.clock = clock
        self.source = source
        self.hire: Hire | None = None  # set once it is known how workers come to be
        self.paused_since: Callable[[float], float] = lambda moment: 0.0  # seconds for which this process stood still
        self.resources: Resources | None = None  # of the machine, where they are looked at
        self.host: ThreadHost | LoopHost | SharedHost | None = None
        self.wake_caller: Callable[[], None] = lambda: None  # tells the caller's thread that there is something for it
        self.consumer_pumps = False  # as long as there is no host: what is finished waits for the thread that pumps
        self.draws_here = True  # whether the thread that pumps may be kept waiting by the inputs
        self.lock = threading.Lock()  # who pumps without a host
        self._dispatcher = dispatcher
        self._outlet = outlet
        self._observers = list(observers)
        self._events: deque[Event] = deque()
        self._reports: list[Callable[[], Event | None]] = []  # that workers will make when the next pump begins
        self._workers: dict[int, Worker] = {}
        self._put_off: Draw | None = None
        self._execute: dict[type, Callable[[Any], None]] = {
            Draw: self._draw,
            StartWorker: self._start_worker,
            SendBatch: lambda command: self._workers[command.worker].send(command.batch),
            TakeBack: self._take_back,
            Observe: self._observe,
            ReadCpu: lambda command: self.post(CpuRead(time.process_time())),
            CancelTask: lambda command: self._workers[command.worker].cancel(command.index),
            KillWorker: lambda command: self._workers[command.worker].kill(),
            StopWorker: lambda command: self._workers.pop(command.worker).stop(),
            Deliver: lambda command: self._outlet.put(command.settled),
            Finish: self._finish,
        }

    # For everyone

    def post(self, event: Event, first: bool = False) -> None:
        """Take an event in; from any thread. `first`: before all that wait."""
        (self._events.appendleft if first else self._events.append)(event)
        host = self.host
        if host is not None:
            host.wake()
        else:
            self.wake_caller()

    def consumed(self, count: int) -> None:
        """The consumer is done with so many outcomes; from any thread.

        As long as tasks wait for a worker, whatever comes next is soon enough to draw more: to wake the host for each batch takes
        as long as all else that it does for that.
        """
        if self._dispatcher.hungry or self.host is None:
            self.post(Consumed(count))
            return
        self._events.append(Consumed(count))
        if self._dispatcher.hungry:  # by now, and it may not have seen that
            self.host.wake()

    def soon(self, report: Callable[[], Event | None]) -> None:
        """See `_workers._base.Host`."""
        assert self.host is not None
        self._reports.append(report)
        self.host.wake()

    def hurry(self) -> None:
        """See `_workers._base.Host`; only an event loop is asked for it."""
        if isinstance(self.host, LoopHost):
            self.host.hurry()

    def watch(self, fd: int, readable: Callable[[], None], writable: Callable[[], None] | None = None) -> None:
        """See `_workers._base.Host`; only workers that are hired ask for it, and nobody hires without a host."""
        assert self.host is not None
        self.host.watch(fd, readable, writable)

    def unwatch(self, fd: int) -> None:
        """See `_workers._base.Host`."""
        assert self.host is not None
        self.host.unwatch(fd)

    def seat(self, worker: Worker) -> None:
        """The caller's own thread is one of the workers."""
        self._workers[SEAT] = worker

    def observe(self, observer: Observer) -> None:
        """Show it what happens from now on."""
        self._observers.append(observer)

    def statistics(self) -> Statistics:
        """The counts at this moment."""
        return self._dispatcher.statistics()

    # For the caller, before there is a host

    def pump_by_caller(self) -> None:
        """Deal with what has been posted, unless a host does."""
        with self.lock:
            if self.host is None:
                self.pump()

    def pump_unless_busy(self) -> None:
        """The same, unless that is being done: by another thread, which the inputs may keep waiting, or by this one."""
        if self.lock.acquire(blocking=False):
            try:
                if self.host is None:
                    self.pump()
            finally:
                self.lock.release()

    def hand_over(self) -> None:
        """From now on a thread of its own drives; called by any thread, once."""
        with put_off(), self.lock:
            if self.host is None and not self.finished:
                host = ThreadHost(self, self.clock)
                self.draws_here, self.host = False, host
                try:
                    host.run()
                except RuntimeError:  # no thread to be had
                    self.draws_here, self.host = True, None
                    raise

    # For the host

    @property
    def wake_at(self) -> float | None:
        """See `Driven`."""
        wake_at = self._dispatcher.wake_at
        # The clock of an event loop may be a virtual one, which goes on to whatever is waited for.
        look_at = self.resources.next_at if self.resources is not None and isinstance(self.host, ThreadHost) else None
        return wake_at if look_at is None else look_at if wake_at is None else min(wake_at, look_at)

    @property
    def pending(self) -> bool:
        """See `Driven`."""
        return bool(self._events or self._reports)

    @property
    def finished(self) -> bool:
        """See `Driven`."""
        return self._outlet.finished

    def pump(self) -> None:
        """Deal with everything that has been posted, and with what follows from it."""
        try:
            if self._put_off is not None:
                command, self._put_off = self._put_off, None
                self._draw(command)
            if self.resources is not None and (room := self.resources.look(self.clock())) is not None:
                self._handle(room)
            wake_at = self._dispatcher.wake_at
            if wake_at is not None and wake_at <= self.clock():
                self._events.append(Tick())
            while self._reports and not self._outlet.finished:
                if (event := self._reports.pop()()) is not None:
                    self._handle(event)
            while self._events and not self._outlet.finished:
                self._handle(self._events.popleft())
        except Exception as error:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """End the run: something has happened that flatout does not expect of itself, or a signal handler has raised.

        A RunError says itself what it was.
        """
        if not (isinstance(error, RunError) or is_raised_by_handler(error)):
            error = InternalError.caused_by(error)
        with contextlib.suppress(Exception):
            for worker in self._workers.values():
                worker.kill()
        with contextlib.suppress(Exception):
            self._finish(Finish(error))

    def _handle(self, event: Event) -> None:
        # The tasks that follow those which have ended travel together, too; and so do the first of several workers.
        more = bool(self._events) and (
            type(event) is Consumed or (type(event) in _IN_ROWS and type(self._events[0]) is type(event))
        )
        commands = self._dispatcher.handle(event, self.clock(), more)
        if self._observers:
            self._show(event, commands)
        for command in commands:
            self._execute[type(command)](command)
        if type(event) is WorkerExited:
            self._workers.pop(event.worker, None)
            if event.starved and self.resources is not None and (room := self.resources.ran_out()) is not None:
                self._handle(room)

    def _draw(self, command: Draw) -> None:
        if self.host is None and self.consumer_pumps and self._outlet.ready:
            self._put_off = command  # what is there goes out first: the next input may be long in coming
        else:
            self.source.draw(command.count, self.draws_here, self.post)

    def _start_worker(self, command: StartWorker) -> None:
        assert self.hire is not None
        worker = self._workers[command.worker] = self.hire(command)
        worker.start()

    def _take_back(self, command: TakeBack) -> None:
        threads: Any = self._workers[command.worker]  # no other worker is asked for this
        threads.give_back()

    def _observe(self, command: Observe) -> None:
        running = self._workers[command.worker].running()
        self.post(WorkerObserved(command.worker, [(task, began + self.paused_since(began)) for task, began in running]))

    def _finish(self, command: Finish) -> None:
        try:
            with contextlib.suppress(RuntimeError):  # the loop that the inputs are drawn in was closed before
                self.source.close()
            for worker in self._workers.values():
                worker.close()
        finally:
            self._outlet.finish(command.error, command.cancelled)
            self.wake_caller()

    def _show(self, event: Event, commands: list[Command]) -> None:
        for observer in list(self._observers):
            try:
                for seen in (event, *commands):
                    observer(seen, self._dispatcher.statistics)
            except Exception as error:
                self._observers.remove(observer)
                import warnings

                warnings.warn(f"an observer failed and was dropped: {type(error).__name__}: {error}", stacklevel=2)
