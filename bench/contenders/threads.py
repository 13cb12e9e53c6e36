"""Pools of threads."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from bench.contenders._register import Register
from bench.model import Call, Function, Hints

CONTENDERS = Register()


@CONTENDERS.call("ThreadPoolExecutor", "thread", quick=True)
def executor(func: Function, items: Sequence[Any]) -> list[Any]:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor() as pool:
        return list(pool.map(func, items))


@CONTENDERS.opening("ThreadPoolExecutor, tuned", "thread", quick=True)
def executor_tuned(hints: Hints) -> Iterator[Call]:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(hints.threads) as pool:
        yield lambda func, items: list(pool.map(func, items))


@CONTENDERS.call("ThreadPool", "thread")
def pool(func: Function, items: Sequence[Any]) -> list[Any]:
    from multiprocessing.pool import ThreadPool

    with ThreadPool() as pool:
        return pool.map(func, items)


@CONTENDERS.opening("ThreadPool, tuned", "thread", quick=True)
def pool_tuned(hints: Hints) -> Iterator[Call]:
    from multiprocessing.pool import ThreadPool

    with ThreadPool(hints.threads) as pool:
        yield lambda func, items: pool.map(func, items, hints.chunksize)


@CONTENDERS.call("joblib threads", "thread", needs="joblib")
def joblib(func: Function, items: Sequence[Any]) -> list[Any]:
    from joblib import Parallel, delayed

    return list(Parallel(n_jobs=-1, prefer="threads")(delayed(func)(item) for item in items))


@CONTENDERS.opening("joblib threads, tuned", "thread", needs="joblib")
def joblib_tuned(hints: Hints) -> Iterator[Call]:
    from joblib import Parallel, delayed

    with Parallel(n_jobs=hints.threads, prefer="threads", batch_size=hints.chunksize, pre_dispatch="all") as parallel:
        yield lambda func, items: list(parallel(delayed(func)(item) for item in items))


@CONTENDERS.call("mpire threads", "thread", needs="mpire")
def mpire(func: Function, items: Sequence[Any]) -> list[Any]:
    from mpire import WorkerPool

    with WorkerPool(n_jobs=os.cpu_count(), start_method="threading") as pool:
        return list(pool.map(func, [(item,) for item in items], concatenate_numpy_output=False))


@CONTENDERS.opening("mpire threads, tuned", "thread", needs="mpire")
def mpire_tuned(hints: Hints) -> Iterator[Call]:
    from mpire import WorkerPool

    with WorkerPool(n_jobs=hints.threads, start_method="threading", keep_alive=True) as pool:

        def call(func: Function, items: Sequence[Any]) -> list[Any]:
            wrapped = [(item,) for item in items]
            return list(pool.map(func, wrapped, chunk_size=hints.chunksize, concatenate_numpy_output=False))

        yield call


@CONTENDERS.opening("pebble threads, tuned", "thread", needs="pebble")
def pebble_tuned(hints: Hints) -> Iterator[Call]:
    from pebble import ThreadPool

    with ThreadPool(max_workers=hints.threads) as pool:
        yield lambda func, items: list(pool.map(func, items, chunksize=hints.chunksize).result())
