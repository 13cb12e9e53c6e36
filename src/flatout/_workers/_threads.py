"""One worker that is many threads, for calls that wait: each begins at once, in a thread of its own.

Threads that are workers of their own cost the dispatcher two events and three commands for every call, which all other
threads that want the GIL wait for. Here it sends a thousand calls at once and hears of all that have ended meanwhile.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from time import monotonic, process_time, sleep

from flatout._errors import InternalError
from flatout._events import BatchFinished, TaskError, TasksReturned, WorkerExited, WorkerReady
from flatout._forks import leave
from flatout._model import Batch, Work
from flatout._threads import _kept
from flatout._threads._interrupts import Latch
from flatout._threads._times import read
from flatout._workers._base import Host
from flatout._workers._call import Caller, OwnLoop

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any

    from flatout._workers._call import Ended

LATE = 0.002  # seconds for which a thread has waited for the GIL, from which others compute; guessed
PAUSE = 0.001  # seconds until it is looked again whether they do, and
PATIENCE = 0.1  # for how long in all; both guessed
IDLED = 0.05  # seconds over which it is looked whether the calls in a process leave a core idle, and
LOOKED = 0.02  # whether they keep it busy: the system counts in steps of 4 ms; both guessed
BUSY = 0.7  # of a core, from which they do, and
FREE = 1.3  # beyond which they let go of the GIL for that; both guessed
MOST_GROWTH = 2  # times as many threads at most, where they do not: other calls may be on their way; guessed
COMPUTES = 0.001  # seconds that a call computes from which others do not let go of the GIL soon; guessed
LATEST, OF_THESE = 8, 3  # where so many of the latest calls did, calls compute; both guessed
FEW = 8  # threads that take turns at computing then: each that gives the GIL away waits for all others; guessed


class Puller:
    """A thread that takes one task after another, and what it needs for that."""

    def __init__(self, work: Work, name: str) -> None:
        self.name = name
        self.loop = OwnLoop()
        self.caller = Caller(work, self.loop, ends_all=())
        self.thread = _kept.take(name)

    def leave(self) -> None:
        """Let the thread serve others; or leave it behind, where it is in a call: then it ends with that."""
        current = self.caller.current
        if current is not None:
            self.thread.name = f"{self.name} (left behind in task {current[0]})"
            self.thread.inbox.put(self.loop.close)
            self.thread.inbox.put(None)
        elif self.loop.open or self.thread.at_work:
            self.thread.inbox.put(self._rest)
        else:
            _kept.give_back(self.thread)

    def _rest(self) -> None:
        """In the thread: only then may others have it, since to close a loop may take long."""
        try:
            self.loop.close()
        finally:
            _kept.give_back(self.thread)


class ThreadsWorker:
    """Threads that take tasks from one inbox: as many as it takes for none to wait there, but no more than `most`.

    Whoever finds more than one task in the inbox has the next thread look, before it makes its call: so threads are woken
    one after the other, and do not all want the GIL at once. Where calls turn out to compute, few threads go on: what stays
    in the inbox can be given back. For work without an initializer.

    ceiling: where nothing but these calls computes in this process, up to so many threads begin when `most` leave it idle.
    inbox: an empty one, where the (index, input) of the tasks shall wait in one that knows more.
    """

    def __init__(
        self,
        number: int,
        work: Work,
        host: Host,
        most: float = math.inf,
        ceiling: float | None = None,
        inbox: deque[tuple[int, Any]] | None = None,
    ) -> None:
        self._number = number
        self._work = work
        self._host = host
        self._most = most
        self._ceiling = most if ceiling is None else ceiling
        self._least: float = FEW  # of the threads that turned out to be too few there are more
        self._looked_at = monotonic(), process_time()
        self._computed: deque[float] = deque(maxlen=LATEST)  # seconds, by the latest calls
        self._inbox: deque[tuple[int, Any]] = deque() if inbox is None else inbox
        self._pullers: list[Puller] = []
        self._idle: list[Puller] = []
        self._looking = False  # a thread is about to look into the inbox
        self._waiting = False  # one waits until there may be more at work
        self._at_reports: set[int] = set()  # threads that look into the inbox again once they have reported
        self._finished: deque[Ended] = deque()
        self._reported_by = 0.0  # when what has finished will have been reported; 0: nobody is about to
        self._held = False  # nothing is to be begun for now
        self._gone = Latch()
        self._lock = threading.RLock()  # of beginning and the end; the collector may end the run in the middle of it
        self._pid = os.getpid()

    def start(self) -> None:
        """Start the first thread."""
        try:
            self._idle.append(self._begin())
        except RuntimeError as error:  # no threads to be had
            self._host.post(WorkerExited(self._number, error))
        else:
            self._host.post(WorkerReady(self._number, "threads"))

    def _begin(self) -> Puller:
        with self._lock:
            puller = Puller(self._work, f"flatout-{len(self._pullers) + 1}")
            self._pullers.append(puller)
            if self._gone.is_set:
                puller.leave()
        return puller

    def send(self, batch: Batch) -> None:
        """Put the tasks into the inbox, and have a thread look, unless this is one that will."""
        waiting = bool(self._inbox)
        self._inbox.extend(zip(range(batch.first, batch.end), batch.inputs, strict=True))
        if waiting or threading.get_ident() not in self._at_reports:
            self._have_one_look()

    def _have_one_look(self) -> None:
        """Have one more thread look into the inbox, unless one is about to."""
        if self._looking:
            return
        self._looking = True
        puller = self._free()
        if puller is not None:
            puller.thread.inbox.put(partial(self._pull_after, partial(self._look, monotonic()), puller))
            return
        self._looking = False
        if self._inbox and self._idle and self._at_work < self._most:  # meanwhile
            self._have_one_look()

    def _have_one_wait(self) -> None:
        """Have a thread look later: those that are in calls might all wait for one that has not begun."""
        if self._waiting or self._most >= self._ceiling:
            return
        self._waiting = True
        puller = self._idle_or_new()
        if puller is not None:
            puller.thread.inbox.put(partial(self._pull_after, self._wait_for_room, puller))
        else:
            self._waiting = False

    @property
    def _at_work(self) -> int:
        """Threads that are in a call, or about to be."""
        return len(self._pullers) - len(self._idle) - self._waiting

    def _free(self) -> Puller | None:
        """One more, unless there are as many at work as may be: those come to the tasks in time."""
        if self._at_work >= self._most and not self._grow():
            self._have_one_wait()
            return None
        return self._idle_or_new()

    def _idle_or_new(self) -> Puller | None:
        # Without `contextlib`: 500 calls that wait begin one after the other here, and it takes 1 us a time.
        try:
            return self._idle.pop()
        except IndexError:
            pass
        try:
            return None if self._gone.is_set else self._begin()
        except RuntimeError:
            return None

    def _grow(self) -> bool:
        """Where the core has idled since that was looked at last, or others have had it: as many as would keep it busy.

        More, too, where the calls keep more than one busy. Returns whether there may be more than before.
        """
        if self._most >= self._ceiling or (used := self._used(IDLED)) is None or BUSY <= used <= FREE:
            return False
        share = max(used, 1 / MOST_GROWTH) if used < BUSY else 1 / MOST_GROWTH
        self._most = self._least = min(self._ceiling, math.ceil(self._most / share))
        return True

    def _shrink(self) -> None:
        """Where calls have come to compute, and keep one core busy, a few threads do as well as many; and others get the GIL."""
        if sum(cpu >= COMPUTES for cpu in self._computed.copy()) >= OF_THESE:  # others add to it
            used = self._used(LOOKED)
            if used is not None and BUSY <= used <= FREE:
                self._most = self._least

    def _used(self, least: float) -> float | None:
        """Of a core, since that was looked at last; None where that is less than so many seconds ago."""
        (then, before), now = self._looked_at, (monotonic(), process_time())
        if now[0] - then < least:
            return None
        self._looked_at = now
        return (now[1] - before) / (now[0] - then)

    # In the threads

    def _pull_after(self, wait: Callable[[], None], puller: Puller) -> None:
        """Begin to pull when that is over."""
        try:
            wait()
            self._pull(puller)
        except BaseException as error:  # of this code: a task has changed what it relies on
            self._host.post(WorkerExited(self._number, InternalError.caused_by(error), fatal=True))

    def _look(self, told: float) -> None:
        """Wait if the calls compute: more of them would not end any sooner, but be in each other's way.

        For a while: it may be one that computes, and all the others wait.
        """
        if monotonic() > told + LATE:
            while self._inbox and self._compute() and monotonic() < told + PATIENCE:
                pass
        self._looking = False

    def _wait_for_room(self) -> None:
        """Wait until there may be more at work."""
        while self._inbox and self._at_work >= self._most and not (self._grow() or self._gone.wait(IDLED)):
            pass
        self._waiting = False

    def _compute(self) -> bool:
        """Whether most calls compute, and keep the GIL from a thread that wakes; looked at for a moment."""
        began, cpu = monotonic(), self._seconds_computed()
        sleep(PAUSE)
        seconds, calls = monotonic() - began, len(self._pullers) - len(self._idle) - 1
        return seconds > PAUSE + LATE and self._seconds_computed() - cpu > seconds * calls / 2

    def _seconds_computed(self) -> float:
        """CPU seconds of all threads; 0 where the system does not tell."""
        clocks = [puller.thread.clock for puller in list(self._pullers)]
        return sum(read(clock) or 0.0 for clock in clocks if clock is not None)

    def _pull(self, puller: Puller) -> None:
        """Run one task after another, as long as there are any."""
        inbox = self._inbox
        while not self._gone.is_set:
            task = self._next() if self._at_work <= self._most else None
            if task is not None:
                if inbox:
                    self._have_one_look()
                self._ended(self._run(puller.caller, task))
                continue
            self._idle.append(puller)
            if self._held or not inbox:  # looked at after that: nothing is missed
                return
            if self._at_work >= self._most:
                self._have_one_wait()
                return
            try:
                self._idle.remove(puller)
            except ValueError:  # it has been told to look again
                return

    def _next(self) -> tuple[int, Any] | None:
        try:
            return None if self._held else self._inbox.popleft()
        except IndexError:
            return None

    def _run(self, caller: Caller, task: tuple[int, Any]) -> Ended:
        ended = caller.call(*task)
        if os.getpid() != self._pid:  # a child that the task has forked
            leave(ended[2])
        return ended

    def _ended(self, ended: Ended) -> None:
        self._finished.append(ended)
        now, due, computed = monotonic(), self._reported_by, ended[4]
        self._computed.append(computed)
        if computed >= COMPUTES and self._most > self._least:
            self._shrink()
        if now < due:
            return
        self._reported_by = now + LATE  # later the next that ends does it
        if not due and computed < COMPUTES:
            sleep(0)  # others that have ended get the GIL, and are reported, too
        self._at_reports.add(threading.get_ident())
        try:
            self._host.soon(self._report)
        finally:
            self._at_reports.discard(threading.get_ident())

    def _report(self) -> BatchFinished | None:
        """All that has ended since the last report."""
        self._reported_by = 0.0  # before it is looked what has: nothing is missed
        ended: list[Ended] = []
        with contextlib.suppress(IndexError):
            while True:  # others may add to it, or take from it
                ended.append(self._finished.popleft())
        return _together(self._number, ended) if ended and not self._gone.is_set else None

    @property
    def waiting(self) -> int:
        """How many tasks wait for a thread."""
        return len(self._inbox)

    # Time, and the end

    def running(self) -> Sequence[tuple[int, float]]:
        """The tasks that threads are on."""
        return [current for puller in list(self._pullers) if (current := puller.caller.current) is not None]

    def cancel(self, index: int) -> None:
        """A thread cannot be made to end a call."""

    def hold(self, on: bool) -> None:
        """Begin nothing for now; or go on."""
        self._held = on
        if self._inbox and not on:
            self._have_one_look()

    def give_back(self) -> None:
        """Give back what is still in the inbox; the last first, since each is put before what else waits."""
        indices = deque[int]()
        with contextlib.suppress(IndexError):
            while True:  # others may take from it
                indices.append(self._inbox.pop()[0])
        while indices:
            last = first = indices.popleft()
            while indices and indices[0] == first - 1:
                first = indices.popleft()
            self._host.post(TasksReturned(self._number, first, last - first + 1))

    def stop(self) -> None:
        """Let the threads go."""
        with self._lock:
            self._gone.set()
            self._inbox.clear()
            while self._pullers:
                self._pullers.pop().leave()

    def kill(self) -> None:
        """Let go of those that are idle, and leave the others behind."""
        self.stop()
        self._host.post(WorkerExited(self._number))

    def close(self) -> None:
        """Nothing of the host is held."""


def _together(worker: int, ended: list[Ended]) -> BatchFinished:
    """One event for all of them."""
    ended.sort(key=itemgetter(0))
    tasks, values, failed, seconds, cpu_seconds = map(list, zip(*ended, strict=True))
    errors = tuple(TaskError(place, error) for place, error in enumerate(failed) if error is not None)
    gaps = tasks if tasks[-1] - tasks[0] >= len(tasks) else ()
    return BatchFinished(worker, tasks[0], values, errors, sum(seconds), sum(cpu_seconds), indices=gaps)
