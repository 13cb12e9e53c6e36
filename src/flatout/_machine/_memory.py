"""How many worker processes there is memory for: numbers in, a number out."""

from __future__ import annotations

from collections.abc import Sequence

MIB = 1 << 20
ASSUMED = 256 * MIB  # bytes that a worker is taken to need until one has finished a task; guessed
LEAST = 16 * MIB  # bytes that a worker takes at least: the interpreter's (measured: 9-14 MiB beyond what is shared)
SAFE = 0.9  # of the memory that may be counted on: the caller's own process takes more, too; guessed
MORE = 0.9  # of these that fit, where they are to become more; guessed
REMEMBERED = 50  # tasks after whose end, or twice that, a peak is forgotten; guessed
FILLING = 2e9  # bytes a second that a worker can take at most (measured: 1.4 e9 on fresh pages)
SHORTEST, LONGEST = 0.05, 2.0  # seconds between two looks: a look takes 0.5 ms (measured)


class Need:
    """Learns what a worker takes at its peak, and so how many there is room for.

    `known`: bytes that the first calls were seen to take in the caller's process, 0 where that was not to be seen.
    """

    def __init__(self, known: int = 0) -> None:
        self._assumed = LEAST + known if known else ASSUMED
        self._now = self._before = 0  # highest peaks: of the latest tasks, and of those before them
        self._counted = 0  # finished tasks at the beginning of the latest
        self._finished = 0

    @property
    def measured(self) -> bool:
        """Whether it is known of finished tasks."""
        return self._finished > 0

    @property
    def bytes(self) -> int:
        """What a worker must be expected to take."""
        seen = max(self._now, self._before)
        return max(LEAST, seen) if self.measured else max(self._assumed, seen)

    def saw(self, peaks: Sequence[int], finished: int) -> bool:
        """Take in the peaks of all workers, so many tasks having ended by now; returns whether to measure peaks anew."""
        self._now = max(self._now, *peaks, 0)
        self._finished = finished
        anew = finished >= self._counted + REMEMBERED
        if anew:
            self._before, self._now, self._counted = self._now, 0, finished
        return anew

    def not_enough(self, room: int, held: int, workers: int) -> None:
        """Memory has run out with so many workers."""
        self._now = max(self._now, int((room + held) / max(1, workers)) + 1)

    def workers(self, room: int, held: int, before: int | None = None) -> int:
        """How many there is memory for: `room` bytes are left beside the `held` that workers have now; at least 1.

        More than `before` only where there is clearly room for them: else they would come and go.
        """
        fit = SAFE * (room + held) / self.bytes
        if before is not None and fit >= before + 1:
            fit = max(before, fit * MORE)
        return max(1, int(fit))


def next_look(room: int, workers: int) -> float:
    """Seconds in which so many workers cannot have filled what room there is."""
    return min(LONGEST, max(SHORTEST, room / (FILLING * max(1, workers))))
