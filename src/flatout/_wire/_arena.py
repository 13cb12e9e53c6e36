"""Memory that two processes share: for what is too large to be worth a copy through a socket.

An `Arena` belongs to a sender. It consists of segments, memory files without a name (memfd), each of which carries the
buffers of one frame at a time. The receiver maps a segment when it first hears of it and keeps it mapped, and so does
the sender: pages used before are as fast as memory can be, fresh ones take ten times as long (measured).

A segment begins with its state. The sender takes it; the receiver frees it, by that byte and no message, when the last
object that rests on it is gone. Who finds no free segment within its bounds sends by the socket instead.

A `Parcel` is for many receivers: written once, sealed, and mapped by each as memory of its own (copy on write).
"""

from __future__ import annotations

import contextlib
import functools
import mmap
import os
import sys
import time
import weakref
from collections.abc import Iterable, Sequence

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any

AVAILABLE = hasattr(os, "memfd_create")
WORTH = 1 << 16  # bytes from which a frame goes by a segment: as large a buffer as travels beside its pickle; guessed
MOST_SEGMENTS = 64  # of an arena; guessed: each is a descriptor, or two
MOST_BYTES = 1 << 29  # of an arena; guessed

_FREE, _TAKEN = 0, 1
_HEADER = 64  # bytes in front of the buffers, of which the first is the state
_ALIGNED = 64  # each buffer begins at a multiple of it, as arrays like to
_SMALLEST = 1 << 18  # bytes of a segment; pages that nobody writes to take no memory
_SAMPLE = 1 << 22  # bytes; guessed
_LOOSEST = 8  # a segment carries no less than this part of its size: the large are for the large
_UNTRACKED: dict[str, Any] = (
    {"trackfd": False} if sys.version_info >= (3, 13) else {}
)  # else a mapping holds a descriptor


class Arena:
    """The segments of one sender, bounded in number and in bytes."""

    def __init__(self) -> None:
        self._segments: list[_Own] = []
        self._bytes = 0  # of all segments

    def place(self, pieces: Sequence[memoryview]) -> tuple[int, int | None] | None:
        """Write the pieces into a segment.

        Returns its number, and its descriptor where the receiver must be given that first; None where there is no room,
        or it would not be worth it.
        """
        size = _HEADER + _span(pieces)
        if size < WORTH or not AVAILABLE:
            return None
        for segment in self._segments:
            if size <= segment.size <= _LOOSEST * max(size, _SMALLEST) and segment.free:
                segment.write(pieces)
                return segment.number, None
        return self._place_in_new(pieces, size)

    def _place_in_new(self, pieces: Sequence[memoryview], size: int) -> tuple[int, int | None] | None:
        size = max(_SMALLEST, 1 << (size - 1).bit_length())
        most, most_bytes = _bounds()
        if len(self._segments) >= most or self._bytes + size > most_bytes:
            return None
        try:
            segment = _Own(len(self._segments) + 1, size)
            segment.write(pieces)
        except OSError:  # no descriptors, no memory
            return None
        self._bytes += size
        self._segments.append(segment)
        self._segments.sort(key=lambda segment: segment.size)  # the smallest that will do is found first
        return segment.number, segment.fd

    @property
    def resident(self) -> bool:
        """Whether any of it takes up memory."""
        return any(segment.written for segment in self._segments)

    def rest(self, keep: int) -> None:
        """Give memory that is free just now back to the system, but for so many bytes."""
        for segment in self._segments:
            if segment.written and segment.free:
                keep -= segment.size
                if keep < 0:
                    segment.empty()


class _Own:
    """A segment, as its sender sees it."""

    def __init__(self, number: int, size: int) -> None:
        self.number = number
        self.size = size
        self.fd = _create(size)
        self.written = False  # its pages are there
        self._memory = mmap.mmap(self.fd, size, **_UNTRACKED)

    @property
    def free(self) -> bool:
        """Whether nobody reads it any more."""
        return self._memory[0] == _FREE

    def write(self, pieces: Sequence[memoryview]) -> None:
        """Take it, and fill it."""
        self._memory[0] = _TAKEN
        if self.written:
            for start, piece in _placed(pieces):
                self._memory[start : start + len(piece)] = piece
        else:  # fresh pages come in half the time where the kernel fills them
            for start, piece in _placed(pieces):
                _write_all(self.fd, piece, start)
            self.written = True

    def empty(self) -> None:
        """Give its pages back to the system."""
        with contextlib.suppress(OSError, AttributeError, ValueError):
            self._memory.madvise(mmap.MADV_REMOVE)
            self.written = False

    def __del__(self) -> None:
        if hasattr(self, "fd"):
            os.close(self.fd)


