"""From the order of finishing to the order of the inputs."""

from __future__ import annotations

from itertools import chain, groupby

from flatout._model import Settled


class Order:
    """Gives outcomes on in the order of their inputs, or at once where order is not asked for."""

    def __init__(self, ordered: bool) -> None:
        self._ordered = ordered
        self.next = 0  # whose turn it is; how many were given on, where order is not asked for
        self._waiting: dict[int, Settled] = {}

    def add(self, settled: Settled) -> list[Settled]:
        """Take outcomes in; return those whose turn has come."""
        if not self._ordered:
            self.next += len(settled)
            return [settled]
        if settled.first != self.next:
            self._waiting[settled.first] = settled
            return []
        due = [settled]
        self.next = settled.end
        # Spans never overlap, so the next index always begins a span.
        while (head := self._waiting.pop(self.next, None)) is not None:
            due.append(head)
            self.next = head.end
        return due if len(due) == 1 else _joined(due)


def _joined(due: list[Settled]) -> list[Settled]:
    """The same in fewer pieces: those of one worker that follow one another, failures apart."""
    return [
        settled
        for (worker, failed), pieces in groupby(due, key=lambda settled: (settled.worker, settled.failed))
        for settled in (pieces if failed else [_join(list(pieces))])
    ]


def _join(pieces: list[Settled]) -> Settled:
    if len(pieces) == 1:
        return pieces[0]
    values = list(chain.from_iterable(piece.values for piece in pieces))
    seconds = sum(piece.seconds * len(piece) for piece in pieces) / len(values)
    return Settled(pieces[0].first, values, seconds=seconds, worker=pieces[0].worker)
