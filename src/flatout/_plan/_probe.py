"""The probe: watches the first calls while they are real work, and knows after some 30 ms what they do.

CPU over wall time cannot tell computing that holds the GIL from computing that has let go of it. A second thread can: it
sleeps for half a millisecond and looks how late it wakes, for where the GIL is held it has to wait for it.

On a busy machine either thread also waits for a core, and the one may do so while it holds the GIL that the other waits
for. So each look counts as much as the calls computed meanwhile, and the time that Linux says a thread was waiting for a
core counts for nothing.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import threading
import time
from collections.abc import Callable

from flatout._interrupts import put_off
from flatout._machine import gil_enabled, usable_cores
from flatout._model import Measurement
from flatout._plan._elsewhere import LEAST, NOTICED, Elsewhere
from flatout._plan._peak import Peak
from flatout._record import replace

ENOUGH = 0.030  # seconds of calls after which they are judged: some six switch intervals
CLEAR = 0.008  # seconds of watched computing after which calls are judged that all let go of the GIL, or all hold it; guessed
WAITED = 0.005  # seconds of finished calls that did next to nothing but wait, after which they are judged; guessed
MUCH_LONGER = 2  # times as long as the mean of all: no-ops came first; guessed
BOOT_AFTER = 0.005  # seconds of computing after which the zygote is started in case it is wanted
BRISK = 0.001  # seconds: long enough that a held GIL is noticed, and shorter than most calls go without a system call; guessed
STARVED = 2 * ENOUGH  # seconds after which calls are judged though they were hardly watched
LONG = (
    0.025  # seconds that calls may go on before the watcher, which has to fight for the GIL, sees to anything; guessed
)
_NAP = 0.0005  # seconds between two looks
_USUAL = 0.00015  # seconds by which a look takes longer on an idle machine (measured)
_NOTICED = (
    0.00005  # seconds beyond that from which it was the GIL that made a look late (measured: others reach 0.03 ms)
)


Totals = tuple[float, float, int]  # of calls: seconds, of these on a core, their number

_NOTHING: Totals = (0.0, 0.0, 0)


class Probe:
    """Watches calls made by one thread. `enough()` is called once, by whichever thread first sees that it is time.

    The thread that makes the calls says so by `begin` and `end`. `alone`: nothing else computes in this process, so that
    what other threads do is the work of the calls.
    """

    def __init__(self, enough: Callable[[], None], computing: Callable[[], None], *, alone: bool = True) -> None:
        self._enough = enough
        self._alone = alone
        self._computing = computing  # told when the calls have computed for a few milliseconds
        self._lock = threading.RLock()
        self._over = False
        self._brisk = False  # whether the switch interval is shortened on its behalf
        self._told = False
        self._marks: list[Totals] = []  # one after each `end`
        self._calls = 0
        self._seconds = 0.0  # of finished calls
        self._cpu = 0.0
        self._held = 0.0  # CPU seconds watched in which the GIL was held
        self._watched = 0.0
        self._began: float | None = None
        self._cpu_began = 0.0
        self._thread_clock: int | None = None
        self._queue: _RunQueue | None = None  # of the thread that makes the calls
        self._elsewhere: Elsewhere | None = None
        self._peak: Peak | None = None
        self._own_clock = 0.0

    def begin(self) -> None:
        """Calls begin, in this thread."""
        if self._thread_clock is None:
            self._thread_clock = _clock_of_this_thread()
            if self._alone:
                self._elsewhere, self._peak = Elsewhere(time.thread_time()), Peak()
            with put_off():
                threading.Thread(target=self._watch, name="flatout-probe", daemon=True).start()
                # After the start, which itself may be queued; read seldom: that lets go of the GIL.
                self._queue = _RunQueue()
                _brisk.enter()
                self._brisk = True
        self._cpu_began = time.thread_time()
        self._began = time.perf_counter()

    def note(self, calls: int) -> None:
        """So many calls have ended since `begin`; what they were is told by `end`, which may come later."""
        with self._lock:
            if self._began is not None:
                self._seconds += time.perf_counter() - self._began
                self._cpu += time.thread_time() - self._cpu_began
                self._calls += calls
                self._began = None
                self._marks.append((self._seconds, self._cpu, self._calls))

    def end(self, calls: int) -> None:
        """So many calls have ended since `begin`: they are judged, if that is enough."""
        self.note(calls)
        enough = self._seconds >= ENOUGH and (self._watched >= self._cpu / 3 or self._seconds >= STARVED)
        if enough or self._clear():
            self._judge()
        if self._over:
            self._relax()
        elif self._cpu > BOOT_AFTER and not self._told:
            self._tell_computing(self._seconds - self._queued(), self._cpu)

    def _tell_computing(self, seconds: float, cpu: float) -> None:
        if cpu > seconds / 2 and not self._told:
            self._told = True
            self._computing()

    def _clear(self) -> bool:
        """Whether finished calls have shown already what they are, and more of them would show the same."""
        seconds, cpu = self._seconds, self._cpu
        if cpu < seconds / 10:
            clear = seconds >= WAITED
        else:
            held = self._held / self._watched if self._watched else 0.5
            clear = self._watched >= CLEAR and cpu > 0.9 * seconds and not 0.1 < held < 0.9
        return clear and self._queued() < seconds / 10  # read last, since that lets go of the GIL

    def finish(self) -> None:
        """The only call has ended: it is judged, however short it was."""
        self.end(1)
        self._judge()
        self._relax()

    def stop(self) -> None:
        """Look no longer."""
        self._over = True
        self._relax()

    def _relax(self) -> None:
        """The calls that were watched are over: others need not be let in as quickly any more."""
        with put_off():
            with self._lock:
                brisk, self._brisk = self._brisk, False
            if self._queue is not None:
                self._queue.close()
            if brisk:
                _brisk.leave()

    def measurement(self) -> Measurement:
        """What has been seen so far, per call. In the middle of the first call it is taken to be half over."""
        with self._lock:
            total = self._so_far()
            past = self._before_lately(total)
        seconds, cpu, calls = (now - then for now, then in zip(total, past, strict=True))
        part = seconds / total[0] if total[0] else 1.0
        seconds = max(cpu, seconds - part * self._queued())
        starved = max(0.0, total[1] / 3 - self._watched)  # who seldom gets in is kept out by the GIL (see `_Brisk`)
        held = (self._held + starved) / (self._watched + starved) if self._watched + starved else 1.0
        if not gil_enabled():
            held = 0.0
        gil = min(cpu, held * seconds)
        own = part * self._computed_elsewhere()
        noticed = own > max(NOTICED * seconds, LEAST)
        own = min(own, usable_cores() * seconds) if noticed else 0.0  # what is more is older than the calls
        scale = 1 / calls if calls else 2.0
        measured = Measurement(gil * scale, (cpu - gil) * scale, (seconds - cpu) * scale, calls=self._calls)
        return replace(measured, own=own * scale, peak_bytes=self._peak.bytes() if self._peak is not None else 0)

    def _computed_elsewhere(self) -> float:
        if self._elsewhere is None:
            return 0.0
        spent = math.inf if self._thread_clock is None else _read(self._thread_clock)
        # The zygote, if it was started for these calls, is none of theirs.
        return self._elsewhere.seconds(spent, self._own_clock, living=not self._told)

    def _before_lately(self, total: Totals) -> Totals:
        """What is to be left out: nothing, unless the later half of the time went into calls much longer than the others."""
        past = next((mark for mark in reversed(self._marks) if mark[0] <= total[0] / 2), _NOTHING)
        seconds, calls = total[0] - past[0], total[2] - past[2]
        return past if calls and seconds / calls > MUCH_LONGER * total[0] / total[2] else _NOTHING

    def _queued(self) -> float:
        return self._queue.seconds() if self._queue is not None else 0.0

    def _so_far(self) -> Totals:
        """(seconds, of them on a core, calls), the call that is under way included once it is longer than those before."""
        past = self._seconds, self._cpu, self._calls
        if self._began is None:
            return past
        current = time.perf_counter() - self._began
        if self._calls and current < self._seconds / self._calls:
            return past
        cpu = _read(self._thread_clock) - self._cpu_began if self._thread_clock is not None else current
        calls = self._calls + (self._calls > 0)
        return self._seconds + current, self._cpu + max(0.0, cpu), calls

    def _judge(self) -> None:
        with self._lock:
            if self._over:
                return
            self._over = True
        enough = self._enough
        self._enough = self._computing = _nothing  # who waited for it goes free: it refers to this probe, too
        enough()

    def _watch(self) -> None:
        own = _RunQueue()
        cpu, now, queued = self._stamp(own)
        while not self._over:
            busy = self._began is not None
            time.sleep(_NAP)
            cpu_then, then, queued_then = cpu, now, queued
            cpu, now, queued = self._stamp(own)
            if busy and self._began is not None:
                self._saw(now - then - (queued - queued_then), cpu - cpu_then)
            self._own_clock = time.thread_time()
            self._look(resting=cpu == cpu_then)
        own.close()

    def _stamp(self, own: _RunQueue) -> tuple[float, float, float]:
        """All clocks at once. The file comes last: to read it lets go of the GIL, and time may pass until it is had again."""
        return _read(self._thread_clock), time.perf_counter(), own.seconds()

    def _saw(self, present: float, computed: float) -> None:
        """From look to look the watcher slept or wanted the GIL for so long, and the calls computed for so long."""
        late = present - _NAP - _USUAL
        self._watched += computed
        if late > _NOTICED:
            self._held += computed * min(1.0, (late + _NAP) / present)

    def _look(self, resting: bool) -> None:
        with self._lock:
            seconds, cpu, _ = self._so_far()
        seconds -= self._queued()
        if self._began is None or time.perf_counter() - self._began < LONG:
            return  # the thread that makes the calls sees to it, in a moment and without a fight for the GIL
        if cpu > LONG:
            self._tell_computing(seconds, cpu)
        # In the queue for a core a call only seems to wait: the time there is told when it is over.
        if seconds >= ENOUGH and not (resting and self._queue is not None and self._queue.inside()):
            self._judge()


def _nothing() -> None:
    """For who has been told."""


class _Brisk:
    """Shortens the interval after which a thread must give the GIL away, as long as anyone needs that.

    A thread that waits for the GIL begins to wait anew whenever the holder lets go of it for a moment (a system call) and
    takes it again. Where that happens more often than every interval it starves: the watcher, and then the driver, would
    stand still until the call is over.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._users = 0
        self._before = 0.0

    def enter(self) -> None:
        """Someone needs it."""
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._before = sys.getswitchinterval()
                sys.setswitchinterval(min(BRISK, self._before))

    def leave(self) -> None:
        """Someone needs it no longer."""
        with self._lock:
            self._users -= 1
            if self._users == 0:
                sys.setswitchinterval(self._before)


