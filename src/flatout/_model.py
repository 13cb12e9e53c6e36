"""The nouns of flatout, frozen: what crosses the borders between its parts.

Indices count inputs from 0 in the order in which they were drawn. Times are float seconds.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Sequence
from contextvars import Context

from flatout._record import fresh, record

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any, Literal

    Kind = Literal["inline", "async", "thread", "process"]
    Inside = Literal["", "async", "thread"]
    OnError = Literal["raise", "return", "skip"]
else:
    Kind = Inside = OnError = str

KINDS: tuple[Kind, ...] = ("inline", "async", "thread", "process")


@record
class Retry:
    """How often and when a failed task is tried again.

    attempts: calls in all, the first one included.
    on: the exceptions worth another try.
    backoff: seconds to wait before the second attempt, doubled before each further one; or a function that gets the
        number of attempts made so far (1, 2, ...) and returns seconds.
    """

    attempts: int = 3
    on: type[BaseException] | tuple[type[BaseException], ...] = Exception
    backoff: float | Callable[[int], float] = 0.1

    def delay(self, attempts_made: int) -> float:
        """Seconds to wait after so many attempts."""
        if callable(self.backoff):
            return max(0.0, float(self.backoff(attempts_made)))
        return self.backoff * 2.0 ** min(attempts_made - 1, 60)


@record
class Failure:
    """A task that did not end in a value.

    `input` is a short repr of its input, `error` the exception, `kind` the kind of worker it ran in, `attempts` how
    often it was tried, `seconds` how long the last attempt took.
    """

    index: int
    input: str
    error: BaseException
    kind: Kind
    attempts: int
    seconds: float

    def __str__(self) -> str:
        what = f"{type(self.error).__name__}: {self.error}".rstrip(": ")
        return f"task {self.index} (input {self.input}) failed: {what}"


@record
class Done:
    """One finished task, as `Run.as_completed` gives it.

    `value` is None where the task failed: then `failure` says why. `seconds` is the time of the call (for tasks that were
    sent or reported together, their mean). `worker` names the worker.
    """

    index: int
    value: Any
    failure: Failure | None
    seconds: float
    worker: str


@record
class Batch:
    """Tasks with consecutive indices that travel together; `attempt` counts from 1.

    `route` is the kind of worker that must run it, None where any worker of the run will do.
    """

    first: int
    inputs: Sequence[Any]
    attempt: int = 1
    route: Kind | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def end(self) -> int:
        """The index behind the last task."""
        return self.first + len(self.inputs)

    def part(self, start: int, end: int) -> Batch:
        """The tasks with indices from start up to but not including end."""
        return Batch(start, self.inputs[start - self.first : end - self.first], self.attempt, self.route)


@record
class Settled:
    """Final outcomes of tasks with consecutive indices.

    `values[i]` belongs to task `first + i`; where `i` is in `failed` it is a `Failure`. (A mere isinstance check would
    mistake a `Failure` that the user's function returned for one of ours.)
    """

    first: int
    values: Sequence[Any]
    failed: frozenset[int] = frozenset()
    seconds: float = 0.0
    worker: str = ""

    def __len__(self) -> int:
        return len(self.values)

    @property
    def end(self) -> int:
        """The index behind the last task."""
        return self.first + len(self.values)


@record
class Work:
    """What workers are to do: the function, how inputs become arguments, and where it runs.

    With `star` an input is a tuple of arguments, as when several iterables are mapped at once. `timed`: tasks have a
    timeout, so that it must be known of each when it began.
    """

    func: Callable[..., Any]
    star: bool = False
    initializer: Callable[[], Any] | None = None
    context: Context = fresh(factory=Context)
    timed: bool = False


@record
class Options:
    """The options of `map` after they have been checked. None: chosen."""

    via: Kind | Literal["auto"] | Plan = "auto"
    max_concurrency: int | None = None
    max_per_second: float | None = None
    chunksize: int | None = None
    buffersize: int | None = None
    timeout: float | None = None
    retry: Retry = Retry(attempts=1)
    on_error: OnError = "raise"
    initializer: Callable[[], Any] | None = None
    progress: bool = False


@record
class Measurement:
    """What the probe saw, per call, in seconds: the c = gil + free and w of the exhibition law.

    gil: computing while holding the GIL. free: computing after letting go of it. wait: neither; for threads of its own,
    perhaps. transfer: pickling input and result, both ways. calls: finished calls that were measured, 0 when the decision
    fell in the middle of the first; those of an earlier run where that has judged them. unpicklable: why it cannot cross a process border, empty where it can. own: what
    threads and child processes of the call's own compute meanwhile, which is no part of its wall time. peak_bytes: of
    memory that a call takes for a while, 0 where that cannot be told.
    """

    gil: float
    free: float
    wait: float
    transfer: float = 0.0
    calls: int = 1
    unpicklable: str = ""
    own: float = 0.0
    peak_bytes: int = 0

    @property
    def seconds(self) -> float:
        """Wall time of one call."""
        return self.gil + self.free + self.wait

    @property
    def cores(self) -> float:
        """How many cores one call keeps busy by itself, on average."""
        return (self.gil + self.free + self.own) / self.seconds if self.seconds else 0.0


@record
class Prediction:
    """What the law expects of one way: seconds for all tasks that are left (for 1000 where their number is unknown).

    In the words of the exhibition: `concurrency` tables are in play, `masters` calls can compute at once, and more than
    `useful` tables bring nothing, since the masters are busy all the time then (k* = m (c + w) / c). `impossible` says why
    this way is out of the question, empty where it is not. `inside`: see `Plan`.
    """

    kind: Kind
    concurrency: int
    seconds: float
    impossible: str = ""
    inside: Inside = ""
    masters: float = 1.0
    useful: float = 1.0

    @property
    def way(self) -> str:
        """See `Plan.way`."""
        return way(self.kind, self.inside)


@record
class Plan:
    """How a run is carried out. Write one by hand and pass it as `via=` to take the choice out of flatout's hands.

    kind: the kind of worker. concurrency: tasks in flight at the start. ceiling: most tasks in flight, to which a run
    may grow from `concurrency`; None: it does not grow. chunksize: tasks sent together, None: from their measured time.
    buffersize: inputs and results held at most, None: from concurrency and chunksize. reason: one sentence with the figures.

    A mixture has several tasks in flight in each process. inside: what runs them there, "thread" or "async" (an event loop);
    empty: nothing, a process runs one after another. processes: how many there are then, None: one for each usable core.
    """

    kind: Kind
    concurrency: int = 1
    ceiling: int | None = None
    chunksize: int | None = None
    buffersize: int | None = None
    reason: str = "given by the caller"
    measured: Measurement | None = None
    predictions: tuple[Prediction, ...] = ()
    processes: int | None = None
    inside: Inside = ""

    @property
    def predicted(self) -> Prediction | None:
        """Of the predictions, the one that the plan follows; None where it was not chosen by prediction."""
        return next((p for p in self.predictions if (p.kind, p.inside) == (self.kind, self.inside)), None)

    def __str__(self) -> str:
        return f"{self.way}: {self.reason}"

    @property
    def way(self) -> str:
        """The kind, and what runs the tasks inside."""
        return way(self.kind, self.inside)


def way(kind: Kind, inside: Inside = "") -> str:
    """What a kind of worker is called, with what runs its tasks: "process of threads"."""
    return {"thread": "process of threads", "async": "process of loops"}.get(inside, kind)


@record
class Choice:
    """The moment at which a run chose: what came before it was the probe's, what comes after it is the plan's.

    seconds: since the start of the run. tasks: those that had been begun, by the caller's thread. left: the others, None
    where their number was unknown. busy_seconds, cpu_seconds: of the calls so far, the one under way included,
    and under_way: of that alone; queued_seconds: how long all waited for a core, as far as is known. process_seconds: CPU
    time of this process since it began. beside: how many of those that had been begun, by an earlier plan, had not ended.
    """

    seconds: float
    tasks: int
    left: int | None
    busy_seconds: float
    cpu_seconds: float
    under_way: float
    queued_seconds: float
    process_seconds: float
    beside: int = 0


@record
class Statistics:
    """Counts of a run at one moment. drawn == succeeded + failed + cancelled once it is over.

    busy_seconds and cpu_seconds are sums over all calls, and so is queued_seconds: waiting for a core, as far as that is
    known; retried counts further attempts, died lost workers. The caller's own thread is not counted as a worker. limit:
    tasks that may be in flight now. decisions: what has changed that, or the rate at which tasks start, and why; the last
    dozen of them.
    """

    drawn: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    retried: int = 0
    died: int = 0
    running: int = 0
    workers: int = 0
    peak_workers: int = 0
    busy_seconds: float = 0.0
    cpu_seconds: float = 0.0
    queued_seconds: float = 0.0
    limit: int = 1
    decisions: tuple[str, ...] = ()

    @property
    def ended(self) -> int:
        """Attempts that have ended by themselves: calls of which it is known what they did."""
        return self.succeeded + self.failed + self.retried

    @property
    def settled(self) -> int:
        """Tasks that have their outcome."""
        return self.succeeded + self.failed + self.cancelled


def short_repr(value: object) -> str:
    """A repr of at most some 80 characters that never raises."""
    try:
        text = reprlib.repr(value)
    except BaseException as error:
        text = f"<{type(value).__name__}, whose repr raised {type(error).__name__}>"
    return text if len(text) <= 80 else text[:77] + "..."
