"""Looks at a choice again while the run goes on: what the calls have done lately, against what they were taken to do.

Numbers in, a plan out, or None where nothing better is in sight. What is looked for:

    threads      one core full and no more: calls that hold the GIL, which processes would share out over the cores
    processes    calls that mostly wait: more of them in flight would not cost a core; or calls much slower than predicted,
                 for no reason of their own: threads are tried, if the law has them next
    event loop   its core full: loops in several processes would share the computing

A change is judged by what was before it, and taken back where it made things worse.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

from flatout._model import Inside, Measurement, Plan, Prediction, Statistics
from flatout._plan import _law
from flatout._plan._choose import (
    GAIN,
    MIXED,
    MIXED_TASK,
    PROCESS_START,
    PROCESS_TASK,
    THREAD_START,
    Situation,
    choose,
    describe,
)
from flatout._record import record, replace
from flatout._units import duration

WINDOW = 0.05  # seconds between two looks; guessed: twice what the probe needs
FEWEST = 8  # calls in a window, lest chance decides; guessed
AWAITED = 8  # workers that must be there before anything is judged; guessed
SETTLED = 2.0  # seconds in which new workers are waited for at most; guessed
STARTING = 0.01  # seconds between two looks while workers start; guessed
WORSE = 1.15  # times as long a call takes after a change that is taken back; guessed
DISAPPOINTING = 1.5  # times as long as predicted, from which the runner-up is tried; guessed
CROWDED = 0.25  # of their time that calls wait for a core, from which others have the machine; guessed
VERIFIED = 1.0  # seconds over which what came is held against the prediction; guessed
FULL = 0.8  # of a core, from which threads or a loop are held up by it; guessed
OWN_WORK = (
    0.0003  # seconds of computing a call up to which it may be flatout's own, with many threads (measured: 0.15 ms)
)
ANOTHER = 3  # times as much computing in a call, from which what was tried before may be tried again; guessed
MORE_THAN_ONE = 1.25  # cores in use, from which threads share them: they let go of the GIL; guessed
MOSTLY_WAITS = 0.6  # share of a call's time without a core from which more in flight would help; guessed
PER_CORE = 8  # calls in flight in each process at least, since it is not known how long they wait; guessed
LOOP_EVIDENCE = 0.005  # seconds of computing in a loop after which it is judged; guessed
LOOP_PAUSE = 0.001  # seconds between two looks until then: one takes 60 us; guessed
LOOP_SURE = 0.02  # seconds of computing after which chance has no say; before, it must save as many times more; guessed
LOOP_TASK = 5e-6  # seconds to hand a coroutine to another process and take its result, many at a time (measured)
LOOP_ROUND = 0.003  # seconds from the end of one there to the beginning of the next (measured: 2.6-5.7 ms)
LOOP_WORTH = 0.05  # seconds that spreading coroutines must save: to move them is not without risk; guessed
THREADS_WORTH = 0.1  # the same for threads: each process has to load what the calls need, and connect anew; guessed
IN_EACH_LOOP = 500  # coroutines in flight in each process

Look = Callable[[Plan, "Window", Situation], "Plan | None"]


@record
class Window:
    """What happened between two looks: seconds, calls that ended, how long they took together, how long of it they
    computed, how long they waited for a core to do so, how many more have begun than ended, and how long at most each of
    those that ended has waited for anything, the GIL included.
    """

    seconds: float
    calls: int
    busy: float
    cpu: float
    queued: float = 0.0
    more: int = 0
    waited: float = math.inf

    @property
    def pace(self) -> float:
        """Seconds from one call's end to the next."""
        return self.seconds / self.calls

    @property
    def compute(self) -> float:
        """Seconds that a call computes. Those that have begun have done half of that; and so have those that ended."""
        return self.cpu / (self.calls + self.more / 2)

    @property
    def cores(self) -> float:
        """How many cores the calls kept busy, or would have, had they got them."""
        return (self.cpu + self.queued) / self.seconds

    def measurement(self, transfer: float = 0.0) -> Measurement:
        """What a call did, computing taken to hold the GIL."""
        wait = max(0.0, self.busy - self.cpu - self.queued) / self.calls
        return Measurement(self.compute, 0.0, wait, transfer, calls=self.calls)


