"""A fresh process for one case: has flatout choose, and says what it chose.

python -m choices.seat ORDER, a JSON object of an `Order`'s fields. The answer is one line of JSON on stdout.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

from choices import generated, readings
from choices.model import Choice, Place


@dataclass(frozen=True)
class Order:
    """case: its name. load: other processes that compute meanwhile, for the record. via: run all of it so, and measure
    how long it takes; empty: have flatout choose, and leave it at that. record: write down what the probe sees."""

    case: str
    load: int = 0
    via: str = ""
    record: bool = False


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the cases print must not be taken for the answer
    order = Order(**json.loads(sys.argv[1]))
    case = generated.case_named(order.case)
    place = Place()
    with place.stack:
        func, inputs = case.make(place)
        answer = timed(func, inputs, order) if order.via else chosen(func, inputs, order)
    json.dump(answer, answers, separators=(",", ":"))
    answers.flush()


def chosen(func: Any, inputs: Any, order: Order) -> dict[str, Any]:
    import flatout

    if order.record:
        readings.record()
    began = time.perf_counter()
    with flatout.map(func, inputs, on_error="skip") as run:
        for _ in run:
            if not run.plan.predictions and run.plan.kind == "inline":
                continue  # nothing is chosen yet
            break
        plan = run.plan
        seconds = time.perf_counter() - began
    measured = asdict_of(plan.measured) if plan.measured is not None else {}
    seen = readings.recorded() if order.record else {}
    return Choice(order.case, order.load, plan.kind, str(plan), seconds, measured, seen).as_json()


def asdict_of(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in type(record).__annotations__}


def timed(func: Any, inputs: Any, order: Order) -> dict[str, Any]:
    import flatout

    via: Any = order.via
    began = time.perf_counter()
    try:
        flatout.map(func, inputs, via=via).wait()
    except Exception as error:
        return {"seconds": None, "error": f"{type(error).__name__}: {error}"[:200], **asdict(order)}
    return {"seconds": time.perf_counter() - began, **asdict(order)}


if __name__ == "__main__":
    main()
