"""Where inputs come from: all of them lazily, so that an endless standard input is fine."""

from __future__ import annotations

import glob
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

STDIN = 0
_CHUNK_BYTES = 1 << 16  # what a pipe holds on Linux


class BadLine(ValueError):
    """A line is not JSON; says which and why."""


def stdin_waits() -> bool:
    """Whether standard input is something to read: a pipe or a file, not a person."""
    return sys.stdin is not None and not sys.stdin.isatty()


def lines(path: str) -> Iterator[str]:
    """The lines of a file ("-": standard input) without newlines; bytes that are not UTF-8 survive as surrogates."""
    return (line.decode("utf-8", "surrogateescape") for line in _raw_lines(path))


def json_lines(path: str, complain: Callable[[BadLine], None]) -> Iterator[Any]:
    """The JSON values of a file, one a line. Blank lines are passed over; `complain` hears of those that are not."""
    name = "standard input" if path == "-" else path
    for number, line in enumerate(_raw_lines(path), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            complain(BadLine(f"{name}, line {number}: not JSON: {error}"))
        else:
            yield value


def paths(patterns: Sequence[str], complain: Callable[[str], None]) -> Iterator[str]:
    """The paths that match, each pattern sorted and looked up when it is its turn."""
    for pattern in patterns:
        found = sorted(glob.iglob(pattern, recursive=True))
        if not found:
            complain(f"nothing matches {pattern!r}")
        yield from found


def _raw_lines(path: str) -> Iterator[bytes]:
    """Lines by os.read alone: a thread that is left behind in a read of `sys.stdin` would hold its lock, on which the
    end of the interpreter stumbles ("could not acquire lock for <_io.BufferedReader name='<stdin>'>")."""
    descriptor = STDIN if path == "-" else os.open(path, os.O_RDONLY)
    try:
        yield from _split(iter(lambda: os.read(descriptor, _CHUNK_BYTES), b""))
    finally:
        if descriptor != STDIN:
            os.close(descriptor)


def _split(chunks: Iterable[bytes]) -> Iterator[bytes]:
    begun: list[bytes] = []  # pieces of a line whose end has not come yet
    for chunk in chunks:
        first, *others = chunk.split(b"\n")
        begun.append(first)
        if others:
            yield b"".join(begun).removesuffix(b"\r")
            for line in others[:-1]:
                yield line.removesuffix(b"\r")
            begun = [others[-1]]
    last = b"".join(begun)
    if last:
        yield last.removesuffix(b"\r")
