"""Large buffers through shared memory: they arrive, belong to their receiver, and leave nothing behind."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flatout
from flatout._wire import _arena, _frames
from flatout._wire._arena import PARCEL, WORTH, Arena, Attached, Parcel
from flatout._wire._frames import Frame, Receiver, Sender

pytestmark = pytest.mark.skipif(not _arena.AVAILABLE, reason="no memory files without a name on this system")

MIB = 1 << 20


class Wire:
    """A sender with an arena and a receiver, in one process."""

    def __init__(self) -> None:
        here, there = socket.socketpair()
        here.setblocking(False)
        there.setblocking(False)
        self.sockets = here, there
        self.arena = Arena()
        self.sender, self.receiver = Sender(here, self.arena), Receiver(there)

    def carry(self, *buffers: bytes) -> Frame:
        """Send a frame with these buffers; return it as it arrives."""
        self.sender.put(1, b"head", list(buffers))
        frames: list[Frame] = []
        while not frames:
            self.sender.flush()
            with contextlib.suppress(BlockingIOError):
                frames += self.receiver.receive()
        (frame,) = frames
        assert [bytes(buffer) for buffer in frame.buffers] == list(buffers)
        return frame

    def close(self) -> None:
        self.receiver.close()
        for sock in self.sockets:
            sock.close()


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    wire.close()


def descriptors() -> list[str]:
    """What the memory files among this process's descriptors are called."""
    links = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            links.append(os.readlink(f"/proc/self/fd/{fd}"))
    return [link for link in links if link.startswith("/memfd:flatout")]


sizes = st.lists(
    st.one_of(st.integers(0, 300), st.integers(WORTH - 200, WORTH + 200), st.integers(MIB, 2 * MIB)), max_size=6
)


@settings(deadline=None, max_examples=30)
@given(st.lists(sizes, min_size=1, max_size=8), st.data())
def test_buffers_arrive_whole_whatever_is_kept_of_earlier_ones(frames: list[list[int]], data: st.DataObject) -> None:
    wire, kept = Wire(), list[tuple[Frame, list[bytes]]]()
    with contextlib.closing(wire):
        for number, sizes in enumerate(frames):
            buffers = [bytes([number + 1]) * size for size in sizes]
            frame = wire.carry(*buffers)
            if data.draw(st.booleans()):
                kept.append((frame, buffers))
            for old, was in kept:
                assert [bytes(buffer) for buffer in old.buffers] == was


def test_what_was_let_go_is_used_again(wire: Wire) -> None:
    for _ in range(50):
        wire.carry(bytes(MIB))
    assert len(wire.arena._segments) == 1


def test_a_slice_of_a_view_keeps_its_segment(wire: Wire) -> None:
    part = wire.carry(b"a" * MIB).buffers[0][10:20]
    for _ in range(5):
        wire.carry(b"b" * MIB)
    assert bytes(part) == b"a" * 10


def test_received_buffers_are_writable_and_aligned(wire: Wire) -> None:
    first, second = wire.carry(b"a" * (MIB + 1), b"b" * MIB).buffers
    first[:3] = b"xyz"
    assert bytes(first[:4]) == b"xyza"
    assert bytes(second[:4]) == b"bbbb"
    assert len(first.cast("B")) == MIB + 1
    import ctypes

    assert ctypes.addressof(ctypes.c_char.from_buffer(second)) % 64 == 0


def test_who_keeps_everything_gets_the_rest_by_the_socket(wire: Wire) -> None:
    most, _ = _arena._bounds()
    kept = [wire.carry(bytes([n % 256]) * MIB) for n in range(most + 5)]
    assert len(wire.arena._segments) == most
    assert all(frame.buffers[0][0] == n % 256 for n, frame in enumerate(kept))
    del kept
    assert wire.carry(bytes(MIB)).buffers[0].nbytes == MIB
    assert all(segment.free for segment in wire.arena._segments[1:])


def test_what_is_larger_than_an_arena_may_be_goes_by_the_socket(wire: Wire) -> None:
    wire.arena._bytes = _arena._bounds()[1] - MIB
    wire.carry(bytes(3 * MIB))
    assert wire.arena._segments == []


