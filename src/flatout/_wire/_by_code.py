"""Pickles functions that a worker cannot import, by their code, where all else that they use can be imported or pickled.

So most functions of scripts and notebooks go without cloudpickle, which takes some 12 ms to import, here and in the zygote,
and 4 ms to clear up at the end of the program (measured). It remains for what needs it: see `_by_value`, with which this
agrees on what arrives. Code is marshalled, since worker and caller are the same interpreter.

Workers import this module: it stays light.
"""

from __future__ import annotations

import io
import marshal
import pickle
import sys
from collections.abc import Callable, Iterator
from types import CellType, FunctionType, ModuleType

from flatout._wire._code import closure_variables, codes, global_variables
from flatout._wire._modules import Definitions, Homeless, namespace
from flatout._wire._sentinels import reduce_sentinel

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any

    BufferCallback = Callable[[pickle.PickleBuffer], bool]

_MODULE_ATTRIBUTES = ("__file__", "__package__")
_FUNCTION_ATTRIBUTES = (
    *("__name__", "__qualname__", "__module__", "__doc__", "__defaults__", "__kwdefaults__", "__annotations__"),
)
_MARSHAL_VERSION = 2  # later ones write the same code in more than one way, and a digest is to name it


class Beyond(Exception):
    """Something in a value needs cloudpickle."""


class ByCode(pickle.Pickler):
    """Pickles functions of homeless modules by their code, and everything else by reference. Raises Beyond."""

    def __init__(self, file: Any, buffer_callback: BufferCallback | None = None) -> None:
        super().__init__(file, protocol=5, buffer_callback=buffer_callback)
        self.homeless = Homeless()
        self._globals: dict[str, Globals] = {}

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, FunctionType):
            return self._reduce_function(obj) if self.homeless.admit(obj) else NotImplemented
        if isinstance(obj, ModuleType):
            return self._reduce_module(obj)
        if type(obj) is object:
            return reduce_sentinel(obj)
        home = getattr(obj, "__module__", None)
        if isinstance(home, str) and not self.homeless.importable(home):
            raise Beyond
        return NotImplemented

    def _reduce_function(self, func: FunctionType) -> Any:
        home = self.homeless.owns(func.__globals__)
        if home is None:
            raise Beyond
        shared = self._globals.setdefault(home, Globals(home, func.__globals__))
        used, closure = dict(global_variables(func)), dict(closure_variables(func))
        state = (
            {name: getattr(func, name) for name in _FUNCTION_ATTRIBUTES},
            vars(func).copy(),
            used,
            closure,
            list(_submodules(func, [*used.values(), *closure.values()])),  # loading them imports them
        )
        return _make, (marshal.dumps(func.__code__, _MARSHAL_VERSION), shared), state, None, None, _fill

    def _reduce_module(self, module: ModuleType) -> Any:
        name = module.__name__
        if not self.homeless.importable(name) or sys.modules.get(name) is not module:
            raise Beyond
        return _import, (name,)


def _submodules(func: FunctionType, values: list[object]) -> Iterator[ModuleType]:
    """Those that the code reaches by attributes of their packages, as in `xml.dom.minidom`, and need not import."""
    packages = tuple(
        f"{value.__name__}." for value in values if isinstance(value, ModuleType) and "__path__" in vars(value)
    )
    if not packages:
        return
    names = {name for code in codes(func.__code__) for name in code.co_names}
    for name, module in list(sys.modules.items()):
        for package in packages:
            if name.startswith(package) and names.issuperset(name[len(package) :].split(".")):
                yield module


class Globals:
    """Takes the place of a homeless module's globals in a pickle: arrives as the globals of the stand-in."""

    def __init__(self, name: str, values: dict[str, Any]) -> None:
        self._name = name
        self._attributes = tuple((key, values[key]) for key in _MODULE_ATTRIBUTES if key in values)

    def __reduce__(self) -> Any:
        return namespace, (self._name, self._attributes)


def _import(name: str) -> ModuleType:
    """In a worker: the module of this name. Called by pickles."""
    __import__(name)
    return sys.modules[name]


def _make(code: bytes, names: dict[str, Any]) -> FunctionType:
    """In a worker: a function, to be filled. Called by pickles."""
    made = marshal.loads(code)
    names["__builtins__"] = __builtins__
    return FunctionType(made, names, None, None, tuple([CellType() for _ in made.co_freevars]))


def _fill(func: FunctionType, state: tuple[Any, ...]) -> None:
    """In a worker: finish a function, whose globals may live already and hold newer values. Called by pickles."""
    attributes, own, used, closure, _ = state
    for name, value in attributes.items():
        setattr(func, name, value)
    vars(func).update(own)
    for name, value in used.items():
        func.__globals__.setdefault(name, value)
    for name, cell in zip(func.__code__.co_freevars, func.__closure__ or (), strict=True):
        if name in closure:
            cell.cell_contents = closure[name]


def dump_all(pickler: Any, value: object) -> None:
    """Write the value, and then all definitions that it brings along, in dicts of which the last is empty."""
    pickler.dump(value)
    dumped: set[str] = set()
    while True:
        new = {key: top for key, top in pickler.homeless.definitions.items() if key not in dumped}
        dumped.update(new)
        pickler.dump(new)
        if not new:
            return


def dumps(value: object, buffer_callback: BufferCallback) -> tuple[bytes, Definitions]:
    """The payload and the definitions in it. Raises Beyond, or whatever pickling raises."""
    if getattr(sys.modules.get("cloudpickle.cloudpickle"), "_PICKLE_BY_VALUE_MODULES", None):
        raise Beyond  # the user has told it what else goes by value
    with io.BytesIO() as file:
        pickler = ByCode(file, buffer_callback)
        dump_all(pickler, value)
        return file.getvalue(), pickler.homeless.definitions
