"""Which modules a worker can import, and what stands in for those it cannot.

The user's `__main__` (a script, a notebook) is never imported again, and a module that was made by hand or loaded from
a file beside `sys.path` cannot be: such modules are called homeless here. What a run needs of them is pickled by value
and defined in the worker in a stand-in, an empty module of the same name. Hence an instance of `__main__.Point` can
cross by a plain pickle, by reference, both ways: each side finds its own one class under that name.

Workers import this module: it stays light.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable
from types import FunctionType, ModuleType

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any

LruCached = type(functools.lru_cache(len))
"""The type of what `functools.lru_cache` makes, which pickles by name as functions do."""

Definitions = dict[str, object]
"""Top-level classes and functions of homeless modules, keyed "module:name"."""

MAIN = ("__main__", "__mp_main__")  # the latter in what `multiprocessing` has started
_stand_ins: dict[str, ModuleType] = {}


def may_name_main(pickled: bytes) -> bool:
    """Whether something of `__main__` may be in a pickle."""
    return b"__main__" in pickled or b"__mp_main__" in pickled


def importable(name: str) -> bool:
    """Whether a worker that has the caller's `sys.path` imports this module and gets the same one."""
    if name in MAIN:
        return False
    package = name.partition(".")[0]
    if package == "flatout" or package in sys.stdlib_module_names or name not in sys.modules:
        return True  # a worker has this flatout, wherever the caller found it
    parent = name.rpartition(".")[0]
    if parent and not importable(parent):
        return False
    module = sys.modules[name]
    origin = getattr(getattr(module, "__spec__", None), "origin", None) or getattr(module, "__file__", None)
    if origin is None and parent:
        return True  # made by its package as that is imported, as submodules in C and Rust are
    found = _find_spec(name, parent)
    return found is not None and found.origin == origin


def _find_spec(name: str, parent: str) -> Any:
    path = getattr(sys.modules[parent], "__path__", None) if parent else None
    specs = (finder.find_spec(name, path) for finder in sys.meta_path if hasattr(finder, "find_spec"))
    return next((spec for spec in specs if spec is not None), None)


def found_by_name(obj: Any) -> bool:
    """Whether its module has this very class or function under its qualified name."""
    found: Any = sys.modules.get(obj.__module__)
    for attribute in obj.__qualname__.split("."):
        found = getattr(found, attribute, None)
    return found is obj


class Nowhere:
    """A file for pickles that nobody reads."""

    def write(self, data: Any) -> int:
        """Take it as written."""
        return len(data)


class Homeless:
    """Tells objects of homeless modules and keeps, in `definitions`, the top-level names that lead to them."""

    def __init__(self) -> None:
        self.definitions: Definitions = {}
        self.importable: Callable[[str], bool] = functools.cache(importable)

    def admit(self, obj: object) -> bool:
        """Whether this is a class or function of a homeless module; where it is, its name is noted."""
        if not isinstance(obj, (type, FunctionType, LruCached)):
            return False
        name = getattr(obj, "__module__", None)
        if not isinstance(name, str) or self.importable(name):
            return False
        self._note(name, obj)
        return True

    def _note(self, name: str, obj: Any) -> None:
        if found_by_name(obj):
            owner = obj.__qualname__.partition(".")[0]
            self.definitions[f"{name}:{owner}"] = getattr(sys.modules[name], owner)

    def owns(self, namespace: dict[str, Any]) -> str | None:
        """The name of the homeless module whose globals these are, or None."""
        name = namespace.get("__name__")
        if not isinstance(name, str) or self.importable(name):
            return None
        return name if getattr(sys.modules.get(name), "__dict__", None) is namespace else None


def stand_in(name: str) -> ModuleType:
    """In a worker: the module that stands in for a homeless one of the caller's."""
    if name not in _stand_ins:
        _stand_ins[name] = sys.modules[name] = ModuleType(name)
    return _stand_ins[name]


def forget_stand_ins() -> None:
    """In a worker: leave what earlier runs defined behind and begin with an empty `__main__`."""
    for name in _stand_ins:
        sys.modules.pop(name, None)
    _stand_ins.clear()
    stand_in("__main__")


def bind(definitions: Definitions) -> None:
    """In a worker: put definitions where the names in plain pickles look for them. The newest wins."""
    for key, value in definitions.items():
        module, _, name = key.partition(":")
        setattr(stand_in(module), name, value)


def bind_missing(definitions: Definitions) -> None:
    """As `bind`, but what is there already stays: calls may have changed it since."""
    bind({key: value for key, value in definitions.items() if not _bound(key)})


def _bound(key: str) -> bool:
    module, _, name = key.partition(":")
    return hasattr(stand_in(module), name)


def namespace(name: str, attributes: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """In a worker: the globals of the stand-in, for functions whose home it is. Called by pickles."""
    values = vars(stand_in(name))
    values.update(attributes)
    return values


def fill_module(module: ModuleType, values: dict[str, Any]) -> None:
    """In a worker: give a stand-in that is used as a module all its values. Called by pickles."""
    bind_missing({f"{module.__name__}:{name}": value for name, value in values.items()})


def cached_again(func: Callable[..., Any], parameters: dict[str, Any]) -> Callable[..., Any]:
    """In a worker: `functools.lru_cache` around a function, with an empty cache. Called by pickles."""
    cached: Callable[..., Any] = functools.lru_cache(**parameters)(func)
    return cached
