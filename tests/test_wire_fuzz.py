"""Whatever comes by a socket, in whatever pieces: frames arrive as they were sent, or there is a clear error.

Never a hang, never a frame that nobody sent, never memory for a length that somebody made up.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import itertools
import mmap
import os
import socket
import struct
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from flatout._wire import _arena, _frames, _page, _values
from flatout._wire._arena import PARCEL, WORTH, Arena, Parcel
from flatout._wire._frames import Frame, Receiver, Sender

Spec = tuple[int, bytes, list[bytes]]  # kind, head, buffers
Piece = tuple[bytes, list[int]]  # bytes, and the descriptors that came with the first of them

needs_memory_files = pytest.mark.skipif(not _arena.AVAILABLE, reason="no memory files without a name on this system")
MIB = 1 << 20

kinds = st.integers(1, 255).filter(lambda kind: kind != _frames._SEGMENT)
blobs = st.binary(max_size=60) | st.builds(
    lambda byte, size: bytes([byte]) * size, st.integers(0, 255), st.sampled_from([WORTH - 500, WORTH, 3 * WORTH])
)
frames = st.lists(st.tuples(kinds, st.binary(max_size=40), st.lists(blobs, max_size=3)), min_size=1, max_size=6)
small_frames = st.lists(
    st.tuples(kinds, st.binary(max_size=20), st.lists(st.binary(max_size=20), max_size=3)), min_size=1, max_size=5
)
cuts = st.lists(st.integers(1, 100_000) | st.integers(1, 40), min_size=1, max_size=8)
slow = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))


def seen(frame: Frame) -> Spec:
    return frame.kind, bytes(frame.head), [bytes(buffer) for buffer in frame.buffers]


class Line:
    """A sender, a receiver, and between them somebody who passes on what he likes in the pieces that he likes."""

    def __init__(self) -> None:
        self.arena = Arena()
        ours, self._from = socket.socketpair()
        self._to, theirs = socket.socketpair()
        self._sockets = [ours, self._from, self._to, theirs]
        for sock in self._sockets:
            sock.setblocking(False)
        self.sender, self.receiver = Sender(ours, self.arena), Receiver(theirs)
        self.got: list[Spec] = []
        self.kept: list[Frame] = []  # what their segments are taken by

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.receiver.close()
        for sock in self._sockets:
            sock.close()

    def taken(self, size: int) -> Piece | None:
        """The next so many bytes that were sent; None: there are none."""
        with contextlib.suppress(BlockingIOError):
            data, ancillary, _, _ = self._from.recvmsg(size, socket.CMSG_SPACE(64))
            return data, [fd for _, _, fds in ancillary for fd in array.array("i", fds)]
        return None

    def pass_on(self, data: bytes, fds: list[int]) -> None:
        """Let this come to the receiver, who takes what has come."""
        rest = memoryview(data)
        while rest:
            with contextlib.suppress(BlockingIOError):
                rest = rest[socket.send_fds(self._to, [rest], fds) if fds else self._to.send(rest) :]
                for fd in fds:
                    os.close(fd)
                fds = []
            self.receive()

    def pass_on_in_pieces(self, data: bytes, sizes: list[int]) -> None:
        """The same, piece by piece."""
        for size in itertools.cycle(sizes):
            self.pass_on(data[:size], [])
            data = data[size:]
            if not data:
                return

    def receive(self) -> None:
        """Take what has come."""
        with contextlib.suppress(BlockingIOError):
            while True:
                for frame in self.receiver.receive():
                    self.got.append(seen(frame))

    def end(self) -> None:
        """Nothing more will come."""
        self._to.shutdown(socket.SHUT_WR)

    def all_pieces(self, sent: list[Spec], sizes: list[int]) -> Iterator[Piece]:
        """What these frames are on the way, in pieces of such sizes, over and over."""
        size = itertools.cycle(sizes)
        for spec in sent:
            self.sender.put(*spec)
        done = False
        while not done:
            done = self.sender.flush()
            while (piece := self.taken(next(size))) is not None:
                yield piece


# What was sent arrives, in whatever pieces


@slow
@given(frames, cuts)
def test_frames_arrive_as_they_were_sent_in_whatever_pieces(sent: list[Spec], sizes: list[int]) -> None:
    with Line() as line:
        for data, fds in line.all_pieces(sent, sizes):
            line.pass_on(data, fds)
        assert line.got == sent


@needs_memory_files
@slow
@given(st.lists(st.booleans(), min_size=1, max_size=6), cuts)
def test_parcels_and_segments_arrive_among_others_in_whatever_pieces(parcels: list[bool], sizes: list[int]) -> None:
    with Line() as line:
        sent: list[Spec] = []
        for number, is_parcel in enumerate(parcels):
            sent.append((number + 1, b"%d" % number, [bytes([number]) * WORTH, b"x"]))
            if is_parcel:
                line.sender.put_parcel(*sent[-1][:2], Parcel([memoryview(buffer) for buffer in sent[-1][2]]))
            else:
                line.sender.put(*sent[-1])
        for data, fds in line.all_pieces([], sizes):
            line.pass_on(data, fds)
        assert line.got == sent


@slow
@given(frames, cuts, st.data())
def test_of_a_stream_that_ends_anywhere_whole_frames_arrive_and_then_its_end(
    sent: list[Spec], sizes: list[int], data: st.DataObject
) -> None:
    with Line() as line:
        pieces = list(line.all_pieces(sent, sizes))
        length = sum(len(piece) for piece, _ in pieces)
        left = data.draw(st.integers(0, length))
        for piece, fds in pieces:
            if left:
                line.pass_on(piece[:left], fds)
            else:
                for fd in fds:
                    os.close(fd)
            left = max(0, left - len(piece))
        line.end()
        with pytest.raises(EOFError):
            line.receive()
        assert line.got == sent[: len(line.got)]


# What nobody sent

ENDING = _frames._header(5, 1, 0, 0, 1)[-_frames._CHECK :]  # of a frame with one buffer of one byte

garbage = st.one_of(
    st.binary(min_size=1, max_size=60),
    st.integers(1, 40).map(bytes),
    st.sampled_from([_frames._BEGIN, ENDING, _frames._BEGIN[:2], ENDING + _frames._BEGIN, b"a line\n"]),
    st.builds(
        lambda *fields: _frames._header(*fields)[:-4] + bytes(4),  # all that is right but the check
        st.integers(0, 255),
        st.sampled_from([0, 1, 3, 1000]),
        st.sampled_from([0, 5, 1000, 10_000_000, 1 << 60]),
        st.sampled_from([0, 1, PARCEL]),
        st.sampled_from([0, 5, 1000]),
    ),
)


def wire_bytes(sent: list[Spec]) -> bytes:
    """What these frames are on the way, without an arena."""
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        sender = Sender(here)
        for spec in sent:
            sender.put(*spec)
        assert sender.flush()
        here.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: there.recv(1 << 18), b""))


@settings(deadline=None, max_examples=400)
@given(small_frames, garbage, st.data())
@example([(5, b"", [ENDING[:1]])], ENDING, 0)
@example([(1, b"", [b"", b"\xe2\x1f\xd3\x9c"])], bytes(4), 42)  # of which all frames had once the same ending
def test_foreign_bytes_anywhere_in_a_stream_are_noticed_and_no_wrong_frame_arrives(
    sent: list[Spec], foreign: bytes, data: st.DataObject | int
) -> None:
    stream = wire_bytes(sent)
    at = data if isinstance(data, int) else data.draw(st.integers(0, len(stream)))
    spoilt = stream[:at] + foreign + stream[at:]
    with Line() as line:
        with contextlib.suppress(ValueError):
            line.pass_on(spoilt, [])
            line.end()
            with pytest.raises(EOFError):
                line.receive()
            assert line.got == sent, "it is not noticed only behind the last frame"
        before = [n for n in range(len(sent) + 1) if len(wire_bytes(sent[:n])) <= at][-1] if at else 0
        assert line.got == sent[: len(line.got)], "nothing that nobody sent"
        assert len(line.got) >= before, "what came before it was whole"


@settings(deadline=None, max_examples=200)
@given(st.binary(min_size=4, max_size=3000).filter(lambda stream: not stream.startswith(_frames._BEGIN)), cuts)
def test_bytes_at_random_are_no_frames(stream: bytes, sizes: list[int]) -> None:
    with Line() as line:
        with pytest.raises(ValueError, match="no frame begins there"):
            line.pass_on_in_pieces(stream, sizes)
        assert line.got == []


@settings(deadline=None, max_examples=200)
@given(small_frames, st.data())
def test_flipped_bits_end_in_frames_or_in_a_clear_error(sent: list[Spec], data: st.DataObject) -> None:
    stream = bytearray(wire_bytes(sent))
    for bit in data.draw(st.lists(st.integers(0, 8 * len(stream) - 1), min_size=1, max_size=3)):
        stream[bit // 8] ^= 1 << bit % 8
    with Line() as line, contextlib.suppress(ValueError):
        line.pass_on(bytes(stream), [])
        line.end()
        with pytest.raises(EOFError):
            line.receive()
        assert len(line.got) <= len(sent)


def made_up(
    kind: int, count: int, head: int, segment: int, lengths: list[int], data: bytes = b"", size: int = 0
) -> bytes:
    """A frame whose marks and check are right, but nothing else."""
    table = struct.pack(f"<{len(lengths)}Q", *lengths)
    fields = kind, count, head, segment, size or len(table + data) + _frames._CHECK
    header = struct.pack("<4sBIQIQI", _frames._BEGIN, *fields, _frames._check(fields))
    return header + table + data + header[-_frames._CHECK :]


@pytest.mark.parametrize("size", [1 << 63, (1 << 64) - 1, 1 << 50])
def test_no_length_is_believed_that_no_memory_could_hold(size: int) -> None:
    with Line() as line:
        tracemalloc.start()
        try:
            with pytest.raises(ValueError, match=f"a frame of {size + 33} bytes"):
                line.pass_on(made_up(1, 0, 0, 0, [], size=size), [])
            assert tracemalloc.get_traced_memory()[1] < MIB
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(
    ("count", "head", "lengths", "data"),
    [
        (0, 1 << 63, [], b""),
        ((1 << 32) - 1, 0, [], b""),
        (1, 0, [1 << 63], b""),
        (2, 0, [(1 << 64) - 1, (1 << 64) - 1], b"abc"),
        (3, 5, [1, 1 << 50, 1], b"abcdefg"),
        (1, 1, [1], b"abc"),
        (2, 1, [1], b"ab"),
        (0, 0, [], b"a"),
    ],
)
def test_a_frame_that_contradicts_itself_is_refused(count: int, head: int, lengths: list[int], data: bytes) -> None:
    with Line() as line, pytest.raises(ValueError, match="of no use"):
        line.pass_on(made_up(1, count, head, 0, lengths, data), [])


def test_what_made_no_sense_once_makes_none_for_ever() -> None:
    with Line() as line:
        for _ in range(3):
            with pytest.raises(ValueError, match="no frame begins there"):
                line.pass_on(b"garbage" + wire_bytes([(1, b"", [])]), [])
        assert line.got == []


@settings(deadline=None, max_examples=100)
@given(
    st.integers(0, 255),
    st.lists(st.sampled_from([0, 1, 63, 64, WORTH, 1 << 31, 1 << 63]), max_size=4),
    st.sampled_from([1, 2, 77, PARCEL - 1, PARCEL]),
)
def test_frames_that_refer_to_what_was_not_handed_over_are_refused(kind: int, lengths: list[int], segment: int) -> None:
    with Line() as line, pytest.raises(ValueError, match="of no use"):
        line.pass_on(made_up(kind, len(lengths), 0, segment, lengths), [])


# Descriptors that are not what they should be


def _pipe() -> int:
    read, write = os.pipe()
    os.close(write)
    return read


def _socket() -> int:
    return socket.socket().detach()


def _file() -> int:
    with tempfile.TemporaryFile() as file:
        file.write(bytes(MIB))
        file.flush()
        return os.dup(file.fileno())


def _memory(size: int, *seals: int) -> int:
    fd = os.memfd_create("flatout", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    for seal in seals:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seal)
    return fd


def _read_only() -> int:
    fd = _memory(MIB, fcntl.F_SEAL_SHRINK)
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
    finally:
        os.close(fd)


WRONG: dict[str, Callable[[], int]] = {
    "a pipe": _pipe,
    "a socket": _socket,
    "a file": _file,
    "/dev/zero": lambda: os.open("/dev/zero", os.O_RDWR),
    "a folder": lambda: os.open("/", os.O_RDONLY),
}
if _arena.AVAILABLE:
    WRONG |= {
        "a path": lambda: os.open("/etc/passwd", os.O_PATH),
        "memory that may shrink": lambda: _memory(MIB),
        "no memory": lambda: _memory(0, fcntl.F_SEAL_SHRINK),
        "too little memory": lambda: _memory(63, fcntl.F_SEAL_SHRINK),
        "memory to read only": _read_only,
        "memory that nobody may write": lambda: _memory(MIB, fcntl.F_SEAL_SHRINK, fcntl.F_SEAL_WRITE),
    }


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@needs_memory_files
@pytest.mark.parametrize("wrong", WRONG)
def test_a_descriptor_of_something_else_is_refused_and_closed(wrong: str) -> None:
    before = descriptors()
    handover = made_up(_frames._SEGMENT, 0, 0, 1, [])
    with Line() as line, pytest.raises(ValueError, match="of no use"):
        line.pass_on(handover, [WRONG[wrong]()])
    assert descriptors() == before


@needs_memory_files
@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=4))
def test_descriptors_that_come_with_other_bytes_are_closed(counts: list[int]) -> None:
    before = descriptors()
    with Line() as line:
        for count in counts:
            line.pass_on(wire_bytes([(1, b"", [])]), [_pipe() for _ in range(count)])
        assert len(line.got) == len(counts)
    assert descriptors() == before


@needs_memory_files
def test_a_frame_that_reaches_beyond_its_segment_is_refused() -> None:
    fd = _memory(mmap.PAGESIZE, fcntl.F_SEAL_SHRINK)
    handover = made_up(_frames._SEGMENT, 0, 0, 1, [])
    frame = made_up(1, 1, 0, 1, [mmap.PAGESIZE])
    with Line() as line:
        line.pass_on(handover, [fd])
        with pytest.raises(ValueError, match="beyond its segment"):
            line.pass_on(frame, [])


# Values and the page


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(-1, 50), st.integers(-1, 3)), max_size=5), st.data())
def test_values_whose_lengths_are_wrong_fail_one_by_one(lengths: list[tuple[int, int]], data: st.DataObject) -> None:
    packed, _ = _values.pack([1j, [2j], "three"], "the result", by_value=False)
    blob = packed.data[: data.draw(st.integers(0, len(packed.data)))]
    values, errors = _values.unpack(memoryview(blob), [], lengths)
    assert len(values) == len(lengths)
    assert all(isinstance(error, Exception) for _, error in errors)


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=200))
def test_a_page_may_say_anything(scribble: bytes) -> None:
    fd = _page.create()
    slots = _page.slots(fd)
    try:
        os.pwrite(fd, scribble, 0)
        os.pwrite(fd, scribble, _page.SIZE - len(scribble))
        os.pwrite(fd, scribble, _page.SIZE)
        assert isinstance(_page.reason(slots), str)
        assert isinstance(_page.crash_text(fd), str)
    finally:
        slots.release()
        os.close(fd)
