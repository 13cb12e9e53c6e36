"""Computing with the GIL held, in Python and in C."""

from __future__ import annotations

import functools
import json
import math
import random
import re
from collections.abc import Callable
from typing import Any

PER_MS = 30_000  # iterations of `burn` in a millisecond; measured on the machine that the table was made on


def burn(iterations: int) -> int:
    total = 0
    for i in range(iterations):
        total += i
    return total


@functools.cache
def records() -> list[dict[str, Any]]:
    return [{"number": i, "name": str(i), "list": [i, i + 1]} for i in range(1500)]


def dump(number: int) -> int:
    return len(json.dumps(records()))


def load(text: str) -> int:
    return len(json.loads(text))


def text() -> str:
    return json.dumps(records())


EVIL = re.compile("(a+)+b")


def backtrack(length: int) -> bool:
    return EVIL.match("a" * length) is not None


def find_words(number: int) -> int:
    return len(re.findall(r"[a-z]+(\d+)", long_text()))


@functools.cache
def long_text() -> str:
    return " ".join(f"word{i}" for i in range(20_000))


def sum_range(n: int) -> int:
    return sum(range(n))


@functools.cache
def numbers() -> list[float]:
    dice = random.Random(7)
    return [dice.random() for _ in range(40_000)]


def sort(number: int) -> float:
    return sorted(numbers())[0]


def big_power(n: int) -> int:
    power: int = 3**n
    return power.bit_length()


def digits(times: int) -> int:
    number = 7**4000  # 3381 digits: as a string shorter than Python allows
    return sum(len(str(number)) for _ in range(times))


def factorial(n: int) -> int:
    return math.factorial(n).bit_length()


def compile_code(number: int) -> str:
    return compile(source(), "module", "exec").co_name


@functools.cache
def source() -> str:
    return "\n".join(f"def f{i}(a, b={i}):\n    return [a * x + b for x in range(a) if x % {i + 1}]" for i in range(60))


class Model:
    """An object that computes with what it carries, and changes nothing."""

    def __init__(self, weights: list[int]) -> None:
        self.weights = weights

    def predict(self, iterations: int) -> int:
        return burn(iterations) * self.weights[0]

    def __call__(self, iterations: int) -> int:
        return self.predict(iterations)


def scaled(factor: int, iterations: int) -> int:
    return factor * burn(iterations)


def with_data(data: list[int]) -> Callable[[int], int]:
    def compute(iterations: int) -> int:
        return burn(iterations) + data[iterations % len(data)]

    return compute


@functools.cache
def objects() -> Any:
    import numpy as np

    return np.array([*range(30_000)], dtype=object)


def object_array(number: int) -> int:
    array = objects()
    return int((array * 3 + number).sum())


def small_arrays(times: int) -> float:
    import numpy as np

    vector = np.arange(8.0)
    for _ in range(times):
        vector = vector * 0.5 + 1.0
    return float(vector[0])