class Review:
    """What it thinks of the plan of a run.

    situation: tells what a choice depends on, at this moment. prepare: has processes made ready for calls that compute so
    many seconds each, since these may soon be wanted.
    """

    def __init__(
        self, situation: Callable[[], Situation], prepare: Callable[[float], None] = lambda each: None
    ) -> None:
        self._situation = situation
        self._prepare = prepare
        self._prepared = False
        self.due = 0.0  # when there is reason to look
        self._plan: Plan | None = None
        self._before: tuple[Plan, Window] | None = None  # the plan before this one, and how it did
        self._tried: dict[str, float] = {}  # way -> seconds that a call computed then
        self._began = self._since = 0.0
        self._counts = Statistics()
        self._unverified = (Statistics(), 0.0)  # what had come, and when, by the last such look
        self._cpu = 0.0
        self._predicted = 0.0  # pace
        self._awaited = 0  # workers that are still to report for work
        self._joined = 0  # that have reported since the last look

    def adopted(self, plan: Plan, counts: Statistics, cpu: float, now: float) -> None:
        """From now on this plan holds. cpu: see `look`."""
        self._plan = plan
        self._began = self._since = now
        self._counts, self._cpu, self._unverified = counts, cpu, (counts, now)
        self.due = now
        self._awaited = min(AWAITED, plan.processes or plan.concurrency) if plan.kind == "process" else 0
        self._predicted = 0.0
        if plan.kind == "process" and (chosen := _prediction(plan)) is not None:
            self._predicted = chosen.seconds / (self._situation().left or math.inf)

    def ready(self) -> None:
        """A worker has reported for work."""
        self._awaited -= 1
        self._joined += 1

    def collected(self, seconds: float, cpu: float) -> None:
        """So long, since the last look, all objects of the program were looked through for garbage: none of the calls' work."""
        self._since += seconds
        self._cpu += cpu
        self._counts = replace(self._counts, cpu_seconds=self._counts.cpu_seconds + cpu)

    def look(self, counts: Statistics, cpu: float, now: float) -> Plan | None:
        """Look, once it is due; returns the plan to go on by, if it is to be another. cpu: of this process, so far."""
        plan = self._plan
        if plan is None or plan.kind == "inline" or self._unsettled(plan, counts, now):
            self._unverified = counts, now
            self._open(counts, cpu, now)
            self.due = now + (0.0 if plan is None or plan.kind == "async" else STARTING)
            return None
        window = _between(self._counts, counts, now - self._since, plan.kind == "async")
        if window is not None and plan.kind == "thread":
            # With all that this process computes, and all its threads: of calls that are under way it is not told yet.
            busy = max(window.busy, window.seconds * min(counts.running, counts.workers))
            waited = max(0.0, window.busy - window.cpu) / window.calls
            window = replace(window, cpu=cpu - self._cpu, busy=busy, waited=waited)
        if window is None or not self._enough(plan, window):
            return None
        if plan.kind == "thread":
            joined = max(0, counts.workers - self._counts.workers)
            self._foresee(plan, window, joined)
            if joined > 0 and now < self._began + SETTLED and self._as_expected(plan, window, joined):
                self._open(counts, cpu, now)
                return None
        if plan.kind != "async" or window.cpu >= LOOP_SURE:
            self._open(counts, cpu, now)
        else:
            self.due = now + LOOP_PAUSE
        self._tried.setdefault(plan.way, window.compute)
        if self._before is not None:
            before, then = self._before
            self._before = None
            # Calls may have become dearer meanwhile, of which the other way is innocent: then more is computed than before.
            if window.pace > WORSE * then.pace and WORSE * window.cores < then.cores:
                return _taken_back(before, plan, window.pace, then.pace)
        better = self._better(plan, window) or self._disappointed(plan, counts, now)
        if better is not None:
            self._before = plan, window
        return better

    def _open(self, counts: Statistics, cpu: float, now: float) -> None:
        """Begin a window."""
        self._counts, self._cpu, self._since = counts, cpu, now
        self.due = now + (0.0 if self._plan is not None and self._plan.kind == "async" else WINDOW)

    def _unsettled(self, plan: Plan, counts: Statistics, now: float) -> bool:
        """Whether what has happened tells nothing: workers were starting, or all of a loop's first tasks."""
        if plan.kind == "async":
            return not self._counts.ended
        if now >= self._began + SETTLED:
            return False
        if plan.kind == "thread":
            return counts.workers < min(AWAITED, plan.concurrency)
        if self._awaited > 0:
            return True
        joined, self._joined = self._joined, 0
        return joined > 0

    def _foresee(self, plan: Plan, window: Window, joined: int) -> None:
        """Where half of what keeps one core full is not known from before, it may be for processes once it is seen for longer.

        They start on a core that idles.
        """
        beyond = window.cpu - joined * THREAD_START - window.calls * (_known(plan) + OWN_WORK)
        if self._prepared or not _fills_one_core(window) or beyond < window.seconds / 2:
            return
        situation = self._situation()
        if situation.cores > 1 and situation.gil and not situation.no_process:
            self._prepared = True
            self._prepare(window.compute)

    def _as_expected(self, plan: Plan, window: Window, joined: int) -> bool:
        """Whether calls computed, beside the start of so many threads, no more than was known when they were chosen."""
        return window.cpu - joined * THREAD_START <= ANOTHER * _known(plan) * window.calls

    def _enough(self, plan: Plan, window: Window) -> bool:
        if plan.kind == "async" and window.cpu >= LOOP_EVIDENCE and window.calls >= 2:
            return True
        return window.seconds >= WINDOW and (window.calls >= FEWEST or window.seconds >= VERIFIED)

    def _better(self, plan: Plan, window: Window) -> Plan | None:
        looks = {"thread": _from_threads, "process": _from_processes, "async": _from_a_loop}
        look = looks.get(plan.way)
        return self._if_new(look, plan, window) if look is not None else None

    def _disappointed(self, plan: Plan, counts: Statistics, now: float) -> Plan | None:
        then, since = self._unverified
        if plan.way != "process" or now < since + VERIFIED:
            return None
        self._unverified = counts, now
        window = _between(then, counts, now - since)
        look = functools.partial(_from_what_disappoints, predicted=self._predicted)
        return self._if_new(look, plan, window) if window is not None else None

    def _if_new(self, look: Look, plan: Plan, window: Window) -> Plan | None:
        """What it sees, where that has not been tried, or calls have become much dearer since."""
        situation = self._situation()
        better = look(plan, window, situation) if situation.left and situation.cores > 1 else None
        if better is None or window.compute <= ANOTHER * self._tried.get(better.way, -math.inf):
            return None
        self._tried[better.way] = window.compute
        return better


