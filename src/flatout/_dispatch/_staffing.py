"""Who gets the next tasks, and who is hired for them: by the plan, and within every limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from flatout._dispatch._apart import Apart
from flatout._dispatch._batching import CHEAP, INLINE_TARGET, MODEST, MOST, SHORT, TARGET, Queue, Sizer
from flatout._dispatch._callers_core import CallersCore
from flatout._dispatch._crew import Crew, Worker
from flatout._dispatch._trial import Trial
from flatout._events import SEAT, StartWorker
from flatout._limits._governor import Governor
from flatout._model import Batch, Inside, Kind, Options, Plan

MOST_STARTING = (
    16  # threads at a time: to start one takes the driver 0.1 ms, and those that are ready want work; guessed
)


class Staffing:
    """Matches tasks that wait with workers. It keeps no task: who asks it sees to each batch before it goes on to the next.

    kind: that of the plan, by which tasks without a route go. inside: what runs the tasks in workers of a kind, where they
    have many in flight; else empty.
    left: tells how many tasks nobody has begun, None where that is unknown. `ahead`, `joined`: see `Dispatcher`.
    """

    def __init__(
        self,
        options: Options,
        crew: Crew,
        limit: Governor,
        sizer: Sizer,
        queues: Mapping[Kind | None, Queue],
        left: Callable[[], int | None],
        *,
        ahead: bool,
        joined: bool,
    ) -> None:
        self.plan: Plan | None = None
        self.kind: Kind = "inline"
        self.inside: dict[Kind, Inside] = {"inline": "", "async": "async", "thread": "", "process": ""}
        self.apart = Apart()
        self.callers_core = CallersCore()
        self.trial = Trial()  # of an event loop
        self.room_for: int | None = None  # worker processes that there is memory for, where that is known
        self._options = options
        self._crew = crew
        self._limit = limit
        self._pace = limit.pace
        self._sizer = sizer
        self._queues = queues
        self._left = left
        self._sends_ahead = ahead
        self._may_join_threads = joined and options.chunksize is None
        self._no_more: int | None = None  # processes of a mixture that can be had, where more could not

    def adopt(self, plan: Plan, in_hand: int) -> None:
        """From now on by this plan; in_hand: tasks that workers have by the one before."""
        self.plan, self.kind = plan, plan.kind
        self.callers_core.free()
        self._no_more = None
        most = self._options.max_concurrency
        start = plan.concurrency if most is None else min(plan.concurrency, most)
        ceiling = max(start, plan.ceiling or start) if most is None else min(most, max(start, plan.ceiling or start))
        measured = plan.measured if plan.kind == "thread" else None
        waits = measured is not None and measured.wait > measured.seconds / 2
        joins = self._may_join_threads and plan.chunksize is None and waits and self._sizer.mean >= SHORT
        self.inside |= {"thread": "thread" if joins else "", "process": plan.inside if plan.kind == "process" else ""}
        self._limit.adopt(start, ceiling, (waits and most is None) or ceiling > start, in_hand)
        self._sizer.fixed = self._options.chunksize or plan.chunksize

    def parts_threads(self) -> bool:
        """Whether threads are to be workers of their own from now on: what is short travels in batches."""
        parts = self._sizer.mean < SHORT and self.inside["thread"] != ""
        if parts:
            self.inside["thread"] = ""
        return parts

    def can_have_no_more(self, worker: Worker) -> None:
        """One could not be started for want of descriptors, memory, ...: those that are there must do."""
        active = self._crew.active[worker.kind]
        if worker.wide:
            self._no_more = active
        else:
            self._limit.pin(active, "no more workers can be had")

    # Who gets what

    def assign(self, route: Kind | None, queue: Queue, now: float) -> Iterator[tuple[Worker, Batch]]:
        """What of a queue is to be sent to whom."""
        kind = route or self.kind
        return self._feed_wide(kind, queue, now) if self.inside[kind] else self._feed(kind, queue, now)

    def stand_in(self, route: Kind | None, queue: Queue, now: float) -> Iterator[tuple[Worker, Batch]]:
        """What the caller does by itself while processes are starting: what does not take long."""
        none_yet = self._crew.active["process"] == self._crew.starting["process"]
        if none_yet and route is None and self.kind == "process" and self._sizer.mean < MODEST:
            yield from self._feed("inline", queue, now)

    def _feed_wide(self, kind: Kind, queue: Queue, now: float) -> Iterator[tuple[Worker, Batch]]:
        """Give each what it has room for; what must be alone goes to one that has nothing in hand."""
        workers = self._crew.wide(kind)
        while workers and queue.count and not self._held_back(kind, queue):
            worker = next((worker for worker in workers if not self._crowded(worker)), None)
            if worker is None:
                return
            alone = queue.first_alone is not None
            shares = max(1, self._most(kind))  # those that are starting have theirs, too
            share = -(-min(self._value(kind), queue.count + self._crew.running[kind]) // shares)
            room = self._pace.room(min(self.room(kind), share - worker.hands.count), now)
            if room <= 0 or (alone and worker.hands.count):
                return
            worker.alone = alone
            yield worker, queue.take(min(room, self._sizer.fixed or room))
            workers = self._crew.wide(kind)

    def _feed(self, kind: Kind, queue: Queue, now: float) -> Iterator[tuple[Worker, Batch]]:
        target = INLINE_TARGET if kind == "inline" else TARGET
        while queue.count and self._crew.has_free(kind) and not self._waits(kind, queue, now):
            worker = self._free(kind)
            if worker is None:
                return
            yield worker, queue.take(self._pace.room(self.next_size(target), now))

    def next_size(self, target: float) -> int:
        """Tasks in the next batch, which is to take so many seconds."""
        workers, left = self._limit.value, self._left()
        return self._sizer.size(2 * workers * MOST if left is None else left, workers, target)

    def _crowded(self, worker: Worker) -> bool:
        """Whether as many other processes are at work as there is memory for."""
        if self.room_for is None or worker.kind != "process":
            return False
        others = (w for w in self._crew.workers.values() if w.kind == "process" and w is not worker)
        return sum(other.hands.count > 0 for other in others) >= max(1, self.room_for)

    def _waits(self, kind: Kind, queue: Queue, now: float) -> bool:
        """Whether nothing of a queue may begin now."""
        return self._pace.paused(now) or self._held_back(kind, queue)

    def _held_back(self, kind: Kind, queue: Queue) -> bool:
        return kind == "process" and self.apart.hold_back(queue, self._queues.values(), self._crew)

    def _free(self, kind: Kind) -> Worker | None:
        """A worker that can take a batch: an idle one, or one that may have its next batch waiting."""
        worker = self._crew.take_idle(kind) if self._crew.has_idle(kind) and self.room(kind) > 0 else None
        if worker is None and self._ahead(kind) and self._crew.active[kind] <= self._value(kind):
            worker = self._crew.take_busy(kind)
        return worker

    def _ahead(self, kind: Kind) -> bool:
        """Whether workers should have their next batch waiting, so that none of them ever waits for it.

        A process returns what waits behind a long task, but only after a while: towards the end it would be missed.
        """
        if kind == "inline" or not self._sends_ahead or self._pace.bounded:
            return False
        return self._sizer.mean < CHEAP or (kind == "process" and self._queues[None].count >= 2 * self._limit.value)

    # Who is hired, and who is let go

    def hire(self, route: Kind | None, queue: Queue, now: float) -> list[StartWorker]:
        """Workers that are to be started for what still waits in a queue."""
        kind = route or self.kind
        if not queue.count or kind == "inline" or self._crew.has_idle(kind):
            return []  # what waits is held back by a limit
        starting, inside = self._crew.starting[kind], self.inside[kind]
        joined = kind == "thread" and inside != ""
        # Beside threads that are workers of their own, and end what they are on.
        wanted = self._most(kind) - (self._crew.joined if joined else self._crew.active[kind])
        if wanted <= 0:
            return []
        wanted = min(wanted, self._pace.room(queue.count, now) - starting)
        if kind == "thread":
            wanted = min(wanted, MOST_STARTING - starting)
        return [StartWorker(self._crew.hire(kind, inside).number, kind, inside) for _ in range(wanted)]

    def has_no_use_for(self, worker: Worker) -> bool:
        """Whether there are more of a worker's kind than this run has use for. The seat stays."""
        kind = worker.kind
        too_many = self._crew.active[kind] > self._most(kind)
        return worker.number != SEAT and (too_many or worker.inside != self.inside[kind])

    def _most(self, kind: Kind) -> int:
        """Workers of a kind that this run has use for."""
        if kind not in self._queues and (self.plan is None or self.plan.kind != kind):
            return 0
        if kind == "async":
            return 1
        if self.plan is None or not self.inside[kind]:
            return self._value(kind)
        bounds = [bound for bound in (self.room_for, self._no_more) if bound is not None]
        return max(1, min([self.plan.processes or 1, *bounds]))

    # What there is room for

    @property
    def wide(self) -> bool:
        """Whether the workers of the plan begin at once all that they are sent."""
        return self.inside[self.kind] != ""

    @property
    def by_seat(self) -> bool:
        """Whether the caller's own thread does the work, and draws the inputs."""
        return self.kind == "inline"

    @property
    def shares_cores(self) -> bool:
        """Whether as many calls are to be under way as there are cores to compute them."""
        measured = self.plan.measured if self.plan is not None and self.plan.way in ("process", "thread") else None
        return measured is not None and measured.wait < measured.seconds / 2

    def full(self, kind: Kind | None = None) -> bool:
        """Whether nothing more may begin in workers of this kind; by default of the plan's."""
        return self.room(kind or self.kind) <= 0

    def room(self, kind: Kind) -> int:
        """How many more tasks may begin in workers of this kind."""
        running, most = self._crew.running[kind], self._options.max_concurrency
        room = self._value(kind) - running
        if kind == "async":
            room = self.trial.room(room, running)
        if self.callers_core.taken and kind == self.kind and running:
            room -= 1
        return room if most is None else min(room, most - self._crew.running_in_all())

    def _value(self, kind: Kind) -> int:
        """The limit of a kind of worker: that of the run, or, one task a process, what there is memory for."""
        if self.room_for is None or kind != "process" or self.inside[kind]:
            return self._limit.value
        return max(1, min(self._limit.value, self.room_for))
