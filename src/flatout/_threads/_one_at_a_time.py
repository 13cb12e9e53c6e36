"""Generators that threads share: without the GIL CPython (3.14 at least) crashes where two enter one at a time."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")


class OneAtATime(Iterator["T"]):
    """The values of a generator. Who asks while another thread is at it gets the ValueError that he would get with the GIL."""

    def __init__(self, values: Generator[T, None, None]) -> None:
        self._values = values
        self._taken = threading.Lock()

    def __next__(self) -> T:
        if not self._taken.acquire(blocking=False):
            raise ValueError("generator already executing")
        try:
            return next(self._values)
        finally:
            self._taken.release()

    def close(self) -> None:
        """As a generator's."""
        if not self._taken.acquire(blocking=False):
            raise ValueError("generator already executing")
        try:
            self._values.close()
        finally:
            self._taken.release()
