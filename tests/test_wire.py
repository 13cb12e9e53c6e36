"""Frames on a real socket, values and exceptions across it, the page that a worker shares."""

from __future__ import annotations

import contextlib
import pickle
import socket
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flatout._errors import NotPicklable, RemoteTraceback, RunError
from flatout._wire import _exceptions, _frames, _page, _values
from flatout._wire._frames import Frame, Receiver, Sender
from flatout._wire._values import Packed

Spec = tuple[int, bytes, list[bytes]]  # kind, head, buffers

# Lengths that matter: none, few, about as much as is read at once, more than that.
lengths = st.one_of(st.integers(0, 300), st.integers((1 << 18) - 40, (1 << 18) + 40), st.integers(1 << 19, 3 << 19))
blobs = st.builds(lambda byte, length: bytes([byte]) * length, st.integers(0, 255), lengths)
kinds = st.integers(0, _frames.LOG)
specs = st.lists(st.tuples(kinds, blobs, st.lists(blobs, max_size=4)), min_size=1, max_size=6)


@contextlib.contextmanager
def stream(blocking: bool = False) -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(blocking)
        there.setblocking(blocking)
        yield here, there


def seen(frame: Frame) -> Spec:
    return frame.kind, bytes(frame.head), [bytes(buffer) for buffer in frame.buffers]


def on_the_wire(sent: list[Spec]) -> bytes:
    """The bytes of these frames, which are few enough for a socket to take."""
    with stream() as (here, there):
        sender = Sender(here)
        for spec in sent:
            sender.put(*spec)
        assert sender.flush()
        return there.recv(1 << 16)


def drain(receiver: Receiver) -> list[Frame]:
    frames: list[Frame] = []
    with contextlib.suppress(BlockingIOError):
        while True:
            frames += receiver.receive()
    return frames


# Frames


@settings(deadline=None, max_examples=40)
@given(specs)
def test_frames_arrive_as_they_were_sent_however_little_the_socket_takes(sent: list[Spec]) -> None:
    with stream() as (here, there):
        sender, receiver = Sender(here), Receiver(there)
        for spec in sent:
            sender.put(*spec)
        got: list[Frame] = []
        while not sender.flush():
            got += drain(receiver)
        got += drain(receiver)
        assert [seen(frame) for frame in got] == sent


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_frames_are_found_again_wherever_the_stream_is_cut(data: st.DataObject) -> None:
    small = st.binary(max_size=40)
    sent = data.draw(st.lists(st.tuples(kinds, small, st.lists(small, max_size=3)), min_size=1, max_size=5))
    whole = on_the_wire(sent)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)), max_size=12)))
    got: list[Frame] = []
    with stream() as (here, there):
        receiver = Receiver(there)
        for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
            here.sendall(whole[start:end])
            got += drain(receiver)
    assert [seen(frame) for frame in got] == sent


def test_a_frame_may_have_more_buffers_than_are_read_or_sent_at_once() -> None:
    buffers = [b"%d" % i for i in range(50_000)]
    with stream() as (here, there):
        sender, receiver = Sender(here), Receiver(there)
        sender.put(7, b"head", buffers)
        got: list[Frame] = []
        while not sender.flush():
            got += drain(receiver)
        (frame,) = got + drain(receiver)
    assert seen(frame) == (7, b"head", buffers)


def test_received_buffers_are_writable_and_do_not_touch_the_next_frame() -> None:
    with stream() as (here, there):
        sender, receiver = Sender(here), Receiver(there)
        for _ in range(2):
            sender.put(1, b"", [b"abc"])
        sender.flush()
        first, second = drain(receiver)
    first.buffers[0][:] = b"xyz"
    assert bytes(second.buffers[0]) == b"abc"


def test_the_end_of_the_stream_comes_after_what_was_sent_before_it() -> None:
    with stream() as (here, there):
        receiver = Receiver(there)
        with pytest.raises(BlockingIOError):
            receiver.receive()
        sender = Sender(here)
        sender.put(1, b"last")
        sender.flush()
        here.close()
        assert [seen(frame) for frame in receiver.receive()] == [(1, b"last", [])]
        with pytest.raises(EOFError):
            receiver.receive()


def test_a_blocking_sender_sends_all_while_the_other_side_reads() -> None:
    data = bytes(10_000_000)
    with stream(blocking=True) as (here, there):
        sender, receiver = Sender(here), Receiver(there)
        sender.put(1, b"", [data])
        thread = threading.Thread(target=sender.flush)
        thread.start()
        frames: list[Frame] = []
        while not frames:
            frames = list(receiver.receive())
        thread.join()
    assert frames[0].buffers[0] == data


# Values

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner) | st.frozensets(st.text())
    ),
    max_leaves=20,
)


