"""Watches the first calls of a run and turns what it sees into a plan, once."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from flatout._machine._machine import gil_enabled, physical_cores
from flatout._model import Batch, Measurement, Options, Plan, Statistics, Work
from flatout._plan._choose import ZYGOTE_START, Situation, async_plan, choose, restate
from flatout._plan._duel import Duel, Round, shared_out
from flatout._plan._effects import Watch
from flatout._plan._evidence import ENOUGH, Spent
from flatout._plan._probe import Probe
from flatout._plan._remembered import FEWEST, Known, Others, in_the_mean, recall, remember
from flatout._record import replace
from flatout._units import duration

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any

# Seconds that others wait for the end of the first call before they go to processes: its result may be one that cannot be
# sent, and many a call notes something in the caller's memory as its last act. Where that could be seen they wait for as
# long as it takes. Three times what it takes to judge, little beside what processes are worth their start for; guessed.
# Where such calls were in processes in an earlier run, and none failed there, this is known.
PATIENCE = 0.1
TELLING = ENOUGH / 2  # seconds of calls that a later run may be judged by, though too few for a choice then; guessed


class Chooser:
    """Between the probe, which measures, and the law, which decides.

    left: tells how many inputs are left, None where unknown. no_process: why processes are out of the question from the
    start, else empty. zygote: tells for how many seconds the zygote has been there, None if it is not. boot: starts it. idle: tells how many worker processes and how
    many threads are there from earlier runs. adopt: takes the plan, in the caller's thread or, in the middle of a call, the probe's; then restate,
    at the end of that call, has its figures made anew. alone: see `Probe`. duels: whether a duel is to show what computing
    gains from threads, as where there is no GIL; `pair` is told how many tasks the batches that are fought over are to have.
    known: what calls of the function did in an earlier run.
    """

    def __init__(
        self,
        work: Work,
        options: Options,
        cores: int,
        no_process: str,
        zygote: Callable[[], float | None],
        boot: Callable[[], object],
        idle: Callable[[], tuple[int, int]] = lambda: (0, 0),
        *,
        alone: bool = True,
        duels: bool = False,
        known: Known | None = None,
    ) -> None:
        self.decided = False
        self.pair: Callable[[int], None] = lambda tasks: None
        self._duel = Duel() if duels and (options.max_concurrency or 2) > 1 else None
        self._gil = gil_enabled() and not duels
        self.adopt: Callable[[Plan], None] = lambda plan: None
        self.restate: Callable[[Callable[[Plan], Plan]], None] = lambda again: None
        self.left: Callable[[], int | None] = lambda: None
        self._work = work
        self._options = options
        self._most = options.max_concurrency
        self._alone = alone
        self._cores = cores
        self._no_process = no_process
        self._zygote = zygote
        self._boot = boot
        self._idle = idle
        self._known = None if duels else known
        self._probe = Probe(self._decide, self._computing, alone=alone, known=self._known)
        self._effects: Watch | None = None
        self._first: list[Any] = []  # the first input, and its result once there is one
        self._prices: list[float] = []  # seconds to move each of them, as far as that was asked
        self._measured: Measurement | None = None
        self._opening: Measurement | None = None  # what the run's first calls did, where these are later ones
        self._situation: Situation | None = None
        self._began = self._chosen = 0.0  # when, by time.perf_counter
        self._watched: Spent = 0.0, 0.0, 0  # on the calls that it was chosen by
        self._undisturbed: Measurement | None = None  # before the duel
        self._first_over = False
        self._in_first = False  # the choice was made in the middle of the first call
        self._patience = PATIENCE  # what is left of it
        self._possible: str | None = None  # effects that are possible, once somebody has asked
        self._lock = threading.Lock()

    def anew(self) -> Chooser:
        """One that begins with the next call, as if that were the first; what rules processes out still does."""
        arguments = self._work, self._options, self._cores, self._no_process, self._zygote, self._boot, self._idle
        other = Chooser(*arguments, alone=self._alone, duels=self._duel is not None)
        other.adopt, other.restate, other.pair = self.adopt, self.restate, self.pair
        other.left, other.done = self.left, self.done
        other._opening = self._opening or (self._measured if self._relied_on is None else self._relied_on.first)
        return other

    @property
    def done(self) -> Callable[[], int]:
        """Tells how many calls of the batch in hand are over."""
        return self._probe.done

    @done.setter
    def done(self, done: Callable[[], int]) -> None:
        self._probe.done = done

    def before(self, batch: Batch) -> bool:
        """A batch is about to be run in this thread. False: no thread can be had to watch it, and so the decision has fallen."""
        if self._effects is None:
            self._first.append(batch.inputs[0])
            self._effects = Watch(self._work.func, batch.inputs[0], self._work.star)
            self._began = time.perf_counter()
        refused = self._probe.begin()
        if not refused:
            return True
        self._probe.stop()
        if self._claim():
            why = f"kept in the plain loop, since no thread can be started to watch the calls: {refused}"
            self.adopt(Plan("inline", reason=why))
        return False

    def ran(self, count: int) -> None:
        """So many calls of it have just been made."""
        self._probe.note(count)

    def after(self, count: int, first: Any) -> None:
        """They are taken into account; `first` is the result of the first."""
        self._note_result(first)
        self._probe.end(count)
        self._restate()

    def after_only(self, result: Any) -> None:
        """The only call that is watched is over: the decision falls, however short it was."""
        self._note_result(result)
        self._probe.finish()

    def _note_result(self, first: Any) -> None:
        if len(self._first) == 1:
            self._first.append(first)
            self._no_process = self._no_process or self._effects_seen()
            self._first_over = True

    def _restate(self) -> None:
        """In the middle of the first call nobody knew how long it takes: now it is over."""
        seen, situation = self._measured, self._situation
        if self.decided and self._in_first and seen is not None and situation is not None:
            self._in_first = False
            self._watched = self.spent()[0]
            if self._probe.still_agrees():
                return
            situation = replace(situation, no_process=self._no_process)  # which may have been found out by the choice
            # Since the choice other threads have been at other calls: what those computed is none of this one's.
            now = self._probe.measurement()
            self._measured = measured = replace(seen, gil=now.gil, free=now.free, wait=now.wait, calls=now.calls)
            self.restate(lambda plan: restate(plan, measured, situation))

    @property
    def duelling(self) -> int:
        """By how many threads the next batch is to be run, for the duel (see `fought`); 0: there is none."""
        return self._duel.threads if self._duel is not None and self._duel.on and not self.decided else 0

    def fought(self, threads: Round) -> None:
        """It was, and this is what they did."""
        assert self._duel is not None
        if self._duel.fought(threads):
            self._decide()

    def leave(self) -> None:
        """The caller's thread has left the batch, in whatever way."""
        self._probe.leave()

    def stop(self, counts: Statistics | None = None, seconds: float = 0.0, spread: bool = False) -> None:
        """The run is over; counts: what came of it in so many seconds. spread: over the cores, by processes."""
        self.decided = True
        self._probe.stop()
        if self._alone and self._measured is not None:
            self._remember(self._measured, counts, seconds, spread)
        elif self._alone and self._probe.seconds >= TELLING:  # over before it was judged
            remember(self._work.func, self._probe.measurement())
        self._first_over = True

    def _remember(self, measured: Measurement, counts: Statistics | None, seconds: float, spread: bool) -> None:
        if counts is None:
            if recall(self._work.func) is None:  # a whole run has shown more
                remember(self._work.func, measured)
            return
        known = self._relied_on
        seen, before = (measured, None) if known is None else (known.first, known.mean)
        masters = Situation(self._cores, physical=physical_cores()).masters
        crowding = self._cores / masters if spread or seen.free > seen.gil else 1.0
        others = self._others(counts, seconds, self._cores if spread else 1)
        mean = in_the_mean(seen, others, crowding, before)
        remember(self._work.func, self._opening or seen, mean, sent=spread and not counts.failed)

    @property
    def _relied_on(self) -> Known | None:
        """What is known from an earlier run, where the choice goes by that."""
        return self._known if self._probe.agreed is not None else None

    def _others(self, counts: Statistics, seconds: float, cores: int) -> Others:
        """What all calls did but those that were watched; or all, where these were nearly all."""
        (busy, cpu, calls), chosen = self._watched, self._chosen - self._began
        if counts.ended - calls < FEWEST:
            busy, cpu, calls, chosen = 0.0, 0.0, 0, 0.0
        spent = counts.busy_seconds - busy, counts.cpu_seconds - cpu, counts.queued_seconds
        return Others(counts.ended - calls, *spent, core_seconds=(seconds - chosen) * cores)

    def spent(self) -> tuple[Spent, float]:
        """See `Probe.spent`."""
        return self._probe.spent()

    def measure(self) -> Measurement:
        """What has been seen, with the cost of moving an input and a result to a process and back."""
        measured = self._undisturbed or self._probe.measurement()
        if self._duel is not None:
            measured = shared_out(measured, self._duel.gain if self._duel.over else None)
        if self._no_process:
            return measured
        from flatout._wire import _values

        try:
            for place in range(len(self._prices), len(self._first)):
                self._prices.append(_values.seconds_across(self._first[place], by_value=place == 0))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # raised by code of the user's: it would fare no better there
            return replace(measured, unpicklable=f"{type(error).__name__}: {error}")
        return replace(measured, transfer=sum(self._prices))

    def situation(self) -> Situation:
        """What the choice depends on beside the measurement."""
        left, age, (processes, threads) = self.left(), self._zygote(), self._idle()
        how = self._no_process, age is not None and age >= ZYGOTE_START, self._gil, self._most_at_once(left)
        physical = physical_cores()
        return Situation(self._cores, left, *how, booting=age or 0.0, idle=processes, kept=threads, physical=physical)

    def _most_at_once(self, left: int | None) -> int | None:
        """Of one batch one call is under way at a time, and no more than are held."""
        chunks = None if left is None or not self._options.chunksize else max(1, -(-left // self._options.chunksize))
        bounds = [bound for bound in (self._most, self._options.buffersize, chunks) if bound is not None]
        return min(bounds, default=None)

    def situation_later(self) -> Situation:
        """The same for a change in mid-run: what calls may come to change here rules processes out, too."""
        situation = self.situation()
        return replace(situation, no_process=situation.no_process or self._effects_possible())

    def over(self) -> Plan:
        """The plan of a run that was over before a choice was due."""
        measured = self._probe.measurement()
        if measured.calls == 0:
            return Plan("inline", reason="there was no input")
        spent = duration(self._probe.seconds)
        calls = f"all {measured.calls} calls were" if measured.calls > 1 else "the only call was"
        reason = f"{calls} over in {spent} in the plain loop, before anything else could have started"
        return Plan("inline", reason=reason, measured=measured)

    def awaitable_found(self) -> Plan | None:
        """The plan for a plain function that has turned out to return something to await; None: it comes too late."""
        if not self._claim():
            return None
        self._probe.stop()
        return async_plan("the function returns an awaitable", self._most)

    def without_processes(self, reason: str) -> Plan:
        """Choose again, processes being ruled out."""
        self._no_process = reason
        return choose(self._measured or self._probe.measurement(), self.situation())

    def with_data(self, writing: float, loading: float) -> Plan:
        """Choose again: it takes so many seconds to write the function's data for processes, and these to load it."""
        assert self._measured is not None
        self._situation = replace(self.situation(), under_way=self.spent()[1], writing=writing, loading=loading)
        return self._judged(choose(self._measured, self._situation))

    def _judged(self, plan: Plan) -> Plan:
        if self._probe.agreed is None:
            return plan
        return replace(plan, reason=f"{plan.reason}; judged by an earlier run, since the first calls are like it")

    def _effects_seen(self) -> str:
        assert self._effects is not None
        changed = self._effects.changed()
        return f"{changed}, which would be lost in a process" if changed else ""

    def _decide(self) -> float | None:
        """Choose, and have it adopted: None. Or the seconds for which to look on first, at most until the call is over."""
        if self.decided:
            return None
        over = self._first_over
        self._no_process = self._no_process or self._effects_seen()
        self._measured, agreed = self.measure(), self._probe.agreed
        self._in_first = not over
        if agreed is not None:
            self._measured = replace(self._measured, calls=agreed.calls)
        self._situation = replace(self.situation(), under_way=self.spent()[1])
        plan = choose(self._measured, self._situation)
        if agreed is not None:
            # They do something else; or, in the middle of a call, nobody waits for the choice.
            if self._measured.own or (plan.kind == "inline" and not over):
                self._probe.look_on()
                return 0.0
            plan = self._judged(plan)
        duel = self._duel if self._may_tell(plan) else None
        if duel and over:
            self._undisturbed = self._probe.measurement()
            self.pair(duel.begin(self._measured.seconds))
            return None
        if duel and plan.kind != "process":
            return math.inf  # it has to be known how long a call takes
        if plan.kind == "process" and not over:
            sent = agreed is not None and self._known is not None and self._known.sent
            wait, self._patience = 0.0 if sent else self._patience, 0.0
            if wait or self._watches_effects():
                return wait if not self._watches_effects() else math.inf
        if plan.kind == "process" and (written := self._effects_possible()):
            plan = self.without_processes(written)
        if self._claim():
            self.adopt(plan)
        return None

    def _effects_possible(self) -> str:
        if self._effects is None:  # no call has begun yet
            return ""
        if self._possible is None:
            possible = self._effects.possible()
            self._possible = f"{possible}, which would be lost in a process" if possible else ""
        return self._possible

    def _watches_effects(self) -> bool:
        return self._effects is not None and self._effects.watching

    def _may_tell(self, plan: Plan) -> bool:
        """Whether a duel, if it went well, would bring about threads instead of this plan."""
        if self._duel is None or self._duel.over or plan.kind == "thread" or self._measured is None:
            return False
        return choose(shared_out(self._measured, 2.0), self.situation()).kind == "thread"

    def _claim(self) -> bool:
        """Whether the decision is the claimant's: it falls once, and more than one thread may come to it."""
        with self._lock:
            decided, self.decided = self.decided, True
        if not decided:
            self._chosen, self._watched = time.perf_counter(), self.spent()[0]
        return not decided

    def prepare(self, each: float) -> None:
        """Start the zygote, if calls that compute so many seconds each may be worth it."""
        if start := self._computing(each):
            start()

    def _computing(self, each: float) -> Callable[[], None] | None:
        """What to do ahead of the choice: start the zygote, where the calls that are left take longer than that."""
        left = self.left()
        worth = not self._no_process and (left is None or left * each >= ZYGOTE_START)
        return self._boot_zygote if worth else None

    def _boot_zygote(self) -> None:
        try:
            self._boot()
        except OSError as error:
            self._no_process = f"no worker process can be started ({error})"
