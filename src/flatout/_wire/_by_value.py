"""Pickles code that a worker cannot import: cloudpickle, made to define it in the worker's stand-ins.

It differs from plain cloudpickle in three ways. All that is homeless goes by value, not only `__main__`. Functions of a
homeless module share the globals of its stand-in, across payloads too, instead of a private copy. And the top-level
classes and functions that a payload contains are named in it, so that they can be bound in the stand-in.

A payload is a sequence of pickles with one memo: the value, then dicts of definitions until one is empty.

Instances of classes that went by value must come home by reference (a plain pickle): cloudpickle's class tracker would
find the original class and set all its attributes anew, with methods that no longer share the caller's globals.

Importing this module imports cloudpickle (15-20 ms).
"""

from __future__ import annotations

import functools
import io
import pickle
import sys
import typing
import weakref
from collections.abc import Callable
from types import CodeType, FunctionType, MemberDescriptorType, ModuleType
from typing import Any

import cloudpickle
from cloudpickle.cloudpickle import (
    _code_reduce,
    _dynamic_class_reduce,
    _function_setstate,
)

from flatout._wire._by_code import Globals, dump_all
from flatout._wire._modules import (
    Definitions,
    Homeless,
    LruCached,
    cached_again,
    fill_module,
    found_by_name,
    stand_in,
)
from flatout._wire._sentinels import reduce_sentinel

BufferCallback = Callable[[pickle.PickleBuffer], bool]

_NOT_SENT = ("__builtins__", "__loader__", "__spec__")


class ByValue(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles by reference what a worker can import, and everything else by value."""

    def __init__(self, file: Any, buffer_callback: BufferCallback | None = None) -> None:
        super().__init__(file, protocol=5, buffer_callback=buffer_callback)
        self.homeless = Homeless()

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, FunctionType):
            return self._reduce_function(obj)
        if isinstance(obj, type) and self.homeless.admit(obj):
            return _reduce_class(obj)
        if isinstance(obj, LruCached):
            return self._reduce_cached(obj)
        if isinstance(obj, ModuleType):
            return self._reduce_module(obj)
        if type(obj) in _REDUCERS:
            return _REDUCERS[type(obj)](obj)
        if type(obj) in _TYPING_REDUCERS and not self.homeless.importable(obj.__module__):
            return _TYPING_REDUCERS[type(obj)](obj)
        return super().reducer_override(obj)

    def _reduce_function(self, func: FunctionType) -> Any:
        home = self.homeless.owns(func.__globals__)
        if home is not None:
            self.globals_ref.setdefault(id(func.__globals__), Globals(home, func.__globals__))
        by_value = self.homeless.admit(func)
        reduced = self._dynamic_function_reduce(func) if by_value else super().reducer_override(func)
        if home is None or reduced is NotImplemented:
            return reduced
        return (*reduced[:5], fill_function)

    def _reduce_cached(self, cached: Any) -> Any:
        if not self.homeless.admit(cached) and found_by_name(cached):
            return NotImplemented
        return cached_again, (cached.__wrapped__, cached.cache_parameters()), vars(cached)

    def _reduce_module(self, module: ModuleType) -> Any:
        name = module.__name__
        if name == "__main__" or self.homeless.importable(name):
            return super().reducer_override(module)
        values = {key: value for key, value in vars(module).items() if key not in _NOT_SENT}
        return stand_in, (name,), values, None, None, fill_module


def _reduce_class(cls: type) -> Any:
    make, args, (attributes, rest_of_state), *rest = _dynamic_class_reduce(cls)
    # cloudpickle leaves the qualified name out, without which a nested class cannot be pickled by reference.
    attributes = {**attributes, "__qualname__": cls.__qualname__}
    if attributes.get("__slots__"):
        # And it makes the class without slots: its instances would be unlike those that they are to become at home.
        kind, name, bases, given, *others = args
        args = kind, name, bases, {**given, "__slots__": attributes.pop("__slots__")}, *others
        attributes = {key: value for key, value in attributes.items() if not isinstance(value, MemberDescriptorType)}
    return make, args, (attributes, rest_of_state), *rest


def fill_function(func: FunctionType, state: tuple[Any, dict[str, Any]]) -> None:
    """In a worker: finish a function, whose globals may live already and hold newer values. Called by pickles."""
    attributes, slots = state
    missing = {key: value for key, value in slots["__globals__"].items() if key not in func.__globals__}
    _function_setstate(func, (attributes, {**slots, "__globals__": missing}))


def _reduce_code(code: CodeType) -> Any:
    """cloudpickle leaves the name of the file out, as of 3.1.2: tracebacks and log records would have no line to show."""
    make, args = _code_reduce(code)
    return make, tuple([code.co_filename if isinstance(arg, str) and arg == "<dynamic-code>" else arg for arg in args])


def _reduce_cached_property(value: Any) -> Any:
    return functools.cached_property, (value.func,), {"attrname": value.attrname}  # in Python 3.11 it holds a lock


def _reduce_weak_keys(value: weakref.WeakKeyDictionary[Any, Any]) -> Any:
    return weakref.WeakKeyDictionary, (dict(value),)  # functools.singledispatch has one


def _reduce_file(file: io.TextIOWrapper) -> Any:
    """cloudpickle would copy what is in it: what a call reads there, or writes, would be the copy's."""
    if file in (sys.stdout, sys.stderr):
        return NotImplemented
    raise TypeError(
        f"cannot pickle the open file {getattr(file, 'name', file)!r}: each worker would have a copy of its own"
    )


_REDUCERS: dict[type, Callable[[Any], Any]] = {
    CodeType: _reduce_code,
    object: reduce_sentinel,
    io.TextIOWrapper: _reduce_file,
    functools.cached_property: _reduce_cached_property,
    weakref.WeakKeyDictionary: _reduce_weak_keys,
}

# What typing makes pickles by name, as classes do.
_TYPING_REDUCERS: dict[type, Callable[[Any], Any]] = {
    typing.NewType: lambda made: (typing.NewType, (made.__name__, made.__supertype__)),
    typing.ParamSpec: lambda made: (typing.ParamSpec, (made.__name__,)),
    typing.TypeVarTuple: lambda made: (typing.TypeVarTuple, (made.__name__,)),
}
if sys.version_info >= (3, 12):
    _TYPING_REDUCERS[typing.TypeAliasType] = lambda made: (typing.TypeAliasType, (made.__name__, made.__value__))


class _Alone(cloudpickle.Pickler):  # type: ignore[misc]
    """Plain cloudpickle, but for the name of the file."""

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is object:
            return reduce_sentinel(obj)
        return _reduce_code(obj) if type(obj) is CodeType else super().reducer_override(obj)


def dumps_alone(value: object, buffer_callback: BufferCallback | None) -> bytes:
    """A pickle of something that shares nothing with what else a worker has. Raises whatever pickling raises."""
    with io.BytesIO() as file:
        _Alone(file, protocol=5, buffer_callback=buffer_callback).dump(value)
        return file.getvalue()


def dumps(value: object, buffer_callback: BufferCallback | None) -> tuple[bytes, Definitions]:
    """The payload and the definitions in it. Raises whatever pickling raises. buffer_callback: as in `pickle`."""
    with io.BytesIO() as file:
        pickler = ByValue(file, buffer_callback)
        dump_all(pickler, value)
        return file.getvalue(), pickler.homeless.definitions