def _between(then: Statistics, now: Statistics, seconds: float, as_it_goes: bool = False) -> Window | None:
    """as_it_goes: what a call computes is counted while it is under way, not when it has ended."""
    calls = now.ended - then.ended
    if calls <= 0 or seconds <= 0:
        return None
    busy = now.busy_seconds - then.busy_seconds
    queued = now.queued_seconds - then.queued_seconds
    more = max(0, now.running - then.running) if as_it_goes else 0
    most = min(busy, seconds) if as_it_goes else busy  # a loop is one thread, and reports now and then
    return Window(seconds, calls, busy, min(max(0.0, now.cpu_seconds - then.cpu_seconds), most), queued, more)


def _from_threads(plan: Plan, window: Window, situation: Situation) -> Plan | None:
    """Where one core is full, and no more: processes, each with threads where calls may wait as well."""
    in_flight = window.busy / window.seconds
    if not _fills_one_core(window) or not situation.gil or situation.no_process or window.compute < OWN_WORK:
        return None
    m, left, transfer = situation.cores, situation.left or 0, plan.measured.transfer if plan.measured else 0.0
    # In threads a call waits for the GIL as well, at most until each of the others has computed once.
    known = plan.measured.wait if plan.measured else 0.0
    wait = max(known, window.busy / window.calls - in_flight * window.compute)
    per_core = max(PER_CORE, math.ceil(1 + wait / window.compute))
    if window.waited < MIXED * window.compute:  # they hardly wait for the GIL even
        wait, per_core = window.waited, 1
    most = min(round(in_flight), left)
    k = max(m, min(per_core * m, most))
    parent = transfer / 2 + MIXED_TASK
    each = _law.process_seconds_per_call(window.compute, 0.0, wait, transfer, situation.masters, k, parent)
    seconds = _starting(m, k, situation) + left * each
    if seconds * GAIN >= left * window.pace or left * window.pace - seconds < THREADS_WORTH:
        return None
    why = f"threads keep one core full and no more, {duration(window.pace)} from one call's end to the next"
    if k > m:
        useful = float(m) if _are_others(plan, window) else _law.useful_in_flight(window.compute, wait, m)
        return _mixture(plan, "thread", (k, most), m, seconds, f"{why}; {k} calls in threads of {m} processes", useful)
    return _changed(plan, Plan("process", m), seconds, f"{why}; {m} processes")


def _fills_one_core(window: Window) -> bool:
    """Whether threads keep one core full, and no more."""
    return FULL <= window.cores <= MORE_THAN_ONE and window.busy > MORE_THAN_ONE * window.seconds


def _known(plan: Plan) -> float:
    """Seconds that a call computes, as far as was known when the plan was made; inf where nothing was."""
    return plan.measured.gil + plan.measured.free if plan.measured is not None else math.inf


def _are_others(plan: Plan, window: Window) -> bool:
    """Whether calls compute so much more than those that were measured that these tell nothing of how long they wait."""
    return window.compute > ANOTHER * _known(plan)


