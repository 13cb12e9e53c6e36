"""A process of its own for one contender and one workload: it runs the map each time it is told to, and says how long it took.

python -m bench.seat ORDER, a JSON object of an `Order`'s fields. Each line on stdin is one turn, each line on stdout its answer.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

import psutil

from bench.contenders import contender_named
from bench.contenders.flatout import LOOP
from bench.model import Call, Function, Hints, Workload
from bench.workloads import family


@dataclass(frozen=True)
class Order:
    family: str
    workload: str
    contender: str
    count: int
    cores: int


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what contenders print must not be taken for an answer
    order = Order(**json.loads(sys.argv[1]))
    workload = family(order.family)[order.workload]
    try:
        with contender_named(order.contender).open(Hints.of(workload, order.count, order.cores)) as call:
            print("{}", file=answers)  # ready
            serve(answers, workload, order, call)
    except Exception:
        print(json.dumps({"error": last_line()}), file=answers)
        raise


def serve(answers: TextIO, workload: Workload, order: Order, call: Call) -> None:
    """What a call works on is made anew each time, outside the measured part, and dropped after it."""
    while sys.stdin.readline():
        try:
            func, items = workload.make(order.count)
            print("{}", file=answers)  # made: now the cutoff begins to count
            answer = turn(workload, order.contender == LOOP, call, func, items)
            del func, items
        except Exception:
            traceback.print_exc()
            answer = {"error": last_line()}
        print(json.dumps(answer), file=answers)


def turn(workload: Workload, looped: bool, call: Call, func: Function, items: Sequence[Any]) -> dict[str, Any]:
    """One measured call. looped: it is the plain loop's, which may make a part of the calls."""
    part = items[: workload.loop] if looped and workload.loop else items
    gc.collect()
    cpu, start = cpu_seconds(), time.perf_counter()
    results = call(func, part)
    seconds = time.perf_counter() - start
    cpu = cpu_seconds() - cpu
    if looped and workload.instant:
        expected = [workload.instant(item) for item in items]
        assert results == expected[: len(results)], "the plain loop returned something else than was expected"
        results = expected
    scale = len(items) / len(part)
    return {"seconds": seconds * scale, "cpu": cpu * scale, "scale": scale, "digest": digest(results)}


def cpu_seconds() -> float:
    """Of this process, exactly, and of all below it, to 10 ms for each."""
    below = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = time.process_time() + below.ru_utime + below.ru_stime
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(child.cpu_times()[:4])  # its own, and of those that it has waited for
    return total


def digest(results: Sequence[Any]) -> str:
    """Tells results apart, arrays and bytes by what is in them, the rest by how it is written."""
    sums = hashlib.sha256()
    for chunk in _chunks(results):
        sums.update(chunk)
    return f"{len(results)}:{sums.hexdigest()[:16]}"


def _chunks(results: Sequence[Any]) -> Iterable[Any]:
    if len(results) and (isinstance(results[0], bytes) or hasattr(results[0], "__array__")):
        return results
    return [repr(list(results)).encode()]


def last_line() -> str:
    return traceback.format_exc().strip().splitlines()[-1]


if __name__ == "__main__":
    main()
