"""A worker process with several tasks in flight, in threads or on an event loop of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flatout._events import LoopIdle
from flatout._model import Batch
from flatout._wire import _frames, _values
from flatout._wire._frames import Frame
from flatout._workers._base import Host
from flatout._workers._pool import Process
from flatout._workers._process import ProcessWorker, Setup

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from flatout._workers._process import Emit


class MixedWorker(ProcessWorker):
    """Begins what it is sent at once, or, in threads, when it is its turn. If it dies, all that has begun is suspect.

    Tasks begin in the order in which they are sent: the last to begin, which the page names, tells for all.
    `clock`: that of the run, by which it is told when tasks were sent.
    """

    def __init__(
        self, number: int, setup: Setup, host: Host, emit: Emit, keep: int, clock: Callable[[], float]
    ) -> None:
        super().__init__(number, setup, host, emit, keep)
        self._clock = clock
        self._in_flight: dict[int, tuple[float, int]] = {}  # when each was sent, and as which of all
        self._count = 0  # of tasks sent
        self._handlers[_frames.IDLE] = self._idle

    def running(self) -> Sequence[tuple[int, float]]:
        """The tasks in flight."""
        return [(index, sent) for index, (sent, _) in self._in_flight.items()]

    def cancel(self, index: int) -> None:
        """Cancel one task at its next `await`, where it is one on an event loop."""
        if self._process is not None:
            self._put(_frames.CANCEL, _values.dump(index), [])

    def _idle(self, frame: Frame) -> None:
        self._host.post(LoopIdle(self._number))

    def _sent(self, batch: Batch) -> None:
        now = self._clock()
        for index in range(batch.first, batch.end):
            self._count += 1
            self._in_flight[index] = now, self._count

    def _reported(self, first: int, count: int, indices: Sequence[int] | None = None) -> None:
        for index in indices or range(first, first + count):
            if self._in_flight.pop(index, None) is None:
                raise ValueError(f"a report of task {index}, which it was not sent")

    def _when(self, process: Process) -> str:
        count = len(self._suspects(process))
        return f"with {count} task{'s' * (count != 1)} in flight" if count else "with no task in hand"

    def _up_to(self, process: Process) -> Sequence[int]:
        return self._suspects(process)

    def _suspects(self, process: Process) -> Sequence[int]:
        """Those that have begun, and one whose input is being loaded."""
        loading = [index for index, _ in process.running]
        return [index for index, (_, n) in self._in_flight.items() if n <= process.begun or index in loading]
