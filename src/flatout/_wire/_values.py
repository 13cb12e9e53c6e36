"""Values across a process border: many at once where that is safe, each for itself where one might not make it.

Plain data (numbers, strings, containers of them) is pickled in one piece: nothing in it can fail to load. Anything that
runs code when it is loaded is pickled on its own, so that one value that cannot be loaded costs only itself. Large
buffers travel beside the pickle (protocol 5) and are writable on arrival.
"""

from __future__ import annotations

import contextlib
import copyreg
import io
import pickle
import time
from collections.abc import Callable, Sequence

from flatout._wire._buffers import beside
from flatout._wire._sentinels import PICKLED, reduce_sentinel

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any

Note = Callable[[int], None]

_DEAR = 0.001  # seconds from which one reading of what a value takes to move is good enough
_MOVED = 0.17e-9  # seconds a byte that travels beside the pickle (CPU seconds measured with arrays of 8 MiB)
_COPIED = 0.4e-9  # the same for a large string in the pickle (CPU seconds measured with bytes and ASCII: 0.36-0.46)
_ATOMS = {type(None), bool, int, float, complex, str, bytes}
_WORTH_LOADING = 1 << 20  # bytes above which a pickle is not loaded again only to learn how long that takes; guessed


class Packed:
    """Pickled values. `lengths` None: `data` is one pickle of all; else one pickle each, with so many buffers each.

    plain: nothing in it names a class or a function.
    """

    __slots__ = ("data", "lengths", "pieces", "plain")

    def __init__(
        self, data: bytes, buffers: list[pickle.PickleBuffer], lengths: list[tuple[int, int]] | None, plain: bool
    ) -> None:
        self.data = data
        self.plain = plain
        # What travels. Not as bytes, which `Sender.put` would send by `send`: that is hidden from a task's audit hook, which then
        # ends the worker in the middle of another task.
        self.pieces = [memoryview(data), *(buffer.raw() for buffer in buffers)]
        self.lengths = lengths


def _unnoted(position: int) -> None:
    """Nobody wants to know."""


def pack(
    values: Sequence[Any], name: str, by_value: bool, note: Note = _unnoted
) -> tuple[Packed, list[tuple[int, BaseException]]]:
    """Pickle values. Returns them with the (position, error) of those that cannot be: None travels in their place.

    `name` is what a value is called in errors. `by_value`: lambdas and local classes may go by value. They may not on the
    way home: a class loaded by value where it was born would have its attributes set anew. `note` is told the position of
    a value before code of the user's is run to pickle it, which may do anything.
    """
    if len(values) > 1:  # a single one may be large: it is not to be pickled twice
        file = io.BytesIO()
        try:
            _PlainPickler(file, 5).dump(values if type(values) is list else list(values))
            return Packed(file.getvalue(), [], None, plain=True), []
        except Exception:
            pass
    return _pack_each(values, name, by_value, note)


class _PlainPickler(pickle.Pickler):
    """Pickles plain data only: whatever would be loaded by running code comes by here."""

    def reducer_override(self, obj: Any) -> Any:
        raise _RunsCode


class _RunsCode(Exception):
    """To load this value is to run code, which might fail."""


def _pack_each(
    values: Sequence[Any], name: str, by_value: bool, note: Note
) -> tuple[Packed, list[tuple[int, BaseException]]]:
    blobs: list[bytes] = []
    buffers: list[pickle.PickleBuffer] = []
    lengths: list[tuple[int, int]] = []
    errors: list[tuple[int, BaseException]] = []
    for position, value in enumerate(values):
        before = len(buffers)
        note(position)
        try:
            blob = _dumps(value, buffers, by_value)
        except BaseException as error:
            del buffers[before:]
            blob = pickle.dumps(None)
            errors.append((position, _not_picklable(value, name, by_value, error)))
        blobs.append(blob)
        lengths.append((len(blob), len(buffers) - before))
    plain = len(values) == 1 and type(values[0]) in _ATOMS  # several of them come in one pickle
    return Packed(blobs[0] if len(blobs) == 1 else b"".join(blobs), buffers, lengths, plain), errors


