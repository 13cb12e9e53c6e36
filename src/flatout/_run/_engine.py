"""One run from start to end: puts source, dispatcher, driver and workers together, and goes from one plan to the next."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial

from flatout._dispatch._dispatcher import Dispatcher
from flatout._errors import InputError, NotPicklable
from flatout._events import SEAT, BatchFinished, CancelRequested, PlanChosen, Tick, WorkerExited
from flatout._machine._machine import gil_enabled, physical_cores, usable_cores, why_not_chosen
from flatout._model import Batch, Choice, Measurement, Options, Plan, Prediction, Statistics, Work
from flatout._plan._brisk import brisk
from flatout._plan._choose import LEAST_GAIN, Situation, describe
from flatout._plan._descriptors import within_open_files
from flatout._record import replace
from flatout._run import _inputs
from flatout._run._driver import Driver, Observer, Outlet, Source
from flatout._run._hiring import Hiring
from flatout._run._residence import Residence
from flatout._threads._daemons import Daemon
from flatout._threads._interrupts import LONGEST_WAIT, Bell, put_off
from flatout._workers import zygote_age
from flatout._workers._inline import Seat

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    import asyncio
    from typing import Any

    from flatout._plan._chooser import Chooser
    from flatout._plan._duel import Round
    from flatout._plan._second_look import Overseer, SecondLook, Tie
    from flatout._run._pauses import Pauses
    from flatout._workers._process import Setup
    from flatout._workers._threads import ThreadsWorker

HEAVY = 0.005  # seconds to write a function's data, from which the caller goes on meanwhile; guessed
ENDING_SECONDS = 1.5  # of the 2 s that Ctrl-C may take; the end of the processes follows


class Engine:
    """What runs behind a `Run`. Created when the first result is asked for."""

    def __init__(
        self,
        work: Work,
        iterables: tuple[Any, ...],
        options: Options,
        plan: Plan | None,
        *,
        ordered: bool,
        collect: bool,
        observers: Sequence[Observer] = (),
        chooser: Chooser | None = None,
        source: Source | None = None,
    ) -> None:
        self.outlet = Outlet()
        self.total = _inputs.length(iterables)
        self.chooser = chooser
        self._work = work
        self._iterables = iterables
        self._given_source = source
        self._options = options
        self._keeps = collect and ordered  # the consumer has use for nothing but the whole
        plan = plan if plan is None else self._bounded(plan)
        # A thread that is made ready, or left behind, is so by itself.
        joined = work.initializer is None and options.timeout is None
        how = {"ordered": ordered, "collect": collect, "joined": joined}
        self._dispatcher = Dispatcher(options, plan, self.total, date=time.time, **how)
        self._plan = plan
        self._driver = Driver(self._dispatcher, _NoSource(), self.outlet, time.monotonic, observers)
        self._hiring = Hiring(work, options, self.total, self._driver, lambda: self._plan, self._follow)
        self._driver.hire = self._hiring.hire
        self._news = Bell()  # something for the caller's thread: outcomes, a batch on the seat, the end
        self._driver.wake_caller = self._news.ring
        self._seat = Seat(work, self._driver, self._news.ring)
        self._overseer: Overseer | None = None
        self._second_look: SecondLook | None = None
        self._residence = Residence(self._driver, self._hiring, self._news, self._settled)
        self._async_inputs: _inputs.AsyncInputs | None = None
        self._pauses: Pauses | None = None
        self._started: float | None = None
        self._ended: float | None = None
        self._process_seconds = 0.0  # CPU time of this process when the run ended
        self._predictions: tuple[Prediction, ...] = ()  # of the plan that was adopted
        self._unwatched = Statistics()  # when the chooser began to watch
        self.choice: Choice | None = None

    # Start

    def start(self) -> None:
        """Begin, for a consumer who calls `attend` whenever there is nothing to take from the outlet."""
        if not self._keeps:  # else all that matters is the end, of which the driver tells (20 us a task, measured)
            self.outlet.notify = self._news.ring
        self._driver.consumer_pumps = True
        self._begin()
        if self._by_seat():
            self._seat.start()

    def start_in(self, loop: asyncio.AbstractEventLoop, notify: Callable[[], None]) -> None:
        """Begin, for a consumer in a running event loop; `notify` is called in any thread when there is news."""
        self._residence.callers_loop = loop
        self.outlet.notify = notify
        self._begin()
        if self._by_seat():
            with put_off():
                Daemon(self._attend_to_end, "flatout-seat").start()

    def _begin(self) -> None:
        self._started = self._driver.clock()
        if self._options.timeout is not None:
            self._note_pauses()
        self._driver.source = self._source()
        plan = self._plan
        if self.chooser is not None:
            self.chooser.adopt = self.adopt
            self.chooser.restate = self._restate
            self.chooser.left = self._left
            self.chooser.done = lambda: self._seat.done
            self.chooser.pair = self._pair
        if plan is not None and plan.kind == "async" and self._may_spread():
            self._look_again_at_loop(plan)
        if plan is None or plan.kind == "inline":
            self._driver.seat(self._seat)
        else:
            if plan.kind == "process":
                self._hiring.set_up(plan)
            # Nobody is there yet to report anything: have it look what to do.
            self._residence.move_to(plan.kind, Tick())

    def _look_again(self, situation: Callable[[], Situation]) -> SecondLook:
        """Have the choice looked at again as the run goes on."""
        with put_off():
            from flatout._plan._second_look import SecondLook

        plan, clock = (lambda: self._plan), (lambda: self._driver.clock())
        look = SecondLook(situation, plan, clock, self._change, self._probe_again, self._prepare)
        self._second_look = look
        self._driver.observe(look)
        return look

    def _look_again_at_loop(self, plan: Plan) -> None:
        """Have it looked at whether one event loop is enough."""
        with put_off():  # not in the middle of an import
            from flatout._plan._second_look import Tie

        tie = Tie(self._work)
        self._driver.observe(tie)
        self._dispatcher.try_out(2 * usable_cores())
        self._look_again(partial(self._situation_of_loops, tie)).adopted(plan, self.statistics())

    def _may_spread(self) -> bool:
        """Whether coroutines may go to other processes: not where they were promised the caller's loop, nor a timeout
        by which a loop that is blocked would be left behind.
        """
        free = self._options.via == "auto" and self._residence.callers_loop is None and self._options.timeout is None
        return free and usable_cores() > 1 and not why_not_chosen()

    def _situation_of_loops(self, tie: Tie) -> Situation:
        counts = self.statistics()
        left = None if self.total is None else max(0, self.total - counts.settled - counts.running)
        how = tie.why, zygote_age() is not None, gil_enabled(), self._options.max_concurrency
        physical, quickest = physical_cores(), self._dispatcher.quickest
        return Situation(usable_cores(), left, *how, begun=counts.running, quickest=quickest, physical=physical)

    def _note_pauses(self) -> None:
        """No task is failed for time in which this process could not run."""
        from flatout._run._pauses import Pauses

        self._pauses = pauses = Pauses()
        with contextlib.suppress(RuntimeError):  # no thread to be had
            pauses.begin()
        clock_of_pauses = self._driver.clock
        self._driver.paused_since = lambda began: pauses.since(began) if self._driver.clock is clock_of_pauses else 0.0

    def _by_seat(self) -> bool:
        return self._plan is None or self._plan.kind == "inline"

    def _left(self) -> int | None:
        """Tasks that nobody has begun; the last batch of the caller's thread may not have been reported yet."""
        if self.total is None:
            return None
        begun = 0 if self.chooser is None else self._unwatched.settled + self.chooser.spent()[0][2]
        return max(0, self.total - max(begun, self.statistics().settled + max(1, self._begun_in_threads())))

    def _begun_in_threads(self) -> int:
        """Tasks that joined threads are on, or whose end is not known yet: nobody can take those over."""
        return max(0, self._dispatcher.in_joined_threads - self._hiring.waiting_in_threads)

    def _source(self) -> Any:
        if self._given_source is not None:
            return self._given_source
        if not _inputs.are_async(self._iterables):
            try:
                return _inputs.Inputs(self._iterables, self._work.context)
            except Exception as error:
                raise InputError(f"iter() of the inputs raised {type(error).__name__}: {error}") from error
        if self._residence.callers_loop is not None:
            self._async_inputs = _inputs.AsyncInputs(self._iterables, self._driver.post)
        else:
            make = lambda: _inputs.AsyncInputs(self._iterables, self._driver.post)  # noqa: E731
            self._async_inputs = self._residence.own_loop().call(make)
        return self._async_inputs

    # Moving on

    def adopt(self, plan: Plan) -> None:
        """Go on by this plan; called once, by the caller's thread or the probe's."""
        chooser = self.chooser
        if chooser is not None:
            self._note_choice(chooser)
            if self._second_look is None and usable_cores() > 1:
                self._look_again(lambda: (self.chooser or chooser).situation_later())
        if plan.kind == "process":
            plan = self._sent_or_not(plan)
        self._predictions = plan.predictions
        self._plan = plan = self._bounded(plan)
        if plan.kind == "process" and (setup := self._hiring.set_up(plan)).writing > HEAVY:
            with put_off(), contextlib.suppress(RuntimeError):  # no thread to be had
                return Daemon(self._carry_out_with, "flatout-writer", (setup, plan)).start()
        self._carry_out(plan)

    def _carry_out_with(self, setup: Setup, plan: Plan) -> None:
        """Once what is large is written, beside the caller, who goes on."""
        setup.write()
        if not self.outlet.finished:
            self._carry_out(plan)

    def _carry_out(self, plan: Plan) -> None:
        if plan.kind != "inline":
            self._seat.give_back()
            try:
                self._residence.move_to(plan.kind, PlanChosen(plan))
                return
            except (OSError, RuntimeError) as error:  # no thread, no descriptor to be had
                reason = f"kept in the plain loop, since nothing else can be started: {type(error).__name__}: {error}"
                self._plan = plan = replace(plan, kind="inline", concurrency=1, ceiling=None, reason=reason)
        self._oversee()
        self._driver.post(PlanChosen(plan))

    def _note_choice(self, chooser: Chooser) -> None:
        """So far every call was one that a chooser watched, in the caller's thread."""
        (busy, cpu, begun), under_way = chooser.spent()
        before = self._unwatched
        begun += before.settled
        left = None if self.total is None else max(0, self.total - begun)
        spent = busy + before.busy_seconds, cpu + before.cpu_seconds, under_way, self.statistics().queued_seconds
        self.choice = Choice(self.seconds, begun, left, *spent, time.process_time())

    def _note_change(self, plan: Plan) -> None:
        """From now on by another plan. One that is gone back to was predicted for what was left long ago."""
        counts = self.statistics()
        beside = self._begun_in_threads()
        begun = counts.settled + beside
        left = None if self.total is None else self.total - begun
        spent = counts.busy_seconds, counts.cpu_seconds, 0.0, counts.queued_seconds
        gone_back = bool(plan.predictions) and plan.predictions is self._predictions
        choice = Choice(self.seconds, begun, left, *spent, time.process_time(), beside)
        self.choice = None if gone_back else choice

    def _restate(self, again: Callable[[Plan], Plan]) -> None:
        """The plan stays, its figures are made anew; unless it has been changed meanwhile."""
        if self._plan is not None and self._plan.predictions is self._predictions:
            self._plan = again(self._plan)
            self._predictions = self._plan.predictions

    def _bounded(self, plan: Plan) -> Plan:
        """No more in flight than files can be opened, unless it was the user who has said how many."""
        chosen = self._options.max_concurrency is None and not isinstance(self._options.via, Plan)
        return within_open_files(plan) if chosen else plan

    def _oversee(self) -> None:
        """The caller goes on by itself: have somebody look in."""
        if self._overseer is None and self._left() != 0:
            with put_off():  # not in the middle of an import
                from flatout._plan._second_look import Overseer

            self._overseer = Overseer(self._seat, lambda: self.outlet.finished)
            self._overseer.start()

    def _change(self, plan: Plan) -> bool:
        """Go on by another plan, in the middle of the run, if that can be; called where the driver lives."""
        plan = self._bounded(plan)
        with self._undisturbed() as threads:  # what they have not begun is better begun by the new plan
            try:
                if plan.kind == "process":
                    self._hiring.set_up(plan)
            except (NotPicklable, OSError):
                return False
            self._plan = plan
            self._note_change(plan)
            self._driver.post(PlanChosen(plan), first=True)  # lest the tasks that wait be begun by the old one
            if threads is not None:
                threads.give_back()
        return True

    def _prepare(self, each: float) -> None:
        """Processes may soon be wanted, for calls that compute so many seconds each."""
        if self.chooser is not None:
            with self._undisturbed():
                self.chooser.prepare(each)

    @contextlib.contextmanager
    def _undisturbed(self) -> Iterator[ThreadsWorker | None]:
        """Imports let go of the GIL a hundred times: meanwhile threads begin nothing, if they are joined ones."""
        with self._hiring.threads_held() as threads:
            rivals = len(threads.running()) if threads is not None else self.statistics().running
            with brisk.hurried(rivals):
                yield threads

    def _follow(self, plan: Plan) -> None:
        """Go on with more processes or fewer."""
        self._plan = plan
        self._driver.post(PlanChosen(plan))

    def _probe_again(self) -> None:
        """Have the next calls of the caller's thread watched as if they were the first."""
        assert self.chooser is not None
        self._unwatched = self.statistics()
        before, self.chooser = self.chooser, self.chooser.anew()
        before.stop()

    def _sent_or_not(self, plan: Plan) -> Plan:
        """The plan, unless the function cannot be sent to processes, or its data takes so long that it is not worth it."""
        assert self.chooser is not None
        try:
            setup = self._hiring.set_up(plan)
        except NotPicklable as error:
            return self.chooser.without_processes(str(error))
        data = setup.writing, setup.loading
        return self.chooser.with_data(*data) if sum(data) > LEAST_GAIN else plan

    def _settled(self, clock: Callable[[], float], whose: str) -> None:
        """The driver is about to live in an event loop, and to go by its clock, which may be a virtual one."""
        self._started = clock() - self.seconds
        if self._plan is not None:
            self._plan = replace(self._plan, reason=f"{self._plan.reason}; on {whose}")

    # The caller's thread

    def attend(self) -> None:
        """Do what there is to do for the caller's thread, or wait for news; what is finished goes out first."""
        self._news.hush()
        self._driver.pump_by_caller()
        if not self.outlet.ready:
            self._work_or_wait()

    def _attend_to_end(self) -> None:
        try:
            self._seat.start()
            while not self.outlet.finished:
                self._news.hush()
                self._driver.pump_by_caller()
                if not self.outlet.finished:
                    self._work_or_wait()
        except BaseException as error:  # of the initializer, or one that a call raised to end everything
            self._driver.post(WorkerExited(SEAT, error, fatal=True))
            self._driver.pump_by_caller()
        finally:
            self._seat.end()

    def _work_or_wait(self) -> None:
        batch = self._seat.take()
        if batch is not None:
            self._sit(batch)
        else:
            self._residence.check()
            wake_at = self._driver.wake_at if self._driver.host is None else None
            self._news.wait(
                LONGEST_WAIT if wake_at is None else min(max(0.0, wake_at - self._driver.clock()), LONGEST_WAIT)
            )
            if self._options.timeout is not None and not self.outlet.ready:
                self._residence.heed(self._options.timeout, self._async_inputs is not None)

    def _sit(self, batch: Batch) -> None:
        """Run a batch in this thread, watched as long as nothing has been decided."""
        chooser = self.chooser
        if chooser is None or chooser.decided or not chooser.before(batch):
            self._driver.post(self._seat.run(batch))
            return
        try:
            self._sit_watched(batch, chooser)
        finally:
            chooser.leave()  # the run may have ended just as this began

    def _sit_watched(self, batch: Batch, chooser: Chooser) -> None:
        awaitables: list[Awaitable[Any]] = []

        def set_aside(value: Awaitable[Any]) -> Awaitable[Any]:
            awaitables.append(value)
            return value

        fought: Round = ()
        if chooser.duelling:
            with put_off():  # not in the middle of an import
                from flatout._run._two_threads import run_by

            event, fought = run_by(chooser.duelling, self._work, batch, set_aside)
        else:
            event = self._seat.run(batch, set_aside)
        chooser.ran(len(event.values))
        if awaitables:
            self._hand_back(batch, event)
            return
        self._driver.post(event)
        chooser.after(len(event.values), event.values[0])
        if fought:
            chooser.fought(fought)

    def _pair(self, tasks: int) -> None:
        """Have the caller's thread get so many tasks at once: for the duel."""
        self._driver.post(PlanChosen(Plan("inline", chunksize=tasks, reason="to see what two threads gain")))

    def _hand_back(self, batch: Batch, event: BatchFinished) -> None:
        """The function has returned something to await: the calls stand, the rest is for an event loop."""
        assert self.chooser is not None
        plan = self.chooser.awaitable_found()
        if plan is None:  # the others are in threads or processes already, and await there
            self._driver.post(self._seat.finish(batch, event))
            return
        errors = {error.offset: error.error for error in event.errors}
        for position, value in enumerate(event.values):
            self._hiring.begun[event.first + position] = (value, errors.get(position))
        self._driver.post(WorkerExited(SEAT))
        self.adopt(plan)

    # The end

    def cancel(self) -> None:
        """Stop; from any thread."""
        self._driver.post(CancelRequested())

    def end(self) -> None:
        """Cancel what is left and wait for the end, which does not take long."""
        if sys.is_finalizing() or self._residence.in_a_fork:
            return  # no other thread runs any more
        try:
            self._seat.end()
        finally:
            with put_off():
                self._end(time.monotonic() + ENDING_SECONDS)

    def _end(self, deadline: float) -> None:
        if not self.outlet.finished:
            self.cancel()
            self._driver.pump_unless_busy()
            if self._residence.in_callers_loop():
                self._residence.pump_in_loop()
            elif not self._residence.here:
                self.outlet.over.wait(ENDING_SECONDS)
        self._note_end()
        self._residence.close(deadline)

    async def end_in_loop(self) -> None:
        """The same in the caller's loop, where cancelled coroutines are given the time to clean up."""
        import asyncio

        if self._residence.callers_loop is None:  # it was iterated by a plain `for`, which ends it in its own way
            self.end()
            return
        if not self.outlet.finished:
            self.cancel()
            self._driver.pump_unless_busy()
            self._residence.pump_in_loop()
        deadline = self._driver.clock() + ENDING_SECONDS
        try:
            while not self.outlet.finished and self._driver.clock() < deadline:
                await asyncio.sleep(0.005)  # a driver thread is at it
        finally:  # also where who waits here is cancelled once more
            self._note_end()
        if self._hiring.loop_worker is not None:
            await self._hiring.loop_worker.ended(ENDING_SECONDS)
        if self._async_inputs is not None:
            await self._async_inputs.closed()

    def abandon(self) -> None:
        """Cancel what is left, and wait for nothing: from any thread, also where the loop was closed."""
        if not self.outlet.finished:
            self.cancel()
            self._driver.pump_unless_busy()
        self._note_end()

    def _note_end(self) -> None:
        self._iterables = ()
        if self._ended is None:
            self._ended = self._driver.clock()
            self._process_seconds = time.process_time()
        if self._pauses is not None:
            self._pauses.end()
        if self._overseer is not None:
            self._overseer.end()
        if self._second_look is not None:
            self._second_look.end()
        if self.chooser is not None:
            spread = self._plan is not None and self._plan.kind == "process" and self._dispatcher.crossed
            self.chooser.stop(self.statistics(), self.seconds, spread)
            if self._plan is None:
                self._plan = self.chooser.over()

    # What it shows

    @property
    def plan(self) -> Plan | None:
        """The plan, once there is one; one that needed no measurement gets its figures as it goes."""
        plan = self._plan
        if plan is not None and self._driver.resources is not None and self._driver.resources.note:
            plan = replace(plan, reason=f"{plan.reason}; {self._driver.resources.note}")
        if plan is None or plan.kind != "async" or plan.measured is not None:
            return plan
        counts = self.statistics()
        calls = counts.ended
        if not calls:
            return plan
        cpu = min(counts.cpu_seconds, counts.busy_seconds)
        measured = Measurement(cpu / calls, 0.0, (counts.busy_seconds - cpu) / calls, calls=calls)
        from flatout._plan._review import FULL

        wanted = cpu + counts.queued_seconds  # beside other programs the loop has less of its core than it would fill
        full = wanted > FULL * self.seconds and counts.busy_seconds - wanted > cpu
        waits = ", in part for the loop, whose core was full" if full else ""
        return replace(plan, measured=measured, reason=f"{plan.reason}; {describe(measured)}{waits}")

    @property
    def seconds(self) -> float:
        """Since the start, until the end."""
        if self._started is None:
            return 0.0
        return (self._driver.clock() if self._ended is None else self._ended) - self._started

    @property
    def process_seconds(self) -> float:
        """CPU time of this process, until the end."""
        return time.process_time() if self._ended is None else self._process_seconds

    def statistics(self) -> Statistics:
        """The counts at this moment."""
        return self._driver.statistics()

    def consume(self, count: int) -> None:
        """The consumer is done with so many outcomes."""
        self._driver.consumed(count)


class _NoSource:
    """Stands in until the run starts."""

    def draw(self, count: int, here: bool, post: Any) -> None:
        """Never asked."""

    def close(self) -> None:
        """Nothing to close."""
