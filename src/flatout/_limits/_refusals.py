"""What is known of calls that were refused for being too many at once."""

from __future__ import annotations

import math

FEW = 4  # refusals that are put up with: they may have other reasons; guessed
SHARE = 0.1  # of calls refused beyond which there are too many; guessed
HALF = 0.3  # share of calls refused beyond which the value is halved, not merely lowered; guessed
LOWERED = 0.8  # the value where fewer were refused; guessed
CLOSE = 20  # the value is close enough to one that was refused at a twentieth of that; guessed
PATIENCE = 4  # times that a value which was refused is not tried again; guessed


class Refusals:
    """Counts them, and says what to have in flight after that: between what was accepted and what was refused.

    Calls that had begun before the last cut tell of the value before it, and are not counted: so old calls drain.
    """

    def __init__(self) -> None:
        self.seen = False
        self.clean = 0  # calls that ended since the last cut, or since the count began anew, if none was refused
        self._refused_at: int | None = None  # the lowest value that was
        self._accepted_at: int | None = None  # the highest below it that was not
        self._resume: int | None = None  # the value before refusals began that lowering it has not ended yet
        self._cut_at = -math.inf
        self._ended = self._refused = 0
        self._turns = 0

    @property
    def bound(self) -> bool:
        """Whether it is refusals that say how far it may go."""
        return self._refused_at is not None

    @property
    def over(self) -> bool:
        """Whether calls are accepted again after a time in which even one at a time was too many."""
        return self._refused_at == 1 and self._resume is not None and self.clean >= FEW

    def begin(self) -> None:
        """Count anew."""
        self.clean = self._ended = self._refused = 0

    def ended(self, count: int, refused: int, began: float, value: int) -> bool:
        """So many calls ended, so many of them refused. Returns whether these are too many."""
        if not (refused or self.seen) or began < self._cut_at:
            return False
        if self._ended >= max(value, FEW / SHARE):
            self._ended = self._refused = 0
        self.seen = True
        self._ended += count
        self._refused += refused
        self.clean = 0 if refused else self.clean + count
        return self._refused >= min(FEW, value) and self._refused >= SHARE * self._ended

    def cut(self, value: int, now: float) -> int:
        """What to have in flight after too many refusals at that value."""
        share = self._refused / self._ended
        if self._resume is None:
            self._resume = value
        if self._accepted_at is not None and self._accepted_at < value:
            fit = self._accepted_at
        else:
            fit, self._accepted_at = max(1, value // 2 if share > HALF else int(value * LOWERED)), None
        self._refused_at = value
        self._cut_at = now
        self.begin()
        return fit

    def next_above(self, value: int, wanted: int, ceiling: int) -> int:
        """What to try next, where nothing is refused at that value."""
        resume, self._resume = self._resume, None
        if self._refused_at is None:
            return wanted
        if self._refused_at == 1 and resume is not None:  # nothing at all was accepted: not for being too many
            self._refused_at = None
            return min(resume, ceiling)
        if self._refused_at <= value:
            self._refused_at = None
            return wanted
        self._accepted_at = value
        gap = self._refused_at - value
        if gap > max(1, self._refused_at // CLOSE):
            return min(wanted, value + gap // 2)
        self._turns = (self._turns + 1) % PATIENCE
        return value if self._turns else min(self._refused_at, ceiling)
