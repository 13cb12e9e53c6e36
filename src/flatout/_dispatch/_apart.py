"""Tasks that memory has not sufficed for: each runs again with no other task in processes beside it."""

from __future__ import annotations

from collections.abc import Iterable

from flatout._dispatch._batching import Queue
from flatout._dispatch._crew import Crew
from flatout._model import Batch


class Apart:
    """Knows these tasks, and when nothing else may be begun for their sake.

    Their neighbours' memory may have been the reason for their end. What these are on is not ended for that, but nothing
    follows it, until such a task has had its turn.
    """

    def __init__(self) -> None:
        self._tasks: set[int] = set()

    def add(self, tasks: Iterable[int]) -> None:
        """The worker of these was killed as the system ran out of memory."""
        self._tasks.update(tasks)

    def ended(self, batch: Batch) -> None:
        """These have ended, in whatever way."""
        if self._tasks:
            self._tasks.difference_update(range(batch.first, batch.end))

    def hold_back(self, queue: Queue, queues: Iterable[Queue], crew: Crew) -> bool:
        """Whether no process may be given the next task of this queue now."""
        if not self._tasks:
            return False
        if any(index in worker.hands for worker in crew.workers.values() for index in self._tasks):
            return True
        due = next((other for other in queues if other.first_alone in self._tasks), None)
        return due is not None and (due is not queue or crew.running["process"] > 0)
