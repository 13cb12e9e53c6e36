"""Inputs and results that are hard to move."""

from __future__ import annotations

import os
import pickle
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator

from faults.tasks import SLEEPER, SURVIVED

TYPE_CHECKING = False  # see `faults.tasks`
if TYPE_CHECKING:
    from typing import Any


MIB, GIB = 1 << 20, 1 << 30
DEPTH = 100_000  # lists in each other
BAD = 3  # the input at fault

# Results


def returns_a_lambda() -> Any:
    return lambda: 1


def returns_a_generator() -> Any:
    return (x for x in range(3))


def returns_an_open_file() -> Any:
    return open(os.devnull)


def returns_an_instance_of_a_local_class() -> Any:
    class Local:
        pass

    return Local()


class Reducing:
    """Does something when it is pickled."""

    def __init__(self, does: Callable[..., Any], *args: Any) -> None:
        self.does, self.args = does, args

    def __reduce__(self) -> Any:
        return self.does(*self.args)


class Loading:
    """Does something when it is loaded."""

    def __init__(self, does: Callable[..., Any], *args: Any) -> None:
        self.does, self.args = does, args

    def __reduce__(self) -> Any:
        return self.does, self.args


def throw(kind: type[BaseException]) -> Any:
    raise kind("of the value's own")


def loop_on() -> Any:
    return Reducing(loop_on), ()


def unhashable_when_loaded() -> Any:
    return {_Hashed(1): 2}


class _Hashed:
    """A key whose hash needs what is loaded after it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.circle = {self: number}

    def __hash__(self) -> int:
        return hash(self.number)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hashed) and self.number == other.number


def nested() -> Any:
    value: list[Any] = []
    for _ in range(DEPTH):
        value = [value]
    return value


def is_nested(value: Any) -> bool:
    depth = 0
    while value:
        (value,), depth = value, depth + 1
    return depth == DEPTH


class Rude:
    """Answers no question."""

    def _refuse(self, *_: Any) -> Any:
        raise ValueError("do not ask")

    __eq__ = __hash__ = __bool__ = __len__ = __repr__ = __str__ = __iter__ = __getattr__ = _refuse

    def __reduce__(self) -> Any:
        return Rude, ()


def is_rude(value: Any) -> bool:
    return type(value) is Rude


class Classless:
    """Does not say what it is."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise ValueError("of no class")

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Classless, ()


def is_classless(value: Any) -> bool:
    return type(value) is Classless


def returns_an_exception() -> Any:
    return ValueError("as a value")


def is_an_exception(value: Any) -> bool:
    return type(value) is ValueError and value.args == ("as a value",)


class LastWords:
    """Raises when it is let go."""

    def __del__(self) -> None:
        raise ValueError("not yet")


def is_last_words(value: Any) -> bool:
    return type(value) is LastWords


def returns_nan() -> float:
    import math

    return math.nan


def is_nan(value: Any) -> bool:
    import math

    return type(value) is float and math.isnan(value)


async def _answer() -> str:
    import asyncio

    await asyncio.sleep(0)
    return SURVIVED


def returns_a_coroutine() -> Any:
    return _answer()


class AwaitsBadly:
    def __await__(self) -> Any:
        raise ValueError("will not be awaited")


def returns_a_memoryview() -> Any:
    return memoryview(b"abc")


def returns_a_socket() -> Any:
    return socket.socket()


def returns_a_module() -> Any:
    return sys


def returns_bytes(size: int) -> bytes:
    return b"x" * size


class Buffer:
    """As an array is: its data go beside the pickle, where that can be."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Buffer, (pickle.PickleBuffer(self.data) if protocol >= 5 else bytes(self.data),)


def returns_a_buffer(size: int) -> Buffer:
    return Buffer(bytearray(size))


def is_buffer(value: Any, size: int) -> bool:
    return type(value) is Buffer and len(memoryview(value.data)) == size


def returns_many_buffers(count: int) -> list[Buffer]:
    return [Buffer(bytearray(100)) for _ in range(count)]


def has_length(value: Any, size: int) -> bool:
    return len(value) == size


def slow_when_loaded() -> Any:
    return Loading(_load_slowly)


def _load_slowly() -> str:
    time.sleep(1)
    return SURVIVED


# Inputs


def with_a_bad_one(make: Callable[[], Any]) -> list[Any]:
    """Numbers, and something else in one place."""
    return [make() if x == BAD else x for x in range(10)]


class Loaded:
    """An input that does something when it is loaded in another process than the one that made it."""

    def __init__(self, does: Callable[..., Any], *args: Any) -> None:
        self.does, self.args = does, args
        self.home = os.getpid()

    def __reduce__(self) -> Any:
        return _load_elsewhere, (self.home, self.does, self.args)


def _load_elsewhere(home: int, does: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    return Loaded(does, *args) if os.getpid() == home else does(*args)


def sleep_on() -> None:
    time.sleep(float(SLEEPER))


class Described:
    """An input whose repr does something."""

    def __init__(self, does: Callable[..., Any], *args: Any) -> None:
        self.does, self.args = does, args

    def __repr__(self) -> str:
        text: str = self.does(*self.args)
        return text


class DeniesItsClass(Described):
    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise ValueError("of no class")

    def __reduce_ex__(self, protocol: Any) -> Any:
        return DeniesItsClass, (str,)


def lock() -> Any:
    return threading.Lock()


# Where inputs come from


def breaks_off(after: int, kind: type[BaseException]) -> Iterator[int]:
    yield from range(after)
    raise kind("no more of them")


async def breaks_off_async(after: int) -> AsyncIterator[int]:
    for number in range(after):
        yield number
    raise ValueError("no more of them")


class NoIterator:
    def __iter__(self) -> Any:
        raise ValueError("not today")


class Lying:
    """A sequence that is shorter than it says."""

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, index: int) -> int:
        if index >= 10:
            raise IndexError(index)
        return index


class Breaking(Lying):
    """A sequence that cannot give what it has."""

    def __getitem__(self, index: int) -> int:
        if index >= 5:
            raise ValueError("the disk is broken")
        return index


class NoLength(Lying):
    def __len__(self) -> int:
        raise ValueError("uncounted")


# Functions


class Broken:
    """A function that does something when it is loaded in another process."""

    def __init__(self, does: Callable[..., Any], *args: Any) -> None:
        self.does, self.args = does, args

    def __call__(self) -> str:
        return SURVIVED

    def __reduce__(self) -> Any:
        return _load_elsewhere, (os.getpid(), self.does, self.args)
