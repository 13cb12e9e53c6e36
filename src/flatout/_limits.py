"""How many tasks run at once: numbers in, a number out."""

from __future__ import annotations

import math

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object

GAIN = 1.1  # a step up must bring a tenth more throughput to be kept; guessed, above the noise seen between windows
FEWEST = 16  # completions in a window at least, lest chance decides; guessed
REST = 2  # windows on a plateau before it is probed again, doubled each time that the probe brings nothing; guessed,
LONGEST_REST = 64  # so that probing costs a run that has found its plateau about a hundredth
UNHINDERED = 1.5  # times as long as the quickest that a task takes where none waits for another; guessed


class Limit(Protocol):
    """Most tasks in flight at this moment."""

    value: int

    def finished(self, count: int, now: float, saturated: bool, seconds: float = 0.0) -> None:
        """So many attempts ended; `saturated`: the limit, not the input, held back the rest.

        `seconds`: how long they took together, where the first of them had no other in its way; 0: not known.
        """

    def idle(self) -> None:
        """As many are in flight as may be, all have begun, and none computes."""


class Fixed:
    """A limit that stays."""

    def __init__(self, value: int) -> None:
        self.value = value

    def finished(self, count: int, now: float, saturated: bool, seconds: float = 0.0) -> None:
        """Nothing to learn."""

    def idle(self) -> None:
        """Nothing to learn."""


class Adaptive:
    """Doubles while throughput rises with it, and halves while throughput does not fall with it.

    A window is as many completions as there are places, during all of which the limit was the bottleneck. A step is
    tried for two: the first still tells of the value before, the second is compared with the last before the step. A
    step up that brings less than a tenth is taken back, and so is a step down that costs more; then the limit rests and
    the other way is tried. (Steps down undo what chance has let pass: without them noise drives the limit up for ever.)
    None is tried while tasks take about as long as the quickest did, and so do not wait for one another.

    Before any of this can be known it doubles as long as everything in flight waits and nobody computes: by the law of
    the exhibition more in flight is useful then. A service cannot be asked what it bears; where it bears less, the
    first steps down show it.
    """

    def __init__(self, start: int, ceiling: int) -> None:
        self.value = min(start, ceiling)
        self._ceiling = ceiling
        self._upward = True
        self._before: int | None = None  # the value before the step that is on trial
        self._base = 0.0  # completions a second before that step
        self._rest = REST
        self._idle_windows = 0  # still to pass without a judgement
        self._count = 0
        self._since: float | None = None
        self._seconds = 0.0  # that those in the window took
        self._quickest = math.inf  # mean of the tasks that ended together, the least so far
        self._latest = 0.0  # when the last completions came; those of one moment belong to one window

    def finished(self, count: int, now: float, saturated: bool, seconds: float = 0.0) -> None:
        """Note completions; step when a window is full."""
        self._quickest = min(self._quickest, seconds / count)
        if not saturated:
            self._count, self._seconds, self._since = 0, 0.0, None
            return
        if self._since is None or now <= self._since:
            # The window opens with the first completions, which themselves are not counted: what ran before is unknown.
            self._since = now
            return
        if self._count >= max(self.value, FEWEST) and now > self._latest:
            throughput, mean = self._count / (self._latest - self._since), self._seconds / self._count
            self._count, self._seconds, self._since = 0, 0.0, self._latest
            self._window_closed(throughput, 0.0 < mean < UNHINDERED * self._quickest)
        self._count += count
        self._seconds += seconds
        self._latest = now

    def idle(self) -> None:
        """Double, without waiting for completions: where nothing computes, more in flight is useful (k* of the law)."""
        self.value = min(self.value * 2, self._ceiling)
        self._before = self._since = None
        self._count, self._seconds = 0, 0.0

    def _window_closed(self, throughput: float, unhindered: bool) -> None:
        if self._idle_windows > 0:
            self._idle_windows -= 1
        elif self._before is not None and throughput < self._base * (GAIN if self._upward else 1 / GAIN):
            self.value, self._before = self._before, None
            self._turn_round()
        else:
            if self._before is not None:
                self._rest = REST
            self._step(throughput, unhindered)

    def _step(self, throughput: float, unhindered: bool) -> None:
        if self._upward:
            target = min(self.value * 2, self._ceiling)
        else:
            target = self.value if unhindered else max(self.value // 2, 1)
        if target == self.value:
            self._before = None
            self._turn_round()
        else:
            self._before, self._base, self.value = self.value, throughput, target
            self._idle_windows = 1

    def _turn_round(self) -> None:
        self._upward = not self._upward
        self._idle_windows, self._rest = self._rest, min(2 * self._rest, LONGEST_REST)
