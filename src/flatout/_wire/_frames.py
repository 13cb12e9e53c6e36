"""Frames on a stream socket: a kind, a head, and any number of buffers that travel beside it uncopied.

Layout: header (kind, number of buffers, length of the head), then the lengths of the buffers, then head and buffers.
"""

from __future__ import annotations

import socket
import struct
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

_HEADER = struct.Struct("<BIQ")
_LENGTH = struct.Struct("<Q")
_CHUNK = 1 << 18  # bytes to ask of the kernel at once: a socket holds about as much
_PIECES = 512  # buffers in one sendmsg call; Linux allows 1024, POSIX promises 16

Piece = bytes | bytearray | memoryview

# From the user's process to a worker
SETUP, DEFINE, BATCH = 1, 2, 3
# From a worker to the user's process
READY, STALE, SETUP_FAILED, RESULTS, OUTPUT, LOG = 11, 12, 13, 14, 15, 16


class Frame(NamedTuple):
    """What was received. The buffers are writable and belong to whoever takes them."""

    kind: int
    head: memoryview
    buffers: list[memoryview]


def pieces(kind: int, head: Piece, buffers: Iterable[Piece] = ()) -> list[Piece]:
    """The bytes of one frame, in order."""
    flat = [memoryview(buffer).cast("B") for buffer in buffers]
    lengths = b"".join(_LENGTH.pack(len(buffer)) for buffer in flat)
    return [_HEADER.pack(kind, len(flat), len(head)) + lengths, head, *flat]


class Sender:
    """Sends frames, keeping back what the socket does not take yet."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._queue: deque[memoryview] = deque()

    def put(self, frame: Iterable[Piece]) -> None:
        """Add a frame to what is to be sent."""
        self._queue.extend([memoryview(piece) for piece in frame if len(piece)])  # in one piece, whoever interrupts

    def flush(self) -> bool:
        """Send as much as the socket takes (all of it, where the socket blocks); return whether that was all."""
        queue = self._queue
        while queue:
            try:
                sent = self._sock.sendmsg([queue[i] for i in range(min(len(queue), _PIECES))])
            except BlockingIOError:
                return False
            while queue and sent >= len(queue[0]):
                sent -= len(queue.popleft())
            if sent:
                queue[0] = queue[0][sent:]
        return True


class Receiver:
    """Takes frames apart as they come in."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._data = bytearray(_CHUNK)
        self._have = 0

    def receive(self) -> list[Frame]:
        """Read once; return the frames that are complete by now.

        Raises EOFError when the other side is gone, BlockingIOError when a non-blocking socket has nothing.
        """
        got = self._sock.recv_into(memoryview(self._data)[self._have :])
        if got == 0:
            raise EOFError
        self._have += got
        return self._complete()

    def _complete(self) -> list[Frame]:
        frames: list[Frame] = []
        start = 0
        while True:
            size = self._size(start)
            if size is None or start + size > self._have:
                self._keep(start, size or _CHUNK)
                return frames
            frames.append(_parse(self._cut(start, size)))
            start += size

    def _cut(self, start: int, size: int) -> bytearray:
        """A frame of its own: a large one is the buffer itself, not a copy of it."""
        if start == 0 and size == self._have == len(self._data):
            data, self._data = self._data, bytearray()
            return data
        return self._data[start : start + size]

    def _size(self, start: int) -> int | None:
        """Length of the frame that begins there, if enough of it has come to know."""
        behind = start + _HEADER.size
        if self._have < behind:
            return None
        _, buffers, head = _HEADER.unpack_from(self._data, start)
        table = buffers * _LENGTH.size
        if self._have < behind + table:
            return _HEADER.size + table if table >= _CHUNK // 2 else None
        lengths = struct.unpack_from(f"<{buffers}Q", self._data, behind)
        return int(_HEADER.size + table + head + sum(lengths))

    def _keep(self, start: int, size: int) -> None:
        """Move what has come of the next frame to the beginning of a buffer that can hold all of it."""
        if start or size > len(self._data):
            rest = memoryview(self._data)[start : self._have]
            self._data = bytearray(max(_CHUNK, size))
            self._data[: len(rest)] = rest
            self._have = len(rest)


def _parse(data: bytearray) -> Frame:
    kind, count, head = _HEADER.unpack_from(data)
    lengths = struct.unpack_from(f"<{count}Q", data, _HEADER.size)
    view = memoryview(data)
    at = _HEADER.size + count * _LENGTH.size
    head_view, at = view[at : at + head], at + head
    buffers = []
    for length in lengths:
        buffers.append(view[at : at + length])
        at += length
    return Frame(kind, head_view, buffers)
