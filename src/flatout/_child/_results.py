"""The way home: a socket that any thread of the worker may use, and the results that wait to be sent by it."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from flatout._child._end import DescriptorLost, give_up
from flatout._threads._times import Queued, clock_of
from flatout._wire import _exceptions, _frames, _page, _values
from flatout._wire._arena import Arena
from flatout._wire._frames import Piece, Sender

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any

    Tasks = deque[tuple[int, Any]]  # (index plus 1, as the page has it, and input)

IDLE_SECONDS = 5  # after which a worker with nothing to do gives memory back; guessed
POSTMAN_SECONDS = 0.04  # a good batch; a finished result stays in the worker up to twice as long


class Channel:
    """The socket home, for any thread of the worker."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._file = _file(sock)
        self._arena = Arena()
        self._sender = Sender(sock, self._arena)
        self._lock = threading.RLock()
        self._sending = False
        self._wakes = False

    def send(self, kind: int, meta: Any, buffers: Sequence[Piece] = ()) -> None:
        """Send one frame; blocks until the socket has taken it.

        May be called in the middle of itself, by a finalizer or a signal handler that prints: then it only queues.
        """
        head = _values.dump(meta)
        self.check()
        with self._lock:
            self._sender.put(kind, head, buffers)
            if not self._wakes and self._arena.resident:
                self._wake_after(IDLE_SECONDS)
            if self._sending:
                return
            self._sending = True
            try:
                self._sender.flush()
            finally:
                self._sending = False

    def send_results(self, outcomes: Outcomes, slots: memoryview) -> None:
        """Send outcomes, and note on the page which task is to blame while code of the user's pickles them."""
        first, indices = outcomes.first, outcomes.indices

        def note(position: int) -> None:
            _page.note_packing(slots, indices[position] if indices else first + position)

        packed, unpicklable = _values.pack(outcomes.values, "the result", False, note)
        failed: list[tuple[int, _exceptions.PackedError]] = []
        for position, error in outcomes.errors + unpicklable:
            note(position)
            failed.append((position, _exceptions.pack_error(error)))
        slots[_page.PACKED] = 0
        seconds = outcomes.seconds, outcomes.cpu, outcomes.queued
        meta = (first, len(outcomes.values), indices, packed.lengths, failed, *seconds)
        self.send(_frames.RESULTS, meta, packed.pieces)

    def check(self) -> None:
        """Raise DescriptorLost if a task has closed the socket's descriptor, or put another file in its place."""
        try:
            lost = _file(self._sock) != self._file
        except OSError:
            lost = True
        if lost:
            raise DescriptorLost("a task has closed or replaced the socket of its worker process")

    def rest(self) -> None:
        """Nothing has come for a while: give back the memory of results that are gone."""
        with self._lock:
            self._arena.rest(0)
            if not self._arena.resident:
                self._wake_after(0)

    def _wake_after(self, seconds: int) -> None:
        """Have reading from the socket end with BlockingIOError if nothing comes for so long; 0: never."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", seconds, 0))
        self._wakes = seconds > 0

    def close(self) -> None:
        """Close this process's end."""
        self._sock.close()


class Outcomes:
    """What goes home together: `values` of the tasks first, first + 1, ..., or of `indices` where there are gaps.

    `errors` stand by their position among the values. Seconds are for all of them, those on a core (`cpu`) and those in the
    queue for one (`queued`) too.
    """

    __slots__ = ("cpu", "errors", "first", "indices", "queued", "seconds", "values")

    def __init__(
        self,
        first: int,
        values: list[Any],
        errors: list[tuple[int, BaseException]],
        seconds: float,
        cpu: float,
        indices: list[int] | None = None,
        queued: float = 0.0,
    ) -> None:
        self.first = first
        self.values = values
        self.errors = errors
        self.seconds = seconds
        self.cpu = cpu
        self.indices = indices
        self.queued = queued


