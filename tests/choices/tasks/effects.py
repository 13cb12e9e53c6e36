"""Functions that compute, and change something of the caller's: in a process the change would be lost."""

from __future__ import annotations

import collections
import os
import threading
from collections.abc import Callable
from typing import Any

from choices.tasks import settings
from choices.tasks.computing import burn

results: list[int] = []
table: dict[int, int] = {}
rare: dict[int, int] = {}
long_list: list[int] = []
total = 0
lock = threading.Lock()
counts: collections.Counter[int] = collections.Counter()


def append(n: int) -> None:
    results.append(burn(n))


def append_by_alias(n: int) -> None:
    mine = results
    mine.append(burn(n))


def append_to_long(n: int) -> None:
    long_list.append(burn(n))


def fill_long(count: int) -> None:
    long_list.extend(range(count))


def add(n: int) -> None:
    global total
    total += burn(n)


def add_under_lock(n: int) -> None:
    global total
    part = burn(n)
    with lock:
        total += part


def enter(n: int) -> int:
    if n not in table:
        table[n] = burn(n)
    return table[n]


def enter_seldom(n: int) -> int:
    """Fills a cache, though not in the first call."""
    value = burn(n)
    if n % 10 == 7:
        rare[n] = value
    return value


def count(n: int) -> None:
    counts[burn(n) % 7] += 1


def configure(n: int) -> None:
    settings.last = burn(n)


def set_environment(n: int) -> None:
    os.environ["CHOICES_LAST"] = str(burn(n))


class Tally:
    """Keeps a sum, in each object and in the class."""

    all_of_them = 0

    def __init__(self) -> None:
        self.sum = 0
        self.seen: list[int] = []

    def add(self, n: int) -> None:
        self.sum += burn(n)

    def add_to_class(self, n: int) -> None:
        Tally.all_of_them += burn(n)

    def add_deep(self, n: int) -> None:
        self.seen.append(burn(n))

    @classmethod
    def add_by_class(cls, n: int) -> None:
        cls.all_of_them += burn(n)


tally = Tally()


def tell(n: int) -> None:
    tally.add(n)


def mutate(item: list[int]) -> None:
    item.append(burn(item[0]))


def mutate_object(item: Tally) -> None:
    item.add(100_000)


def closure_append() -> Callable[[int], None]:
    found: list[int] = []

    def append(n: int) -> None:
        found.append(burn(n))

    return append


def closure_cell() -> Callable[[int], None]:
    count = 0

    def add(n: int) -> None:
        nonlocal count
        count += burn(n)

    return add


def function_attribute(n: int) -> None:
    function_attribute.calls = getattr(function_attribute, "calls", 0) + burn(n)  # type: ignore[attr-defined]


def into_array(array: Any) -> Callable[[int], None]:
    """As one fills an array of results: it is too big to be looked at."""

    def fill(n: int) -> None:
        array[n % len(array)] = burn(n)

    return fill


def by_default(n: int, into: list[int] = []) -> None:  # noqa: B006
    into.append(burn(n))
