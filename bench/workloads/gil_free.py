"""Computing in C that lets go of the GIL: threads are as good as processes, and move nothing."""

from __future__ import annotations

import functools
import hashlib
import random
import zlib
from collections.abc import Sequence
from typing import Any

from bench.model import Function, Workload

MIB = 2**20


@functools.cache
def blocks(number: int, size: int) -> list[bytes]:
    """Half of each block is noise, so that it can be compressed, but not for nothing."""
    chance = random.Random(7)
    return [chance.randbytes(size // 2) + bytes(range(256)) * (size // 512) for _ in range(number)]


def repeated(blocks: list[Any], count: int) -> list[Any]:
    return [blocks[i % len(blocks)] for i in range(count)]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sums(count: int) -> tuple[Function, Sequence[Any]]:
    return sha256, repeated(blocks(4, 4 * MIB), count)


def compressed_size(data: bytes) -> int:
    return len(zlib.compress(data))


def compressions(count: int) -> tuple[Function, Sequence[Any]]:
    return compressed_size, repeated(blocks(4, MIB // 2), count)


def middle_of_noise(seed: int) -> float:
    import numpy

    return float(numpy.sort(numpy.random.default_rng(seed).random(500_000))[250_000])


def sorts(count: int) -> tuple[Function, Sequence[Any]]:
    return middle_of_noise, range(count)


WORKLOADS = [
    Workload(name="sha256", about="sha256 of 4 MB", make=sums, count=100, quick=40, kinds=("thread", "process")),
    Workload(name="zlib", about="zlib of 512 KB", make=compressions, count=60, kinds=("thread", "process")),
    Workload(name="numpy-sort", about="500,000 random numbers drawn and sorted by NumPy", make=sorts, count=40,
             kinds=("thread", "process"), needs=("numpy",)),
]  # fmt: skip
