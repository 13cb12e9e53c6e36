"""Calls whose length, inputs or results are out of the ordinary."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator

from choices.tasks.computing import burn


def increment(x: int) -> int:
    return x + 1


def measure_length(data: bytes) -> int:
    return len(data) + data[0]


def make_bytes(size: int) -> bytes:
    return bytes(size)


def make_list(size: int) -> list[int]:
    return [*range(size)]


def import_first(iterations: int) -> int:
    """What is imported inside a function is paid for by its first call."""
    import asyncio
    import email.mime.multipart
    import unittest.mock
    import xml.dom.minidom
    import xmlrpc.client

    modules = asyncio, email, unittest, xml, xmlrpc
    return burn(iterations) + len(modules)


@functools.cache
def ready(iterations: int, wait: float) -> int:
    """A model loaded, code compiled, a connection made: once in every process."""
    time.sleep(wait)
    return burn(iterations)


def warms_up(first: int, wait: float, nap: float, iterations: int) -> int:
    """Computes and waits for long in the first call of a process, and for other times from then on."""
    ready(first, wait)
    if nap:
        time.sleep(nap)
    return burn(iterations)


def unlike(how: tuple[str, float, int]) -> int:
    """Bimodal: some wait, some compute."""
    what, seconds, iterations = how
    if what == "wait":
        time.sleep(seconds)
        return 0
    return burn(iterations)


def keeps_lock() -> Callable[[int], int]:
    lock = threading.Lock()

    def compute(iterations: int) -> int:
        with lock:
            return burn(iterations)

    return compute


def waits_for(event: threading.Event) -> Callable[[float], bool]:
    return lambda seconds: event.wait(seconds)


def consume(numbers: Iterator[int]) -> int:
    return sum(burn(n) for n in numbers)


def gives_lambda(iterations: int) -> Callable[[], int]:
    total = burn(iterations)
    return lambda: total


def gives_generator(iterations: int) -> Iterator[int]:
    total = burn(iterations)
    return (total for _ in range(1))
