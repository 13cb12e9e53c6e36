"""What calls have others compute: threads of their own (BLAS, Rayon) and programs that they start.

The CPU time of a process tells of all its threads; that of its children is added to a sum of the system's when they have
been waited for. Of those that still run Linux tells in /proc. There it also tells how long these have waited for a core: on a
busy machine that is most of what they do, and the call that waits for them would seem to wait for something else.
"""

from __future__ import annotations

import os
import sys
import threading
import time

from flatout import _child
from flatout._plan._spinning import Spinning
from flatout._threads._times import children, read, seconds_of

NOTICED = 0.2  # of the wall time, from which it counts: less may be the work of flatout's own threads; guessed
LEAST = 0.001  # seconds in all: to start these threads takes 0.1-0.2 ms (measured)


class Elsewhere:
    """CPU seconds computed since it was made, by other threads of this process and by the children of this thread.

    That is the work of the calls as long as nothing else computes in this process.
    """

    def __init__(self, own_thread: float) -> None:
        """`own_thread`: CPU seconds of this thread so far."""
        self._tid = threading.get_native_id()
        self._own_thread = own_thread
        # Before the clock of the process here, and behind it in `seconds`: where this thread is interrupted in between,
        # what is known to be of others is overrated, rather than taken for the calls'.
        self._kept = {clock: read(clock) or 0.0 for clock in _kept()}
        self._process = time.process_time()
        self._reaped = _reaped_children()
        self._known = {pid: _cpu(pid) for pid in self._children()}
        self._spinning = Spinning()

    def seconds(self, own_thread: float, others: float, living: bool) -> float:
        """Where this thread has had `own_thread` in all, `others` were spent by threads that are none of the calls'.

        living: whether children that still run count too; any thread may ask.
        """
        process = time.process_time() - self._process
        kept = sum(now - before for clock, before in self._kept.items() if (now := read(clock)) is not None)
        threads = process - (own_thread - self._own_thread) - others - kept - self._spinning.seconds()
        reaped = _reaped_children() - self._reaped
        running = sum(_cpu(pid) - self._known.get(pid, 0.0) for pid in self._children()) if living else 0.0
        return sum(max(0.0, part) for part in (threads, reaped, running))

    def may_settle(self) -> bool:
        """Whether threads were busy before the calls, of which it will be told before long if they work for these."""
        return self._spinning.may_rest()

    def has_children(self) -> bool:
        """Whether this thread has started programs that still run: what they compute is told in steps of 10 ms."""
        return any(pid not in self._known for pid in self._children())

    def _children(self) -> list[int]:
        return [pid for pid in children(f"/proc/self/task/{self._tid}") if pid != _child.zygote]


def _kept() -> list[int]:
    """The CPU clocks of threads of flatout's that are at work for other runs, or at the end of one."""
    if "flatout._threads._kept" not in sys.modules:
        return []  # no thread was ever needed
    import flatout._threads._kept  # another thread may be about to: this waits for it

    return flatout._threads._kept.clocks()


def _reaped_children() -> float:
    ticks = os.times()
    if "subprocess" not in sys.modules and not ticks.children_user + ticks.children_system:
        return 0.0  # less than 10 ms: not worth the import of `resource`, which takes 0.2 ms (measured)
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _cpu(pid: int) -> float:
    """CPU seconds of a process and of those that it has waited for, those of waiting for a core with them; 0.0 when gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b") ")[2].split()
    except OSError:
        return 0.0
    ticks = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    computed, queued = seconds_of(f"/proc/{pid}")  # of its first thread, and finer than ticks of 10 ms
    return max(ticks, computed) + queued
