"""Where the calls of a function go, remembered of functions however often they are made anew.

A lambda in a loop is a new function each time, with the same code; what a decorator makes of two functions has the same
code, too. So a function is known by its code together with all that it has to do with and that can be called: what it
closes over, the arguments of a partial, the attributes of the object whose method it is, the arguments of the call.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from flatout._model import Kind
from flatout._stations._base import Call
from flatout._wire._modules import LruCached

MOST_MARKS = 20  # that are looked for: whoever has so many callables about him is known well enough; guessed

Key = tuple[int, ...]


class Verdict:
    """Where the calls of a function go; as long as that is not known, those that are held back."""

    def __init__(self, kind: Kind | None) -> None:
        self.kind = kind
        self.held: list[Call] = []
        self.begun = False  # the first call is
        self.key: Key = ()
        self.marks: list[Any] = []  # weak references, as far as these can be had

    def take(self) -> list[Call]:
        """The calls that are held back; nobody else gets them."""
        held, self.held = self.held, []
        return held


class Verdicts:
    """The verdicts on functions that are still alive."""

    def __init__(self) -> None:
        self._known: dict[Key, Verdict] = {}  # by the identities of their marks

    def __len__(self) -> int:
        return len(self._known)

    def find(self, call: Call) -> Verdict | None:
        """The verdict on the function that is called."""
        return self._known.get(tuple(map(id, known_by(call))))

    def add(self, call: Call, verdict: Verdict) -> None:
        """A function is met for the first time."""
        marks = known_by(call)
        key = verdict.key = tuple(map(id, marks))
        verdict.marks = [_weakly(mark, lambda _: self._known.pop(key, None)) for mark in marks]
        self._known[key] = verdict

    def remove(self, verdict: Verdict) -> None:
        """The next call will be the first."""
        if self._known.get(verdict.key) is verdict:
            del self._known[verdict.key]


def _weakly(mark: Any, gone: Any) -> Any:
    try:
        return weakref.ref(mark, gone)
    except TypeError:  # what is built in
        return mark


def known_by(call: Call) -> list[Any]:
    """What tells the function of a call from others."""
    marks: list[Any] = []
    met: set[int] = set()
    todo = [call.func, *filter(callable, call.args), *filter(callable, call.keywords.values())]
    while todo and len(marks) < MOST_MARKS:
        func = todo.pop(0)
        if id(func) not in met:
            met.add(id(func))
            mark, others = _known_by(func)
            if not any(mark is other for other in marks):
                marks.append(mark)
                todo += filter(callable, others)
    return marks


def _known_by(func: Any) -> tuple[Any, Iterable[Any]]:
    """The mark of a callable, and what it carries."""
    if isinstance(func, FunctionType):
        return func.__code__, _contents(func) if func.__closure__ else ()
    if isinstance(func, partial):
        mark, others = _known_by(func.func)
        return mark, (*others, *func.args, *func.keywords.values())
    if isinstance(func, MethodType):
        mark, others = _known_by(func.__func__)
        return mark, (*others, *_attributes(func.__self__))
    if isinstance(func, LruCached):
        return _known_by(func.__wrapped__)
    if isinstance(func, type):
        return func, ()
    if isinstance(func, BuiltinFunctionType):
        owner = func.__self__  # of `len` a module, of `[].append` an object, which is not to be kept for this
        return func if isinstance(owner, (ModuleType, type)) else getattr(type(owner), func.__name__, func), ()
    call = getattr(type(func), "__call__", None)  # noqa: B004 - not whether, but what
    if isinstance(call, FunctionType):
        return call.__code__, _attributes(func)
    return func if type(func).__weakrefoffset__ else type(func), ()


def _contents(func: FunctionType) -> Iterable[Any]:
    for cell in func.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # it is empty
            continue


def _attributes(owner: Any) -> Iterable[Any]:
    return () if isinstance(owner, type) else tuple(getattr(owner, "__dict__", {}).values())