class Attached:
    """The segments of a sender, as its receiver sees them."""

    def __init__(self) -> None:
        self._segments: dict[int, _Lent] = {}

    def attach(self, number: int, fd: int, private: bool) -> None:
        """Map a segment; takes the descriptor. Raises ValueError for one that the sender could still shrink."""
        try:
            size = os.fstat(fd).st_size
            if size < _HEADER or not _is_sealed(fd):
                raise ValueError("a shared segment is not sealed")
            flags = mmap.MAP_PRIVATE if private else mmap.MAP_SHARED
            memory = mmap.mmap(fd, size, flags, mmap.PROT_READ | mmap.PROT_WRITE, **_UNTRACKED)
        finally:
            os.close(fd)
        self._segments[number] = _Lent(memory, private)

    def lend(self, number: int, lengths: Sequence[int]) -> list[memoryview]:
        """The buffers in a segment, writable; it is freed when the last object that rests on one of them is gone.

        Raises ValueError for a segment that was never handed over, and for lengths that reach beyond it.
        """
        segment = self._segments.pop(number, None) if number == PARCEL else self._segments.get(number)
        if segment is None:
            raise ValueError(f"a frame is in segment {number}, which was never handed over")
        return segment.lend(lengths)


class _Lent:
    """A segment, as its receiver sees it."""

    def __init__(self, memory: mmap.mmap, private: bool) -> None:
        import ctypes

        self._memory = memory
        self._private = private
        self._block = ctypes.c_char * (len(memory) - _HEADER)
        self._lease: object = None

    def lend(self, lengths: Sequence[int]) -> list[memoryview]:
        """See `Attached.lend`."""
        starts = _starts(lengths)
        if starts[-1] > len(self._memory):
            raise ValueError("a frame reaches beyond its segment")
        block = self._block.from_buffer(self._memory, _HEADER)  # what all views rest on, and what can be watched
        if not self._private:
            self._lease = weakref.ref(block, _Release(self._memory))
        view = memoryview(block).cast("B")
        return [
            view[start - _HEADER : start - _HEADER + length] for start, length in zip(starts, lengths, strict=False)
        ]


class _Release:
    """Frees a segment; called when its block is gone.

    Unless the process was forked meanwhile: then there may be two who read it.
    """

    __slots__ = ("_forks", "_memory")

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self._forks = _forks

    def __call__(self, _block: object) -> None:
        if self._forks == _forks:
            self._memory[0] = _FREE


class Parcel:
    """Buffers for many receivers. Raises OSError where there is no room for them."""

    def __init__(self, pieces: Sequence[memoryview]) -> None:
        self.pieces = pieces
        self.fd = _create(_HEADER + _span(pieces))
        for start, piece in _placed(pieces):
            _write_all(self.fd, piece, start)
        _seal(self.fd, write=True)

    def __del__(self) -> None:
        if hasattr(self, "fd"):
            os.close(self.fd)


@functools.cache
def seconds_per_byte() -> float:
    """That it takes to write a parcel, measured once: 0.7-2.6 ns, since fresh pages are dear on some virtual machines."""
    sample = memoryview(bytes(_SAMPLE))
    began = time.thread_time()
    with contextlib.suppress(OSError):
        Parcel([sample])
    return (time.thread_time() - began) / _SAMPLE


PARCEL = (1 << 32) - 1  # in place of the number of a segment


def _create(size: int) -> int:
    fd = os.memfd_create("flatout", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size)
        _seal(fd)
    except OSError:
        os.close(fd)
        raise
    return fd


def _seal(fd: int, write: bool = False) -> None:
    """Have nobody change its size, or with `write` what is in it: who maps it would be killed, or misled."""
    import fcntl

    seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals | fcntl.F_SEAL_WRITE if write else seals)


def _is_sealed(fd: int) -> bool:
    import fcntl

    return bool(fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK)


def _starts(lengths: Iterable[int]) -> list[int]:
    """Where buffers of these lengths begin in a segment; last, where the next would."""
    starts, at = [], _HEADER
    for length in lengths:
        starts.append(at)
        at += -(-length // _ALIGNED) * _ALIGNED
    return [*starts, at]


def _span(pieces: Sequence[memoryview]) -> int:
    return _starts(map(len, pieces))[-1] - _HEADER


def _placed(pieces: Sequence[memoryview]) -> Iterable[tuple[int, memoryview]]:
    return zip(_starts(map(len, pieces)), pieces, strict=False)


def _write_all(fd: int, piece: memoryview, at: int) -> None:
    while piece:
        written = os.pwrite(fd, piece, at)
        piece, at = piece[written:], at + written


@functools.cache
def _bounds() -> tuple[int, int]:
    """Most segments and bytes of an arena: a part of what the system gives to each core's share of processes."""
    import resource

    cores, files = os.cpu_count() or 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(4, min(MOST_SEGMENTS, files // (8 * cores))), min(MOST_BYTES, memory // (16 * cores))


_forks = 0


def _count_fork() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_count_fork)
