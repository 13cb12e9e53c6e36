"""A process of its own for one workload: runs it with no option, or a kind by hand, each time it is told to.

python -m bench.law.seat ORDER. Each line on stdin is a turn (a `Way` in JSON), each line on stdout its answer.
"""

from __future__ import annotations

import gc
import inspect
import json
import os
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flatout
from bench.law import queue
from bench.law.model import DISTURBED
from bench.model import Function
from bench.seat import Order, cpu_seconds, last_line
from bench.workloads import family

MOST_QUEUED = 0.9  # of the time: what is left would be no measurement; guessed


@dataclass(frozen=True)
class Way:
    """How to run. kind: of worker, and what is inside ("process of threads"); empty for no option. skip, part: the tasks that a kind by hand is to run. in_flight: how many at once."""

    kind: str = ""
    skip: int = 0
    part: int = 0
    in_flight: int = 1


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what tasks print must not be taken for an answer
    order = Order(**json.loads(sys.argv[1]))
    func, items = family(order.family)[order.workload].make(order.count)
    print("{}", file=answers)  # ready
    for line in sys.stdin:
        print("{}", file=answers)  # the inputs are made
        try:
            answer = turn(func, items, Way(**json.loads(line)))
        except Exception:
            traceback.print_exc()
            answer = {"error": last_line()}
        print(json.dumps(answer), file=answers)


def turn(func: Function, items: Sequence[Any], way: Way) -> dict[str, Any]:
    gc.collect()
    before, used, cpu, start = queue.times(), machine_seconds(), cpu_seconds(), time.perf_counter()
    answer = by_hand(func, items, way) if way.kind else chosen(func, items)
    seconds = time.perf_counter() - start
    own, used = cpu_seconds() - cpu, machine_seconds() - used
    others = max(0.0, used - own) / (seconds * flatout.machine().usable_cores)
    answer = {"seconds": seconds, **answer}
    if others > DISTURBED:
        part = answer["seconds"] / seconds  # of the run, that is measured
        answer["seconds"] -= part * min(queue.queued(before, queue.times(), used), MOST_QUEUED * seconds)
    return {"others": others, **answer}


def machine_seconds() -> float:
    """CPU seconds that all programs together have used."""
    import psutil

    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


def by_hand(func: Function, items: Sequence[Any], way: Way) -> dict[str, Any]:
    kind, _, inside = way.kind.partition(" of ")
    how: Any = {"kind": kind, "concurrency": way.in_flight, "ceiling": way.in_flight}
    if inside:
        processes = min(way.in_flight, flatout.machine().usable_cores)
        how |= {"inside": {"threads": "thread", "loops": "async"}[inside], "processes": processes}
    plan = flatout.Plan(**how)
    list(flatout.map(func, items[way.skip : way.skip + way.part], via=plan))
    return {}


def chosen(func: Function, items: Sequence[Any]) -> dict[str, Any]:
    """What was chosen, and what was predicted; coroutines, of which none is watched, by `explain`."""
    awaited = inspect.iscoroutinefunction(func)
    explained = flatout.explain(func, items) if awaited else None
    start = time.perf_counter()
    run = flatout.map(func, items)
    list(run)
    seconds = time.perf_counter() - start
    report, plan = run.report, run.plan
    predictions = explained.predictions if explained and plan.kind == "async" else plan.predictions
    part = report.chosen
    if not predictions or (part is None and not explained):
        return {"over": str(plan)}
    restated = not awaited and not any(p.kind == "inline" for p in predictions)
    if restated:  # the plan was changed on the way: what was predicted is gone
        return {"changed": str(plan)}
    return {
        "kind": plan.way,
        "skip": len(items) - part.tasks if part else 0,
        "left": part.tasks if part else len(items),
        "predicted": {p.way: (p.seconds, p.concurrency) for p in predictions if not p.impossible},
        "seconds": part.seconds if part else seconds,
        "measured": measured_by(explained.measured if explained else plan.measured),
        "plan": str(plan),
    }


def measured_by(measured: Any) -> dict[str, Any]:
    """What the prediction was made of, lest one has to measure again to see what another law would have said."""
    return (
        {name: getattr(measured, name) for name in ("gil", "free", "wait", "transfer", "calls", "own")}
        if measured
        else {}
    )


if __name__ == "__main__":
    main()
