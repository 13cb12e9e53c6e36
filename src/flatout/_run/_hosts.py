"""Where a run's driver lives: a thread that blocks, or an event loop. (A driver without a host is pumped by the caller.)"""

from __future__ import annotations

import contextlib
import math
import os
import select
import selectors
import threading
from collections.abc import Callable, Iterable

from flatout._threads._daemons import Daemon
from flatout._threads._interrupts import put_off

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    import asyncio
    from typing import Protocol
else:
    Protocol = object

Callback = Callable[[], None]

LONGEST_SLEEP = 3600.0  # seconds: what a system takes at once is bounded, by some weeks


class Driven(Protocol):
    """What a host drives."""

    @property
    def wake_at(self) -> float | None:
        """When it must be pumped at the latest, on the host's clock."""

    @property
    def pending(self) -> bool:
        """Whether something has been posted."""

    @property
    def finished(self) -> bool:
        """Whether it needs no more pumping."""

    def pump(self) -> None:
        """Deal with everything that has been posted."""

    def fail(self, error: BaseException) -> None:
        """End with this error, since it cannot go on."""


class _Pipe:
    """Wakes who sleeps in a selector, on the same core, in a fifth of the time of a lock or a socket (measured)."""

    def __init__(self) -> None:
        self.fd, self._write = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._write, False)

    def ring(self) -> None:
        """From any thread."""
        with contextlib.suppress(BlockingIOError):  # it is full of those
            os.write(self._write, b"\0")

    def hush(self) -> None:
        """Forget that it has been rung."""
        with contextlib.suppress(BlockingIOError):  # another sleeper has read it
            os.read(self.fd, 16)

    def close(self) -> None:
        """Wake nobody any more."""
        os.close(self.fd)
        os.close(self._write)


class _SocketPair:
    """The same where a selector takes nothing but sockets."""

    def __init__(self) -> None:
        import socket

        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)
        self.fd = self._read.fileno()

    def ring(self) -> None:
        """From any thread."""
        with contextlib.suppress(BlockingIOError):
            self._write.send(b"\0")

    def hush(self) -> None:
        """Forget that it has been rung."""
        with contextlib.suppress(BlockingIOError):
            self._read.recv(16)

    def close(self) -> None:
        """Wake nobody any more."""
        self._read.close()
        self._write.close()