def test_without_descriptors_it_goes_by_the_socket(wire: Wire) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wire.carry(b"x")
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        wire.carry(bytes(MIB))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert wire.arena._segments == []


def resident() -> int:
    """Bytes of shared memory that this process has in use."""
    with open("/proc/self/smaps_rollup") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith("Pss_Shmem:"))


def test_a_rest_gives_back_what_nobody_holds(wire: Wire) -> None:
    before = resident()
    held = wire.carry(b"h" * 8 * MIB)
    wire.carry(b"x" * 8 * MIB)
    assert resident() - before >= 16 * MIB
    wire.arena.rest(0)
    assert resident() - before < 9 * MIB
    assert bytes(held.buffers[0][-3:]) == b"hhh"
    assert wire.arena.resident
    del held
    wire.arena.rest(0)
    assert not wire.arena.resident
    assert resident() - before < MIB
    wire.carry(b"y" * 8 * MIB)  # and can be used again


def test_a_rest_keeps_as_much_as_it_is_told(wire: Wire) -> None:
    wire.carry(bytes(MIB))
    wire.arena.rest(4 * MIB)
    assert wire.arena.resident


def test_nothing_is_left_of_a_wire() -> None:
    before = descriptors()
    wire = Wire()
    kept = wire.carry(b"k" * MIB).buffers[0]
    wire.close()
    del wire
    gc.collect()
    assert bytes(kept[:3]) == b"kkk", "what was received outlives its wire"
    del kept
    assert descriptors() == before


def test_after_a_fork_memory_that_two_may_read_is_not_used_again(wire: Wire) -> None:
    frame = wire.carry(b"a" * MIB)
    pid = os.fork()
    if pid == 0:
        del frame  # which must not free the parent's segment
        gc.collect()
        os._exit(0)
    os.waitpid(pid, 0)
    for _ in range(3):
        wire.carry(b"b" * MIB)
    assert bytes(frame.buffers[0][:3]) == b"aaa"
    del frame
    wire.carry(b"c" * MIB)
    assert sum(not segment.free for segment in wire.arena._segments) == 1


def test_a_segment_that_could_shrink_is_refused() -> None:
    fd = os.memfd_create("flatout-test", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, MIB)
    with pytest.raises(ValueError, match="not sealed"):
        Attached().attach(1, fd, private=False)


def test_lengths_beyond_a_segment_are_refused() -> None:
    arena, attached = Arena(), Attached()
    placed = arena.place([memoryview(bytes(MIB))])
    assert placed is not None
    number, fd = placed
    assert fd is not None
    attached.attach(number, os.dup(fd), private=False)
    with pytest.raises(ValueError, match="beyond its segment"):
        attached.lend(number, [MIB, 3 * MIB])
    with pytest.raises(ValueError, match="never handed over"):
        attached.lend(number + 1, [1])


def test_a_segment_cannot_be_shrunk_by_its_owner() -> None:
    placed = Arena().place([memoryview(bytes(MIB))])
    assert placed is not None
    arena = Arena()
    _, fd = arena.place([memoryview(bytes(MIB))]) or (0, None)
    assert fd is not None
    with pytest.raises(PermissionError):
        os.ftruncate(fd, 10)


def test_each_receiver_of_a_parcel_has_it_for_itself() -> None:
    parcel = Parcel([memoryview(b"p" * MIB), memoryview(b"q" * 10)])
    views = []
    for _ in range(2):
        with carried(parcel) as frame:
            views.append(frame.buffers)
    views[0][0][:1] = b"X"
    assert bytes(views[0][0][:2]) == b"Xp"
    assert bytes(views[1][0][:2]) == b"pp"
    assert bytes(views[1][1]) == b"q" * 10
    with pytest.raises(PermissionError):
        os.pwrite(parcel.fd, b"no", 64)


@contextlib.contextmanager
def carried(parcel: Parcel) -> Iterator[Frame]:
    wire = Wire()
    with contextlib.closing(wire):
        wire.sender.put_parcel(2, b"", parcel)
        wire.sender.flush()
        frames: list[Frame] = []
        while not frames:
            frames += wire.receiver.receive()
        yield frames[0]


