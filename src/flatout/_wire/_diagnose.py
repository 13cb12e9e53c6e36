"""Finds the very place that cannot be pickled, and says what to do about it.

What fails is taken apart, and of its parts only those that fail are taken apart further; halving finds them, so that
a long list costs few more pickles than one. What cannot be taken apart, or whose parts all go, is the culprit.
"""

from __future__ import annotations

import copyreg
import reprlib
import time
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from types import FunctionType, MethodType
from typing import Any, NamedTuple

from cloudpickle.cloudpickle import _extract_code_globals

from flatout._errors import NotPicklable
from flatout._wire._by_code import dump_all
from flatout._wire._by_value import ByValue
from flatout._wire._code import closure_variables
from flatout._wire._modules import Nowhere

_MAX_DEPTH = 20  # guessed: nobody reads a longer path
_MAX_SECONDS = 1.0  # guessed: after that the path so far has to do
_MAX_PARTS = 1_000_000  # guessed: endless containers exist
_REASON_CHARACTERS = 200  # guessed: some errors quote the whole object


class _Part(NamedTuple):
    what: str
    key: object
    of: str
    value: object

    def __str__(self) -> str:
        return f"{self.what} {reprlib.repr(self.key)} of {self.of}"


def not_picklable(value: object, name: str) -> NotPicklable:
    """The error to raise for a value that cannot be pickled; `name` is what the user knows it by."""
    return NotPicklable(
        f"cannot be sent to a worker process: {culprit(value, name)}. "
        'Open or create it in the worker with initializer=, or use via="thread".'
    )


def not_returnable(value: object, name: str, error: BaseException) -> NotPicklable:
    """The error to raise for a value that cannot come home: it has no way but a plain pickle, which raised `error`."""
    where = f"{name}: {_say(error)}" if _failure(value) is None else culprit(value, name)
    return NotPicklable(
        f"cannot be brought home from a worker process: {where.rstrip('.')}. Return plain data instead."
    )


def refuses(name: str, error: BaseException) -> NotPicklable:
    """The error to raise for a value whose own way to be pickled raised what is no `Exception`."""
    refused = NotPicklable(f"cannot cross to another process: {name} raised {type(error).__name__} when it was pickled")
    refused.__cause__ = error
    return refused


def blame(values: Iterable[object]) -> NotPicklable:
    """The error to raise where one of several values cannot be pickled, which it finds and names."""
    values = list(values)
    guilty = [part.value for part in islice(_failing(list(_elements(values, "", ""))), 1)]
    value = [*guilty, *values][0]
    return not_picklable(value, describe(value))


def culprit(value: object, name: str) -> str:
    """The path from the value, called `name`, to what in it cannot be pickled, and the reason.

    >>> import threading
    >>> culprit([1, {"db": threading.Lock()}], "argument 0")
    "argument 0 -> element 1 of list -> value for key 'db' of dict: cannot pickle '_thread.lock' object"
    """
    path = _Search().path(value, _MAX_DEPTH) or []
    reason = _failure(path[-1].value if path else value)
    names = [*map(str, path)] if path and path[0].of == name else [name, *map(str, path)]
    return f"{' -> '.join(names)}: {_say(reason)}"


def describe(value: object) -> str:
    """What a person calls it: "function f", "class C", "Client object"."""
    if isinstance(value, FunctionType):
        return f"function {value.__qualname__}"
    if isinstance(value, type):
        return f"class {value.__qualname__}"
    return f"{type(value).__qualname__} object"


class _Search:
    def __init__(self) -> None:
        self._deadline = time.monotonic() + _MAX_SECONDS
        self._met: dict[int, object] = {}  # keeps them alive, so that their ids stay theirs

    def path(self, value: object, depth: int) -> list[_Part] | None:
        """The parts that lead to the culprit: none where it is the value itself. None where another path must."""
        if id(value) in self._met:
            return None
        self._met[id(value)] = value
        if depth == 0 or time.monotonic() > self._deadline or _too_deep(_failure(value)):
            return []
        innocent = True
        for part in _failing(list(islice(_parts(value), _MAX_PARTS))):
            innocent = False
            deeper = self.path(part.value, depth - 1)
            if deeper is not None:
                return [part, *deeper]
        return [] if innocent else None


