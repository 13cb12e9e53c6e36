"""Ray and Dask on this one machine. Their servers are started before the first call, and are never quite idle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from bench.contenders._register import Register
from bench.model import Call, Function, Hints

CONTENDERS = Register()


def chunks(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def run_chunk(func: Function, chunk: Sequence[Any]) -> list[Any]:
    return [func(item) for item in chunk]


@CONTENDERS.opening("Ray", "process", "newcomer", needs="ray", cluster=True)
def ray(hints: Hints) -> Iterator[Call]:
    import ray

    ray.init(num_cpus=hints.cores, log_to_driver=False, include_dashboard=False)

    def call(func: Function, items: Sequence[Any]) -> list[Any]:
        remote = ray.remote(lambda item: func(item))
        return list(ray.get([remote.remote(item) for item in items]))

    yield call
    ray.shutdown()


@CONTENDERS.opening("Ray, tuned", "process", needs="ray", cluster=True)
def ray_tuned(hints: Hints) -> Iterator[Call]:
    """In chunks, and with the function, which may hold much, put in the store once."""
    import ray

    ray.init(num_cpus=hints.cores, log_to_driver=False, include_dashboard=False)
    remote = ray.remote(run_chunk)

    def call(func: Function, items: Sequence[Any]) -> list[Any]:
        stored = ray.put(func)
        parts = ray.get([remote.remote(stored, chunk) for chunk in chunks(items, hints.chunksize)])
        return [result for part in parts for result in part]

    yield call
    ray.shutdown()


@CONTENDERS.opening("Dask", "process", "newcomer", needs="distributed", cluster=True)
def dask(hints: Hints) -> Iterator[Call]:
    from distributed import Client

    with Client(dashboard_address=None) as client:
        yield lambda func, items: list(client.gather(client.map(func, items, pure=False)))


@CONTENDERS.opening("Dask, tuned", "process", needs="distributed", cluster=True)
def dask_tuned(hints: Hints) -> Iterator[Call]:
    """One thread in each process, and in chunks."""
    from distributed import Client

    with Client(n_workers=hints.processes, threads_per_worker=1, dashboard_address=None) as client:

        def call(func: Function, items: Sequence[Any]) -> list[Any]:
            futures = client.map(lambda chunk: run_chunk(func, chunk), chunks(items, hints.chunksize), pure=False)
            return [result for part in client.gather(futures) for result in part]

        yield call
