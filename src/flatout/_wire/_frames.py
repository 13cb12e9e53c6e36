"""Frames on a stream socket: a kind, a head, and any number of buffers, in the frame or in shared memory (`_arena`).

Layout: header (a mark; kind, number of buffers, length of the head, segment, length of all that follows the header; a check
of these), then the lengths of the buffers, then the head and, where no segment has them, the buffers; last the check again.

Where a task writes to the socket of its worker, between frames or into one, the mark or a check is not as it should be: nothing
that is not whole is taken for a frame, and no length that nobody sent is waited for. (A last mark that is always the same
might be what the buffers end with.)
"""

from __future__ import annotations

import functools
import os
import socket
import struct
import sys
from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from flatout._wire._arena import PARCEL, Arena, Attached, Parcel

_BEGIN = b"\xf1\xa7\x0e\xb5"  # such as no text has, and that no part of it begins another
_HEADER = struct.Struct("<4sBIQIQI")
_CHECK = 4  # bytes of the check, which ends the header and the frame
_LENGTH = struct.Struct("<Q")
_CHUNK = 1 << 18  # bytes to ask of the kernel at once: a socket holds about as much
_SHORT = 1 << 12  # bytes of a single buffer up to which its frame is put together, since all else costs more; guessed
_PIECES = 512  # buffers in one sendmsg call; Linux allows 1024, POSIX promises 16

Piece = bytes | bytearray | memoryview

# From the user's process to a worker
SETUP, DEFINE, BATCH, CANCEL = 1, 2, 3, 4
# From a worker to the user's process
READY, STALE, SETUP_FAILED, RESULTS, RETURNED, OUTPUT, LOG, IDLE = 11, 12, 13, 14, 15, 16, 17, 18
# Between sender and receiver, either way: here is the segment of this number; its descriptor comes along
_SEGMENT = 21
_DESCRIPTORS = (socket.SOL_SOCKET, getattr(socket, "SCM_RIGHTS", None))
_FDS = socket.CMSG_SPACE(8 * 4) if hasattr(socket, "CMSG_SPACE") else 0
_CLOSED_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


def _header(kind: int, count: int, head: int, segment: int, data: int) -> bytes:
    """The header of a frame with so many buffers, and bytes of its head and of its buffers in the frame itself."""
    fields = kind, count, head, segment, count * _LENGTH.size + head + data + _CHECK
    return _HEADER.pack(_BEGIN, *fields, _check(fields))


def _check(fields: tuple[int, ...]) -> int:
    """Differs where the fields do. (The hash of numbers is the same in all processes of an interpreter.)"""
    return hash(fields) & 0xFFFFFFFF


class Frame:
    """What was received. The buffers are writable and belong to whoever takes them."""

    __slots__ = ("buffers", "head", "kind")

    def __init__(self, kind: int, head: memoryview, buffers: list[memoryview]) -> None:
        self.kind = kind
        self.head = head
        self.buffers = buffers


class _Handover:
    """A frame that hands a segment over. `owner` keeps the descriptor open until it is sent."""

    __slots__ = ("fd", "frame", "owner")

    def __init__(self, frame: bytes, fd: int, owner: object) -> None:
        self.frame = frame
        self.fd = fd
        self.owner = owner


class Sender:
    """Sends frames, keeping back what the socket does not take yet. Without an arena everything goes by the socket."""

    def __init__(self, sock: socket.socket, arena: Arena | None = None) -> None:
        self._sock = sock
        self._arena = arena
        self._queue: deque[memoryview | _Handover] = deque()

    def put(self, kind: int, head: Piece, buffers: Iterable[Piece] = ()) -> None:
        """Add a frame to what is to be sent."""
        if type(buffers) is list and len(buffers) == 1 and type(buffers[0]) is bytes and len(buffers[0]) < _SHORT:
            (only,) = buffers
            header = _header(kind, 1, len(head), 0, len(only))
            frame = header + _LENGTH.pack(len(only)) + head + only + header[-_CHECK:]
            self._queue.append(memoryview(frame))
            return
        flat = [memoryview(buffer).cast("B") for buffer in buffers]
        placed = self._arena.place(flat) if flat and self._arena is not None else None
        if placed is None:
            self._put(kind, head, flat, 0)
            return
        number, fd = placed
        if fd is not None:
            self._hand_over(number, fd, self._arena)
        self._put(kind, head, flat, number)

    def put_parcel(self, kind: int, head: Piece, parcel: Parcel) -> None:
        """Add a frame whose buffers are those of a parcel."""
        self._hand_over(PARCEL, parcel.fd, parcel)
        self._put(kind, head, parcel.pieces, PARCEL)

    def _hand_over(self, number: int, fd: int, owner: object) -> None:
        header = _header(_SEGMENT, 0, 0, number, 0)
        self._queue.append(_Handover(header + header[-_CHECK:], fd, owner))

    def _put(self, kind: int, head: Piece, buffers: Sequence[memoryview], segment: int) -> None:
        lengths = b"".join(_LENGTH.pack(len(buffer)) for buffer in buffers)
        header = _header(kind, len(buffers), len(head), segment, 0 if segment else sum(map(len, buffers)))
        frame = [header + lengths, head, *(() if segment else buffers), header[-_CHECK:]]
        self._queue.extend([memoryview(piece) for piece in frame if len(piece)])  # in one piece, whoever interrupts

    def flush(self) -> bool:
        """Send as much as the socket takes (all of it, where the socket blocks); return whether that was all."""
        queue = self._queue
        while queue:
            try:
                if isinstance(head := queue[0], _Handover):
                    self._send_handover(head)
                elif len(queue) == 1:
                    self._send_piece(head)
                else:
                    self._send_pieces()
            except BlockingIOError:
                return False
        return True

    def _send_handover(self, handover: _Handover) -> None:
        sent = socket.send_fds(self._sock, [handover.frame], [handover.fd])
        self._queue.popleft()
        if sent < len(handover.frame):
            self._queue.appendleft(memoryview(handover.frame)[sent:])

    def _send_piece(self, piece: memoryview) -> None:
        sent = self._sock.send(piece)
        if sent < len(piece):
            self._queue[0] = piece[sent:]
        else:
            self._queue.popleft()

    def _send_pieces(self) -> None:
        queue = self._queue
        pieces: list[memoryview] = []
        for piece in islice(queue, _PIECES):
            if isinstance(piece, _Handover):
                break
            pieces.append(piece)
        sent = self._sock.sendmsg(pieces)
        for piece in pieces:
            if sent < len(piece):
                queue[0] = piece[sent:]
                return
            sent -= len(piece)
            queue.popleft()


