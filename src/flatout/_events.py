"""What happened (events, in the past tense) and what to do (commands, in the imperative).

Events enter the dispatcher by `Dispatcher.handle`; commands leave it. Workers are named by numbers that are never used
twice in a run; number 0 is the seat: the caller's own thread.
"""

from __future__ import annotations

from collections.abc import Sequence

from flatout._model import Batch, Inside, Kind, Plan, Settled
from flatout._record import record

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any

SEAT = 0


@record
class TaskError:
    """One failed attempt: `offset` counts from the first task of the event that carries it."""

    offset: int
    error: BaseException
    retryable: bool = True


@record
class TasksDrawn:
    """Inputs came out of the iterable."""

    batch: Batch


@record
class InputEnded:
    """The iterable is exhausted, or has raised `error`."""

    error: BaseException | None = None


@record
class PlanChosen:
    """How to go on: from now on by this plan."""

    plan: Plan


@record
class WorkerReady:
    """A worker can take batches. `name` is for people."""

    worker: int
    name: str = ""


@record
class BatchFinished:
    """Attempts ended: those of the tasks first ... first + len(values) - 1, all or part of what was sent.

    `values` has None where `errors` has an entry. Seconds are for all of them together, and so is `size`: the bytes that
    inputs and results took to move, where they had to. `indices`, in ascending order, says which tasks they are where
    there are gaps, as in an event loop. `queued`: seconds that were spent waiting for a core, where that is known.
    """

    worker: int
    first: int
    values: Sequence[Any]
    errors: tuple[TaskError, ...] = ()
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    size: int = 0
    indices: Sequence[int] = ()
    queued: float = 0.0

    def runs(self) -> list[tuple[int, int, int]]:
        """The tasks without the gaps: (first index, offset of its value, count)."""
        indices, count = self.indices, len(self.values)
        if not indices:
            return [(self.first, 0, count)]
        starts = [0, *(i for i in range(1, count) if indices[i] != indices[i - 1] + 1)]
        return [(indices[i], i, end - i) for i, end in zip(starts, [*starts[1:], count], strict=True)]


@record
class TasksReturned:
    """A worker has given back tasks that it has not begun: those before them took long, or others are to run them."""

    worker: int
    first: int
    count: int


@record
class WorkerObserved:
    """Which tasks a worker is on, as (index, when it began); the answer to `Observe`."""

    worker: int
    running: Sequence[tuple[int, float]]


@record
class LoopIdle:
    """All tasks of an event loop have begun, and it has come round with nothing to run: they wait."""

    worker: int


@record
class CpuRead:
    """The CPU seconds that this process has used so far; the answer to `ReadCpu`."""

    seconds: float


@record
class WorkerExited:
    """A worker is gone. `suspects` are the tasks it may have died of, `error` what of (None: it left in peace).

    A single suspect is to blame; of several, each is run again alone.

    `fatal`: another worker would fare no better (its initializer failed), so that the run must end. `starved`: the system
    killed it as memory ran out, which may have been its neighbours' fault.
    """

    worker: int
    error: BaseException | None = None
    suspects: Sequence[int] = ()
    fatal: bool = False
    starved: bool = False


@record
class RoomChanged:
    """There is memory for so many worker processes from now on; at least one is had all the same."""

    processes: int


@record
class Consumed:
    """The consumer has taken so many outcomes."""

    count: int


@record
class CancelRequested:
    """The rest is not wanted any more."""


@record
class Tick:
    """Time has passed: `Dispatcher.wake_at` was reached."""


Event = (
    TasksDrawn
    | InputEnded
    | PlanChosen
    | WorkerReady
    | BatchFinished
    | TasksReturned
    | WorkerObserved
    | LoopIdle
    | CpuRead
    | WorkerExited
    | RoomChanged
    | Consumed
    | CancelRequested
    | Tick
)


@record
class Draw:
    """Draw so many more inputs."""

    count: int


@record
class StartWorker:
    """Start a worker of this kind; `inside`: what runs its tasks, where it begins all of them at once."""

    worker: int
    kind: Kind
    inside: Inside = ""


@record
class SendBatch:
    """Have a worker run these tasks."""

    worker: int
    batch: Batch


@record
class TakeBack:
    """Have threads that are one worker return what they have not begun."""

    worker: int


@record
class Observe:
    """Find out which tasks a worker is on: one may be over its time."""

    worker: int


@record
class ReadCpu:
    """Find out how much this process has computed."""


@record
class CancelTask:
    """End one task of a worker that can end a task alone (the event loop); it still reports the task."""

    worker: int
    index: int


@record
class KillWorker:
    """End a worker now, whatever it is on."""

    worker: int


@record
class StopWorker:
    """Let an idle worker go."""

    worker: int


@record
class Deliver:
    """Hand outcomes to the consumer."""

    settled: Settled


@record
class Finish:
    """The run is over; `error` is what the consumer must be told after the last outcome."""

    error: BaseException | None = None
    cancelled: bool = False


Command = (
    Draw
    | StartWorker
    | SendBatch
    | TakeBack
    | Observe
    | ReadCpu
    | CancelTask
    | KillWorker
    | StopWorker
    | Deliver
    | Finish
)