class Block:
    """As an array does, it pickles its data as a buffer."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Block, (pickle.PickleBuffer(self.data),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Block) and bytes(self.data) == bytes(other.data)


class Unloadable:
    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __setstate__(self, state: Any) -> None:
        raise state["error"]("it will not")


def across(packed: Packed) -> tuple[list[Any], list[tuple[int, BaseException]]]:
    """What comes of it in another process: buffers arrive in memory of their own."""
    buffers = [memoryview(bytearray(piece)) for piece in packed.pieces[1:]]
    return _values.unpack(memoryview(packed.data), buffers, packed.lengths)


@settings(deadline=None)
@given(
    st.lists(
        plain | st.builds(lambda n: Block(bytearray(n)), st.integers(0, 1 << 18)) | st.builds(complex, st.integers())
    )
)
def test_values_cross_unchanged(values: list[Any]) -> None:
    packed, errors = _values.pack(values, "the result", by_value=False)
    assert (errors, across(packed)) == ([], (values, []))


def test_a_large_buffer_travels_beside_the_pickle_and_is_writable() -> None:
    packed, _ = _values.pack([Block(bytearray(1 << 20))], "the result", by_value=False)
    assert len(packed.data) < 1000
    (block,), _ = across(packed)
    block.data[0] = 1


@pytest.mark.parametrize("error", [ValueError, SystemExit])
def test_what_cannot_be_loaded_fails_alone(error: type[BaseException]) -> None:
    packed, errors = _values.pack([1, Unloadable(error), 1j, Block(bytearray(1 << 17))], "the result", by_value=False)
    values, unloadable = across(packed)
    assert errors == []
    assert values == [1, None, 1j, Block(bytearray(1 << 17))]
    ((position, raised),) = unloadable
    assert (position, type(raised)) == (1, error)
    assert "could not be loaded" in raised.__notes__[0]


def test_what_cannot_be_pickled_fails_alone_and_is_named() -> None:
    packed, errors = _values.pack([1, threading.Lock(), [2, lambda: 3]], "the result", by_value=False)
    assert across(packed) == ([1, None, None], [])
    assert [position for position, _ in errors] == [1, 2]
    assert all(isinstance(error, NotPicklable) and "the result" in str(error) for _, error in errors)


def test_a_value_on_its_own_is_pickled_once() -> None:
    class Counted:
        pickled = 0

        def __reduce__(self) -> Any:
            Counted.pickled += 1
            return dict, ()

    packed, errors = _values.pack([Counted()], "the result", by_value=False)
    assert not errors
    assert Counted.pickled == 1
    assert across(packed) == ([{}], [])


@pytest.mark.parametrize("large", [b"x" * (4 << 20), "x" * (4 << 20)])
def test_what_a_large_string_takes_to_move_is_told_without_moving_it(large: Any) -> None:
    tracemalloc.start()
    try:
        seconds = _values.seconds_across(large, True)
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert taken < 1 << 16
    assert seconds == pytest.approx(len(large) * 0.4e-9)


def test_on_the_way_out_a_lambda_goes_by_value() -> None:
    packed, errors = _values.pack([lambda x: x + 1], "the input", by_value=True)
    (value,), _ = across(packed)
    assert (errors, value(1)) == ([], 2)


# Exceptions


class TwoArguments(Exception):
    def __init__(self, name: str, code: int) -> None:
        super().__init__(f"{name} gave {code}")
        self.code = code


class Adorned(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(f"<{text}>")


class Speechless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def crossed(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as raised:
        packed = pickle.loads(_values.dump(_exceptions.pack_error(raised)))
    return _exceptions.unpack_error(packed)


@pytest.mark.parametrize(
    "error",
    [ValueError("x", 3), KeyError("k"), FileNotFoundError(2, "no such file", "f.txt"), SystemExit(3), Adorned("once")],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_arrives_as_what_it_was(error: BaseException) -> None:
    again = crossed(error)
    assert (type(again), again.args, str(again)) == (type(error), error.args, str(error))


def test_an_exception_whose_init_takes_other_arguments_than_its_args_arrives_as_what_it_was() -> None:
    again = crossed(TwoArguments("disk", 5))
    assert isinstance(again, TwoArguments)
    assert (str(again), again.code) == ("disk gave 5", 5)


def test_notes_and_the_remote_traceback_come_along() -> None:
    error = ValueError("x")
    error.add_note("look here")
    again = crossed(error)
    assert again.__notes__ == ["look here"]
    assert isinstance(again.__cause__, RemoteTraceback)
    assert "in crossed" in str(again.__cause__)


def test_an_exception_that_cannot_travel_is_described() -> None:
    class Local(Exception):
        pass

    for error in (Local("here"), ValueError(threading.Lock())):
        again = crossed(error)
        assert type(again) is RunError
        assert type(error).__name__ in str(again)


def test_an_exception_with_a_broken_str_arrives_all_the_same() -> None:
    assert isinstance(crossed(Speechless("x")), Speechless)


class Hostile(Exception):
    def __str__(self) -> str:
        raise SystemExit("from str")

    def __reduce__(self) -> Any:
        raise KeyboardInterrupt("from reduce")


class Sealed(Exception):
    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


def test_whatever_its_class_does_an_exception_arrives_or_is_described() -> None:
    class Local(Hostile):
        pass

    again = crossed(Local())
    assert type(again) is RunError
    assert "Local, whose str raised SystemExit" in str(again)
    assert type(crossed(Hostile())) is Hostile
    assert type(crossed(Sealed("x"))) is Sealed


def test_a_message_of_50_mb_is_told_once_and_in_the_traceback_cut_short() -> None:
    again = crossed(ValueError("x" * 50_000_000))
    assert len(again.args[0]) == 50_000_000
    assert len(str(again.__cause__)) < 2 * _exceptions.MOST_TEXT


def causing(error: Exception, cause: BaseException | None) -> Exception:
    error.__cause__ = cause
    return error


def test_causes_and_contexts_come_along_and_the_remote_traceback_is_the_first_of_them() -> None:
    first = KeyError("first")
    first.__context__ = OSError(5, "context of the first")
    chain = [crossed(causing(ValueError("v"), causing(TypeError("t"), first)))]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    assert [type(error) for error in chain] == [ValueError, TypeError, KeyError, RemoteTraceback]
    assert repr(chain[2].__context__) == "OSError(5, 'context of the first')"
    assert "context of the first" in str(chain[3])


def test_a_context_that_was_suppressed_stays_so_and_circles_come_to_an_end() -> None:
    error, other = ValueError("v"), TypeError("t")
    error.__context__, other.__context__ = other, error
    other.__suppress_context__ = True
    again = crossed(error)
    assert again.__context__ is not None
    assert again.__context__.__context__ is again
    assert again.__context__.__suppress_context__


def test_members_of_a_group_keep_their_causes() -> None:
    inner = ExceptionGroup("inner", [causing(ValueError("v"), KeyError("k"))])
    again = crossed(causing(ExceptionGroup("outer", [inner, TypeError("t")]), OSError(5, "io")))
    assert repr(again) == "ExceptionGroup('outer', [ExceptionGroup('inner', [ValueError('v')]), TypeError('t')])"
    assert isinstance(again, ExceptionGroup)
    assert repr(again.__cause__) == "OSError(5, 'io')"
    assert repr(again.exceptions[0].exceptions[0].__cause__) == "KeyError('k')"


def test_a_group_with_a_member_that_cannot_travel_is_still_a_group() -> None:
    again = crossed(ExceptionGroup("some", [ValueError("v"), ValueError(threading.Lock())]))
    assert isinstance(again, ExceptionGroup)
    assert [type(error) for error in again.exceptions] == [ValueError, RunError]
    assert again.message == "some"


@given(
    st.lists(
        st.tuples(st.sampled_from([ValueError, Adorned, Hostile, Sealed]), *[st.none() | st.integers(0, 9)] * 2),
        min_size=1,
        max_size=10,
    )
)
def test_exceptions_that_refer_to_each_other_in_any_way_arrive(
    specs: list[tuple[type[BaseException], int | None, int | None]],
) -> None:
    errors = [cls(str(place)) for place, (cls, _, _) in enumerate(specs)]
    for error, (_, cause, context) in zip(errors, specs, strict=True):
        if not isinstance(error, Sealed):
            error.__cause__ = None if cause is None else errors[cause % len(errors)]
            error.__context__ = None if context is None else errors[context % len(errors)]
    packed = pickle.loads(_values.dump(_exceptions.pack_error(errors[0])))
    again = _exceptions.unpack_error(packed)
    assert type(again) is specs[0][0]


def test_a_very_deep_value_is_refused_like_any_other() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    _, errors = _values.pack([1, deep], "the result", by_value=False)
    assert [position for position, _ in errors] == [1]
    while deep:  # taken apart by hand: freed in one go, some Pythons run out of stack
        deep = deep.pop()


# The page


def test_the_page_is_shared_by_all_who_hold_its_descriptor() -> None:
    import mmap
    import os

    fd = _page.create()
    slots = _page.slots(fd)
    _page.write(fd, _page.STATUS, -9 + _page.STATUS_OFFSET)
    slots[_page.BEGAN] = 1 << 60
    assert slots[_page.STATUS] == 991
    assert os.pread(fd, 8, 8 * _page.BEGAN) == (1 << 60).to_bytes(8, sys.byteorder)
    assert _page.crash_text(fd) == ""
    os.write(fd, b"Fatal Python error\n")  # as faulthandler does
    assert _page.crash_text(fd) == "Fatal Python error"
    assert list(slots) == [0, 1 << 60, 0, 991] + [0] * (mmap.PAGESIZE // 8 - 4)
    _page.give_reason(slots, "x" * mmap.PAGESIZE + " and why")
    assert _page.reason(slots).endswith("x and why")
    assert list(slots[:8]) == [0, 1 << 60, 0, 991, 0, 0, 0, 0]
    slots.release()
    os.close(fd)
