"""The brain of a run: events in, commands out; no I/O, no thread, no clock. See README.md beside this file.

Longer than other files, because what is promised here (no task lost, none twice) holds for one state, kept in one place.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

from flatout._dispatch._batching import Queue, Sizer, kept_bytes
from flatout._dispatch._crew import Crew, Worker, split
from flatout._dispatch._deaths import BarrenDeaths, could_not_start, guilty_and_suspects
from flatout._dispatch._gauge import Gauge
from flatout._dispatch._ledger import Ledger
from flatout._dispatch._staffing import Staffing
from flatout._dispatch._trial import Trial
from flatout._dispatch._window import Window
from flatout._errors import InputError, TaskTimeout
from flatout._events import (
    SEAT,
    BatchFinished,
    CancelRequested,
    CancelTask,
    Command,
    Consumed,
    CpuRead,
    Deliver,
    Draw,
    Event,
    Finish,
    InputEnded,
    KillWorker,
    LoopIdle,
    Observe,
    PlanChosen,
    ReadCpu,
    RoomChanged,
    SendBatch,
    StopWorker,
    TakeBack,
    TaskError,
    TasksDrawn,
    TasksReturned,
    Tick,
    WorkerExited,
    WorkerObserved,
    WorkerReady,
)
from flatout._limits._governor import Governor
from flatout._model import Batch, Failure, Kind, Options, Plan, Settled, Statistics, short_repr
from flatout._record import replace

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any

    from flatout._limits._line import Beginning

LONGEST = 1e9  # seconds that a batch may be said to have taken: 30 years
UNRESPONSIVE = 5.0  # seconds, or `timeout` if longer, that a process may have tasks in hand and begin none; guessed


class Dispatcher:
    """Knows which task is where, and so can promise that every input has exactly one outcome, delivered once.

    `plan` None: only the seat works until `PlanChosen`. `total`: the number of inputs where it is known. With `collect`
    the consumer takes every outcome at once, so that outcomes do not count against the window. `ahead`: a worker may be
    sent a batch while it is on another; not where what comes next may be wanted before what is under way has ended.
    `joined`: threads for calls that wait may be one worker, which begins all it is sent. `date`: see `Governor`.

    wake_at: when a `Tick` is due, on the clock of `now`; None: only events matter. Any thread may read it.
    """

    def __init__(
        self,
        options: Options,
        plan: Plan | None,
        total: int | None,
        *,
        ordered: bool = True,
        collect: bool = False,
        ahead: bool = True,
        joined: bool = False,
        date: Callable[[], float] | None = None,
    ) -> None:
        self.finished = False
        self.wake_at: float | None = None
        self.hungry = True  # nothing waits for a worker, and there may be more to draw
        self._options = options
        self._total = total
        self._ledger = Ledger(ordered=ordered, collect=collect, stops=options.on_error == "raise")
        self._sizer = Sizer(options.chunksize)
        self._limit = Governor(options.max_per_second, date)
        self._pace = self._limit.pace
        self._saturated = False  # the limit holds back tasks that wait
        self._next_start: float | None = None  # where tasks wait for nothing but their rate: when one may start
        self._gauge = Gauge()
        self._looks_at_threads = False
        self._crew = Crew()
        self._queues: dict[Kind | None, Queue] = {None: Queue()}
        self._delayed: list[tuple[float, int, Batch]] = []  # failed tasks that wait for their next attempt
        self._alone: set[int] = set()  # tasks that were among several suspects: each is a batch of its own
        self._staffing = Staffing(
            options, self._crew, self._limit, self._sizer, self._queues, self._left, ahead=ahead, joined=joined
        )
        self._window = Window(options.buffersize, self._ledger, self._sizer, self._staffing)
        self._deadlines: list[tuple[float, int]] = []  # (when a task of a worker may be overdue, the worker)
        self._commands: list[Command] = []
        self._drawing = False  # an order to draw is out
        self._ended = False
        self._error: BaseException | None = None  # what the consumer is told after the last outcome
        self._barren_deaths = BarrenDeaths()
        self._in_hand = self._retried = self._died = 0
        self._busy_seconds = self._cpu_seconds = self._queued_seconds = 0.0
        self._handlers: dict[type, Callable[[Any, float], None]] = {
            TasksDrawn: self._tasks_drawn,
            InputEnded: self._input_ended,
            PlanChosen: self._plan_chosen,
            WorkerReady: self._worker_ready,
            BatchFinished: self._batch_finished,
            TasksReturned: self._tasks_returned,
            WorkerObserved: self._worker_observed,
            LoopIdle: self._loop_idle,
            CpuRead: self._cpu_read,
            WorkerExited: self._worker_exited,
            RoomChanged: self._room_changed,
            Consumed: self._outcomes_consumed,
            CancelRequested: self._cancel_requested,
            Tick: lambda _event, _now: None,
        }
        if plan is not None:
            self._adopt(plan)

    def try_out(self, shares: int) -> None:
        """Have an event loop show what its tasks do before it is given more than one of so many shares of them."""
        if self._total is not None and self._total > Trial.FEWEST:
            self._staffing.trial.start(-(-self._total // shares))

    # The door

    def handle(self, event: Event, now: float, more: bool = False) -> list[Command]:
        """Take in what happened; return what to do about it, in this order.

        `more`: another event follows at once, and so nothing new is begun before that has been taken in.
        """
        if self.finished:
            return []
        self._handlers[type(event)](event, now)
        if not (self.finished or more):
            self._advance(now)
        commands, self._commands = self._commands, []
        return commands

    @property
    def plan(self) -> Plan | None:
        """What tasks without a route are run by; None: only the seat works yet."""
        return self._staffing.plan

    @property
    def quickest(self) -> float:
        """Seconds that tasks take at least where none is in the way of another; 0 where that is not known."""
        return self._limit.quickest

    @property
    def crossed(self) -> bool:
        """Whether any results have come from processes."""
        return self._sizer.moved > 0

    @property
    def in_joined_threads(self) -> int:
        """Tasks that joined threads have in hand; from any thread."""
        workers = list(self._crew.workers.values())
        return sum(worker.hands.count for worker in workers if worker.kind == "thread" and worker.wide)

    def statistics(self) -> Statistics:
        """The counts at this moment."""
        ledger = self._ledger
        return Statistics(
            drawn=ledger.drawn,
            succeeded=ledger.succeeded,
            failed=ledger.failed,
            cancelled=ledger.cancelled,
            retried=self._retried,
            died=self._died,
            running=self._in_hand,
            workers=self._crew.count,
            peak_workers=self._crew.peak,
            busy_seconds=self._busy_seconds,
            cpu_seconds=self._cpu_seconds,
            queued_seconds=self._queued_seconds,
            limit=self._limit.value,
            decisions=self._limit.decisions,
        )

    # Events

    def _tasks_drawn(self, event: TasksDrawn, now: float) -> None:
        self._drawing = False
        self._ledger.drawn += len(event.batch.inputs)
        if self._ledger.stop is None:
            self._queue(event.batch.route).push(event.batch)

    def _input_ended(self, event: InputEnded, now: float) -> None:
        self._drawing = False
        self._ended = True
        if event.error is not None:
            self._error = (
                event.error if isinstance(event.error, InputError) else _input_error(event.error, self._ledger.drawn)
            )

    def _plan_chosen(self, event: PlanChosen, now: float) -> None:
        self._adopt(event.plan)
        if self._staffing.shares_cores and self._seat_is_on_a_call:
            self._staffing.callers_core.take(now)
        self._let_go_of_surplus()

    def _room_changed(self, event: RoomChanged, now: float) -> None:
        self._staffing.room_for = event.processes
        self._let_go_of_surplus()

    def _worker_ready(self, event: WorkerReady, now: float) -> None:
        worker = self._crew.report(event.worker, event.name)
        self._barren_deaths.one_is_ready()
        if worker is not None:
            self._freed(worker)

    def _batch_finished(self, event: BatchFinished, now: float) -> None:
        worker = self._crew.workers.get(event.worker)
        if worker is None:
            return  # given up long ago: what it was on has its outcome or is with another
        if not (0.0 <= event.seconds <= LONGEST and 0.0 <= event.cpu_seconds <= LONGEST):
            event = replace(
                event, seconds=0.0, cpu_seconds=0.0
            )  # a task has put another clock in the place of its worker's
        # Without those that ran over their time, were cancelled, went on all the same and were left behind.
        taken = [(b, place - first) for first, place, n in event.runs() for b in worker.hands.take(first, n)]
        if not taken:
            return
        count = len(event.values)
        self._barren_deaths.got_on()
        worker.late, worker.silent_since = False, None
        self._busy_seconds += event.seconds
        self._cpu_seconds += event.cpu_seconds
        self._queued_seconds += event.queued
        # What has crossed a border is known to the byte.
        kept = 0 if event.size else kept_bytes(taken[-1][0].inputs) + kept_bytes(event.values)
        self._sizer.finished(count, max(0.0, event.seconds - event.queued), event.size, kept)
        self._staffing.trial.ended(count, now)
        judged = [self._limit.judge(error.error) for error in event.errors] if event.errors else ()
        overloads = [one for one in judged if one is not None] if judged else ()
        # Threads are in each other's way from the first on, so that the quickest tells nothing.
        tasks = event.indices or range(event.first, event.first + count)
        if worker.overdue:
            tasks = [index for batch, _ in taken for index in range(batch.first, batch.end)]
        comparable, failed = worker.inside == "async", bool(event.errors)
        self._limit.finished(tasks, now, self._saturated, event.seconds, comparable, overloads, failed)
        errors = {error.offset: error for error in event.errors} if event.errors else {}
        for batch, shift in taken:
            self._in_hand -= len(batch.inputs)
            self._staffing.apart.ended(batch)
            self._attempts_ended(batch, shift, event, errors, worker, now)
            if worker.overdue:
                worker.overdue.difference_update(range(batch.first, batch.end))
        if self._staffing.parts_threads():
            self._let_go_of_surplus()
        else:
            self._freed(worker)

    def _tasks_returned(self, event: TasksReturned, now: float) -> None:
        worker = self._crew.workers.get(event.worker)
        if worker is None:
            return
        worker.late, worker.silent_since = True, None
        for batch in reversed(worker.hands.take(event.first, event.count)):
            self._lost(batch)
            self._requeue(batch)
        self._freed(worker)

    def _worker_observed(self, event: WorkerObserved, now: float) -> None:
        worker, timeout = self._crew.workers.get(event.worker), self._options.timeout
        if worker is None or timeout is None or worker.killed:
            return
        if worker.kind == "process" and self._keeps_silent(
            worker, bool(event.running), max(timeout, UNRESPONSIVE), now
        ):
            return
        begun = [now]
        for index, began in event.running:
            if began + timeout > now:
                begun.append(began)
            elif index in worker.hands:
                self._run_over(worker, index, began, now)
        if not worker.killed:
            self._watch(worker, min(begun))

    def _keeps_silent(self, worker: Worker, on_a_task: bool, patience: float, now: float) -> bool:
        """Whether a process has had tasks in hand for so long and begun none: it is killed, and others get them."""
        if on_a_task or not worker.hands.count:
            worker.silent_since = None
        elif worker.silent_since is None:
            worker.silent_since = now
        elif now >= worker.silent_since + patience:
            self._kill(worker)
            return True
        return False

    def _loop_idle(self, event: LoopIdle, now: float) -> None:
        worker = self._crew.workers.get(event.worker)
        if worker is not None and self._staffing.full(worker.kind):  # no matter whether the next inputs have come yet
            self._limit.idle(now)

    def _cpu_read(self, event: CpuRead, now: float) -> None:
        self._staffing.callers_core.read(event.seconds, now)
        if self._gauge.idle(event.seconds, now, self._looks_at_threads) and self._staffing.full("thread"):
            self._limit.idle(now)

    def _worker_exited(self, event: WorkerExited, now: float) -> None:
        worker = self._crew.workers.get(event.worker)
        if worker is None:
            if event.fatal:  # it never got so far as to report for work
                self._finish(event.error)
            return
        self._crew.remove(worker)
        for batch in worker.hands:
            self._lost(batch)
        self._died += event.error is not None and worker.ready
        guilty, suspects = guilty_and_suspects(event, worker)
        if worker.wide and worker.kind == "process" and self._options.retry.attempts == 1:
            guilty, suspects = guilty | suspects, set()  # all have begun, and nothing is run twice unasked
        self._alone |= suspects
        if worker.wide and worker.kind == "process" and len(guilty) > 1:
            self._alone |= guilty  # one of them may have kept the others from ending in time
        if event.starved and not worker.killed:
            self._alone |= guilty
            self._staffing.apart.add(guilty | suspects)
        blamed, spared = split(worker.hands, guilty)
        # The spared go first: a failure that ends the run looks for what is left before it.
        for span in reversed(spared):
            self._requeue(span)
        for task in blamed:
            over_time = task.first in worker.overdue or type(event.error) is TaskTimeout
            seconds = (self._options.timeout or 0.0) if over_time else 0.0
            self._attempt_failed(task, self._blame(event, worker, task.first), worker, seconds, now)
        if event.fatal:
            self._finish(event.error)
        elif could_not_start(worker, event.error) and self._crew.active[worker.kind]:
            self._staffing.can_have_no_more(worker)  # descriptors, memory, ...
        elif blamed:
            self._barren_deaths.got_on()  # the run gets on
        elif event.error is not None and not (suspects or worker.killed):
            given_up = self._barren_deaths.died(worker, self._crew.last, event.error, now)
            if given_up is not None:
                self._finish(given_up)

    def _outcomes_consumed(self, event: Consumed, now: float) -> None:
        self._ledger.consumed += event.count

    def _cancel_requested(self, event: CancelRequested, now: float) -> None:
        self._finish(self._error, cancelled=True)

    # Attempts and outcomes

    def _attempts_ended(
        self, batch: Batch, shift: int, event: BatchFinished, errors: dict[int, TaskError], worker: Worker, now: float
    ) -> None:
        """Settle what succeeded, in one piece wherever possible; see to what failed. `shift`: from index to offset."""
        each = event.seconds / len(event.values)
        start = batch.first
        for index in [i for i in range(batch.first, batch.end) if i + shift in errors] if errors else ():
            self._succeed(start, event.values[start + shift : index + shift], each, worker)
            error, retryable = errors[index + shift].error, errors[index + shift].retryable
            if index in worker.overdue:  # most likely the cancellation that was asked for
                error, retryable = self._timeout_error(index, error), True
            self._attempt_failed(batch.part(index, index + 1), error, worker, each, now, retryable)
            start = index + 1
        self._succeed(start, event.values[start + shift : batch.end + shift], each, worker)

    def _succeed(self, first: int, values: Any, seconds: float, worker: Worker) -> None:
        if values:
            self._deliver(self._ledger.succeed(first, values, seconds, worker.name))

    def _attempt_failed(
        self, task: Batch, error: BaseException, worker: Worker, seconds: float, now: float, retryable: bool = True
    ) -> None:
        """One task failed once: it is tried again, or that was its outcome."""
        retry = self._options.retry
        if (
            self._ledger.wants(task.first)
            and retryable
            and task.attempt < retry.attempts
            and issubclass(type(error), retry.on)
        ):
            try:
                due = now + max(retry.delay(task.attempt), self._asked_to_wait(error))
            except Exception as raised:  # by the user's own backoff function: then that is how the task failed
                raised.__context__ = error
                error = raised
            else:
                self._retried += 1
                again = Batch(task.first, task.inputs, task.attempt + 1, task.route)
                heapq.heappush(self._delayed, (due, task.first, again))
                return
        failure = Failure(task.first, short_repr(task.inputs[0]), error, worker.kind, task.attempt, seconds)
        stop = self._ledger.stop
        self._deliver(self._ledger.fail(failure, worker.name))
        if self._ledger.stop is not stop:
            self._stop_at(task.first)

    def _asked_to_wait(self, error: BaseException) -> float:
        """Seconds for which a service that refused a call wants to be left alone."""
        overload = self._limit.judge(error)
        return (overload.retry_after or 0.0) if overload is not None else 0.0

    def _deliver(self, due: list[Settled]) -> None:
        for settled in due:
            self._commands.append(Deliver(settled))

    def _stop_at(self, index: int) -> None:
        """A failure ends the run: what comes before it is still finished, nothing behind it is begun."""
        for queue in self._queues.values():
            queue.drop_from(index)
        self._delayed = [entry for entry in self._delayed if entry[1] < index]
        heapq.heapify(self._delayed)
        joined = [w for w in self._crew.wide("thread") if w.hands.count]
        self._commands += [TakeBack(worker.number) for worker in joined]
        spans = [span for worker in self._crew.workers.values() for span in worker.hands]
        in_hand = sum(max(0, min(span.end, index) - span.first) for span in spans)
        self._ledger.before_stop = self._waiting + len(self._delayed) + in_hand

    # Moving on

    def _advance(self, now: float) -> None:
        while self._delayed and self._delayed[0][0] <= now:
            self._requeue(heapq.heappop(self._delayed)[2])
        while self._deadlines and self._deadlines[0][0] <= now:
            self._observe(heapq.heappop(self._deadlines)[1])
        self._staffing.trial.look(now)
        may_hire = self._barren_deaths.may_hire(now)
        core = self._staffing.callers_core
        if core.taken and not self._seat_is_on_a_call:
            core.free()
        elif core.due(now):
            self._commands.append(ReadCpu())
        self._draw()
        for route, queue in self._queues.items():
            if queue.count:
                self._staff(route, queue, now, may_hire)
        waiting = self._waiting > 0
        self.hungry = not (waiting or self._ended)
        self._saturated = waiting and self._staffing.full()
        self._next_start = self._pace.ready_at if waiting and self._pace.paused(now) else None
        if self._looks_at_threads:
            self._look_at_threads(now)
        self.wake_at = self._next_look()
        self._finish_if_over()

    def _next_look(self) -> float | None:
        looks = self._gauge.look_at, self._staffing.callers_core.look_at, self._staffing.trial.until
        heads = [heap[0][0] for heap in (self._delayed, self._deadlines) if heap]
        heads += [at for at in (self._next_start, self._barren_deaths.hire_at, *looks) if at is not None]
        return min(heads, default=None)

    def _look_at_threads(self, now: float) -> None:
        """As long as no call has ended: do those wait that all threads are in, so that more of them would help?"""
        self._looks_at_threads = self._limit.starting
        if self._gauge.due(self._looks_at_threads and self._saturated, now):
            self._commands.append(ReadCpu())

    @property
    def _seat_is_on_a_call(self) -> bool:
        seat = self._crew.workers.get(SEAT)
        return seat is not None and seat.hands.count > 0

    def _draw(self) -> None:
        if self._drawing or self._ended or self._ledger.stop is not None:
            return
        room = self._window.room(self._limit.value, self._waiting, len(self._delayed))
        if room:
            self._drawing = True
            self._commands.append(Draw(room))

    def _left(self) -> int | None:
        """Tasks that no worker has been given, where that is known."""
        waiting = self._queues[None].count
        if self._total is not None:
            return max(1, self._total - self._ledger.drawn + waiting)
        return waiting if self._ended else None

    @property
    def _waiting(self) -> int:
        """Tasks that wait for a worker."""
        return sum([queue.count for queue in self._queues.values()])

    def _staff(self, route: Kind | None, queue: Queue, now: float, may_hire: bool) -> None:
        """Give waiting tasks to workers, and hire where hands are missing."""
        for worker, batch in self._staffing.assign(route, queue, now):
            self._send(worker, batch, now)
        if may_hire:
            self._commands += self._staffing.hire(route, queue, now)
        if not self._died:  # of one of these tasks, perhaps
            for worker, batch in self._staffing.stand_in(route, queue, now):
                self._send(worker, batch, now)

    def _send(self, worker: Worker, batch: Batch, now: float) -> None:
        self._staffing.trial.begun(now)
        worker.hands.add(batch)
        self._in_hand += len(batch.inputs)
        self._limit.started(range(batch.first, batch.end), now, _beginning(worker, batch))
        self._crew.note(worker)
        self._watch(worker, now)
        self._commands.append(SendBatch(worker.number, batch))

    def _lost(self, batch: Batch) -> None:
        """A worker has these in hand no more, though no attempt of theirs has ended."""
        self._in_hand -= len(batch)
        self._limit.left(range(batch.first, batch.end))

    def _freed(self, worker: Worker) -> None:
        """A worker may have got its hands free: let it go, if there are too many."""
        idle = not worker.hands.count and not worker.killed
        if idle and self._staffing.has_no_use_for(worker):
            self._crew.remove(worker)
            self._commands.append(StopWorker(worker.number))
        else:
            self._crew.note(worker)

    def _let_go_of_surplus(self) -> None:
        for worker in list(self._crew.workers.values()):
            if worker.ready:
                self._freed(worker)

    # Time

    def _watch(self, worker: Worker, begun: float) -> None:
        """Look at the worker when a task that began then would be overdue; in vain at the seat, which nothing can end."""
        if self._options.timeout is None or worker.number == SEAT:
            return
        if not worker.watched and worker.hands.count:
            worker.watched = True
            heapq.heappush(self._deadlines, (begun + self._options.timeout, worker.number))

    def _observe(self, number: int) -> None:
        worker = self._crew.workers.get(number)
        if worker is not None and not worker.killed:
            worker.watched = False
            if worker.hands.count:
                self._commands.append(Observe(number))

    def _run_over(self, worker: Worker, index: int, began: float, now: float) -> None:
        """A task is over its time. An event loop can cancel it alone; if it goes on all the same, it is left behind.

        Unless the loop is in a process, which is ended then: perhaps it does not come round any more.
        """
        cancelled = index in worker.overdue
        worker.overdue.add(index)
        if worker.inside == "async" and not cancelled:
            self._commands.append(CancelTask(worker.number, index))
        elif worker.kind != "async":
            self._kill(worker)
        else:
            (task,) = worker.hands.take(index, 1)
            self._lost(task)
            self._crew.note(worker)
            # Not tried again: what the loop still reports of it could not be told from the next attempt.
            self._attempt_failed(task, self._timeout_error(index), worker, now - began, now, retryable=False)

    def _kill(self, worker: Worker) -> None:
        if not worker.killed:
            worker.killed = True
            self._crew.lay_off(worker)
            self._commands.append(KillWorker(worker.number))

    def _blame(self, event: WorkerExited, worker: Worker, index: int) -> BaseException:
        over_time = index in worker.overdue and type(event.error) is not TaskTimeout
        return self._timeout_error(index) if event.error is None or over_time else event.error

    def _timeout_error(self, index: int, cause: BaseException | None = None) -> TaskTimeout:
        error = TaskTimeout(f"task {index} ran longer than its timeout of {self._options.timeout:g} s")
        error.__cause__ = cause
        return error

    # The end

    def _finish_if_over(self) -> None:
        if self.finished:
            return
        if self._ledger.stop is not None:
            if self._ledger.before_stop == 0:
                self._commands.append(Deliver(self._ledger.stop))
                self._finish(None)
        elif self._ended and self._in_hand == 0 and not self._delayed and not self._waiting:
            self._finish(self._error)

    def _finish(self, error: BaseException | None, cancelled: bool = False) -> None:
        self.finished, self.wake_at = True, None
        self._ledger.close()
        for worker in self._crew.workers.values():
            if worker.number != SEAT and not worker.killed:
                busy = worker.hands.count > 0
                self._commands.append(KillWorker(worker.number) if busy else StopWorker(worker.number))
        self._commands.append(Finish(error, cancelled))

    # Small helpers

    def _adopt(self, plan: Plan) -> None:
        self._staffing.adopt(plan, self._in_hand)
        self._gauge.forget()
        self._looks_at_threads = plan.kind == "thread"

    def _queue(self, route: Kind | None) -> Queue:
        if route not in self._queues:
            self._queues[route] = Queue()
        return self._queues[route]

    def _requeue(self, batch: Batch) -> None:
        queue = self._queue(batch.route)
        alone, others = split([self._ledger.wanted(batch)], self._alone)
        for task in alone:
            queue.push_alone(task)
        for span in reversed(others):
            queue.push_front(span)


def _beginning(worker: Worker, batch: Batch) -> Beginning:
    """When tasks begin that a worker has been sent. A process of several gets its share in a block, as others do beside it."""
    if len(batch) > 1 and worker.kind != "async":
        return "in turn"
    return "at once" if worker.wide or worker.hands.count == 1 else "later"


def _input_error(error: BaseException, drawn: int) -> InputError:
    wrapped = InputError(f"the iterable of inputs raised {type(error).__name__} after {drawn} inputs: {error}")
    wrapped.__cause__ = error
    return wrapped
