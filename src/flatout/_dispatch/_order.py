"""From the order of finishing to the order of the inputs."""

from __future__ import annotations

from flatout._model import Settled


class Order:
    """Gives outcomes on in the order of their inputs, or at once where order is not asked for."""

    def __init__(self, ordered: bool) -> None:
        self._ordered = ordered
        self._next = 0
        self._waiting: dict[int, Settled] = {}

    def add(self, settled: Settled) -> list[Settled]:
        """Take outcomes in; return those whose turn has come."""
        if not self._ordered:
            return [settled]
        self._waiting[settled.first] = settled
        due = []
        # Spans never overlap, so the next index always begins a span.
        while (head := self._waiting.pop(self._next, None)) is not None:
            due.append(head)
            self._next = head.end
        return due
