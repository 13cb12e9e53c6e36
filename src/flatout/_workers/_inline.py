"""The seat: the caller's own thread. The reference: every other kind agrees with it on order, errors and results."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from flatout._awaitable import is_awaitable
from flatout._events import SEAT, BatchFinished, TasksReturned, WorkerReady
from flatout._model import Batch, Work
from flatout._record import replace
from flatout._workers._base import Host
from flatout._workers._call import Caller, OwnLoop

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any


class Seat:
    """Holds the batch that the caller's thread is to run; that thread takes it when it has nothing else to do."""

    def __init__(self, work: Work, host: Host, filled: Callable[[], None]) -> None:
        self._work = work
        self._host = host
        self._filled = filled
        self._loop = OwnLoop()
        self._caller = Caller(work, self._loop)
        self._batch: Batch | None = None

    def start(self) -> None:
        """Nothing to make ready but the initializer."""
        if self._work.initializer is not None:
            value = self._work.initializer()
            if is_awaitable(value):
                self._loop(value)
        self._host.post(WorkerReady(SEAT, "the calling thread"))

    def send(self, batch: Batch) -> None:
        """Lay a batch down for the caller."""
        self._batch = batch
        self._filled()

    def take(self) -> Batch | None:
        """The batch that lies there, if any; called by the caller's thread."""
        batch, self._batch = self._batch, None
        return batch

    def run(self, batch: Batch, await_result: Callable[[Awaitable[Any]], Any] | None = None) -> BatchFinished:
        """Run it, in the caller's thread; others may come meanwhile to do it better: see `give_back`, and `Caller.run`."""
        event = self._caller.run(batch, SEAT, await_result)
        self._return(*self._caller.left_over(event))
        return event

    @property
    def done(self) -> int:
        """How many calls of the batch in hand are over; from any thread."""
        return self._caller.done

    def give_back(self) -> None:
        """Leave to others what is not begun of the batch in hand; from any thread."""
        self._return(*self._caller.give_back())

    def _return(self, first: int, count: int) -> None:
        if count:
            self._host.post(TasksReturned(SEAT, first, count))

    def finish(self, batch: Batch, event: BatchFinished) -> BatchFinished:
        """Await, in the caller's thread, what the calls of a batch have returned to be awaited."""
        values, errors = list(event.values), list(event.errors)
        self._caller.await_each(batch, values, errors)
        return replace(event, values=values, errors=tuple(errors))

    def running(self) -> Sequence[tuple[int, float]]:
        """What the caller is on."""
        return [] if self._caller.current is None else [self._caller.current]

    def cancel(self, index: int) -> None:
        """Nothing can end a call in the caller's own thread."""

    def stop(self) -> None:
        """Nothing to stop: see `end`."""

    def kill(self) -> None:
        """As `cancel`."""

    def close(self) -> None:
        """Nothing of the host is held."""

    def end(self) -> None:
        """Close the loop that the caller's thread may have used; called by that thread."""
        self._loop.close()
