"""Where a run's driver lives: a thread that blocks, or an event loop. (A driver without a host is pumped by the caller.)"""

from __future__ import annotations

import os
import selectors
import threading
from collections.abc import Callable

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


class ThreadHost:
    """A daemon thread that sleeps in a selector until an event is posted, a socket is ready or it is time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._selector = selectors.DefaultSelector()
        self._callbacks: dict[int, tuple[Callback, Callback | None]] = {}
        # A pipe wakes its reader on the same core, in a fifth of the time of a lock or a socket (measured).
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._awake = True  # the thread will look for events before it sleeps, or a byte is in the pipe
        self._lock = threading.Lock()
        self._open = True
        self._thread: threading.Thread | None = None

    def run(self, driven: Driven) -> None:
        """Drive it to its end in a thread of its own."""
        self._thread = threading.Thread(target=self._serve, args=(driven,), name="flatout-driver", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Have it pumped; from any thread."""
        if self._awake:
            return
        with self._lock:
            if self._open and not self._awake:
                self._awake = True
                os.write(self._wake_write, b"\0")

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

    def join(self, timeout: float) -> None:
        """Wait for the end of the thread."""
        if self._thread is not None and self._thread.ident not in (None, threading.get_ident()):
            self._thread.join(timeout)

    def _serve(self, driven: Driven) -> None:
        try:
            driven.pump()
            while not driven.finished:
                self._sleep(driven)
                driven.pump()
        except BaseException as error:
            driven.fail(error)
        finally:
            with self._lock:
                self._open = False
                self._selector.close()
                os.close(self._wake_read)
                os.close(self._wake_write)

    def _sleep(self, driven: Driven) -> None:
        self._awake = False
        until = self._clock() if driven.pending else driven.wake_at  # looked at after the flag: none is missed
        timeout = None if until is None else min(max(0.0, until - self._clock()), LONGEST_SLEEP)
        ready = self._selector.select(timeout)
        self._awake = True
        for key, events in ready:
            if key.fd == self._wake_read:
                os.read(self._wake_read, 16)
                continue
            readable, writable = self._callbacks.get(key.fd, (None, None))
            if writable is not None and events & selectors.EVENT_WRITE:
                writable()
            if readable is not None and events & selectors.EVENT_READ and key.fd in self._callbacks:
                readable()


class LoopHost:
    """An event loop that is running: the caller's, or one in a thread of flatout's own."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = threading.get_ident()
        self._driven: Driven | None = None
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._fds: dict[int, Callback | None] = {}

    def run(self, driven: Driven) -> None:
        """Drive it from now on, whenever there is something to do."""
        self._driven = driven
        self._pump()

    def wake(self) -> None:
        """Have it pumped; from any thread."""
        if self._scheduled:
            return
        self._scheduled = True
        if threading.get_ident() == self._thread:
            self._loop.call_soon(self._pump)
        else:
            try:
                self._loop.call_soon_threadsafe(self._pump)
            except RuntimeError:  # the loop is closed: nobody waits for anything any more
                self._scheduled = False

    def watch(self, fd: int, readable: Callback, writable: Callback | None = None) -> None:
        """See `_workers._base.Host`."""
        self._loop.add_reader(fd, readable)
        if writable is not None:
            self._loop.add_writer(fd, writable)
        elif self._fds.get(fd) is not None:
            self._loop.remove_writer(fd)
        self._fds[fd] = writable

    def unwatch(self, fd: int) -> None:
        """See `_workers._base.Host`."""
        if fd in self._fds:
            self._loop.remove_reader(fd)
            if self._fds.pop(fd) is not None:
                self._loop.remove_writer(fd)

    def join(self, timeout: float) -> None:
        """Nothing to wait for: it ends where it was asked to."""

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
            self._timer = self._loop.call_at(driven.wake_at, self._pump)
