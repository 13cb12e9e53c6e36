"""Looks at the machine again while worker processes are in use: the cores that may be used, and the memory that is left.

Nothing here knows the time: the driver says what it is, and is told when to come again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable

from flatout._errors import PlanError
from flatout._events import RoomChanged
from flatout._machine import memory, process_memory, usable_cores
from flatout._memory import Need, next_look

CORES_EVERY = 2.0  # seconds between two looks at the cores; a look takes 0.1-0.3 ms (measured)
MIB = 1 << 20


class Resources:
    """What the machine can give to one run.

    pids: of its worker processes, 0 for one that is starting. finished: how many of its tasks have ended. wanted: how
    many workers it would have. cores, thread: usable by that thread, whose affinity counts. follow: told the cores where
    they have changed. known: bytes that a task takes at its peak, 0 where that is not known. let_go: ends processes that
    nobody uses at this moment.
    """

    def __init__(
        self,
        *,
        pids: Callable[[], Iterable[int]],
        finished: Callable[[], int],
        wanted: Callable[[], int],
        cores: int,
        thread: int,
        follow: Callable[[int], None],
        let_go: Callable[[], None],
        known: int = 0,
    ) -> None:
        self.next_at: float | None = None  # when to look again; None: at once
        self._pids = pids
        self._finished, self._before = finished, finished()
        self._wanted = wanted
        self._cores, self._thread, self._follow = cores, thread, follow
        self._cores_at: float | None = None
        self._let_go = let_go
        self._need = Need(known)
        self._met: set[int] = set()  # workers whose peak is measured since they were met
        self._room = 0
        self._held: dict[int, int] = {}  # bytes by worker, at the last look
        self._allowed: int | None = None  # what was told last
        self._held_back = ""

    def look(self, now: float) -> RoomChanged | None:
        """See whether it is time, and whether anything has changed."""
        if self.next_at is not None and now < self.next_at <= now + CORES_EVERY:
            return None
        if self._cores_at is None or now >= self._cores_at or self._cores_at > now + CORES_EVERY:
            if self._cores_at is not None:
                self._look_at_cores()
            self._cores_at = now + CORES_EVERY
        changed = self._look_at_memory()
        held_back = self._allowed is not None and self._allowed < self._wanted()
        self.next_at = now + (next_look(self._room, len(self._held)) if not held_back else next_look(0, 1))
        return changed

    def ran_out(self) -> RoomChanged | None:
        """The system has killed a worker as memory ran out: so many were too many."""
        self._need.not_enough(self._room, sum(self._held.values()), len(self._held))
        return self._judge()

    @property
    def note(self) -> str:
        """In a phrase, whether memory has held workers back; empty where it has not."""
        return self._held_back

    def _look_at_cores(self) -> None:
        cores = self._cores
        with contextlib.suppress(PlanError):  # FLATOUT_CORES was set to what makes no sense
            cores = usable_cores(self._thread)
        if cores != self._cores:
            self._cores = cores
            self._follow(cores)

    def _look_at_memory(self) -> RoomChanged | None:
        _, _, self._room = memory()
        pids = {pid for pid in self._pids() if pid}
        for pid in pids - self._met:
            _measure_anew(pid)
        self._met &= pids
        self._met |= pids
        sizes = {pid: _size_and_peak(pid) for pid in pids}
        self._held = {pid: size for pid, (size, _) in sizes.items()}
        if self._need.saw([peak for _, peak in sizes.values()], self._finished() - self._before):
            for pid in pids:
                _measure_anew(pid)
        return self._judge()

    def _judge(self) -> RoomChanged | None:
        wanted, before = self._wanted(), self._allowed
        allowed = self._need.workers(self._room, sum(self._held.values()), before)
        if allowed < wanted:
            self._let_go()
            self._note(allowed, wanted)
        if allowed == before or (allowed >= wanted and (before is None or before >= wanted)):
            return None
        self._allowed = allowed
        return RoomChanged(allowed)

    def _note(self, allowed: int, wanted: int) -> None:
        what = f"one takes {self._need.bytes / MIB:.0f} MiB" + (
            " at its peak" if self._need.measured else ", for all we know"
        )
        self._held_back = f"memory held workers back, to {allowed} of {wanted} at the last: {what}"


def _size_and_peak(pid: int) -> tuple[int, int]:
    """Bytes of memory that a process alone has, now and at its peak; zeros where that cannot be told."""
    sizes = process_memory(pid)
    own = sizes.get("RssAnon", 0)
    return own, max(own, sizes.get("VmHWM", 0) - sizes.get("RssFile", 0) - sizes.get("RssShmem", 0))


def _measure_anew(pid: int) -> None:
    """Have the system forget the peak of a process: it counts from now on."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/clear_refs", "w") as file:
        file.write("5")
