"""What a function's code names: read from its bytes, since `dis` takes 3 ms to import."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from types import CodeType, FunctionType

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any

CONSTRUCTORS = ("__new__", "__init__", "__post_init__")
"""What is called where an object of a class is made."""


def codes(code: CodeType) -> Iterator[CodeType]:
    """The code of a function and of all that is defined inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)


def global_variables(func: FunctionType) -> Iterator[tuple[str, Any]]:
    """Those globals that the function names and that exist, with their values."""
    namespace = func.__globals__
    names = dict.fromkeys(name for code in codes(func.__code__) for name in _named(code))
    return ((name, namespace[name]) for name in names if name in namespace)


def closure_variables(func: FunctionType) -> Iterator[tuple[str, Any]]:
    """Those that have a value, with it."""
    for name, cell in zip(func.__code__.co_freevars, func.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not assigned yet
            continue


def _named(code: CodeType) -> Iterator[str]:
    """The names of globals. (`co_names` has those of attributes as well.)"""
    load_global, by_name = _operation("LOAD_GLOBAL"), tuple(map(_operation, _BY_NAME))
    for operation, argument in _operations(code):
        if operation == load_global:
            yield code.co_names[argument >> 1]  # the last bit says how it is to be called
        elif operation in by_name:
            yield code.co_names[argument]


def stored_attributes(code: CodeType) -> Iterator[str]:
    """The attributes that code assigns, of whatever objects."""
    store = _operation("STORE_ATTR")
    return (code.co_names[argument] for operation, argument in _operations(code) if operation == store)


def _operations(code: CodeType) -> Iterator[tuple[int, int]]:
    """What code does, and each argument."""
    extended, argument = _operation("EXTENDED_ARG"), 0
    # co_code is the code as compiled, also after the interpreter has specialised or instrumented it
    for operation, low in zip(code.co_code[::2], code.co_code[1::2], strict=True):
        argument = argument << 8 | low
        if operation != extended:
            yield operation, argument
            argument = 0


_BY_NAME = ("LOAD_NAME", "STORE_GLOBAL", "DELETE_GLOBAL")


@functools.cache
def _operation(name: str) -> int:
    from opcode import opmap

    return opmap[name]
