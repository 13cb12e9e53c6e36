"""Pools of processes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from bench.contenders._register import Register
from bench.model import Call, Function, Hints

CONTENDERS = Register()


@CONTENDERS.call("Pool", "process", quick=True)
def pool(func: Function, items: Sequence[Any]) -> list[Any]:
    import multiprocessing

    with multiprocessing.Pool() as pool:
        return pool.map(func, items)


@CONTENDERS.opening("Pool, tuned", "process", quick=True)
def pool_tuned(hints: Hints) -> Iterator[Call]:
    import multiprocessing

    with multiprocessing.Pool(hints.processes) as pool:
        yield lambda func, items: pool.map(func, items, hints.chunksize)


_inherited: tuple[Function, Sequence[Any]] | None = None  # what forked workers find in their copy of this process


def _call_inherited(index: int) -> Any:
    assert _inherited is not None
    func, items = _inherited
    return func(items[index])


@CONTENDERS.opening("Pool, forked at the call", "process", kept=False, quick=True)
def pool_forked(hints: Hints) -> Iterator[Call]:
    """The expert's trick for large inputs: workers inherit them, and only indices are sent."""
    import multiprocessing

    def call(func: Function, items: Sequence[Any]) -> list[Any]:
        global _inherited
        _inherited = func, items
        try:
            with multiprocessing.get_context("fork").Pool(hints.processes) as pool:
                return pool.map(_call_inherited, range(len(items)), hints.chunksize)
        finally:
            _inherited = None

    yield call


@CONTENDERS.call("ProcessPoolExecutor", "process")
def executor(func: Function, items: Sequence[Any]) -> list[Any]:
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor() as pool:
        return list(pool.map(func, items))


@CONTENDERS.opening("ProcessPoolExecutor, tuned", "process", quick=True)
def executor_tuned(hints: Hints) -> Iterator[Call]:
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(hints.processes) as pool:
        yield lambda func, items: list(pool.map(func, items, chunksize=hints.chunksize))


@CONTENDERS.call("loky", "process", kept=True, needs="loky")
def loky(func: Function, items: Sequence[Any]) -> list[Any]:
    from loky import get_reusable_executor

    return list(get_reusable_executor().map(func, items))


@CONTENDERS.opening("loky, tuned", "process", needs="loky")
def loky_tuned(hints: Hints) -> Iterator[Call]:
    from loky import get_reusable_executor

    pool = get_reusable_executor(max_workers=hints.processes)
    yield lambda func, items: list(pool.map(func, items, chunksize=hints.chunksize))
    pool.shutdown()


@CONTENDERS.call("joblib", "process", kept=True, needs="joblib", quick=True)
def joblib(func: Function, items: Sequence[Any]) -> list[Any]:
    from joblib import Parallel, delayed

    return list(Parallel(n_jobs=-1)(delayed(func)(item) for item in items))


@CONTENDERS.opening("joblib, tuned", "process", needs="joblib")
def joblib_tuned(hints: Hints) -> Iterator[Call]:
    from joblib import Parallel, delayed

    with Parallel(n_jobs=hints.processes, batch_size=hints.chunksize, pre_dispatch="4*n_jobs") as parallel:
        yield lambda func, items: list(parallel(delayed(func)(item) for item in items))


@CONTENDERS.call("mpire", "process", needs="mpire")
def mpire(func: Function, items: Sequence[Any]) -> list[Any]:
    from mpire import WorkerPool

    with WorkerPool(n_jobs=os.cpu_count()) as pool:  # it would unpack lists and dicts, and join arrays
        return list(pool.map(func, [(item,) for item in items], concatenate_numpy_output=False))


@CONTENDERS.opening("mpire, tuned", "process", needs="mpire")
def mpire_tuned(hints: Hints) -> Iterator[Call]:
    from mpire import WorkerPool

    with WorkerPool(n_jobs=hints.processes, keep_alive=True) as pool:

        def call(func: Function, items: Sequence[Any]) -> list[Any]:
            wrapped = [(item,) for item in items]
            return list(pool.map(func, wrapped, chunk_size=hints.chunksize, concatenate_numpy_output=False))

        yield call


@CONTENDERS.call("pebble", "process", needs="pebble")
def pebble(func: Function, items: Sequence[Any]) -> list[Any]:
    from pebble import ProcessPool

    with ProcessPool() as pool:
        return list(pool.map(func, items).result())


@CONTENDERS.opening("pebble, tuned", "process", needs="pebble")
def pebble_tuned(hints: Hints) -> Iterator[Call]:
    from pebble import ProcessPool

    with ProcessPool(max_workers=hints.processes) as pool:
        yield lambda func, items: list(pool.map(func, items, chunksize=hints.chunksize).result())
