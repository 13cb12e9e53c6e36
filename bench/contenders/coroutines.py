"""Ways to run many coroutines, so many at once as the workload says."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any

from bench.contenders._register import Register
from bench.model import Call, Function, Hints

CONTENDERS = Register()


async def gathered(func: Function, items: Sequence[Any], concurrency: int) -> list[Any]:
    """As every tutorial has it: a task for each input, and a semaphore."""
    semaphore = asyncio.Semaphore(concurrency)

    async def one(item: Any) -> Any:
        async with semaphore:
            return await func(item)

    return await asyncio.gather(*(one(item) for item in items))


async def pulled(func: Function, items: Sequence[Any], concurrency: int) -> list[Any]:
    """As an expert does it: so many tasks, which pull from one iterator."""
    results: list[Any] = [None] * len(items)
    numbered = iter(enumerate(items))

    async def pull() -> None:
        for index, item in numbered:
            results[index] = await func(item)

    await asyncio.gather(*(pull() for _ in range(concurrency)))
    return results


@CONTENDERS.opening("asyncio.gather + Semaphore", "async", "newcomer", kept=False, quick=True)
def gather(hints: Hints) -> Iterator[Call]:
    yield lambda func, items: asyncio.run(gathered(func, items, hints.concurrency))


@CONTENDERS.opening("asyncio tasks that pull", "async", kept=False, quick=True)
def pull(hints: Hints) -> Iterator[Call]:
    yield lambda func, items: asyncio.run(pulled(func, items, hints.concurrency))


@CONTENDERS.opening("uvloop, gather + Semaphore", "async", "newcomer", kept=False, needs="uvloop")
def uvloop_gather(hints: Hints) -> Iterator[Call]:
    import uvloop

    yield lambda func, items: uvloop.run(gathered(func, items, hints.concurrency))


@CONTENDERS.opening("uvloop, tasks that pull", "async", kept=False, needs="uvloop", quick=True)
def uvloop_pull(hints: Hints) -> Iterator[Call]:
    import uvloop

    yield lambda func, items: uvloop.run(pulled(func, items, hints.concurrency))


@CONTENDERS.opening("anyio task group + limiter", "async", "newcomer", kept=False, needs="anyio")
def anyio(hints: Hints) -> Iterator[Call]:
    import anyio

    async def main(func: Function, items: Sequence[Any]) -> list[Any]:
        limiter = anyio.CapacityLimiter(hints.concurrency)
        results: list[Any] = [None] * len(items)

        async def one(index: int, item: Any) -> None:
            async with limiter:
                results[index] = await func(item)

        async with anyio.create_task_group() as group:
            for index, item in enumerate(items):
                group.start_soon(one, index, item)
        return results

    yield lambda func, items: anyio.run(main, func, items)


@CONTENDERS.opening("aiometer", "async", "newcomer", kept=False, needs="aiometer")
def aiometer(hints: Hints) -> Iterator[Call]:
    import aiometer

    async def main(func: Function, items: Sequence[Any]) -> list[Any]:
        calls = [functools.partial(func, item) for item in items]
        return list(await aiometer.run_all(calls, max_at_once=hints.concurrency))

    yield lambda func, items: asyncio.run(main(func, items))


@CONTENDERS.call("aiomultiprocess", "async", needs="aiomultiprocess")
def aiomultiprocess(func: Function, items: Sequence[Any]) -> list[Any]:
    from aiomultiprocess import Pool

    async def main() -> list[Any]:
        async with Pool() as pool:
            return list(await pool.map(func, items))

    return asyncio.run(main())


@CONTENDERS.opening("aiomultiprocess, tuned", "async", needs="aiomultiprocess", quick=True)
def aiomultiprocess_tuned(hints: Hints) -> Iterator[Call]:
    from aiomultiprocess import Pool

    async def make() -> Any:
        return Pool(hints.cores, childconcurrency=max(1, hints.concurrency // hints.cores), queuecount=hints.cores)

    async def map_all(func: Function, items: Sequence[Any]) -> list[Any]:
        return list(await pool.map(func, items))

    def call(func: Function, items: Sequence[Any]) -> list[Any]:
        mapping: Coroutine[Any, Any, list[Any]] = map_all(func, items)
        return runner.run(mapping)

    with asyncio.Runner() as runner:
        pool = runner.run(make())
        yield call
        pool.terminate()
        runner.run(pool.join())
