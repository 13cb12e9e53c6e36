"""Coroutine functions: waiting, computing, blocking."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable
from typing import Any

from choices.model import PORT
from choices.tasks.computing import burn


async def nap(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


async def compute(iterations: int) -> int:
    return burn(iterations)


async def nap_and_compute(how: tuple[float, int]) -> int:
    seconds, iterations = how
    await asyncio.sleep(seconds)
    return burn(iterations)


async def block(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


async def nothing(number: int) -> int:
    return number


def returns_awaitable(seconds: float) -> Awaitable[float]:
    return nap(seconds)


async def ask(number: int) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(os.environ[PORT]))
    writer.write(b"GET /%d HTTP/1.1\r\n\r\n" % number)
    answer = await reader.read(4096)
    writer.close()
    return len(answer)


async def get_by_httpx(number: int) -> int:
    client = await _client()
    answer = await client.get(f"http://127.0.0.1:{os.environ[PORT]}/{number}")
    return len(answer.content)


_clients: dict[Any, Any] = {}  # one for each event loop


async def _client() -> Any:
    import httpx

    loop = asyncio.get_running_loop()
    if loop not in _clients:
        _clients[loop] = httpx.AsyncClient(trust_env=False, timeout=60)
    return _clients[loop]
