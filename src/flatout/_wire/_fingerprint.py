"""Whether a value is still what it was: its pickle, up to a size, before and after.

Unlike the pickles that travel, a fingerprint gets past what cannot be pickled (locks, connections, generators), for
which only their type stands, and past code: modules, classes and functions count as unchangeable, by name.
"""

from __future__ import annotations

import copyreg
import io
import pickle
import sys
from types import FunctionType, ModuleType

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any

MUTATED = b"it was changed while it was read"

_MAX_BYTES = 1 << 18  # 256 KB: a list of small integers that long takes 1-2 ms (measured)
_MAX_OBJECTS = 2_000  # each costs 1-2 us in Python (measured)
_UNCHANGEABLE = (type, FunctionType, ModuleType)


def fingerprint(value: object) -> bytes | None:
    """Equal as long as the value is unchanged; None where it is too big to tell, MUTATED if it changes just now."""
    sink = _Sink()
    try:
        _Fingerprinter(sink, protocol=5, buffer_callback=_in_band).dump(value)
    except RecursionError:
        return None
    except RuntimeError:  # "dictionary changed size during iteration"
        return MUTATED
    except KeyboardInterrupt:
        raise
    except BaseException:  # code of the user's may raise anything
        return None
    return sink.getvalue()


class _TooBig(Exception):
    """The value is bigger than a fingerprint may be."""


def _in_band(buffer: pickle.PickleBuffer) -> bool:
    if buffer.raw().nbytes > _MAX_BYTES:
        raise _TooBig  # before the pickler copies it
    return True


class _Sink(io.BytesIO):
    def write(self, data: Any) -> int:
        if self.tell() + len(data) > _MAX_BYTES:
            raise _TooBig
        return super().write(data)


class _Fingerprinter(pickle.Pickler):
    def __init__(self, file: Any, **options: Any) -> None:
        super().__init__(file, **options)
        self._objects_left = _MAX_OBJECTS

    def reducer_override(self, obj: Any) -> Any:
        if obj is _named:
            return NotImplemented
        self._objects_left -= 1
        if self._objects_left < 0:
            raise _TooBig
        if isinstance(obj, _UNCHANGEABLE) or obj is _hidden_random():
            return _named, (_name(obj),)
        return _reduce(obj)


def _reduce(obj: Any) -> Any:
    if type(obj).__module__ == "itertools":  # their pickling is deprecated; repr tells where a count has got to
        return _named, (repr(obj),)
    reduce = copyreg.dispatch_table.get(type(obj))
    try:
        reduced = reduce(obj) if reduce else obj.__reduce_ex__(5)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return _named, (_name(type(obj)),)
    return (_named, (reduced,)) if isinstance(reduced, str) else reduced


def _named(name: str) -> None:
    """Stands in a fingerprint for what is known by name only; never called."""


def _name(obj: Any) -> str:
    return f"{getattr(obj, '__module__', '')}.{getattr(obj, '__qualname__', type(obj).__qualname__)}"


def _hidden_random() -> object:
    """The generator behind `random.random`: every call changes it, and no one minds."""
    return getattr(sys.modules.get("random"), "_inst", _named)
