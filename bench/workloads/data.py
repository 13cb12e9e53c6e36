"""Tasks whose inputs and results are large beside their work: who moves bytes well, and who sees that moving them is dear?"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from bench.model import Function, Workload
from bench.workloads.burn import PER_MS, burn

KIB, MIB = 2**10, 2**20
Make = Callable[[int], tuple[Function, Sequence[Any]]]


def consume(iterations: int, array: Any) -> float:
    burn(iterations)
    return float(array[:: len(array) // 16].sum())


def produce(iterations: int, nbytes: int, seed: int) -> Any:
    import numpy

    burn(iterations)
    return numpy.full(nbytes // 8, float(seed))


def transform(iterations: int, array: Any) -> Any:
    burn(iterations)
    return array + 1.0


def arrays(nbytes: int, count: int) -> list[Any]:
    import numpy

    return [numpy.full(nbytes // 8, float(i)) for i in range(count)]


def into(function: Function, milliseconds: float, nbytes: int) -> Make:
    return lambda count: (functools.partial(function, int(milliseconds * PER_MS)), arrays(nbytes, count))


def out_of(milliseconds: float, nbytes: int) -> Make:
    return lambda count: (functools.partial(produce, int(milliseconds * PER_MS), nbytes), range(count))


def look_up(table: Any, row: int) -> float:
    burn(10 * PER_MS)
    return float(table[row * 1000])


def shared(nbytes: int) -> Make:
    def make(count: int) -> tuple[Function, Sequence[Any]]:
        import numpy

        return functools.partial(look_up, numpy.arange(nbytes // 8, dtype=float)), range(count)

    return make


def count_words(text: str) -> int:
    return len(text.split())


def texts(count: int) -> tuple[Function, Sequence[Any]]:
    return count_words, [f"word{i} and another one, " * (MIB // 24) for i in range(count)]


def reprice(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**record, "price": record["price"] * 2} for record in records]


def records(count: int) -> tuple[Function, Sequence[Any]]:
    return reprice, [
        [{"id": i, "name": f"article {i}", "price": i / 4, "tags": ["new", "red"]} for i in range(task, task + 2_000)]
        for task in range(count)
    ]


SMALL, LARGE = 64 * KIB, 8 * MIB

WORKLOADS = [
    Workload(name="64KB-in", about="64 KB array in, 0.2 ms of Python", make=into(consume, 0.2, SMALL), count=3_000,
             chunksize=32, bytes_each=SMALL, needs=("numpy",)),
    Workload(name="64KB-out", about="0.2 ms of Python, 64 KB array out", make=out_of(0.2, SMALL), count=3_000,
             chunksize=32, bytes_each=SMALL, needs=("numpy",)),
    Workload(name="64KB-both", about="64 KB array in and out, 0.2 ms of Python", make=into(transform, 0.2, SMALL),
             count=3_000, quick=500, chunksize=32, bytes_each=2 * SMALL, needs=("numpy",)),
    Workload(name="8MB-in", about="8 MB array in, 10 ms of Python", make=into(consume, 10, LARGE), count=48,
             bytes_each=LARGE, needs=("numpy",)),
    Workload(name="8MB-out", about="10 ms of Python, 8 MB array out", make=out_of(10, LARGE), count=48,
             bytes_each=LARGE, needs=("numpy",)),
    Workload(name="8MB-both", about="8 MB array in and out, 10 ms of Python", make=into(transform, 10, LARGE), count=48,
             quick=8, bytes_each=2 * LARGE, needs=("numpy",)),
    Workload(name="100MB-shared", about="look-up in one 100 MB array, 10 ms of Python", make=shared(100 * MIB), count=80,
             quick=16, chunksize=4, needs=("numpy",)),
    Workload(name="800MB-shared", about="look-up in one 800 MB array, 10 ms of Python", make=shared(800 * MIB), count=80,
             chunksize=4, needs=("numpy",)),
    Workload(name="1MB-strings", about="1 MB string in, its words counted", make=texts, count=100, bytes_each=MIB),
    Workload(name="dicts", about="2,000 dicts in and out, dearer to pickle than to work on", make=records, count=100,
             quick=20),
]  # fmt: skip
