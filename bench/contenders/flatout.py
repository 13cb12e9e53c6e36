"""flatout, which gets no option and no hint, and the plain loop that it replaces."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from bench.contenders._register import Register
from bench.model import Function

CONTENDERS = Register()

LOOP, FLATOUT, FIRST, ENGINE = "plain loop", "flatout", "flatout (first call)", "flatout via process"


@CONTENDERS.call(LOOP, None, "reference", quick=True)
def plain_loop(func: Function, items: Sequence[Any]) -> list[Any]:
    if not inspect.iscoroutinefunction(func):
        return [func(item) for item in items]
    import asyncio

    async def one_by_one() -> list[Any]:
        return [await func(item) for item in items]

    return asyncio.run(one_by_one())


@CONTENDERS.call(FIRST, None, "flatout", fresh=True)
@CONTENDERS.call(FLATOUT, None, "flatout", kept=True, quick=True)
def flatout_map(func: Function, items: Sequence[Any]) -> list[Any]:
    import flatout

    return list(flatout.map(func, items))


@CONTENDERS.call(ENGINE, "process", "flatout", kept=True, quick=True)
def flatout_process(func: Function, items: Sequence[Any]) -> list[Any]:
    import flatout

    return list(flatout.map(func, items, via="process"))
