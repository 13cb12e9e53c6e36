"""Sentinels: `MISSING = object()` of a module is known on both sides by its name there, so that `is` holds.

A plain pickle of `object()` is another object wherever it arrives. Found are those that are bound in a module: which they are
is looked up once for each number of modules, and in `__main__`, where names come and go, each time.

Workers import this module: it stays light.
"""

from __future__ import annotations

import functools
import sys

from flatout._wire._modules import MAIN, importable, stand_in

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Place = tuple[str, str]

_importable = functools.cache(importable)
_places: tuple[int, dict[int, Place]] = 0, {}  # how many modules there were, and by id the module and the name there


def reduce_sentinel(obj: object) -> Any:
    """For a pickler: an instance of `object` itself, by the name that a module has for it, where one has."""
    place = _place(obj)
    return (object, ()) if place is None else (sentinel, (*place, not _importable(place[0])))


def sentinel(module: str, name: str, homeless: bool) -> object:
    """The object of this name; where a worker does not have it yet, it is made. Called by pickles."""
    if module not in sys.modules:
        stand_in(module) if homeless else __import__(module)
    return vars(sys.modules[module]).setdefault(name, object())


def _place(obj: object) -> Place | None:
    global _places
    if len(sys.modules) != _places[0]:
        _places = len(sys.modules), {id(value): place for place, value in _all(list(sys.modules))}
    place = _places[1].get(id(obj))
    if place is not None and _names(place[0]).get(place[1]) is obj:
        return place
    return next((place for place, value in _all(MAIN) if value is obj), None)


def _all(modules: Any) -> Iterator[tuple[Place, object]]:
    for module in modules:
        yield from (((module, name), value) for name, value in list(_names(module).items()) if type(value) is object)


def _names(module: str) -> dict[str, object]:
    try:
        # Asked for an attribute, one that is to be loaded when it is wanted would be loaded.
        names: dict[str, object] = object.__getattribute__(sys.modules[module], "__dict__")
    except (KeyError, AttributeError):
        return {}
    return names
