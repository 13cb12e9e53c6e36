"""Those who take an executor: what they need of it, and the real ones where they are installed."""

from __future__ import annotations

import asyncio
import functools
import queue
from concurrent import futures
from typing import Any

import pytest

import flatout

KINDS = ["auto", "thread", "process"]


def square(x: int) -> int:
    return x * x


def square_each(numbers: list[int]) -> list[int]:
    return [x * x for x in numbers]


@pytest.mark.parametrize("chunksize", [1, 3])
@pytest.mark.parametrize("via", KINDS)
def test_map_goes_by_a_submit_that_was_replaced(via: Any, chunksize: int) -> None:
    """So tqdm counts what is done."""
    submitted = []
    with flatout.Executor(2, via=via) as pool:
        submit = pool.submit

        def counting(*args: Any, **keywords: Any) -> futures.Future[Any]:
            submitted.append(submit(*args, **keywords))
            return submitted[-1]

        pool.submit = counting  # type: ignore[method-assign,unused-ignore]
        assert list(pool.map(square, range(9), chunksize=chunksize, buffersize=2)) == [x * x for x in range(9)]
    assert len(submitted) == 9 / chunksize


@pytest.mark.parametrize("via", [*KINDS, "async"])
def test_it_says_how_many_workers_it_has_at_most(via: Any) -> None:
    """So dask knows how much to submit, and does so from what its futures' callbacks bring."""
    assert flatout.Executor(3, via=via)._max_workers == 3
    with flatout.Executor(via=via) as pool:
        assert pool._max_workers >= 1
        done: queue.SimpleQueue[futures.Future[Any]] = queue.SimpleQueue()
        for start in range(pool._max_workers):
            pool.submit(square_each, [start]).add_done_callback(done.put)
        found = sorted(done.get(timeout=60).result()[0] for _ in range(pool._max_workers))
    assert found == [x * x for x in range(pool._max_workers)]


def test_asyncio_takes_it_for_a_call_but_not_for_its_default() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with flatout.Executor(2, via="thread") as pool:
            assert await loop.run_in_executor(pool, square, 3) == 9
            with pytest.raises(TypeError, match="ThreadPoolExecutor"):
                loop.set_default_executor(pool)  # type: ignore[arg-type,unused-ignore]

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(main())


def test_a_call_that_a_loop_gives_up_is_cancelled() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with flatout.Executor(1, via="process") as pool:
            slow = loop.run_in_executor(pool, sum, range(1000))
            waiting = loop.run_in_executor(pool, square, 3)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert await slow == sum(range(1000))

    asyncio.run(main())


@pytest.mark.parametrize("via", KINDS)
def test_tqdm_counts_what_is_mapped(via: Any) -> None:
    tqdm = pytest.importorskip("tqdm")
    hook = pytest.importorskip("tqdm.contrib.concurrent")._executor_map
    with flatout.Executor(2, via=via) as pool:
        assert list(tqdm.tqdm(pool.map(square, range(5)), total=5, disable=True)) == [0, 1, 4, 9, 16]
    if via != "process":  # there the hook would share a lock of multiprocessing's, which only its own children may have
        by = functools.partial(flatout.Executor, via=via)
        assert hook(by, square, range(5), max_workers=2, chunksize=2, disable=True) == [0, 1, 4, 9, 16]


@pytest.mark.parametrize("via", KINDS)
def test_dask_computes_with_it(via: Any) -> None:
    dask = pytest.importorskip("dask")
    tasks = [dask.delayed(square)(dask.delayed(square)(x)) for x in range(6)]
    with flatout.Executor(2, via=via) as pool:
        assert dask.compute(*tasks, scheduler=pool) == tuple(x**4 for x in range(6))
        with dask.config.set(pool=pool):
            assert dask.compute(*tasks) == tuple(x**4 for x in range(6))
