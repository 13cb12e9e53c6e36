"""Looks at the machine again while worker processes are in use: the cores that may be used, and the memory that is left.

Nothing here knows the time: the driver says what it is, and is told when to come again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable

from flatout._errors import PlanError
from flatout._events import RoomChanged
from flatout._machine._machine import memory, process_memory, usable_cores
from flatout._machine._memory import LONGEST, Need, next_look

MANY = 4  # workers that may have filled it since; guessed
CORES_EVERY = 2.0  # seconds between two looks at the cores; a look takes 0.1-0.3 ms (measured)
MIB = 1 << 20


class Resources:
    """What the machine can give to one run.

    pids: of its worker processes, 0 for one that is starting. finished: how many of its tasks have ended. wanted: how
    many workers it would have now, and how many it might come to. cores, thread: usable by that thread, whose affinity counts. follow: told the cores where
    they have changed. known: bytes that a task takes at its peak, 0 where that is not known. let_go: ends processes that
    nobody uses at this moment.
    """

    def __init__(
        self,
        *,
        pids: Callable[[], Iterable[int]],
        finished: Callable[[], int],
        wanted: Callable[[], tuple[int, int]],
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
        changed = self._look_at_memory(now)
        held_back = self._allowed is not None and self._allowed < self._wanted()[0]
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

    def _look_at_memory(self, now: float) -> RoomChanged | None:
        self._room = _room(now, anew=self.next_at is not None)
        pids = {pid for pid in self._pids() if pid}
        sizes = {pid: _size_and_peak(pid) for pid in pids}
        self._held = {pid: size for pid, (size, _) in sizes.items()}
        if self._need.saw([peak for _, peak in sizes.values()], self._finished() - self._before):
            for pid in pids:
                _measure_anew(pid)
        return self._judge()

    def _judge(self) -> RoomChanged | None:
        (wanted, most), before = self._wanted(), self._allowed
        allowed = self._need.workers(self._room, sum(self._held.values()), before)
        if allowed < wanted:
            self._let_go()
            self._note(allowed, wanted)
        if allowed == before or (allowed >= most and (before is None or before >= most)):
            return None
        self._allowed = allowed
        return RoomChanged(allowed)

    def _note(self, allowed: int, wanted: int) -> None:
        what = f"one takes {self._need.bytes / MIB:.0f} MiB" + (
            " at its peak" if self._need.measured else ", for all we know"
        )
        self._held_back = f"memory held workers back, to {allowed} of {wanted} at the last: {what}"


_last: tuple[float, int] | None = None  # when the memory was looked at last, and what was left: for the next run


def _room(now: float, anew: bool) -> int:
    """Bytes that may still be taken; as a moment ago, unless `anew`, where that was plenty: it takes 0.3-0.5 ms to see."""
    global _last
    if _last is None or anew or not _last[0] <= now < _last[0] + LONGEST or next_look(_last[1], MANY) < LONGEST:
        _last = now, memory()[2]
    return _last[1]


def _size_and_peak(pid: int) -> tuple[int, int]:
    """Bytes of memory that a process alone has, now and at its peak; zeros where that cannot be told."""
    sizes = process_memory(pid)
    own = sizes.get("RssAnon", 0)
    return own, max(own, sizes.get("VmHWM", 0) - sizes.get("RssFile", 0) - sizes.get("RssShmem", 0))


def _measure_anew(pid: int) -> None:
    """Have the system forget the peak of a process: it counts from now on."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/clear_refs", "w") as file:
        file.write("5")
