"""Exceptions across a process border: as themselves wherever that can be, with all that they were raised from.

What pickle leaves out travels beside it: causes and contexts, also those of the members of a group. An exception that
cannot be pickled, or would not load, is described instead. Whatever a user's class does here (`__reduce__`, `__init__`,
`__str__` may raise anything), it does not go beyond its own exception.
"""

from __future__ import annotations

import pickle

from flatout._errors import RemoteTraceback, RunError

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    # The pickle, empty where there is none; a description; the places of its cause, its context and the members of
    # its group in the list of all; whether its context is suppressed.
    Node = tuple[bytes, str, int | None, int | None, list[int | None], bool]
    PackedError = tuple[list[Node], str]  # the exception, then those that it refers to; the traceback of all

_get = BaseException.__getattribute__  # a user's class may have ideas of its own about attributes
_set = BaseException.__setattr__

MOST_LINKED = 100  # exceptions that travel with one: a chain of contexts may be endless; guessed
MOST_TEXT = 100_000  # characters of a traceback or a description, which repeat the message; guessed


def pack_error(error: BaseException) -> PackedError:
    """An exception that can be taken anywhere: what is pickled was tried out here, so that it will load there too."""
    linked = _linked(error)
    places = {id(each): place for place, each in enumerate(linked)}
    carried: set[int] = set()  # places of those that are in the pickle of their group
    nodes: list[Node] = []
    for place, each in enumerate(linked):
        members = [places.get(id(member)) for member in _members(each)]
        blob = b"" if place in carried else _pickle(each)
        if blob or place in carried:
            carried.update(member for member in members if member is not None and member > place)
        cause, context = (places.get(id(_get(each, name))) for name in ("__cause__", "__context__"))
        nodes.append((blob, _description(each), cause, context, members, _get(each, "__suppress_context__")))
    return nodes, _traceback(error)


def _linked(error: BaseException) -> list[BaseException]:
    """The exception, and all that it refers to, from near to far."""
    linked = [error]
    known = {id(error)}
    for each in linked:
        for other in (_get(each, "__cause__"), _get(each, "__context__"), *_members(each)):
            if other is not None and id(other) not in known and len(linked) < MOST_LINKED:
                known.add(id(other))
                linked.append(other)
    return linked


def _members(error: BaseException) -> Sequence[BaseException]:
    return _get(error, "exceptions") if issubclass(type(error), BaseExceptionGroup) else ()


def _pickle(error: BaseException) -> bytes:
    return _loadable(error, error) or _loadable(_Bare(error), error)


def _loadable(value: object, error: BaseException) -> bytes:
    """The pickle; empty where it does not come to the same exception again."""
    try:
        blob = pickle.dumps(value, 5)
        again = pickle.loads(blob)
        same = type(again) is type(error) and (value is not error or _like(again, error))
    except BaseException:
        return b""
    return blob if same else b""


def _like(again: BaseException, error: BaseException) -> bool:
    if issubclass(type(error), BaseExceptionGroup):
        return len(_members(again)) == len(_members(error))
    return bool(again.args == error.args)


class _Bare:
    """Pickles an exception for which a call of its type with its `args` would not do, as its own `__init__` took others."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __reduce__(self) -> Any:
        return _without_init, (type(self._error), self._error.args, vars(self._error))


def _without_init(cls: type[BaseException], args: tuple[Any, ...], attributes: dict[str, Any]) -> BaseException:
    error = cls.__new__(cls, *args)
    error.args = args
    vars(error).update(attributes)
    return error


def _description(error: BaseException) -> str:
    """What is told of one that cannot be pickled; of a group what it says itself, since its members come beside it."""
    if type(error) in (ExceptionGroup, BaseExceptionGroup):
        return _bounded(_get(error, "message"))
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    try:
        return _bounded(f"{name}: {error}")
    except BaseException as second:
        return f"{name}, whose str raised {type(second).__name__}"


def _traceback(error: BaseException) -> str:
    trace = _get(error, "__traceback__")
    if trace is None:
        return ""
    import traceback

    try:
        return _bounded("".join(traceback.format_exception(type(error), error, trace)))
    except BaseException:  # of its str
        return "".join(traceback.format_tb(trace))


def _bounded(text: str) -> str:
    left_out = len(text) - MOST_TEXT
    if left_out <= 0:
        return text
    half = MOST_TEXT // 2
    return f"{text[:half]}\n... {left_out} characters are left out here ...\n{text[-half:]}"


def unpack_error(packed: PackedError) -> BaseException:
    """The exception again. The traceback of the worker is the cause of the first of those that caused it."""
    nodes, traceback = packed
    errors = _unpickled(nodes)
    for error, (_, _, cause, context, _, suppressed) in zip(errors, nodes, strict=True):
        _set(error, "__cause__", None if cause is None else errors[cause])
        _set(error, "__context__", None if context is None else errors[context])
        _set(error, "__suppress_context__", suppressed)
    if traceback:
        _set(_first_cause(errors[0]), "__cause__", RemoteTraceback(traceback))
    return errors[0]


def _unpickled(nodes: list[Node]) -> list[BaseException]:
    found: dict[int, BaseException] = {}
    for place, (blob, _, _, _, members, _) in enumerate(nodes):
        if blob and (error := _loaded(blob)) is not None:
            found[place] = error
        if place in found:  # by its own pickle, or in that of its group
            for member, carried in zip(members, _members(found[place]), strict=False):
                if member is not None:
                    found.setdefault(member, carried)
    for place in reversed(range(len(nodes))):  # the members of a group before the group
        if place not in found:
            found[place] = _described(nodes[place][1], [found[m] for m in nodes[place][4] if m in found])
    return [found[place] for place in range(len(nodes))]


def _loaded(blob: bytes) -> BaseException | None:
    try:
        error = pickle.loads(blob)
    except BaseException:
        return None
    return error if issubclass(type(error), BaseException) else None


def _described(description: str, members: list[BaseException]) -> BaseException:
    return BaseExceptionGroup(description, members) if members else RunError(description)


def _first_cause(error: BaseException) -> BaseException:
    met = {id(error)}
    while (cause := _get(error, "__cause__")) is not None and id(cause) not in met:
        error = cause
        met.add(id(error))
    return error