def _not_picklable(value: Any, name: str, by_value: bool, error: BaseException) -> BaseException:
    """The error that says why."""
    from flatout._wire import _diagnose

    if not issubclass(type(error), Exception):  # who asks it once more may fare worse
        return _diagnose.refuses(name, error)
    return _diagnose.not_picklable(value, name) if by_value else _diagnose.not_returnable(value, name, error)


def _dumps(value: Any, buffers: list[pickle.PickleBuffer], by_value: bool) -> bytes:
    before = len(buffers)
    try:
        blob = pickle.dumps(value, 5, buffer_callback=beside(buffers))
        if type(value) in _ATOMS or PICKLED not in blob:
            return blob
        del buffers[before:]
        return _dumps_sentinels(value, buffers)
    except Exception:
        if not by_value:
            raise
        from flatout._wire import _by_value

        del buffers[before:]
        return _by_value.dumps_alone(value, beside(buffers))


def _dumps_sentinels(value: Any, buffers: list[pickle.PickleBuffer]) -> bytes:
    with io.BytesIO() as file:
        pickler = pickle.Pickler(file, 5, buffer_callback=beside(buffers))
        pickler.dispatch_table = {**copyreg.dispatch_table, object: reduce_sentinel}
        pickler.dump(value)
        return file.getvalue()


def unpack(
    data: memoryview,
    buffers: Sequence[memoryview],
    lengths: list[tuple[int, int]] | None,
    note: Note = _unnoted,
) -> tuple[list[Any], list[tuple[int, BaseException]]]:
    """The values again, with the (position, error) of those that cannot be loaded: None stands in their place.

    `note` is told the position of a value before code of the user's is run to load it, which may do anything.
    """
    if lengths is None:
        return pickle.loads(data), []
    values: list[Any] = []
    errors: list[tuple[int, BaseException]] = []
    at = taken = 0
    for position, (length, count) in enumerate(lengths):
        value = None
        note(position)
        try:
            value = pickle.loads(data[at : at + length], buffers=buffers[taken : taken + count])
        except BaseException as error:
            with contextlib.suppress(BaseException):
                error.add_note("flatout: the value was pickled well but could not be loaded on the other side")
            errors.append((position, error))
        values.append(value)
        at += length
        taken += count
    return values, errors


def dump(value: Any) -> bytes:
    """Pickle what is flatout's own."""
    return pickle.dumps(value, 5)


def load(data: memoryview | bytes) -> Any:
    """Load what `dump` made."""
    return pickle.loads(data)


def seconds_across(value: Any, by_value: bool) -> float:
    """Seconds that pickling a value and loading it again take, as one of many. Raises what they raise.

    They are measured, but for large strings: to copy 4 MiB for that would hold the GIL for 1.6 ms.
    """
    if (type(value) is bytes or (type(value) is str and value.isascii())) and len(value) >= _WORTH_LOADING:
        return _COPIED * len(value)
    seconds = _seconds_across(value, by_value)
    if seconds > _DEAR:
        return seconds
    # The first time may pay for what is loaded only once.
    seconds = min(seconds, *(_seconds_across(value, by_value) for _ in range(3)))
    try:
        _PlainPickler(io.BytesIO(), 5).dump(value)
    except Exception:
        return seconds
    return max(0.0, seconds - min(_seconds_across(None, by_value) for _ in range(3)))  # it will share one pickle


def _seconds_across(value: Any, by_value: bool) -> float:
    began = time.thread_time()  # not of the clock: the thread may have to wait for a core
    buffers: list[pickle.PickleBuffer] = []
    blob = _dumps(value, buffers, by_value)
    if len(blob) < _WORTH_LOADING:
        pickle.loads(blob, buffers=buffers)
    return time.thread_time() - began + _MOVED * sum(buffer.raw().nbytes for buffer in buffers)
