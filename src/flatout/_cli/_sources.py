"""Where inputs come from: lines lazily, so that an endless standard input is fine."""

from __future__ import annotations

import glob
import itertools
import json
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

STDIN = 0
_CHUNK_BYTES = 1 << 16  # what a pipe holds on Linux


class BadLine(ValueError):
    """A line is not JSON; says which and why. `index` is its place among the inputs."""

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.index = index


def stdin_waits() -> bool:
    """Whether standard input is something to read: a pipe or a file, not a person."""
    return sys.stdin is not None and not sys.stdin.isatty()


def lines(path: str) -> Iterator[str]:
    """The lines of a file ("-": standard input) without newlines; bytes that are not UTF-8 survive as surrogates."""
    return (line.decode("utf-8", "surrogateescape") for line in _raw_lines(path))


def json_lines(path: str, complain: Callable[[BadLine], None]) -> Iterator[Any]:
    """The JSON values of a file, one a line. Blank lines are passed over; `complain` hears of those that are not."""
    name = "standard input" if path == "-" else path
    index = itertools.count()
    for number, line in enumerate(_raw_lines(path), 1):
        if not line.strip():
            continue
        try:
            # decoded here: of bytes `json.loads` would guess the encoding. A file may begin with a byte order mark
            value = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8", "surrogatepass"))
        except (ValueError, RecursionError) as error:
            complain(BadLine(f"{name}, line {number}: not JSON: {error}", next(index)))
        else:
            next(index)
            yield value


def paths(patterns: Sequence[str], complain: Callable[[str], None]) -> list[str]:
    """The paths that match, those of each pattern sorted; one that several match is there once."""
    found: dict[str, None] = {}
    for pattern in patterns:
        matches = sorted(glob.iglob(pattern, recursive=True))
        if not matches:
            complain(f"nothing matches {pattern!r}")
        found.update(dict.fromkeys(matches))
    return list(found)


def regular_file(file: str | int) -> tuple[int, int] | None:
    """What tells the file at a path or of a descriptor from all others; None where it is no regular file, or none."""
    try:
        status = os.stat(file)
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None


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
