"""How a callable and its initializer cross to a worker: once for each run, before the first batch.

By reference, with a plain pickle, where a worker can import everything in it; else by value: functions by their code where
that will do, else with cloudpickle. What of
the user's `__main__` goes by value is defined in the worker's own `__main__` under its own name (see `_modules`). So
instances of its classes are pickled by reference both ways, and `isinstance` and `except` hold on both sides.

Workers import this module: it stays light.
"""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Sequence

from flatout._wire import _by_code, _sentinels
from flatout._wire._buffers import beside
from flatout._wire._modules import Definitions, Homeless, Nowhere, bind, bind_missing, forget_stand_ins, may_name_main
from flatout._wire._sentinels import reduce_sentinel

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any

Buffers = list[pickle.PickleBuffer]

_SHORT = 1 << 14  # bytes that name themselves: hashlib takes 3 ms to import
_END: Definitions = {}


class Packed:
    """Callables, pickled: `payload`, and large buffers (arrays) that travel beside it uncopied.

    digest: names all that. definitions: the classes and functions that a worker has in its `__main__` once it has unpacked
    this, keyed "module:name". needs_cloudpickle: unpacking it does.
    """

    __slots__ = ("definitions", "digest", "needs_cloudpickle", "payload", "pieces")

    def __init__(
        self, payload: bytes, buffers: Buffers, definitions: Definitions, needs_cloudpickle: bool = False
    ) -> None:
        self.payload = payload
        self.pieces = [memoryview(payload), *(buffer.raw() for buffer in buffers)]
        self.digest = os.urandom(16) if buffers else _digest(payload)  # to read the large would take long
        self.definitions = definitions
        self.needs_cloudpickle = needs_cloudpickle

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(map(len, self.pieces))


def pack_callables(*callables: object) -> Packed:
    """Pickle callables in one go, so that those of one module share its globals. Raises NotPicklable."""
    buffers: Buffers = []
    payload = _by_reference(callables, buffers)
    if payload is not None:
        return Packed(payload, buffers, {})
    buffers.clear()
    try:
        payload, definitions = _by_code.dumps(callables, beside(buffers))
        return Packed(payload, buffers, definitions)
    except Exception:
        buffers.clear()
    payload, definitions = _by_value(callables, callables, buffers)
    return Packed(payload, buffers, definitions, needs_cloudpickle=True)


def unpack_callables(pieces: Sequence[memoryview | bytes]) -> tuple[Any, ...]:
    """In a worker: begin a run with a new `__main__`, and return what was packed.

    What earlier runs unpacked must not be used again, even under the same digest: its names are gone from `__main__`.
    """
    forget_stand_ins()
    _sentinels.forget()
    value, definitions = _loads(pieces[0], pieces[1:])
    bind_missing(definitions)
    return tuple(value)


def main_globals_in(value: object) -> Definitions:
    """The classes and functions to which a plain pickle of the value refers and which no worker can import.

    They are what a worker must have before it can load that pickle, keyed "module:name"; for a nested class the
    outermost one. Raises whatever pickling raises. A pickle that has none of `__main__` is told by `may_name_main`.
    """
    collector = _Collector(Nowhere(), protocol=5, buffer_callback=_discard)
    collector.dump(value)
    return collector.homeless.definitions


def pack_definitions(definitions: Definitions) -> bytes:
    """Pickle, by value, what `main_globals_in` found. Raises NotPicklable."""
    return _by_value(definitions, tuple(definitions.values()), None)[0]


def define(payload: memoryview | bytes) -> None:
    """In a worker: put packed definitions into `__main__`, in place of older ones of the same name.

    Globals that their methods use are set only where they are missing: a call may have changed them.
    """
    wanted, others = _loads(payload)
    bind(wanted)
    bind_missing(others)


class _HasHomeless(Exception):
    """Something in a value cannot be imported by a worker."""


class _Collector(pickle.Pickler):
    """Notes the homeless while it pickles by reference."""

    def __init__(self, file: Any, **options: Any) -> None:
        super().__init__(file, **options)
        self.homeless = Homeless()

    def reducer_override(self, obj: Any) -> Any:
        self.homeless.admit(obj)
        return reduce_sentinel(obj) if type(obj) is object else NotImplemented


class _ByReference(_Collector):
    """Gives up at the first that is homeless."""

    def reducer_override(self, obj: Any) -> Any:
        if self.homeless.admit(obj):
            raise _HasHomeless
        return reduce_sentinel(obj) if type(obj) is object else NotImplemented


def _discard(buffer: object) -> None:
    pass


def _by_reference(value: object, buffers: Buffers) -> bytes | None:
    """A payload that needs no cloudpickle, or None; adds what travels beside it to `buffers`."""
    with io.BytesIO() as file:
        pickler = _ByReference(file, protocol=5, buffer_callback=beside(buffers))
        try:
            pickler.dump(value)
        except Exception:
            return None
        payload = file.getvalue()
        pickler.dump(_END)
        # Objects may pickle by a name of their own choice, unseen by the pickler: the bytes tell.
        return None if may_name_main(payload) else file.getvalue()


def _by_value(value: object, parts: tuple[object, ...], buffers: Buffers | None) -> tuple[bytes, Definitions]:
    from flatout._wire import _by_value as by_value

    try:
        return by_value.dumps(value, None if buffers is None else beside(buffers))
    except Exception as error:
        from flatout._wire._diagnose import blame

        raise blame(parts) from error


def _digest(payload: bytes) -> bytes:
    if len(payload) <= _SHORT:
        return payload
    from hashlib import blake2b

    return blake2b(payload).digest()


def _loads(payload: memoryview | bytes, buffers: Sequence[memoryview | bytes] = ()) -> tuple[Any, Definitions]:
    """The value and the definitions of a payload (see `_by_value`)."""
    unpickler = pickle.Unpickler(io.BytesIO(payload), buffers=buffers)
    value = unpickler.load()
    definitions: Definitions = {}
    while new := unpickler.load():
        definitions.update(new)
    return value, definitions