def _from_processes(plan: Plan, window: Window, situation: Situation) -> Plan | None:
    """Where calls have come to wait: the law once more, with what they do now."""
    seen = window.measurement(plan.measured.transfer if plan.measured else 0.0)
    if seen.wait < MOSTLY_WAITS * seen.seconds or plan.concurrency > situation.cores:
        return None
    better = choose(seen, situation)
    chosen = _prediction(better)
    if better.kind == "inline" or chosen is None or chosen.seconds * GAIN >= (situation.left or 0) * window.pace:
        return None
    return replace(better, reason=f"{_after(plan)} the calls have come to wait: {better.reason}")


def _from_a_loop(plan: Plan, window: Window, situation: Situation) -> Plan | None:
    """Where its core is full: loops in as many processes as there are cores."""
    if window.cores < FULL or situation.no_process:
        return None
    m, left, begun, compute = situation.cores, situation.left or 0, situation.begun, window.compute
    alone, k = (left + begun) * compute, loops_in_flight(m, plan.ceiling or plan.concurrency)
    seconds = loops_seconds(compute, situation.quickest, k, situation)
    worth = LOOP_WORTH * max(1.0, LOOP_SURE / window.cpu)
    if seconds * GAIN >= alone or alone - seconds < worth:
        return None
    why = f"{describe(window.measurement())}: the loop keeps its core full; loops in {m} processes"
    return _mixture(plan, "async", (k, k), m, seconds, why)


def loops_in_flight(cores: int, ceiling: int) -> int:
    """Coroutines in flight in all loops together."""
    return min(IN_EACH_LOOP * cores, max(cores, ceiling))


def loops_seconds(compute: float, quickest: float, in_flight: int, situation: Situation) -> float:
    """Seconds for the coroutines that are left and under way, where loops in processes share the first.

    compute: seconds that each computes. quickest: that it takes at least. Until the others have started this loop goes on.
    """
    left, begun, start = situation.left or 0, situation.begun, _starting(situation.cores, situation.cores, situation)
    shared = start + max(0.0, (left + begun) * compute - start + left * LOOP_TASK) / situation.masters
    return max(shared, begun * compute, left * LOOP_TASK, left * (quickest + LOOP_ROUND) / in_flight)


def _from_what_disappoints(plan: Plan, window: Window, situation: Situation, predicted: float) -> Plan | None:
    """Where it is neither computing nor a busy machine that makes calls end much farther apart than was predicted.

    On a busy machine all that this process does for them takes longer, too.
    """
    if window.queued > CROWDED * window.busy:
        return None
    explained = max(predicted, (window.cpu + window.queued) / window.calls / situation.cores)
    here, threads = _prediction(plan), next((p for p in plan.predictions if p.kind == "thread"), None)
    if here is None or threads is None or threads.impossible or not 0 < DISAPPOINTING * explained < window.pace:
        return None
    if threads.seconds / here.seconds * predicted * GAIN > window.pace:
        return None
    why = (
        f"calls end {duration(window.pace)} apart, {duration(predicted)} were predicted; {threads.concurrency} threads"
    )
    return _changed(plan, Plan("thread", threads.concurrency, threads.concurrency), threads.seconds, why)


def _prediction(plan: Plan) -> Prediction | None:
    """That of the way which was chosen."""
    return next((p for p in plan.predictions if (p.kind, p.inside) == (plan.kind, plan.inside)), None)


def _starting(processes: int, in_flight: int, situation: Situation) -> float:
    start = processes * PROCESS_START + -(-in_flight // processes) * THREAD_START
    return situation.boot + start + PROCESS_TASK


def _mixture(
    plan: Plan,
    inside: Inside,
    in_flight: tuple[int, int],
    processes: int,
    seconds: float,
    why: str,
    useful: float = 1.0,
) -> Plan:
    """in_flight: calls at first, and at most. useful: see `Prediction`."""
    new = Plan("process", *in_flight, processes=processes, inside=inside)
    return _changed(plan, new, seconds, why, useful)


def _changed(plan: Plan, new: Plan, seconds: float, why: str, useful: float = 1.0) -> Plan:
    reason = f"{_after(plan)} {why} should take {duration(seconds)} for what is left"
    predictions = (Prediction(new.kind, new.concurrency, seconds, inside=new.inside, useful=useful),)
    return replace(new, reason=reason, measured=plan.measured, predictions=predictions)


def _after(plan: Plan) -> str:
    return f"begun by {plan.way}, looked at again:"


def _taken_back(before: Plan, plan: Plan, pace: float, pace_before: float) -> Plan:
    slower = f"{plan.way} was tried, and was slower ({duration(pace)} a call, {duration(pace_before)} before)"
    return replace(before, reason=f"{before.reason}; {slower}")