class Sockets:
    """Descriptors that are watched, and whom to call back; a sleep on them can be interrupted."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._callbacks: dict[int, tuple[Callback, Callback | None]] = {}
        only_select = issubclass(selectors.DefaultSelector, selectors.SelectSelector)  # as on Windows
        self._waker = _SocketPair() if only_select else _Pipe()
        self._selector.register(self._waker.fd, selectors.EVENT_READ)

    def watch(self, fd: int, readable: Callback, writable: Callback | None = None) -> None:
        """See `_workers._base.Host`."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if writable else 0)
        if fd not in self._callbacks:
            self._selector.register(fd, events)
        elif (self._callbacks[fd][1] is None) != (writable is None):
            self._selector.modify(fd, events)
        self._callbacks[fd] = (readable, writable)

    def unwatch(self, fd: int) -> None:
        """See `_workers._base.Host`."""
        if self._callbacks.pop(fd, None) is not None:
            self._selector.unregister(fd)

    def select(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        """Sleep until one is ready, for `timeout` seconds at most, or until `interrupt`; for `call_back`."""
        return self._selector.select(timeout)

    def call_back(self, ready: list[tuple[selectors.SelectorKey, int]]) -> None:
        """Call back for those that are ready."""
        for key, events in ready:
            if key.fd == self._waker.fd:
                self._waker.hush()
                continue
            readable, writable = self._callbacks.get(key.fd, (None, None))
            if writable is not None and events & selectors.EVENT_WRITE:
                writable()
            if readable is not None and events & selectors.EVENT_READ and key.fd in self._callbacks:
                readable()

    def interrupt(self) -> None:
        """End the sleep of whoever sleeps, or the next one."""
        self._waker.ring()

    def close(self) -> None:
        """Watch no longer."""
        self._selector.close()
        self._waker.close()


class ThreadHost:
    """A daemon thread that sleeps in a selector until a socket is ready, it is time, or it is woken.

    What another thread posts is dealt with by that thread itself, unless somebody is at it already: to hand it over would
    take longer (30-60 us, measured). But not by the main thread, where a signal handler may raise in the middle of it.
    """

    def __init__(self, driven: Driven, clock: Callable[[], float]) -> None:
        self._driven = driven  # from the first, since others may post as soon as they see this
        self._clock = clock
        self._sockets = Sockets()
        self.watch = self._sockets.watch
        self.unwatch = self._sockets.unwatch
        self._pumping = threading.Lock()  # held by the thread that pumps
        self._asleep = False  # the thread is, or is about to be, and has not been woken
        self._until = math.inf  # when it will wake by itself
        self._lock = threading.RLock()  # as a run may be collected, and so ended, in the middle of anything
        self._open = True
        self._thread: threading.Thread | None = None

    def run(self) -> None:
        """Drive to the end in a thread of its own. Raises RuntimeError where there is none to be had."""
        self._thread = Daemon(self._serve, "flatout-driver")
        try:
            self._thread.start()
        except RuntimeError:
            self._close()
            raise

    def wake(self) -> None:
        """Have it pumped; from any thread, also in the middle of itself."""
        in_main = threading.get_ident() == _MAIN_THREAD
        if in_main or (self._pump() and (self._driven.finished or _time_of(self._driven) < self._until)):
            self._interrupt()

    @property
    def here(self) -> bool:
        """Whether this is its thread."""
        return self._thread is not None and self._thread.ident == threading.get_ident()

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end of the thread."""
        if self._thread is not None and self._thread.ident is not None and not self.here:
            self._thread.join(timeout)

    def _interrupt(self) -> None:
        if not self._asleep:
            return
        with put_off(), self._lock:  # see `SharedHost._begin_to_lead`
            if self._open and self._asleep:
                self._asleep = False
                self._sockets.interrupt()

    def _pump(self) -> bool:
        """Pump as long as something waits, unless another thread does, who then sees to it all."""
        pumped = False
        while self._driven.pending and not self._driven.finished and self._pumping.acquire(blocking=False):
            pumped = True
            try:
                self._driven.pump()
            except BaseException as error:  # of what a user's class does; the thread may be one of the workers
                self._driven.fail(error)
            finally:
                self._pumping.release()
        return pumped

    def _serve(self) -> None:
        driven = self._driven
        try:
            with self._pumping:
                driven.pump()
            while not driven.finished:
                self._pump()
                self._sleep()
        except BaseException as error:
            driven.fail(error)
        finally:
            self._close()

    def _close(self) -> None:
        with self._lock:
            self._open = False
            self._sockets.close()

    def _sleep(self) -> None:
        self._until = math.inf  # lest another thread, in between, go by the sleep before this
        self._asleep = True
        # Looked at after the flag: nothing is missed.
        self._until = -math.inf if self._driven.pending or self._driven.finished else _time_of(self._driven)
        timeout = None if self._until == math.inf else min(max(0.0, self._until - self._clock()), LONGEST_SLEEP)
        ready = self._sockets.select(timeout)
        self._asleep = False
        with self._pumping:
            self._sockets.call_back(ready)
            self._driven.pump()


def _time_of(driven: Driven) -> float:
    """When it must be pumped at the latest."""
    wake_at = driven.wake_at  # once: it changes as others pump
    return math.inf if wake_at is None else wake_at


_MAIN_THREAD = threading.main_thread().ident


class LoopHost:
    """An event loop that is running: the caller's, or one in a thread of flatout's own."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = threading.get_ident()
        self._driven: Driven | None = None
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._fds: dict[int, tuple[Callback, Callback | None]] = {}

    def run(self, driven: Driven) -> None:
        """Drive it from now on, whenever there is something to do."""
        self._driven = driven
        self._pump()

    @property
    def here(self) -> bool:
        """Whether this is the loop's thread."""
        return threading.get_ident() == self._thread

    def wake(self) -> None:
        """Have it pumped; from any thread."""
        if self._scheduled:
            return
        self._scheduled = True
        try:
            (self._loop.call_soon if self.here else self._loop.call_soon_threadsafe)(self._pump)
        except RuntimeError:  # the loop is closed: nobody waits for anything any more
            self._scheduled = False

    def watch(self, fd: int, readable: Callback, writable: Callback | None = None) -> None:
        """See `_workers._base.Host`."""
        self._loop.add_reader(fd, readable)
        if writable is not None:
            self._loop.add_writer(fd, writable)
        elif fd in self._fds and self._fds[fd][1] is not None:
            self._loop.remove_writer(fd)
        self._fds[fd] = readable, writable

    def unwatch(self, fd: int) -> None:
        """See `_workers._base.Host`."""
        if fd in self._fds:
            self._loop.remove_reader(fd)
            if self._fds.pop(fd)[1] is not None:
                self._loop.remove_writer(fd)

    def join(self, timeout: float | None = None) -> None:
        """Nothing to wait for: it ends where it was asked to."""

    @property
    def watching(self) -> bool:
        """Whether sockets are watched by this loop."""
        return bool(self._fds)

    def leave(self) -> None:
        """Drive no more, though the loop may go on some time."""
        self._driven = None

    def hurry(self) -> None:
        """In the middle of a turn of the loop that takes long: look at what is watched, and pump."""
        self._pump()
        if self._fds:
            for fd in _readable(self._fds):
                if fd in self._fds:
                    self._fds[fd][0]()
            self._pump()

    def _pump(self) -> None:
        driven = self._driven
        if driven is None or driven.finished:
            return
        self._scheduled = True  # what is posted meanwhile is dealt with in this round
        driven.pump()
        self._scheduled = False
        if driven.pending:
            self.wake()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if driven.wake_at is not None and not driven.finished:
            self._timer = self._loop.call_at(_not_before(driven.wake_at), self._pump)


def _readable(fds: Iterable[int]) -> list[int]:
    """Those that can be read from now."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return [fd for fd, _ in poll.poll(0)]


def _not_before(moment: float) -> float:
    """That moment, or the whole nanosecond behind it where a loop that counts in these (a virtual one) would be early.

    It would be too early again, and again, and its clock would stand still.
    """
    rounded = round(moment * 1e9) / 1e9
    return moment if rounded >= moment else rounded + 1e-9
