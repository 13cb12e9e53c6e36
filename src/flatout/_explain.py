"""What `map` would do and why, as a table."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

from flatout import _inputs
from flatout._awaitable import is_awaitable
from flatout._errors import PlanError
from flatout._model import Batch, Measurement, Plan, Prediction, Work, way
from flatout._plan._choose import Situation, async_plan, choose, describe
from flatout._plan._chooser import Chooser
from flatout._plan._evidence import ENOUGH
from flatout._plan._law import useful_in_flight
from flatout._record import record, replace
from flatout._units import duration

MOST_AWAITED = 5  # coroutines that are run, one after another, to see what they do


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
        measured = self.measured
        lines = [
            f"measured over {self.calls} call{'s' * (self.calls != 1)}: {describe(measured)}",
            f"  with the GIL {duration(measured.gil)}, without {duration(measured.free)}, "
            f"waiting {duration(measured.wait)}, moving it to a process and back {duration(measured.transfer)}"
            + (f", threads or processes of its own {duration(measured.own)}" if measured.own else ""),
            f"predicted for {f'all {self.inputs} inputs' if self.inputs is not None else '1000 inputs'}:",
        ]
        for prediction in self.predictions:
            name = way(prediction.kind, prediction.inside)
            chosen = "  <- chosen" if name == self.plan.way else ""
            if prediction.impossible:
                lines.append(f"  {name:18} {'-':>10}        {prediction.impossible}")
            else:
                at_once = f"{prediction.concurrency} at once"
                lines.append(f"  {name:18} {duration(prediction.seconds):>10}   {at_once}{chosen}")
        return "\n".join([*lines, str(self.plan)])


def measure(work: Work, iterables: tuple[Any, ...], chooser: Chooser, is_async: bool) -> Explanation:
    """Make the first few calls and say what follows from them."""
    if any(not hasattr(type(iterable), "__iter__") for iterable in iterables if hasattr(iterable, "__aiter__")):
        raise PlanError("explain draws inputs in this thread and cannot await them: pass a list of a few of them")
    items: Iterator[Any] = zip(*iterables, strict=False) if work.star else iter(iterables[0])
    inputs = _inputs.length(iterables)
    try:
        if is_async:
            return _awaited(_calls(work, items), chooser, inputs)
        return _called(work, items, chooser, inputs)
    finally:
        chooser.stop()


def _called(work: Work, items: Iterator[Any], chooser: Chooser, inputs: int | None) -> Explanation:
    chooser.left = lambda: inputs
    plans: list[Plan] = []
    chooser.adopt = plans.append
    calls = 0
    for item in items:
        chooser.before(Batch(calls, [item]))
        value = work.context.copy().run(work.func, *(item if work.star else (item,)))
        chooser.ran(1)
        if is_awaitable(value):
            chooser.stop()
            explanation = _awaited(chain([value], _calls(work, items)), chooser, inputs)
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


def _calls(work: Work, items: Iterator[Any]) -> Iterator[Any]:
    return (work.func(*(item if work.star else (item,))) for item in items)


def _awaited(awaitables: Iterator[Any], chooser: Chooser, inputs: int | None) -> Explanation:
    from flatout._workers._call import OwnLoop

    own_loop = OwnLoop()
    calls, seconds, cpu = own_loop(_await_some(awaitables))
    own_loop.close()
    if not calls:
        raise PlanError("there is no input, so there is nothing to measure")
    measured = Measurement(cpu / calls, 0.0, max(0.0, seconds - cpu) / calls, calls=calls)
    situation = replace(chooser.situation(), left=inputs)
    plan = async_plan("the function returns an awaitable", None)
    predictions = tuple(_loop_prediction(p, measured, situation, plan) for p in choose(measured, situation).predictions)
    return Explanation(replace(plan, measured=measured, predictions=predictions), measured, predictions, calls, inputs)


def _loop_prediction(prediction: Prediction, measured: Measurement, situation: Situation, plan: Plan) -> Prediction:
    if prediction.kind != "async":
        return prediction
    calls = 1000 if situation.left is None else situation.left
    most = max(1, min(plan.ceiling or 1, calls))
    k = math.ceil(max(1, min(most, useful_in_flight(measured.gil, measured.wait))))
    return Prediction("async", k, max(calls * max(measured.gil, measured.seconds / k), measured.seconds))


async def _await_some(awaitables: Iterator[Any]) -> tuple[int, float, float]:
    calls, began, cpu = 0, time.perf_counter(), time.thread_time()
    for awaitable in islice(awaitables, MOST_AWAITED):
        await awaitable
        calls += 1
        if time.perf_counter() - began > ENOUGH:
            break
    return calls, time.perf_counter() - began, time.thread_time() - cpu
