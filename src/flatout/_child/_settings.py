"""What a program sets in its interpreter for all code, tasks included: limits, warning filters, the context of `decimal`.

A worker process takes it on for each run that has set something else than the one before, or that brings functions of its own.
Else all stays, since an initializer may have set what it wanted.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import re
import sys
import threading
import warnings

from flatout import _child

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from contextvars import Context
    from typing import Any

# The decimal context of who has set nothing: precision, rounding, Emin, Emax, capitals, clamp, what is trapped.
_EXACT = (28, "ROUND_HALF_EVEN", -999999, 999999, 1, 0, ("DivisionByZero", "InvalidOperation", "Overflow"))


def settings(context: Context) -> dict[str, Any]:
    """Those of this process, and of whoever has this context, as plain data."""
    return {
        "recursion": sys.getrecursionlimit(),
        "digits": sys.get_int_max_str_digits(),
        "filters": [
            (action, message, _name(category), module, line)
            for action, message, category, module, line in _filters_of(context)
        ],
        "decimal": _decimal_of(context),
    }


def take_on(settings: dict[str, Any]) -> None:
    """Make them those of this process; the context of `decimal` becomes the one that every task starts with."""
    with contextlib.suppress(RecursionError):  # so low that even this is too deep
        sys.setrecursionlimit(settings["recursion"])
    sys.set_int_max_str_digits(settings["digits"])
    _filter_warnings(settings["filters"])
    _compute_in(settings["decimal"])


# Warnings


class _Named(type):
    """Of what stands in a filter for a category that is known by its name: to import it for that might take long."""

    def __subclasscheck__(cls, category: type) -> bool:
        name = cls.__module__, cls.__qualname__
        return any((each.__module__, each.__qualname__) == name for each in category.__mro__)


class _WhileLoading(type):
    """Of what stands for every category, while functions and inputs are loaded here."""

    def __subclasscheck__(cls, category: type) -> bool:
        return _child.loading == threading.get_ident()


class _Loading(Warning, metaclass=_WhileLoading):
    """Modules that are imported then have warned in the user's process, maybe before the filters were set."""


# What is flatout's doing, and no task's. That processes with threads are forked: from Python 3.12 on.
_OURS = [
    ("ignore", None, _Loading, None, 0),
    ("ignore", re.compile("This process .* is multi-threaded"), DeprecationWarning, None, 0),
]


def _filters_of(context: Context) -> Any:
    """Of whoever has this context: since 3.14 `catch_warnings` may set them there, as it does where there is no GIL."""
    find = getattr(warnings, "_get_filters", None)
    return warnings.filters if find is None else context.copy().run(find)


def _filter_warnings(filters: list[Any]) -> None:
    theirs = [(action, message, _category(name), module, line) for action, message, name, module, line in filters]
    wanted: Any = [*_OURS, *theirs]
    if warnings.filters != wanted:
        warnings.resetwarnings()  # which also tells the interpreter that they have changed
        warnings.filters = wanted


def _name(category: Any) -> Any:
    """Of a category, or of each in a tuple of them."""
    if isinstance(category, tuple):
        return tuple(map(_name, category))
    return [category.__module__, category.__qualname__]


def _category(name: Any) -> Any:
    return tuple(map(_category, name)) if isinstance(name, tuple) else _named(*name)


@functools.cache
def _named(module: str, qualname: str) -> Any:
    """Always the same, so that filters can be compared."""
    if module == "builtins":
        return getattr(builtins, qualname)
    return _Named(qualname, (Warning,), {"__module__": module, "__qualname__": qualname})


# Decimal numbers


def _decimal_of(context: Context) -> tuple[Any, ...]:
    decimal = sys.modules.get("decimal")
    if decimal is None:
        return _EXACT
    found = context.copy().run(decimal.getcontext)
    traps = tuple(sorted(signal.__name__ for signal, trapped in found.traps.items() if trapped))
    return found.prec, found.rounding, found.Emin, found.Emax, found.capitals, found.clamp, traps


def _compute_in(wanted: tuple[Any, ...]) -> None:
    if wanted == _EXACT and "decimal" not in sys.modules:
        return
    import decimal

    default = decimal.DefaultContext  # of which every thread, and every task with its empty context, gets a copy
    default.prec, default.rounding, default.Emin, default.Emax, default.capitals, default.clamp, traps = wanted
    for signal in default.traps:
        default.traps[signal] = signal.__name__ in traps
    decimal.setcontext(default)  # for an initializer, which runs in the context of this thread