def _cpu_clock() -> Callable[[], float]:
    """Tells the CPU time of the thread that calls this; where the system can, to other threads as well."""
    ident = threading.get_ident()
    clock = clock_of(ident)
    if clock is not None:
        return lambda: time.clock_gettime(clock)
    latest = [0.0]

    def known() -> float:
        if threading.get_ident() == ident:
            latest[0] = time.thread_time()
        return latest[0]

    return known


def _file(sock: socket.socket) -> tuple[int, int]:
    status = os.fstat(sock.fileno())
    return status.st_dev, status.st_ino


class Results:
    """The results of the batch in hand that are not sent yet.

    values: those of the tasks done so far; the thread that runs them appends to it, without a lock.

    When a batch takes long, a second thread, the postman, sends what there is and returns what is not begun: it was thought
    to be short. That is the rest of the batch, where batches are `divisible`, which it takes from the end, one task at a
    time, so that each has one taker; and the batches behind it, which `withdraw` gives as (first task, count).
    """

    def __init__(self, channel: Channel, slots: memoryview, withdraw: Callable[[], list[tuple[int, int]]]) -> None:
        self.values: list[Any] = []
        self.divisible = True
        self._channel = channel
        self._slots = slots
        self._withdraw = withdraw
        self._lock = threading.Lock()
        self._first = 0
        self._errors: list[tuple[int, BaseException]] = []
        self._since = 0.0
        self._cpu_since = 0.0
        self._cpu = _cpu_clock()
        self._queued = Queued()
        self._tasks: Tasks = deque()
        self._batches = 0
        self._open = False  # a batch is in hand
        self._asleep = False  # the postman is: this thread has to wake it
        self._bell = threading.Event()

    def begin(self, first: int, tasks: Tasks) -> None:
        """A batch begins."""
        self._first, self.values, self._errors, self._tasks = first, [], [], tasks
        self._since = time.perf_counter()
        self._cpu_since = self._cpu()
        self._open = True
        self._batches += 1
        if self._asleep:
            self._bell.set()
        elif self._batches == 2:  # a thread is dear for a worker that is used once
            threading.Thread(target=self._deliver, name="flatout-postman", daemon=True).start()

    def fail(self, error: BaseException) -> None:
        """The next task raised."""
        self._note_over()
        with self._lock:
            self._errors.append((len(self.values), error))
            self.values.append(None)

    def end(self) -> None:
        """The batch is finished."""
        self._open = False
        self._note_over()
        with self._lock:
            self._flush()

    def _note_over(self) -> None:
        """The latest task runs no longer: to be said before the lock is had, for the postman may be packing for long."""
        self._slots[_page.CURRENT] = -abs(self._slots[_page.CURRENT])

    def _deliver(self) -> None:
        """The postman."""
        try:
            self._deliver_on()
        except BaseException as error:  # what it had taken would never come home
            give_up(self._slots, error)

    def _deliver_on(self) -> None:
        while True:
            self._asleep = True
            if not self._open:  # looked at after the flag: no batch is missed
                self._bell.wait()
            self._asleep = False
            self._bell.clear()
            time.sleep(POSTMAN_SECONDS)
            with self._lock:
                if self._open and time.perf_counter() - self._since > POSTMAN_SECONDS:
                    self._flush()
                    self._return_unbegun()

    def _return_unbegun(self) -> None:
        returned = self._withdraw()
        number, count = 0, 0
        with contextlib.suppress(IndexError):
            while self.divisible:
                number, _ = self._tasks.pop()
                count += 1
        if count:
            returned.append((number - 1, count))
        if returned:
            self._channel.send(_frames.RETURNED, returned)

    def _flush(self) -> None:
        """Send what is there. The lock is held: results of one batch must not overtake each other."""
        count = len(self.values)  # more may come meanwhile
        if not count:
            return
        values, errors, first = self.values[:count], self._errors, self._first
        del self.values[:count]
        self._first, self._errors = first + count, []
        now, cpu_now = time.perf_counter(), self._cpu()
        seconds, self._since = now - self._since, now
        cpu, self._cpu_since = cpu_now - self._cpu_since, cpu_now
        queued = self._queued.since(seconds - cpu)
        self._channel.send_results(Outcomes(first, values, errors, seconds, cpu, queued=queued), self._slots)
