"""Does a call change the caller's memory in a way that a worker process would lose?

Seen are changes of the input, of the object whose method is called, of closure variables, default arguments and the
module globals that the function, those that it is handed and its neighbours name, and global and nonlocal statements in
their code. Not seen is what is bigger than a fingerprint may be, what cannot be pickled at all, what other modules keep,
and attributes of classes: unknown counts as unchanged, until `possible` reads in the code that it may change (`_writes`).
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from itertools import chain, islice
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType

from flatout._record import record
from flatout._threads._interrupts import put_off
from flatout._wire._code import CONSTRUCTORS, closure_variables, global_variables
from flatout._wire._modules import LruCached

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any

_MAX_SECONDS = 0.003  # for all fingerprints before the call; guessed: a tenth of what the probe may take
_MAX_PLACES = 50  # guessed
_LEVELS = 2  # calls followed from function to function; guessed
_UNCHANGEABLE = (type, ModuleType, FunctionType, LruCached)
_FILES = (io.TextIOWrapper, io.FileIO, io.BufferedReader, io.BufferedWriter, io.BufferedRandom)
_SCALARS = frozenset((int, float, complex, bool, str, bytes, type(None), range))


# Whose objects do not change, or (loggers) only stand for what is elsewhere.
_MODULES_OF_VALUES = frozenset(
    ("re", "pathlib", "pathlib._local", "datetime", "decimal", "fractions", "ipaddress", "uuid", "enum", "logging")
)


@record
class _Place:
    name: str
    value: object


class Watch:
    """Looks at what a call might change: made before the call, asked during or after it, from any thread."""

    def __init__(self, func: Callable[..., Any], item: object, star: bool = False) -> None:
        self._func = func
        self._arguments = _arguments(func, item, star)
        self._functions = _functions(_handed(func, item, star))
        self._statement = next(filter(None, map(_statement, self._functions)), "")
        self._before: list[tuple[_Place, bytes]] = []
        self._file = ""  # an open one that it names
        if not self._statement:
            constructors = chain.from_iterable(map(_constructors, self._functions))
            self._look(_places(func, item, star, chain(self._functions, constructors)))

    def _look(self, places: Iterator[_Place]) -> None:
        changeable = (place for place in islice(places, _MAX_PLACES) if _changeable(place.value))
        for first in changeable:
            self._look_at(chain([first], changeable))

    def _look_at(self, places: Iterator[_Place]) -> None:
        from flatout._wire._fingerprint import MUTATED, fingerprint  # and pickle: many functions do without

        deadline = time.perf_counter() + _MAX_SECONDS
        met: set[int] = set()
        for place in places:
            if isinstance(place.value, _FILES) and place.value not in _streams():
                self._file = self._file or place.name
            elif id(place.value) in met or time.perf_counter() > deadline:
                continue
            met.add(id(place.value))
            before = fingerprint(place.value)
            if before is not None and before is not MUTATED:
                self._before.append((place, before))

    @property
    def watching(self) -> bool:
        """Whether there is anything that the call might change, as far as can be seen."""
        return bool(self._statement or self._before)

    def changed(self) -> str:
        """What the call changed, as a phrase ("the call changed its input"); empty for nothing seen."""
        if self._statement:
            return f"the call writes {self._statement}"
        if not self._before:
            return ""
        from flatout._wire._fingerprint import fingerprint

        changes = (place.name for place, before in self._before if fingerprint(place.value) != before)
        name = next(changes, "")
        return name and f"the call changed {name}"

    def possible(self) -> str:
        """What calls may change though this one has not, as a phrase; empty for nothing found. It takes some milliseconds."""
        with put_off():  # not in the middle of an import, which would leave Python's lock taken
            from flatout._plan._writes import written

        file = self._file and f"the call may read or write the open file in {self._file}"
        return file or written(self._functions, _innermost(self._func), *self._arguments)


def _streams() -> tuple[Any, ...]:
    """What a worker writes there comes home."""
    return sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__


def _innermost(func: Any) -> Any:
    while isinstance(func, (partial, LruCached)):
        func = func.func if isinstance(func, partial) else func.__wrapped__
    return func


def bound_to_a_loop(func: Callable[..., Any], item: object, star: bool = False) -> str:
    """What a call is handed or names that belongs to one event loop (a lock, a client session); empty if nothing is seen."""
    functions = _functions(_handed(func, item, star))
    for place in islice(_places(func, item, star, functions), _MAX_PLACES):
        inner = islice(getattr(place.value, "__dict__", {}).values(), _MAX_PLACES)
        if any(_has_a_loop(value) for value in chain([place.value], inner)):
            return place.name
    return ""


def _has_a_loop(value: object) -> bool:
    """As the locks and queues of asyncio have, and the sessions and pools of the libraries built on it."""
    return not isinstance(value, _UNCHANGEABLE) and (hasattr(type(value), "_get_loop") or hasattr(value, "_loop"))


def _changeable(value: object) -> bool:
    if isinstance(value, (tuple, frozenset)) and len(value) <= _MAX_PLACES:
        return type(value) not in (tuple, frozenset) or any(map(_changeable, value))
    if isinstance(value, BuiltinFunctionType):
        return _changeable(value.__self__)
    kind = type(value)
    return kind not in _SCALARS and kind.__module__ not in _MODULES_OF_VALUES and not isinstance(value, _UNCHANGEABLE)


def _places(func: Any, item: object, star: bool, functions: Iterable[FunctionType]) -> Iterator[_Place]:
    for value in _parts(item, star):
        yield _Place("its input", value)
    yield from _places_around(func)
    for function in functions:
        yield from _places_of(function)


def _places_around(func: Any) -> Iterator[_Place]:
    """What a callable carries along besides a function."""
    while isinstance(func, (partial, LruCached)):
        if isinstance(func, partial):
            yield from (_Place(f"argument {i} of its partial", value) for i, value in enumerate(func.args))
            yield from (_Place(f"keyword {name!r} of its partial", v) for name, v in func.keywords.items())
        func = func.func if isinstance(func, partial) else func.__wrapped__
    if isinstance(func, (MethodType, BuiltinFunctionType)):
        yield _Place(f"the {type(func.__self__).__name__} whose method it is", func.__self__)
    else:
        yield _Place(f"the {type(func).__name__} that is called", func)


def _places_of(func: FunctionType) -> Iterator[_Place]:
    yield from (_Place(f"closure variable {name!r}", value) for name, value in closure_variables(func))
    yield from (_Place(f"default argument {name!r}", value) for name, value in _defaults(func))
    module = func.__globals__.get("__name__", "?")
    yield from (_Place(f"the global {name!r} of module {module}", value) for name, value in global_variables(func))


def _defaults(func: FunctionType) -> Iterator[tuple[str, Any]]:
    values = func.__defaults__ or ()
    positional = func.__code__.co_varnames[: func.__code__.co_argcount]
    yield from zip(positional[len(positional) - len(values) :], values, strict=True)
    yield from (func.__kwdefaults__ or {}).items()


def _parts(item: object, star: bool) -> tuple[object, ...]:
    return item if star and isinstance(item, tuple) else (item,)


def _arguments(func: Any, item: object, star: bool) -> tuple[list[object], dict[str, object]]:
    """What the innermost function is called with: in order, and by keyword."""
    arguments: list[object] = [*_parts(item, star)]
    keywords: dict[str, object] = {}
    while isinstance(func, (partial, LruCached)):
        if isinstance(func, partial):
            arguments, keywords = [*func.args, *arguments], func.keywords | keywords
        func = func.func if isinstance(func, partial) else func.__wrapped__
    return arguments, keywords


def _handed(func: Any, item: object, star: bool) -> Iterator[object]:
    """A callable, and all that it could call besides, since it is handed it: most of that is no function."""
    yield func
    while isinstance(func, (partial, LruCached)):
        if isinstance(func, partial):
            yield from chain(func.args, func.keywords.values())
        func = func.func if isinstance(func, partial) else func.__wrapped__
    if isinstance(func, MethodType):
        yield from getattr(func.__self__, "__dict__", {}).values()
    yield from _parts(item, star)


def _functions(callables: Iterator[object]) -> list[FunctionType]:
    """The Python functions behind callables, and those they are likely to call: in a closure or from the same module."""
    first = filter(None, map(_function_of, islice(callables, _MAX_PLACES)))
    found = {function.__code__: function for function in first}
    layer = list(found.values())
    for _ in range(_LEVELS):
        layer = [called for caller in layer for called in _called(caller) if called.__code__ not in found]
        found.update((called.__code__, called) for called in layer)
    return list(found.values())


def _function_of(func: Any) -> FunctionType | None:
    func = _innermost(func)
    if isinstance(func, MethodType):
        func = func.__func__
    if not isinstance(func, (FunctionType, type, BuiltinFunctionType)):
        func = type(func).__call__ if callable(func) else None
    return func if isinstance(func, FunctionType) else None


def _called(func: FunctionType) -> Iterator[FunctionType]:
    for _, value in closure_variables(func):
        called = _function_of(value)
        if called:
            yield called
    for _, value in global_variables(func):
        if isinstance(value, FunctionType) and value.__globals__ is func.__globals__:
            yield value


def _constructors(func: FunctionType) -> Iterator[FunctionType]:
    """Those of classes of the same module that it names."""
    kinds = [value for _, value in global_variables(func) if isinstance(value, type)]
    for base in chain.from_iterable(kind.__mro__ for kind in kinds):
        for name in CONSTRUCTORS:
            method = vars(base).get(name)
            if isinstance(method, FunctionType) and method.__globals__ is func.__globals__:
                yield method


def _statement(func: FunctionType) -> str:
    """The first global or nonlocal variable that the code assigns, as a phrase; empty where there is none."""
    return _assigned(func.__code__, frozenset(func.__code__.co_freevars))


def _assigned(code: CodeType, outer: frozenset[str]) -> str:
    """`outer`: those free variables that lie outside the function that was called."""
    here = outer.intersection(code.co_freevars)
    return _assigned_here(code, here) or next(
        filter(None, (_assigned(inner, here) for inner in code.co_consts if isinstance(inner, CodeType))), ""
    )


def _assigned_here(code: CodeType, outer: frozenset[str]) -> str:
    # co_code is the code as compiled, also after the interpreter has specialised or instrumented it; its even bytes
    # are the opcodes (the inline caches between them read 0).
    if not _stores().intersection(code.co_code[::2]):
        return ""
    from dis import get_instructions  # only few functions get here

    for instruction in get_instructions(code):
        if instruction.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            return f"the global {instruction.argval!r} (global statement)"
        if instruction.opname in ("STORE_DEREF", "DELETE_DEREF") and instruction.argval in outer:
            return f"the closure variable {instruction.argval!r} (nonlocal statement)"
    return ""


@cache
def _stores() -> frozenset[int]:
    from opcode import opmap

    return frozenset(opmap[name] for name in ("STORE_GLOBAL", "DELETE_GLOBAL", "STORE_DEREF", "DELETE_DEREF"))