def _failing(parts: list[_Part]) -> Iterator[_Part]:
    """The parts that cannot be pickled, found by halving."""
    if not parts or _failure([part.value for part in parts]) is None:
        return
    if len(parts) == 1:
        yield parts[0]
        return
    half = len(parts) // 2
    yield from _failing(parts[:half])
    yield from _failing(parts[half:])


def _failure(value: object) -> BaseException | None:
    try:
        dump_all(ByValue(Nowhere()), value)
    except BaseException as error:
        return error
    return None


def _too_deep(error: BaseException | None) -> bool:
    """Whether the nesting itself is what fails, so that no part of it is to blame."""
    if error is None:
        return False
    errors = (error, BaseException.__getattribute__(error, "__cause__"))
    return any(issubclass(type(each), RecursionError) for each in errors)


def _say(error: BaseException | None) -> str:
    if error is None:
        return "could not be pickled, but could on a second try"
    try:
        text = " ".join(str(error).split()) or type(error).__name__
    except BaseException:
        text = type(error).__name__
    return text if len(text) <= _REASON_CHARACTERS else f"{text[:_REASON_CHARACTERS]}..."


def _parts(value: Any) -> Iterator[_Part]:
    """What the value is pickled from."""
    if isinstance(value, FunctionType):
        yield from _parts_of_function(value)
    elif isinstance(value, MethodType):
        yield _Part("object of bound method", value.__name__, describe(value.__self__), value.__self__)
        yield _Part("function of bound method", value.__name__, describe(value.__self__), value.__func__)
    elif isinstance(value, partial):
        yield _Part("function", "func", "partial", value.func)
        yield from _elements(value.args, "argument", "partial")
        yield from _named(value.keywords.items(), "keyword", "partial")
    elif isinstance(value, type):
        yield from _elements(value.__bases__, "base", describe(value))
        yield from _named(vars(value).items(), "attribute", describe(value))
    elif type(value) in (list, tuple, set, frozenset):
        yield from _elements(value, "element", type(value).__name__)
    elif type(value) is dict:
        yield from _parts_of_items(value.items(), "dict")
    else:
        yield from _parts_of_object(value)


def _parts_of_function(func: FunctionType) -> Iterator[_Part]:
    of = describe(func)
    yield from _named(closure_variables(func), "closure variable", of)
    used = _extract_code_globals(func.__code__)
    yield from _named(((name, func.__globals__[name]) for name in used if name in func.__globals__), "global", of)
    yield from _elements(func.__defaults__ or (), "default argument", of)
    yield from _named((func.__kwdefaults__ or {}).items(), "default argument", of)
    yield from _named(vars(func).items(), "attribute", of)
    yield from _named(func.__annotations__.items(), "annotation", of)


def _parts_of_object(value: Any) -> Iterator[_Part]:
    """Taken apart as the pickler does it."""
    try:
        reduced = _reduce(value)
    except BaseException:
        return
    if isinstance(reduced, str):
        return
    _, args, state, elements, items = (*reduced, None, None, None)[:5]
    of = type(value).__qualname__
    yield from _parts_of_state(state, of)
    yield from _elements(elements or (), "element", of)
    yield from _parts_of_items(items or (), of)
    yield from _elements(args or (), "constructor argument", of)


def _reduce(value: Any) -> Any:
    reduce = copyreg.dispatch_table.get(type(value)) or ByValue.dispatch.get(type(value))
    return reduce(value) if reduce else value.__reduce_ex__(5)


def _parts_of_state(state: Any, of: str) -> Iterator[_Part]:
    for attributes in state if isinstance(state, tuple) and len(state) == 2 else [state]:
        if isinstance(attributes, dict):
            yield from _named(attributes.items(), "attribute", of)
        elif attributes is not None:
            yield _Part("state", "__getstate__", of, attributes)


def _parts_of_items(items: Iterable[tuple[Any, Any]], of: str) -> Iterator[_Part]:
    for key, value in items:
        yield _Part("key", key, of, key)
        yield _Part("value for key", key, of, value)


def _elements(values: Iterable[Any], what: str, of: str) -> Iterator[_Part]:
    return (_Part(what, i, of, value) for i, value in enumerate(values))


def _named(values: Iterable[tuple[str, Any]], what: str, of: str) -> Iterator[_Part]:
    return (_Part(what, name, of, value) for name, value in values)