_brisk = _Brisk()


class _RunQueue:
    """Where the thread that makes this waits for a core, as Linux tells; elsewhere it is taken not to."""

    def __init__(self) -> None:
        self._folder = f"/proc/self/task/{threading.get_native_id()}"
        self._lock = threading.RLock()  # lest the number be another file's by the time it is read
        self._fd = -1  # closed by `close`: a `__del__` could swallow a Ctrl-C
        self._before = self._last = 0.0
        with contextlib.suppress(OSError):
            self._fd = os.open(f"{self._folder}/schedstat", os.O_RDONLY)
        self._before = self.seconds()

    def seconds(self) -> float:
        """Seconds that it has waited so far, the present time excepted; from any thread."""
        with self._lock:
            if self._fd >= 0:
                with contextlib.suppress(ProcessLookupError):  # the thread has ended
                    self._last = int(os.pread(self._fd, 64, 0).split()[1]) / 1e9 - self._before
            return self._last

    def close(self) -> None:
        """Read no more: from now on `seconds` stays what it is."""
        self.seconds()
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def inside(self) -> bool:
        """Whether the thread, which does not run, could; from any thread."""
        try:
            with open(f"{self._folder}/stat", "rb") as file:
                return file.read().rpartition(b") ")[2].startswith(b"R")
        except OSError:
            return False


def _clock_of_this_thread() -> int | None:
    """A clock by which other threads can read this one's CPU time; None where the system has none."""
    getcpuclockid = getattr(time, "pthread_getcpuclockid", None)
    return None if getcpuclockid is None else getcpuclockid(threading.get_ident())


def _read(clock: int | None) -> float:
    if clock is None:
        return time.perf_counter()
    try:
        return time.clock_gettime(clock)
    except OSError:  # the thread has ended
        return 0.0
