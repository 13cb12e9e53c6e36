"""Coroutines that wait, and some that compute as well: then one event loop is not enough."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

from bench.model import Function, Workload
from bench.server import ANSWERS_AFTER
from bench.workloads.burn import PER_MS, burn, varied
from bench.workloads.waits import answered

NAP = 0.01  # seconds


async def nap(x: int) -> int:
    await asyncio.sleep(NAP)
    return x


def naps(count: int) -> tuple[Function, Sequence[Any]]:
    return nap, range(count)


async def get(number: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(os.environ["BENCH_PORT"]))
    writer.write(b"GET /%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % number)
    answer = await reader.read()
    writer.close()
    return answer.partition(b"\r\n\r\n")[2].decode()


def gets(count: int) -> tuple[Function, Sequence[Any]]:
    return get, range(count)


async def nap_and_burn(iterations: int) -> int:
    await asyncio.sleep(NAP)
    return burn(iterations)


def naps_and_burns(count: int) -> tuple[Function, Sequence[Any]]:
    return nap_and_burn, varied(2 * PER_MS, count)


WORKLOADS = [
    Workload(name="async-sleep", about="coroutine asleep for 10 ms", make=naps, count=20_000, quick=5_000,
             kinds=("async",), wait=NAP, concurrency=1_000, instant=int, loop=20),
    Workload(name="async-http", about="GET on asyncio streams, answered after 20 ms", make=gets, count=1_000, quick=300,
             kinds=("async",), wait=ANSWERS_AFTER, concurrency=200, instant=answered, loop=10, service=True),
    Workload(name="async-compute", about="coroutine asleep for 10 ms, then 2 ms of Python", make=naps_and_burns, count=300,
             quick=60, kinds=("async",), wait=NAP, concurrency=100, instant=burn, loop=20),
]  # fmt: skip