def test_descriptors_that_nobody_asked_for_are_closed() -> None:
    before = descriptors()
    wire = Wire()
    parcel = Parcel([memoryview(b"p" * MIB)])
    header = _frames._header(_frames._SEGMENT, 0, 0, PARCEL, 0)
    socket.send_fds(wire.sockets[0], [header[:3]], [parcel.fd])
    assert list(wire.receiver.receive()) == []
    del parcel
    wire.close()
    assert descriptors() == before


# Through a whole run


class Buffer:
    """Pickles out of band, as arrays do."""

    def __init__(self, data: bytearray | memoryview) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        import pickle

        return Buffer, (pickle.PickleBuffer(self.data),)


def twice(buffer: Buffer) -> Buffer:
    buffer.data[:1] = b"Z"  # the input is the task's own
    return Buffer(bytearray(bytes(buffer.data) * 2))


def test_inputs_are_private_and_results_belong_to_the_user() -> None:
    inputs = [Buffer(bytearray([n]) * MIB) for n in range(20)]
    results = flatout.map(twice, inputs, via="process").results()
    assert [bytes(buffer.data[:1]) for buffer in inputs] == [bytes([n]) for n in range(20)]
    for n, result in enumerate(results):
        assert len(result.data) == 2 * MIB
        assert bytes(result.data[:3]) == b"Z" + bytes([n, n])
        result.data[:1] = b"u"
    again = flatout.map(twice, inputs, via="process").results()
    assert all(bytes(result.data[:1]) == b"u" for result in results), "kept, while others come"
    assert all(bytes(result.data[:1]) == b"Z" for result in again)


_kept: list[Buffer] = []


def keep(buffer: Buffer) -> list[int]:
    _kept.append(buffer)
    return [kept.data[0] for kept in _kept]


def test_a_task_may_keep_its_input() -> None:
    inputs = [Buffer(bytearray([n]) * MIB) for n in range(12)]
    seen = flatout.map(keep, inputs, via="process", max_concurrency=1).results()
    assert seen[-1] == list(range(12))


def test_a_large_argument_for_all_is_mapped_not_copied() -> None:
    script = """
import functools, flatout, pickle

class Big:
    def __init__(self, data): self.data = data
    def __reduce_ex__(self, protocol): return Big, (pickle.PickleBuffer(self.data),)

def private_bytes(big, n):
    big.data[0] = n  # its own copy, of this page only
    with open("/proc/self/smaps_rollup") as file:
        fields = dict(line.split(":") for line in file if ":" in line)
    return big.data[0] == n, 1024 * int(fields["Private_Dirty"].split()[0])

size = 64 << 20
results = flatout.map(functools.partial(private_bytes, Big(bytearray(size))), range(4), via="process").results()
assert all(own and dirty < size / 2 for own, dirty in results), results
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_where_there_are_no_memory_files_all_goes_by_the_socket() -> None:
    script = """
import os
del os.memfd_create
import flatout
from flatout._wire import _arena
assert not _arena.AVAILABLE
assert flatout.map(bytes.upper, [b"x" * 300_000] * 20, via="process").results() == [b"X" * 300_000] * 20
"""
    # The workers, which have them, still send by them: either side may do without.
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def shared_memory_of_workers() -> int:
    """Bytes of shared memory that the worker processes have in use."""
    total = 0
    for worker in psutil.Process().children(recursive=True):
        with contextlib.suppress(OSError), open(f"/proc/{worker.pid}/smaps_rollup") as file:
            total += next(1024 * int(line.split()[1]) for line in file if line.startswith("Pss_Shmem:"))
    return total


def test_idle_workers_give_memory_back_by_themselves() -> None:
    inputs = [Buffer(bytearray(48 * MIB)) for _ in range(4)]
    before = resident()
    flatout.map(twice, inputs, via="process", max_concurrency=2).wait()
    assert resident() + shared_memory_of_workers() > before + 64 * MIB, "they keep it for a while"
    deadline = time.monotonic() + 60
    while resident() + shared_memory_of_workers() > before + 16 * MIB:
        assert time.monotonic() < deadline, (before, resident(), shared_memory_of_workers())
        time.sleep(0.1)
