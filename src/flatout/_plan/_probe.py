"""The probe: watches the first calls while they are real work, and knows after some 30 ms what they do.

CPU over wall time cannot tell computing that holds the GIL from computing that has let go of it. A second thread can: it
sleeps for half a millisecond, and where the GIL is held it has to wait for it when it wakes. The system counts how often
a thread has had to wait for something; where it does not, the watcher looks how late it wakes.

On a busy machine either thread also waits for a core, and the one may do so while it holds the GIL that the other waits
for. So each look counts as much as the calls computed meanwhile, and the time that Linux says a thread was waiting for a
core counts for nothing.

Here is what reads clocks; what follows from the readings is up to `_evidence`.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Callable
from itertools import cycle

from flatout._machine._machine import gil_enabled, usable_cores
from flatout._model import Measurement
from flatout._plan._brisk import brisk
from flatout._plan._collections import Collections
from flatout._plan._elsewhere import LEAST, Elsewhere
from flatout._plan._evidence import NAP, Beside, Evidence, Spent
from flatout._plan._imports import Imports
from flatout._plan._peak import Peak
from flatout._record import replace
from flatout._threads._daemons import Daemon
from flatout._threads._interrupts import put_off
from flatout._threads._times import VISIBLE, RunQueue, clock_of, read

HEEDED = 0.005  # seconds of calls from which garbage collections are told apart from them; guessed
MISSED = 0.001  # seconds with neither a look nor computing, from which the watcher says why; guessed
OVERDUE = 0.005  # seconds since a look began, from which the watcher is let in before a call is over; guessed
# Seconds that another thread is given to end judging before the next call is made. It takes 1-2 ms (measured); guessed.
AT_IT = 0.02
PROMPT = NAP / 2  # seconds from what is noted to the nap, up to which nothing came in between; guessed
BLURRED = 0.2  # of a look's time, up to which a call rests whose thread has no clock that others can read; guessed
LET_IN = 0.002  # seconds that are given for it: it may be a core that it waits for, and not the GIL; guessed
_FINE = os.name == "posix"  # whether CPU time does not go by ticks that are longer than a look
_NAPS = 0.8 * NAP, NAP, 1.2 * NAP  # seconds, unlike each other, lest looks and calls fall into step

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from flatout._plan._remembered import Known

Enough = Callable[[], "float | None"]
Computing = Callable[[float], "Callable[[], object] | None"]


class Probe:
    """Watches calls made by one thread. `enough()` is called, by whichever thread first sees that it is time.

    It returns None if that was it, else how many seconds to wait, at most until the end of the call, before it is called
    again. `computing(seconds of a call)` is called once the calls have computed for a few milliseconds, time and again, until
    it returns something to be done, between two calls.
    The thread that makes the calls says so by `begin` and `end`; `done()` tells how many of those under way are over.
    `alone`: nothing else computes in this process, so that what other threads do is the work of the calls. `known`: what
    such calls have been seen to do before; where the first do the same `enough` is called early, once.
    """

    def __init__(self, enough: Enough, computing: Computing, *, alone: bool = True, known: Known | None = None) -> None:
        self.done: Callable[[], int] = lambda: 0
        self._enough: Enough = enough
        self._alone = alone
        self._computing = computing
        self._known = known
        self.agreed: Measurement | None = None  # what is known of all calls, where these begin as those did
        self._gil = gil_enabled()
        self._evidence = Evidence(self._gil)
        self._lock = threading.RLock()  # of the evidence
        self._asking = threading.RLock()
        self._not_before = 0.0  # seconds that the calls must have been watched for, to ask again
        self._over = False
        self._brisk = False  # whether the switch interval is shortened on its behalf
        self._told = False
        self._imports = Imports()
        self._begun = False
        self._thread_clock: int | None = None  # of the thread that makes the calls
        self._said = 0.0, 0.0, 0.0  # by it, last: when, its CPU seconds by then, and those of all but the watcher
        self._queue: RunQueue | None = None  # of the thread that makes the calls
        self._watchers: RunQueue | None = None
        self._elsewhere: Elsewhere | None = None
        self._own_thread: int | None = None  # the clock of the watcher
        self._peak: Peak | None = None
        self._own_clock = 0.0
        self._collections = Collections(self._now)
        self._noted = 0.0, 0.0, 0.0  # what the watcher has told of, on the clocks and its own
        self._waited = 0.0  # seconds that it has waited for a core, when that was asked last
        self._looked: threading.Event | None = None  # somebody waits for the end of a look

    def begin(self) -> str:
        """Calls begin, in this thread. Returns why there is no thread to watch them; empty where there is one."""
        if not self._begun:
            self._begun, self._thread_clock = True, clock_of(threading.get_ident())
            self._say()
            if self._alone:
                self._elsewhere = Elsewhere(time.thread_time())
                self._peak = Peak()
            with put_off():
                blocked = _blocked_count()
                self._noted = *self._now(), 0.0
                self._imports.begin()
                try:
                    Daemon(self._watch, "flatout-probe", (blocked,)).start()
                except RuntimeError as error:
                    return str(error)
                # After the start, which itself may be queued; read seldom: that lets go of the GIL.
                self._queue = RunQueue()
                self._be_brisk(True)
                if "gc" in sys.modules:
                    self._heed_collections()
        with self._lock:
            self._take_out_collections()
            self._evidence.begun(*self._say())
        return ""

    def note(self, calls: int) -> None:
        """So many calls have ended since `begin`; what they were is told by `end`, which may come later."""
        with self._lock:
            self._take_out_collections()
        now, cpu = self._say()
        if now - self._noted[0] > OVERDUE and not self._over:
            self._let_in(now, cpu)
        with self._lock:
            self._note_imports(now, cpu)
            self._evidence.ended(calls, now, cpu, self._queued)
        self._not_before = 0.0
        if self._elsewhere is not None and self._imports.mark() and not self._over:
            self._elsewhere = Elsewhere(time.thread_time())  # threads that were started thereby may spin for a while

    def _let_in(self, now: float, cpu: float) -> None:
        """Others may have held the GIL, which both the calls and the watcher wanted: it says so before these are over."""
        with self._lock:
            seconds, computed = self._evidence.under_way(now, cpu)
        if seconds - computed > OVERDUE:
            self._looked = threading.Event()
            self._looked.wait(LET_IN)
            self._looked = None

    def end(self, calls: int) -> None:
        """So many calls have ended since `begin`: they are judged, if that is enough."""
        self.note(calls)
        if not self._over:
            with self._lock:
                settled, known = self._evidence.settled(), self._known
                agreed = known.mean if known is not None and any(map(self._evidence.agrees, known.alike)) else None
            if (settled or agreed is not None) and not self._may_settle():
                self._judge(agreed, AT_IT)
            elif self._asking.acquire(timeout=AT_IT):  # by then another thread that was at it is through
                self._asking.release()
        if self._over:
            self._relax()
        else:
            self._tell_computing()

    def finish(self) -> None:
        """The only call has ended: it is judged, however short it was."""
        self.end(1)
        with self._asking:
            self._judge(None)
        self._relax()

    def stop(self) -> None:
        """Look no longer."""
        self._over = True
        self._relax()

    def leave(self) -> None:
        """The thread that makes the calls is through with some: nothing stays open for it if that was all."""
        if self._over:
            self._relax()

    def _relax(self) -> None:
        """The calls that were watched are over: others need not be let in as quickly any more."""
        self._be_brisk(False)
        with put_off():
            if self._queue is not None:
                self._queue.close()
            with self._lock:
                self._collections.ignore()

    def _be_brisk(self, on: bool) -> None:
        """Have other threads let in quickly, or no longer so; without the GIL nobody is kept out."""
        if not self._gil:
            return
        with put_off(), self._lock:
            if on != self._brisk and not (on and self._over):
                self._brisk = on
                (brisk.enter if on else brisk.leave)()

    def _heed_collections(self) -> None:
        """From now on; where the program has not loaded `gc` only once calls last, lest it be loaded for short ones."""
        with self._imports.own_work(), self._lock:
            if not self._over:
                self._collections.heed()

    def _take_out_collections(self) -> None:
        """Those that have ended; under the lock."""
        seconds, computed = self._collections.take()
        if seconds:
            self._evidence.collected(seconds, computed)
            then, cpu_then, own = self._noted
            self._noted = then + seconds, cpu_then + computed, own

    @property
    def seconds(self) -> float:
        """Of all finished calls."""
        return self._evidence.seconds

    def spent(self) -> tuple[Spent, float]:
        """Seconds of all calls so far, of these on a core, and how many have been begun; seconds of the one under way."""
        with self._lock:
            self._take_out_collections()
            now, cpu = self._now()
            self._evidence.in_hand(self.done(), now, cpu)
            return self._evidence.spent(now, cpu)

    def measurement(self) -> Measurement:
        """What has been seen so far, per call. In the middle of the first call it is taken to be half over."""
        watching = self._watching()
        elsewhere, queued = self._computed_elsewhere(watching), self._queued()
        kept_out = self._watchers is None or not self._watchers.inside()
        most = usable_cores() if elsewhere > LEAST else 1  # which takes long to find out beside calls of nothing
        with self._lock:
            self._take_out_collections()
            now, cpu = self._now()
            self._evidence.in_hand(self.done(), now, cpu)
            measured = self._evidence.measurement(now, cpu, queued, Beside(elsewhere, most, kept_out, watching))
        peak = self._peak.bytes() if self._peak is not None else 0
        if (agreed := self.agreed) is not None:
            peak = max(peak, agreed.peak_bytes)
            return replace(agreed, calls=measured.calls, peak_bytes=peak, own=measured.own)
        return replace(measured, peak_bytes=peak)

    def still_agrees(self) -> bool:
        """Whether calls that were judged by what is known, before the first was over, have done just that since."""
        if self.agreed is None or self._known is None:
            return False
        with self._lock:
            agrees = any(map(self._evidence.agrees, self._known.alike))
        if not agrees:
            self.agreed = None
        return agrees

    def look_on(self) -> None:
        """What is known is not enough: see for yourself."""
        self._known = self.agreed = None

    def _watching(self) -> float:
        """CPU seconds of the watcher."""
        return max(self._own_clock, 0.0 if self._own_thread is None else _read(self._own_thread))

    def _computed_elsewhere(self, watching: float) -> float:
        if self._elsewhere is None:
            return 0.0
        spent = math.inf if self._thread_clock is None else _read(self._thread_clock)
        # The zygote, if it was started for these calls, is none of theirs.
        return self._elsewhere.seconds(spent, watching, living=not self._told)

    def _queued(self) -> float:
        return self._queue.seconds() if self._queue is not None else 0.0

    def _say(self) -> tuple[float, float]:
        """By the thread that makes the calls: see `_now`."""
        now, cpu = time.perf_counter(), time.thread_time()
        if self._thread_clock is None:
            self._said = now, cpu, time.process_time() - self._own_clock
        return now, cpu

    def _now(self) -> tuple[float, float]:
        """When it is, and CPU seconds of the thread that makes the calls.

        Where no other thread can read its clock, what all threads but the watcher have computed since it said so itself
        is taken for its own.
        """
        now = time.perf_counter()
        if self._thread_clock is not None:
            return now, _read(self._thread_clock)
        then, cpu, computed = self._said
        since = time.process_time() - self._own_clock - computed
        return now, cpu + min(now - then, max(0.0, since))

    def _note_imports(self, now: float, cpu: float) -> None:
        if not self._over and self._imports.came():
            self._evidence.imported(now, cpu)

    def _tell_computing(self) -> None:
        with self._lock:
            now, cpu = self._now()
            if self._told or not self._evidence.computing(now, cpu):
                return
            (seconds, _, calls), _ = self._evidence.spent(now, cpu)
            prepare = self._computing(seconds / calls)
            self._told = prepare is not None
        if prepare is not None:
            # Between two calls: another thread would have to get the GIL from them for each file that it imports.
            with self._imports.own_work():
                prepare()

    def _judge(self, agreed: Measurement | None, patience: float = 0.0) -> None:
        """agreed: what is known of all calls, where the first do what first ones did; None: they are judged by what was seen of them.

        patience: seconds to wait for another thread that is at it, which the next call would keep from the GIL.
        """
        if not self._asking.acquire(timeout=patience):
            return
        try:
            if self._over:
                return
            self.agreed = agreed
            with self._lock:
                seconds, computed = self._evidence.under_way(*self._now())
            if computed > seconds / 2:
                brisk.hurry(True)  # until the end of the call, if that is it: driver and workers are yet to start
            else:
                # Hundreds of threads may follow, each of which looks for the GIL at every interval. Now, since who decides
                # may find himself dealing with what the run brings, as long as there is more of it.
                self._be_brisk(False)
            with self._imports.own_work():
                wait = self._enough()
            if wait is None:
                self._over = True
                with self._lock:
                    self._evidence.judged(*self._now())
                self._enough = self._computing = _nothing  # who waited for it goes free: it refers to this, too
            else:
                self._be_brisk(True)
                brisk.hurry(False)
                with self._lock:
                    self._not_before = self._evidence.present(*self._now(), self._queued()) + wait
        finally:
            self._asking.release()

    def _watch(self, blocked: Callable[[], int] | None) -> None:
        own = self._watchers = RunQueue(before=0.0)
        self._own_thread = clock_of(threading.get_ident())
        theirs = queued = 0.0
        for nap in cycle(_NAPS):
            waits = self._note_before(blocked)
            if self._over:
                break
            busy, turn, undisturbed = self._evidence.within, self._evidence.turn, not self._imports.at_work
            then, cpu_then = self._noted[:2]
            time.sleep(nap)
            self._own_clock = time.thread_time()
            now, cpu = self._now()
            cpu = max(cpu, cpu_then)  # where it is no clock that tells, what it has said meanwhile may be less
            waited = None if blocked is None else blocked() - waits > 1  # for more than the end of its nap
            # Files come last, if at all: to read them lets go of the GIL, and time may pass until it is had again.
            if waited is None:
                queued_then, queued = queued, own.seconds()
                then += queued - queued_then
            if now - then > 1.1 * (cpu - cpu_then):
                theirs = self._queued()
            if busy and self._evidence.within and not self._collections.under_way:
                with self._lock:
                    self._take_out_collections()
                    whole = turn == self._evidence.turn and undisturbed and not self._imports.at_work
                    self._evidence.saw(now - then, cpu - cpu_then, waited, theirs, whole)
                    self._note_imports(now, cpu)
                self._noted = now, cpu, self._own_clock
                self._note_missed()
                self._look(theirs, self._rests(now - then, cpu - cpu_then))
        own.close()

    def _rests(self, seconds: float, computed: float) -> bool:
        """Whether the calls have computed nothing in a look that was so long."""
        if self._thread_clock is not None:
            return not computed
        return _FINE and computed <= BLURRED * seconds

    def _note_before(self, blocked: Callable[[], int] | None) -> int:
        """What comes before a look is none of it. Returns how often it has had to wait by then."""
        while True:
            self._note_missed()
            waits = 0 if blocked is None else blocked()
            # Who loses the GIL just here gets it back when the calls have computed for a while: that would count as computed
            # during the nap, at the end of which the GIL may be free.
            if time.perf_counter() - self._noted[0] < PROMPT or self._over:
                return waits

    def _note_missed(self) -> None:
        """Between looks too the watcher may want the GIL, or a core."""
        with self._lock:
            self._take_out_collections()
        then, cpu_then, own_then = self._noted
        now, cpu = self._now()
        own = time.thread_time()
        missed = now - then - max(cpu - cpu_then, own - own_then)
        if missed > MISSED and self._watchers is not None:
            before, self._waited = self._waited, self._watchers.seconds()
            queued = self._queued()
            with self._lock:
                present, computed = min((now - then, cpu - cpu_then), self._evidence.under_way(now, cpu))
                self._evidence.missed(missed - (self._waited - before), present, computed, queued)
        self._noted = now, cpu, own
        if (looked := self._looked) is not None:
            looked.set()

    def _look(self, queued: float, resting: bool) -> None:
        now, cpu = self._now()
        with self._lock:
            self._evidence.in_hand(self.done(), now, cpu)
            agreed = (
                self._known.mean if self._known is not None and self._may_agree(now, cpu, queued, resting) else None
            )
            shown = agreed is not None or self._evidence.shown(
                now, cpu, queued, resting, lambda: self._asleep(queued), self._without_programs
            )
            if shown and self._imports.under_way():
                self._evidence.imported(now, cpu)
                return
            present, long = self._evidence.present(now, cpu, queued), self._evidence.long(now)
        if present > HEEDED and not self._collections.heeded:
            self._heed_collections()
        if shown and present >= self._not_before and not self._may_settle():
            self._judge(agreed)
        elif long and not resting and not self._told:
            self._tell_computing()

    def _may_settle(self) -> bool:
        """Whether calls compute beside threads that were busy before them, and it is worth waiting to see why."""
        with self._lock:
            computing = self._evidence.computing(*self._now())
        return computing and self._elsewhere is not None and self._elsewhere.may_settle()

    def _may_agree(self, now: float, cpu: float, queued: float, resting: bool) -> bool:
        """Whether the first call is under way, and as far as it has come does what is known."""
        if self._known is None or not self._evidence.within_first or (resting and not self._asleep(queued)):
            return False
        return any(self._evidence.may_agree(seen, now, cpu, queued) for seen in self._known.alike)

    def _without_programs(self) -> bool:
        return self._elsewhere is None or not self._elsewhere.has_children()

    def _asleep(self, queued: float) -> bool:
        """Whether the thread of the calls wants no core, nor has had to wait for one since it had done so for `queued` seconds.

        (Linux adds such a time up when it is over.)
        """
        return self._queue is None or not (self._queue.inside() or self._queue.seconds() > queued + VISIBLE)


def _nothing(*_: object) -> None:
    """For who has been told."""


def _blocked_count() -> Callable[[], int] | None:
    """What tells how often the thread that asks has had to wait for anything, the GIL included; None where nothing can."""
    try:
        from resource import RUSAGE_THREAD, getrusage
    except ImportError:  # not on Linux
        return None
    return lambda: getrusage(RUSAGE_THREAD).ru_nvcsw


def _read(clock: int) -> float:
    """CPU seconds; 0 where the thread has ended."""
    return read(clock) or 0.0