class Receiver:
    """Takes frames apart as they come in."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._data = bytearray(_CHUNK)
        self._have = 0
        self._fds: deque[int] = deque()  # which came in the order of the frames that they belong to
        self._attached = Attached()
        self._broken: ValueError | None = None  # what has come made no sense

    def receive(self, wait: bool = True) -> Iterator[Frame]:
        """Read once; give the frames that are complete by now. `wait` False: as if the socket did not block.

        Raises EOFError when the other side is gone, BlockingIOError when a non-blocking socket has nothing. What makes no
        sense raises ValueError in its place, behind the frames before it, and so does all that follows.
        """
        if self._broken is not None:
            raise self._broken
        room = memoryview(self._data)[self._have :]
        flags = _CLOSED_ON_EXEC if wait else _CLOSED_ON_EXEC | socket.MSG_DONTWAIT
        got, ancillary, _, _ = self._sock.recvmsg_into([room], _FDS, flags)
        for level, sort, fds in ancillary:
            if (level, sort) == _DESCRIPTORS:
                self._fds.extend(array("i", fds[: len(fds) // 4 * 4]))
        if got == 0:
            raise EOFError
        self._have += got
        return self._complete()

    def close(self) -> None:
        """Close what came along and nobody has asked for."""
        while self._fds:
            os.close(self._fds.popleft())

    def _complete(self) -> Iterator[Frame]:
        start = 0
        while start < self._have or not self._data:
            try:
                size = self._size(start)
                if size is None or start + size > self._have:
                    return self._keep(start, size or _CHUNK)
                frame = self._parse(self._cut(start, size))
            except (ValueError, OSError, MemoryError) as error:
                self._broken = ValueError(f"what has come is of no use: {error or type(error).__name__}")
                raise self._broken from error
            start += size
            if frame is not None:
                yield frame
        self._have = 0
        return None

    def _cut(self, start: int, size: int) -> bytearray:
        """A frame of its own: a large one is the buffer itself, not a copy of it."""
        if start == 0 and size == self._have == len(self._data):
            data, self._data = self._data, bytearray()
            return data
        return self._data[start : start + size]

    def _size(self, start: int) -> int | None:
        """Length of the frame that begins there, if enough of it has come to know."""
        if self._have < start + _HEADER.size:
            if not _BEGIN.startswith(self._data[start : min(start + len(_BEGIN), self._have)]):
                raise ValueError("no frame begins there")
            return None
        fields = _HEADER.unpack_from(self._data, start)
        if fields[0] != _BEGIN:
            raise ValueError("no frame begins there")
        length, check = fields[5:]
        if check != _check(fields[1:6]):
            raise ValueError("the header of a frame is not as it was sent")
        size: int = _HEADER.size + length
        if size > _most_bytes():
            raise ValueError(f"a frame of {size} bytes")
        return size

    def _keep(self, start: int, size: int) -> None:
        """Move what has come of the next frame to the beginning of a buffer that can hold all of it."""
        rest = self._data[start : self._have] if start or size > len(self._data) else None
        if size > len(self._data):
            self._data = bytearray(max(_CHUNK, size))
        if rest is not None:
            self._data[: len(rest)] = rest
            self._have = len(rest)

    def _parse(self, data: bytearray) -> Frame | None:
        _, kind, count, head, segment, _, _ = _HEADER.unpack_from(data)
        if not data.endswith(data[_HEADER.size - _CHECK : _HEADER.size]):
            raise ValueError("a frame does not end where it should")
        if kind == _SEGMENT:
            if not self._fds:
                raise OSError("a segment came without its descriptor: too many open files?")
            self._attached.attach(segment, self._fds.popleft(), private=segment == PARCEL)
            return None
        at = _HEADER.size + count * _LENGTH.size
        if at + head > len(data):
            raise ValueError("a frame is too short for its head")
        lengths = struct.unpack_from(f"<{count}Q", data, _HEADER.size)
        view = memoryview(data)
        head_view, at = view[at : at + head], at + head
        if segment:
            return Frame(kind, head_view, self._attached.lend(segment, lengths))
        if at + sum(lengths) + _CHECK != len(data):
            raise ValueError("a frame is not as long as its buffers")
        buffers = []
        for length in lengths:
            buffers.append(view[at : at + length])
            at += length
        return Frame(kind, head_view, buffers)


@functools.cache
def _most_bytes() -> int:
    """In a frame: as much as this machine has memory. Who believed in more would wait for ever."""
    if "SC_PHYS_PAGES" not in os.sysconf_names:
        return sys.maxsize
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
