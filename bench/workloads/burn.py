"""Pure Python computing of a chosen length: the GIL is held all the time."""

from __future__ import annotations

from collections.abc import Sequence

PER_MS = 50_000  # iterations in a millisecond, 20 ns each; measured on a Zen 4 core with CPython 3.11


def burn(iterations: int) -> int:
    total = 0
    for i in range(iterations):
        total += i
    return total


def varied(iterations: int, count: int) -> list[int]:
    """Inputs for `burn` that take alike, yet differ, so that results in a wrong order are seen."""
    return [iterations + i % 7 for i in range(count)]


def longest_share(iterations: Sequence[int]) -> float:
    return max(iterations) / sum(iterations)
