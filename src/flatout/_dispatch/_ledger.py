"""What has become of every task, and what of it is due to the consumer."""

from __future__ import annotations

from collections.abc import Sequence

from flatout._dispatch._order import Order
from flatout._model import Batch, Failure, Settled

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any


class Ledger:
    """Counts inputs and outcomes, and puts outcomes into order.

    Where a failure ends the run (`stops`), it also knows the lowest failed task so far, and how many tasks before it are
    still without an outcome; what is behind it is not told any more. With `collect` outcomes are consumed as they come.
    """

    def __init__(self, *, ordered: bool, collect: bool, stops: bool) -> None:
        self.drawn = self.consumed = self.succeeded = self.failed = self.cancelled = 0
        self.stop: Settled | None = None  # the failure that ends the run
        self.before_stop = 0  # tasks before it without an outcome
        self._order = Order(ordered)
        self._collect = collect
        self._stops = stops

    @property
    def held(self) -> int:
        """Inputs drawn whose outcomes are not consumed yet."""
        return self.drawn - self.consumed

    @property
    def waits_for_one(self) -> bool:
        """Whether the consumer is done with all that could be told in order, so that he waits for the next."""
        return self.consumed == self._order.next

    def wants(self, index: int) -> bool:
        """Whether the outcome of a task still matters."""
        return self.stop is None or index < self.stop.first

    def wanted(self, batch: Batch) -> Batch:
        """The tasks of a batch whose outcomes still matter."""
        if self.stop is None or batch.end <= self.stop.first:
            return batch
        return batch.part(batch.first, max(batch.first, self.stop.first))

    def succeed(self, first: int, values: Sequence[Any], seconds: float, worker: str) -> list[Settled]:
        """These tasks have their values; returns what is due to the consumer."""
        self.succeeded += len(values)
        return self._settle(Settled(first, values, seconds=seconds, worker=worker))

    def fail(self, failure: Failure, worker: str) -> list[Settled]:
        """This task has failed for good; returns what is due. Where it is what ends the run now, `stop` is it."""
        self.failed += 1
        settled = Settled(failure.index, [failure], frozenset([0]), failure.seconds, worker)
        if not self._stops:
            return self._settle(settled)
        if self.stop is not None:
            self.failed -= 1  # only the lowest is told; the other counts as cancelled
        if self.wants(failure.index):
            self.stop = settled
        return []

    def close(self) -> None:
        """The run is over: what has no outcome by now is cancelled."""
        self.cancelled = self.drawn - self.succeeded - self.failed

    def _settle(self, settled: Settled) -> list[Settled]:
        if self.stop is not None:
            if not self.wants(settled.first):
                return []
            self.before_stop -= len(settled)
        if self._collect:
            self.consumed += len(settled)
        return self._order.add(settled)
