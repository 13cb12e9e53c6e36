"""The duel: where there is no GIL, two threads against one, on real inputs, show whether computing gains from threads.

The probe's watcher sees nothing there. And without the GIL threads still meet at locks and at the counts of references to
what they share, so that two may be slower than one.
"""

from __future__ import annotations

import math

from flatout._model import Measurement
from flatout._record import record, replace

SCALES = 1.3  # times the throughput of one thread that two must have for computing to go to threads; guessed
SIDE = 0.010  # seconds of calls for each of the two in one round: a hundred times the start of a thread; guessed
ROUNDS = 2  # of two threads, after one of one: it is the best that counts, since other work only spoils them; guessed
FRUITLESS = 3  # batches of a single task, after which no duel can be had
MOST_CALLS = 5_000  # for each of the two in one round; guessed


@record
class Reading:
    """What one thread did in a round: calls, and seconds since the round began."""

    calls: int
    seconds: float


Round = tuple[Reading, ...]  # one for each thread


def seconds_per_call(threads: Round) -> float:
    """Of a round: who was done first waited for the others."""
    return max(side.seconds for side in threads) / sum(side.calls for side in threads)


def gain(alone: float, rounds: list[Round]) -> float | None:
    """How many times the throughput of one thread two have, by the best round of each; None where none was fought.

    alone: seconds of a call as the probe has them, which may have been the first.
    """
    pairs = [seconds_per_call(threads) for threads in rounds if len(threads) == 2]
    ones = [seconds_per_call(threads) for threads in rounds if len(threads) == 1]
    return min([alone, *ones]) / max(min(pairs), 1e-9) if pairs else None


def shared_out(measured: Measurement, gained: float | None) -> Measurement:
    """The measurement with computing parted into what goes on one thread at a time (`gil`) and what does not (`free`).

    By Amdahl's law two threads gain 2 / (1 + s) where the share s is serial. What gains less than `SCALES`, or was not
    put to the test, is taken to be serial altogether: processes scale anyway.
    """
    compute = measured.gil + measured.free
    serial = 1.0 if gained is None or gained < SCALES else min(1.0, max(0.0, 2 / gained - 1))
    return replace(measured, gil=serial * compute, free=(1 - serial) * compute)


class Duel:
    """The state of one: when it is due, how many calls a round has, what it has shown."""

    def __init__(self) -> None:
        self.on = False  # batches are to be fought over
        self.over = False
        self._alone = 0.0
        self._rounds: list[Round] = []
        self._single = 0

    def begin(self, alone: float) -> int:
        """The next batches are fought over; returns how many tasks each is to have. `alone`: seconds of a call so far."""
        self.on, self._alone = True, alone
        return 2 * min(MOST_CALLS, max(1, math.ceil(SIDE / max(alone, 1e-9))))

    @property
    def threads(self) -> int:
        """How many are to run the next batch."""
        return 2 if self._rounds else 1

    def fought(self, threads: Round) -> bool:
        """Take in a round; returns whether that was the last."""
        if sum(side.calls for side in threads) < 2:
            self._single += 1
        elif len(threads) == self.threads:
            self._rounds.append(threads)
        else:  # no second thread was to be had
            self._single = FRUITLESS
        self.over = len(self._rounds) > ROUNDS or self._single >= FRUITLESS
        self.on = not self.over
        return self.over

    @property
    def gain(self) -> float | None:
        """See the function."""
        return gain(self._alone, self._rounds)
