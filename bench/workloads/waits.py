"""Blocking calls that wait: the more at once, the better, up to what the computing between costs."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Sequence
from typing import Any
from urllib.request import OpenerDirector, ProxyHandler, build_opener

from bench.model import Function, Workload
from bench.server import ANSWERS_AFTER
from bench.workloads.burn import PER_MS, burn, varied

NAP = 0.02  # seconds
SHORT = 0.005  # seconds


def nap(x: int) -> int:
    time.sleep(NAP)
    return x


def naps(count: int) -> tuple[Function, Sequence[Any]]:
    return nap, range(count)


@functools.cache
def opener() -> OpenerDirector:
    """Without proxies, and made once: it reads certificates, too."""
    return build_opener(ProxyHandler({}))


def get(number: int) -> str:
    url = f"http://127.0.0.1:{os.environ['BENCH_PORT']}/{number}"
    with opener().open(url, timeout=30) as answer:
        text: str = answer.read().decode()
    return text


def answered(number: int) -> str:
    return f"you asked for /{number}"


def gets(count: int) -> tuple[Function, Sequence[Any]]:
    return get, range(count)


def half_wait(iterations: int) -> int:
    time.sleep(SHORT)
    return burn(iterations)


def half_waits(count: int) -> tuple[Function, Sequence[Any]]:
    return half_wait, varied(int(SHORT * 1000 * PER_MS), count)


WORKLOADS = [
    Workload(name="sleep", about="blocking sleep of 20 ms", make=naps, count=500, quick=500, kinds=("thread",), wait=NAP,
             threads=500, instant=int, loop=10),
    Workload(name="http", about="blocking GET of urllib, answered after 20 ms", make=gets, count=400, quick=200,
             kinds=("thread",), wait=ANSWERS_AFTER, threads=100, instant=answered, loop=10, service=True),
    Workload(name="half-wait", about="5 ms asleep, 5 ms of Python", make=half_waits, count=200, quick=40,
             kinds=("process", "thread"), per_core=3, threads=16, wait=SHORT),
]  # fmt: skip
