"""Values across a process border: many at once where that is safe, each for itself where one might not make it.

Plain data (numbers, strings, containers of them) is pickled in one piece: nothing in it can fail to load. Anything that
runs code when it is loaded is pickled on its own, so that one value that cannot be loaded costs only itself. Large
buffers travel beside the pickle (protocol 5) and are writable on arrival.
"""

from __future__ import annotations

import io
import pickle
import time
from collections.abc import Sequence

from flatout._errors import RemoteTraceback, RunError
from flatout._wire._buffers import beside

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any

_DEAR = 0.001  # seconds from which one reading of what a value takes to move is good enough
_WORTH_LOADING = 1 << 20  # bytes above which a pickle is not loaded again only to learn how long that takes; guessed


class Packed:
    """Pickled values. `lengths` None: `data` is one pickle of all; else one pickle each, with so many buffers each."""

    __slots__ = ("data", "lengths", "pieces")

    def __init__(self, data: bytes, buffers: list[pickle.PickleBuffer], lengths: list[tuple[int, int]] | None) -> None:
        self.data = data
        self.pieces = [memoryview(data), *(buffer.raw() for buffer in buffers)]  # what travels
        self.lengths = lengths


def pack(values: Sequence[Any], name: str, by_value: bool) -> tuple[Packed, list[tuple[int, BaseException]]]:
    """Pickle values. Returns them with the (position, error) of those that cannot be: None travels in their place.

    `name` is what a value is called in errors. `by_value`: lambdas and local classes may go by value. They may not on the
    way home: a class loaded by value where it was born would have its attributes set anew.
    """
    if len(values) > 1:  # a single one may be large: it is not to be pickled twice
        file = io.BytesIO()
        try:
            _PlainPickler(file, 5).dump(values if type(values) is list else list(values))
            return Packed(file.getvalue(), [], None), []
        except Exception:
            pass
    else:
        buffers: list[pickle.PickleBuffer] = []
        try:
            blob = _dumps(values[0], buffers, by_value)
            return Packed(blob, buffers, [(len(blob), len(buffers))]), []
        except Exception:
            pass
    return _pack_each(values, name, by_value)


class _PlainPickler(pickle.Pickler):
    """Pickles plain data only: whatever would be loaded by running code comes by here."""

    def reducer_override(self, obj: Any) -> Any:
        raise _RunsCode


class _RunsCode(Exception):
    """To load this value is to run code, which might fail."""


def _pack_each(values: Sequence[Any], name: str, by_value: bool) -> tuple[Packed, list[tuple[int, BaseException]]]:
    blobs: list[bytes] = []
    buffers: list[pickle.PickleBuffer] = []
    lengths: list[tuple[int, int]] = []
    errors: list[tuple[int, BaseException]] = []
    for position, value in enumerate(values):
        before = len(buffers)
        try:
            blob = _dumps(value, buffers, by_value)
        except Exception as error:
            del buffers[before:]
            blob = pickle.dumps(None)
            errors.append((position, _not_picklable(value, name, None if by_value else error)))
        blobs.append(blob)
        lengths.append((len(blob), len(buffers) - before))
    return Packed(b"".join(blobs), buffers, lengths), errors


def _not_picklable(value: Any, name: str, plainly: Exception | None) -> BaseException:
    """The error that says why; `plainly`: what a plain pickle raised, where nothing else is tried."""
    from flatout._wire._diagnose import not_picklable, not_returnable

    return not_picklable(value, name) if plainly is None else not_returnable(value, name, plainly)


def _dumps(value: Any, buffers: list[pickle.PickleBuffer], by_value: bool) -> bytes:
    before = len(buffers)
    try:
        return pickle.dumps(value, 5, buffer_callback=beside(buffers))
    except Exception:
        if not by_value:
            raise
        import cloudpickle

        del buffers[before:]
        blob: bytes = cloudpickle.dumps(value, 5, buffer_callback=beside(buffers))
        return blob


def unpack(
    data: memoryview, buffers: Sequence[memoryview], lengths: list[tuple[int, int]] | None
) -> tuple[list[Any], list[tuple[int, BaseException]]]:
    """The values again, with the (position, error) of those that cannot be loaded: None stands in their place."""
    if lengths is None:
        return pickle.loads(data), []
    values: list[Any] = []
    errors: list[tuple[int, BaseException]] = []
    at = taken = 0
    for position, (length, count) in enumerate(lengths):
        value = None
        try:
            value = pickle.loads(data[at : at + length], buffers=buffers[taken : taken + count])
        except (Exception, SystemExit) as error:
            error.add_note("flatout: the value was pickled well but could not be loaded on the other side")
            errors.append((position, error))
        values.append(value)
        at += length
        taken += count
    return values, errors


PackedError = tuple[bytes, str, str]  # the pickle; a description, for where that cannot be loaded; the traceback


def pack_error(error: BaseException) -> PackedError:
    """An exception that can be taken anywhere: pickled, and tried out here, so that it will load there too."""
    text = ""
    if error.__traceback__:
        import traceback

        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return _loadable(error, error) or _loadable(_Bare(error), error), _description(error), text


def _loadable(value: object, error: BaseException) -> bytes:
    """The pickle; empty where it does not come to the same exception again."""
    try:
        blob = pickle.dumps(value, 5)
        again = pickle.loads(blob)
        same = type(again) is type(error) and (value is not error or again.args == error.args)
    except (Exception, SystemExit):
        return b""
    return blob if same else b""


class _Bare:
    """Pickles an exception for which a call of its type with its `args` would not do, as its own `__init__` took others."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __reduce__(self) -> Any:
        return _without_init, (type(self._error), self._error.args, vars(self._error))


def _without_init(cls: type[BaseException], args: tuple[Any, ...], attributes: dict[str, Any]) -> BaseException:
    error = cls.__new__(cls, *args)
    error.args = args
    vars(error).update(attributes)
    return error


def _description(error: BaseException) -> str:
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    try:
        return f"{name}: {error}"
    except Exception as second:
        return f"{name}, whose str raised {type(second).__name__}"


def unpack_error(packed: PackedError) -> BaseException:
    """The exception again, with the traceback of the worker as its cause."""
    blob, described, traceback = packed
    error: BaseException
    try:
        error = pickle.loads(blob) if blob else RunError(described)
    except (Exception, SystemExit):
        error = RunError(described)
    if traceback:
        error.__cause__ = RemoteTraceback(traceback)
    return error


def dump(value: Any) -> bytes:
    """Pickle what is flatout's own."""
    return pickle.dumps(value, 5)


def load(data: memoryview | bytes) -> Any:
    """Load what `dump` made."""
    return pickle.loads(data)


def seconds_across(value: Any, by_value: bool) -> float:
    """Seconds that pickling a value and loading it again take, as one of many. Raises what they raise."""
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
    began = time.perf_counter()
    buffers: list[pickle.PickleBuffer] = []
    blob = _dumps(value, buffers, by_value)
    if len(blob) < _WORTH_LOADING:
        pickle.loads(blob, buffers=buffers)
    return time.perf_counter() - began
