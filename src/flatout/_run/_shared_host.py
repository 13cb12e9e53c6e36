"""A host without a will of its own: whoever brings something has it dealt with on the spot, whoever waits reads.

A thread that hands its work to another pays 30-60 us for the other to wake (measured), as much as all the rest of a short
call in a worker process takes. So who posts an event pumps the driver, unless somebody is at it already, who then sees to
that event too; and who waits for a result of a process reads the sockets himself for a moment (`lead`). A thread, the
reader, reads whenever nobody does. While others lead one after the other it stands by, lest it wake with each of them.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable

from flatout._machine._machine import usable_cores
from flatout._run._hosts import Callback, Driven, Sockets
from flatout._threads._daemons import Daemon
from flatout._threads._interrupts import put_off

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object

SPIN = 0.0001  # seconds to look without sleeping: a core that slept takes twice as long for what follows (measured)
LEAD = 0.001  # seconds that who waits reads by himself: in longer ones 50 us are nothing; guessed
READING = 0.1  # seconds that the reader reads by himself for one who waits in it, before he looks at the clock; guessed
STAND_BY = 0.001  # seconds that nobody reads at most, where nobody waits so that it would be noticed; guessed
OVERDUE = 20  # times STAND_BY after which one that leads has been kept from it, by a signal handler perhaps; guessed


class HandingOut(Driven, Protocol):
    """What a shared host drives."""

    @property
    def in_hand(self) -> int:
        """How many calls workers have in hand."""

    def hand_out(self) -> None:
        """Called after pumping, with no lock held: call the user back as need be."""


class SharedHost:
    """Where the driver of an executor lives: in all threads and none."""

    def __init__(self) -> None:
        self._driven: HandingOut
        self._cores = usable_cores()
        self._pumping = threading.Lock()  # held by the thread that pumps; never waited for where an event is posted
        self._pumper = 0  # that thread
        self._sockets: Sockets | None = None
        self._reader: threading.Thread | None = None
        self._leader: object = None  # stands for the thread that leads
        self._led = 0  # how often a thread has led
        self._relief = threading.Lock()  # released to have the reader stand by no longer
        self._relief.acquire()

    def run(self, driven: HandingOut) -> None:
        """Drive it from now on."""
        self._driven = driven
        self.wake()

    def disown(self) -> None:
        """This process is a fork: what others held or read is theirs."""
        self._pumping = threading.Lock()
        self._pumper, self._leader, self._sockets = 0, None, None

    def wake(self) -> None:
        """Have it pumped, by this thread unless another is at it; from any thread, also in the middle of itself."""
        if self._pumping.locked() or not self._driven.pending:
            return  # whoever holds it calls this when he has let go of it
        with put_off():
            pumped = False
            while self._driven.pending and self._pumping.acquire(blocking=False):
                pumped = True
                self._turn()
            if pumped:
                self._driven.hand_out()

    def _turn(self, first: Callback | None = None) -> None:
        """Pump, holding the lock, and let go of it."""
        self._pumper = threading.get_ident()
        try:
            if first is not None:
                first()
            self._driven.pump()
        except BaseException as error:  # what was half done cannot be trusted any more
            self._driven.fail(error)
            raise
        finally:
            self._pumper = 0
            over = self._driven.finished
            if over:
                self._interrupt()
            self._pumping.release()
            if over:
                self._driven.hand_out()

    def _interrupt(self) -> None:
        if self._sockets is not None:
            self._sockets.interrupt()

    # Sockets: asked for while pumping

    def watch(self, fd: int, readable: Callback, writable: Callback | None = None) -> None:
        """See `_workers._base.Host`."""
        if self._sockets is None:
            self._sockets = self._begin_to_read()
        self._sockets.watch(fd, readable, writable)

    def _begin_to_read(self) -> Sockets:
        sockets = Sockets()
        reader = Daemon(self._read_on, "flatout-reader", (sockets,))
        try:
            reader.start()
        except RuntimeError:  # no thread to be had
            sockets.close()
            raise
        self._reader = reader
        return sockets

    def unwatch(self, fd: int) -> None:
        """See `_workers._base.Host`."""
        if self._sockets is not None:
            self._sockets.unwatch(fd)

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end of the reader."""
        if self._reader is not None and self._reader is not threading.current_thread():
            self._reader.join(timeout)

    # Reading

    def lead(self, done: Callable[[], bool], timeout: float | None = None) -> None:
        """Read and pump in this thread until that is done, for a moment at most and unless another thread does so.

        The reader, where it calls a user back who waits, does so as long as it takes: nobody else would.
        """
        until = math.inf if timeout is None else time.monotonic() + timeout
        self._lead(done, min(LEAD, until - time.monotonic()))
        while threading.current_thread() is self._reader and not done() and time.monotonic() < until:
            if not self._lead(done, min(READING, until - time.monotonic())):
                time.sleep(STAND_BY)  # another leads

    def _lead(self, done: Callable[[], bool], most: float) -> bool:
        """For so many seconds at most; returns whether it was this thread that led."""
        me, sockets = object(), None
        try:
            sockets = self._begin_to_lead(me)
            began = now = time.monotonic()
            while sockets is not None and self._leader is me and not done() and now < began + most:
                # With one call under way there is a core that nobody else needs, as a rule.
                spins = self._cores > 1 and now < began + SPIN and self._driven.in_hand == 1
                self._read(sockets, 0.0 if spins else began + most - now)
                now = time.monotonic()
        finally:
            if self._leader is me:
                self._end_to_lead(done)
            elif (
                sockets is not None and self._driven.finished
            ):  # it was taken for overdue, and may have read the same byte
                self._wake_reader()
        return sockets is not None

    def _begin_to_lead(self, me: object) -> Sockets | None:
        if self._pumper == threading.get_ident():
            return None  # a signal handler or a finalizer in the middle of a pump, which will not go on meanwhile
        with put_off(), self._pumping:  # where Ctrl-C strikes as a lock is taken it would stay so, as of Python 3.14
            leads = self._leader is None and self._sockets is not None
            if leads:
                self._leader = me
        self.wake()
        return self._sockets if leads else None

    def _end_to_lead(self, done: Callable[[], bool]) -> None:
        self._led += 1
        self._leader = None
        if self._driven.finished:
            self._wake_reader()  # the byte that was meant for the reader may have been read here
        elif not done():
            self._relieve()

    def _wake_reader(self) -> None:
        with put_off(), self._pumping:
            self._interrupt()

    def _read(self, sockets: Sockets, timeout: float | None) -> None:
        try:
            ready = sockets.select(timeout)
        except (OSError, ValueError):
            if not self._driven.finished:  # else closed by the reader, while this thread was kept from leading
                raise
            return
        if ready:
            with put_off():
                self._pumping.acquire()
                self._turn(lambda: sockets.call_back(ready))
                self.wake()
                self._driven.hand_out()

    def _relieve(self) -> None:
        with contextlib.suppress(RuntimeError):  # it was relieved before
            self._relief.release()

    def _read_on(self, sockets: Sockets) -> None:
        """The reader."""
        while not self._closed(sockets):
            ready = sockets.select(None)
            self._pumping.acquire()
            if self._leader is not None:
                self._pumping.release()
                self.wake()
                self._stand_by()
                continue
            with contextlib.suppress(BaseException):  # it has ended the run
                self._turn(lambda: sockets.call_back(ready))  # noqa: B023
                self.wake()
                self._driven.hand_out()

    def _closed(self, sockets: Sockets) -> bool:
        """Close them, if it is all over."""
        if not self._driven.finished:
            return False
        with self._pumping:
            if self._leader is not None:
                return False
            self._sockets = None
            sockets.close()
            return True

    def _stand_by(self) -> None:
        """Sleep as long as others lead, until nobody has for a moment, or one asks to be relieved."""
        led, times = -1, 0
        while self._leader is not None or led != self._led:
            times = times + 1 if led == self._led else 0
            if times > OVERDUE:
                self._leader = None
            led = self._led
            if self._relief.acquire(timeout=STAND_BY):
                return
