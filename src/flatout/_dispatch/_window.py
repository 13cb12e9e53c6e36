"""How many tasks are held: inputs that are drawn, and whose outcomes the consumer has not taken yet."""

from __future__ import annotations

import math

from flatout._dispatch._batching import INLINE_TARGET, TARGET, Sizer
from flatout._dispatch._ledger import Ledger
from flatout._dispatch._staffing import Staffing

# Tasks held at least where `buffersize` is left to us, in all and for each process: room for the quick beside a slow one,
# which 16 processes use up eight times as fast as two; guessed.
LEAST, EACH = 64, 32
BYTES = 1 << 28  # that the tasks held may take where that is left to us; guessed
LEAST_BYTES = 1 << 8  # that one is taken to take with all that tells of it; guessed
HELD_UP = 4  # times the window, behind a call that waits, where nobody knows how many bytes a task takes; guessed


class Window:
    """Says how many inputs to draw. buffersize: the most that are held, None where that is left to us or to the plan."""

    def __init__(self, buffersize: int | None, ledger: Ledger, sizer: Sizer, staffing: Staffing) -> None:
        self._asked = buffersize
        self._ledger = ledger
        self._sizer = sizer
        self._staffing = staffing

    def room(self, in_flight: int, waiting: int, delayed: int) -> int:
        """How many to draw now, 0 where it is not worth it yet.

        in_flight: tasks that run at once. waiting: for a worker; delayed: for their next attempt.
        """
        held = self._ledger.held
        if self._staffing.by_seat and held > delayed:
            return 0  # who draws would wait for the next input with an outcome in hand
        plan = self._staffing.plan
        given = self._asked or (plan.buffersize if plan is not None else None)
        window = given or self._size(in_flight, delayed)
        room = window - held
        if given is None and waiting < window // 4 and self._held_up(held, window):
            room = max(room, window // 2)
        return room if room >= max(1, window // 4) or (room > 0 and not waiting) else 0

    def _size(self, in_flight: int, delayed: int) -> int:
        """Tasks to be held where nobody has said how many."""
        if self._staffing.by_seat:
            return self._staffing.next_size(INLINE_TARGET) + delayed
        least, wide = 4 * in_flight, self._staffing.wide
        wanted = least * (1 if wide else self._staffing.next_size(TARGET))
        if self._sizer.mean == math.inf:
            return wanted  # they may be large
        if self._sizer.moved and not wide:  # what crosses a border is known to take no more room than it may
            wanted = max(wanted, EACH * in_flight)
        return max(least, min(max(LEAST, wanted), int(BYTES / max(1.0, self._sizer.bytes))))

    def _held_up(self, held: int, window: int) -> bool:
        """Whether one task takes so long that outcomes of those behind it fill the window."""
        most = BYTES / max(LEAST_BYTES, self._sizer.bytes)
        if not self._sizer.moved:  # they stay here, an image each perhaps, and may be larger than they look
            most = min(most, HELD_UP * window) if self._staffing.wide else 0
        return self._ledger.waits_for_one and held < most
