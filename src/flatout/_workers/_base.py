"""The seam: what the driver expects of every kind of worker, and what a worker may expect of the driver."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flatout._events import Event
from flatout._model import Batch

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object


class Worker(Protocol):
    """Runs batches and reports by events. Its methods are called by one thread at a time and do not block.

    After `start` comes `WorkerReady` or `WorkerExited`; after `send`, a `BatchFinished` for each task of the batch (one
    for several where it suits) or `WorkerExited`; after `kill`, `WorkerExited`. After `stop` nothing comes.
    """

    def start(self) -> None:
        """Make ready for work."""

    def send(self, batch: Batch) -> None:
        """Run these tasks, after those that were sent before."""

    def running(self) -> Sequence[tuple[int, float]]:
        """The tasks it is on, as (index, when it began), on the clock of the run."""

    def cancel(self, index: int) -> None:
        """End one task; only asked of the event loop, which can."""

    def stop(self) -> None:
        """Leave; there is nothing in hand."""

    def kill(self) -> None:
        """Leave now, whatever is in hand, or, where that cannot be, be left behind."""

    def close(self) -> None:
        """The run is over, nobody listens any more: let go of the host."""


class Host(Protocol):
    """Where a run's driver lives: what it lends to its workers."""

    def post(self, event: Event) -> None:
        """Take an event in; from any thread."""

    def soon(self, report: Callable[[], Event | None]) -> None:
        """Call this when events are dealt with next, and deal with what it returns first; in an event loop in its thread only."""

    def hurry(self) -> None:
        """Deal with events now, in the middle of whatever this is called from; in the host's thread only."""

    def watch(self, fd: int, readable: Callable[[], None], writable: Callable[[], None] | None = None) -> None:
        """Call back when a descriptor is readable (and writable, where that is asked for); replaces what was asked before."""

    def unwatch(self, fd: int) -> None:
        """Call back no more."""
