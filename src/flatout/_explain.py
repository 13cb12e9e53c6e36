"""What `map` would do and why, as a table."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

from flatout._awaitable import is_awaitable
from flatout._dispatch._trial import Trial
from flatout._errors import PlanError
from flatout._model import Batch, Measurement, Plan, Prediction, Work
from flatout._plan._choose import (
    FIRST_CALL,
    GAIN,
    UNKNOWN,
    Situation,
    async_plan,
    choose,
    describe,
    first_call_tells_too_much,
)
from flatout._plan._chooser import Chooser
from flatout._plan._law import useful_in_flight
from flatout._plan._review import LOOP_WORTH, loops_in_flight, loops_seconds
from flatout._plan._second_look import Tie
from flatout._record import record, replace
from flatout._run import _inputs
from flatout._units import duration

LOOP_CALL = 10e-6  # seconds that an event loop needs for a call among many (CPU seconds measured: 10-12 us for a sleep)
NAPS = 3  # times that as many naps are taken, to see what they cost the loop
LONGEST_NAP = 0.02  # seconds of each; guessed: longer ones leave the caches no colder
ALONE = 2  # coroutines that are awaited one after another: the first loads what is loaded once
TOGETHER = 6  # that are then awaited at once, to see what each computes among others
# CPU seconds that each of so few takes longer than each of many, since what they do is not in the caches. (GETs by asyncio's
# streams: 155 us of 6 at once, 115 of 16, 85 of 1000, measured.)
COLD = 70e-6
PATIENT = 0.25  # seconds that the first may take for others to follow; guessed


@record
class Explanation:
    """What was measured, what the exhibition law predicts for each kind of worker, and the choice.

    calls: how many inputs were used up for it. inputs: their number, None where it cannot be known. `print` it.
    """

    plan: Plan
    measured: Measurement
    predictions: tuple[Prediction, ...]
    calls: int
    inputs: int | None

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        measured, calls = self.measured, f"{self.calls} call{'s' * (self.calls != 1)}"
        how_many = f"all {self.inputs} inputs" if self.inputs is not None else "1000 inputs"
        with_the_gil = f": {duration(measured.gil)} with the GIL held, {duration(measured.free)} without"
        lines = [
            f"measured over {calls}: {describe(measured)}",
            f"  c  it computes        {duration(measured.gil + measured.free):>9}   the master's move{with_the_gil}",
            f"  w  it waits           {duration(measured.wait):>9}   the opponent's reply",
            f"  p  moved to a process {duration(measured.transfer):>9}   input and result, pickled",
            *_own(measured),
            f"predicted for {how_many}:",
            f"{'':22}{'time':>9}  {'masters m':>9}  {'tables k':>8}  {'useful k*':>9}",
            *(_line(prediction, prediction is self.plan.predicted) for prediction in self.predictions),
            "  m calls can compute at once, k are in play. k* = m (c + w) / c: more would not help.",
            *_who_can_wait(measured),
        ]
        return "\n".join([*lines, str(self.plan)])


def _line(prediction: Prediction, chosen: bool) -> str:
    if prediction.impossible:
        return f"  {prediction.way:20}{'-':>9}  {prediction.impossible}"
    most = prediction.useful
    useful = "any" if math.isinf(most) else f"{most:.0f}" if most >= 1000 else f"{most:.3g}"
    figures = f"{prediction.masters:>9.3g}  {prediction.concurrency:>8}  {useful:>9}"
    return f"  {prediction.way:20}{duration(prediction.seconds):>9}  {figures}{'  <- chosen' if chosen else ''}"


def _own(measured: Measurement) -> Iterator[str]:
    if measured.own:
        yield f"     and meanwhile      {duration(measured.own):>9}   computed by threads or processes of its own"


def _who_can_wait(measured: Measurement) -> Iterator[str]:
    """How many calls can wait while one computes, where any can."""
    others = useful_in_flight(measured.gil + measured.free, measured.wait) - 1
    if math.isinf(others):
        yield "  They compute nothing: any number can wait at once, but for what it takes to begin and end a call."
    elif others >= 1:
        yield f"  While one call computes, {others:.3g} others can wait: w / c."
        if first_call_tells_too_much(measured, others + 1):
            yield f"  A first call computes more than the others: up to {FIRST_CALL} times as many threads are taken."


def measure(work: Work, iterables: tuple[Any, ...], chooser: Chooser, is_async: bool) -> Explanation:
    """Make the first few calls and say what follows from them."""
    if any(not hasattr(type(iterable), "__iter__") for iterable in iterables if hasattr(iterable, "__aiter__")):
        raise PlanError("explain draws inputs in this thread and cannot await them: pass a list of a few of them")
    items: Iterator[Any] = zip(*iterables, strict=False) if work.star else iter(iterables[0])
    inputs = _inputs.length(iterables)
    try:
        if is_async:
            return _awaited(work, items, chooser, inputs)
        return _called(work, items, chooser, inputs)
    finally:
        chooser.stop()


def _called(work: Work, items: Iterator[Any], chooser: Chooser, inputs: int | None) -> Explanation:
    chooser.left = lambda: inputs
    plans: list[Plan] = []
    chooser.adopt = plans.append
    calls = 0
    for item in items:
        if not chooser.before(Batch(calls, [item])):
            raise PlanError(f"nothing can be measured: {plans[0].reason}")
        value = work.context.copy().run(work.func, *(item if work.star else (item,)))
        chooser.ran(1)
        if is_awaitable(value):
            chooser.stop()
            explanation = _awaited(work, items, chooser, inputs, (item, value))
            return replace(explanation, calls=calls + explanation.calls)
        calls += 1
        chooser.after(1, value)
        if plans:
            break
    if not calls:
        raise PlanError("there is no input, so there is nothing to measure")
    measured = chooser.measure()
    plan = choose(measured, chooser.situation())
    return Explanation(plan, measured, plan.predictions, calls, inputs)


def _awaited(
    work: Work, items: Iterator[Any], chooser: Chooser, inputs: int | None, begun: tuple[Any, Any] | None = None
) -> Explanation:
    """begun: an input, and what the call of it has returned to be awaited."""
    from flatout._workers._call import OwnLoop

    own_loop, tie = OwnLoop(), Tie(work)
    try:
        alone = own_loop(_one_by_one(_calls(work, items, tie, begun), tie))
        if not alone:
            raise PlanError("there is no input, so there is nothing to measure")
        seconds, cpu = alone[-1]
        few = list(islice(_calls(work, items), TOGETHER)) if seconds <= PATIENT else []
        calls, compute = len(alone) + len(few), cpu
        if few:
            naps = [own_loop(_cpu_of_naps(len(few), min(seconds, LONGEST_NAP))) for _ in range(NAPS)]
            compute = max(0.0, own_loop(_cpu_of(few)) - statistics.median(naps)) / len(few)
            compute -= min(COLD, compute / 2)
    finally:
        own_loop.close()
    measured = Measurement(compute, 0.0, max(0.0, seconds - max(cpu, compute)), calls=calls)
    situation = replace(chooser.situation(), left=inputs)
    plan = async_plan("the function returns an awaitable", None)
    others = choose(replace(measured, gil=max(cpu, compute)), situation).predictions  # where each has a loop of its own
    loop, loops = _loop(measured, situation, plan), _loops(measured, situation, plan, tie)
    predictions = (*(loop if other.kind == "async" else other for other in others), loops)
    if loops.seconds * GAIN < loop.seconds and loop.seconds - loops.seconds > LOOP_WORTH:
        reason = f"{plan.reason}; once they are seen to fill its core, loops in processes: {duration(loops.seconds)}"
        plan = replace(plan, reason=reason)
    return Explanation(replace(plan, measured=measured, predictions=predictions), measured, predictions, calls, inputs)


def _calls(
    work: Work, items: Iterator[Any], tie: Tie | None = None, begun: tuple[Any, Any] | None = None
) -> Iterator[Any]:
    """What the calls return, which is to be awaited; `tie` is told of the first."""
    if begun is not None and tie is not None:
        tie.begins(begun[0])
        yield begun[1]
    for place, item in enumerate(items):
        if place == 0 and begun is None and tie is not None:
            tie.begins(item)
        yield work.func(*(item if work.star else (item,)))


def _loop(measured: Measurement, situation: Situation, plan: Plan) -> Prediction:
    calls = UNKNOWN if situation.left is None else situation.left
    k = max(1, min(plan.ceiling or 1, calls))
    busy = measured.gil + LOOP_CALL
    seconds = max(calls * max(busy, measured.seconds / k), measured.seconds)
    return Prediction("async", k, seconds, useful=useful_in_flight(busy, measured.wait))


def _loops(measured: Measurement, situation: Situation, plan: Plan, tie: Tie) -> Prediction:
    """Event loops in processes, to which coroutines that fill the core of one are spread."""
    impossible = _why_not_spread(situation) or tie.why
    k = min(loops_in_flight(situation.cores, plan.ceiling or 1), max(1, situation.left or 0))
    busy = measured.gil + LOOP_CALL
    seconds = math.inf if impossible else loops_seconds(busy, measured.seconds, k, situation)
    useful = useful_in_flight(busy, measured.wait, situation.cores)
    return Prediction("process", k, seconds, impossible, "async", situation.cores, useful)


def _why_not_spread(situation: Situation) -> str:
    if situation.cores < 2:
        return "one core is all there is"
    if situation.left is None:
        return "how many they are is not known"
    if situation.left <= Trial.FEWEST:
        return f"{Trial.FEWEST} or fewer are all begun at once"
    return situation.no_process


async def _one_by_one(awaitables: Iterator[Any], tie: Tie) -> list[tuple[float, float]]:
    """Seconds, and CPU seconds, of the first calls."""
    found: list[tuple[float, float]] = []
    for awaitable in islice(awaitables, ALONE):
        began, cpu = time.perf_counter(), time.thread_time()
        result = await awaitable
        found.append((time.perf_counter() - began, time.thread_time() - cpu))
        if len(found) == 1:
            tie.ended(result)
        if found[0][0] > PATIENT:
            break
    return found


async def _cpu_of(awaitables: list[Any]) -> float:
    """CPU seconds of a few that are awaited at once."""
    import asyncio

    cpu = time.thread_time()
    await asyncio.gather(*awaitables)
    return time.thread_time() - cpu


async def _cpu_of_naps(count: int, seconds: float) -> float:
    """The same of coroutines that do nothing else but sleep for so long."""
    import asyncio

    return await _cpu_of([asyncio.sleep(seconds) for _ in range(count)])
