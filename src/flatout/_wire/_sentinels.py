"""Sentinels: `MISSING = object()` of a module is the same on both sides, so that `is` holds.

A plain pickle of `object()` is another object wherever it arrives. One that a module binds, which a worker can import, goes by
the name that it has there. One of a module that a worker cannot import, `__main__` above all, goes by a key: its name may stand
for something else by the time that it arrives. Others have nobody who could compare them.

Workers import this module: it stays light.
"""

from __future__ import annotations

import functools
import os
import sys
from _thread import allocate_lock

from flatout._wire._modules import importable

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Place = tuple[str, str]

MOST = 1000  # that are known by keys; guessed
PICKLED = b"\x8c\x06object"  # in every pickle of one

_importable = functools.cache(importable)
_places: tuple[int, dict[int, Place]] = 0, {}  # how many modules there were, and by id the module and the name there
_by_key: dict[bytes, object] = {}
_keys: dict[int, bytes] = {}  # by id
_lock = allocate_lock()


def reduce_sentinel(obj: object) -> Any:
    """For a pickler: an instance of `object` itself, so that it can be known again, where anybody could."""
    key = _keys.get(id(obj))
    if key is not None:
        return _of_key, (key,)
    place = _place(obj)
    if place is None:
        return object, ()
    if _importable(place[0]):
        return _of_module, place
    key = os.urandom(8)
    _know(key, obj)
    return _of_key, (key,)


def forget() -> None:
    """Know none any more by its key."""
    _by_key.clear()
    _keys.clear()


def _of_module(module: str, name: str) -> object:
    """The object of this name. Called by pickles."""
    __import__(module)
    found = _names(module).get(name)
    return found if type(found) is object else object()


def _of_key(key: bytes) -> object:
    """The object of this key, which is made where it is not known yet. Called by pickles."""
    found = _by_key.get(key)
    if found is None:
        found = object()
        _know(key, found)
    return found


def _know(key: bytes, obj: object) -> None:
    with _lock:
        if len(_by_key) >= MOST:
            oldest = next(iter(_by_key))
            _keys.pop(id(_by_key.pop(oldest)), None)
        _by_key[key] = obj
        _keys[id(obj)] = key


def _place(obj: object) -> Place | None:
    global _places
    if len(sys.modules) != _places[0]:
        _places = len(sys.modules), {id(value): place for place, value in _all(list(sys.modules))}
    place = _places[1].get(id(obj))
    if place is not None and _names(place[0]).get(place[1]) is obj:
        return place
    return next((place for place, value in _all(["__main__"]) if value is obj), None)


def _all(modules: list[str]) -> Iterator[tuple[Place, object]]:
    for module in modules:
        yield from (((module, name), value) for name, value in list(_names(module).items()) if type(value) is object)


def _names(module: str) -> dict[str, object]:
    try:
        # Asked for an attribute, one that is to be loaded when it is wanted would be loaded.
        names: dict[str, object] = object.__getattribute__(sys.modules[module], "__dict__")
    except (KeyError, AttributeError):
        return {}
    return names
