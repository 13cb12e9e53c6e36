"""How many tasks run at once: numbers in, a number out."""

from __future__ import annotations

from typing import Protocol

GAIN = 1.1  # a step up must bring a tenth more throughput to be kept; guessed, above the noise seen between windows
REST = 8  # windows to stay on a plateau before it is probed again; borrowed from the rules of adaptive LLM clients


class Limit(Protocol):
    """Most tasks in flight at this moment."""

    value: int

    def finished(self, count: int, now: float, saturated: bool) -> None:
        """So many attempts ended; `saturated`: the limit, not the input, held back the rest."""


class Fixed:
    """A limit that stays."""

    def __init__(self, value: int) -> None:
        self.value = value

    def finished(self, count: int, now: float, saturated: bool) -> None:
        """Nothing to learn."""


class Adaptive:
    """Doubles while throughput rises with it.

    Each step needs the evidence of a full window (as many completions as there are places) during which the limit was
    the bottleneck. A step that brings less than a tenth is taken back, and tried again only after some windows.
    """

    def __init__(self, start: int, ceiling: int) -> None:
        self.value = min(start, ceiling)
        self._ceiling = ceiling
        self._settled: int | None = None  # the value before the step that is on trial
        self._base = 0.0  # completions a second before that step
        self._resting = 0
        self._count = 0
        self._since: float | None = None

    def finished(self, count: int, now: float, saturated: bool) -> None:
        """Note completions; step when a window is full."""
        if not saturated:
            self._count, self._since = 0, None
            return
        if self._since is None:
            # The window opens with the first completion, which itself is not counted: what ran before it is unknown.
            self._since = now
            return
        self._count += count
        if self._count >= self.value and now > self._since:
            throughput = self._count / (now - self._since)
            self._count, self._since = 0, now
            self._step(throughput)

    def _step(self, throughput: float) -> None:
        if self._settled is not None and throughput < self._base * GAIN:
            self.value, self._settled, self._resting = self._settled, None, REST
            return
        if self._resting > 0:
            self._resting -= 1
            return
        if self.value < self._ceiling:
            self._settled, self._base = self.value, throughput
            self.value = min(self.value * 2, self._ceiling)
        else:
            self._settled = None
