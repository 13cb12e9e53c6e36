"""What earlier runs of this process have shown of a function, so that its next run need not look for as long."""

from __future__ import annotations

import weakref
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType

from flatout._model import Measurement
from flatout._record import replace

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any

# Without a lock: each access is one operation of a dictionary, and a finalizer or a fork may come in the middle of any.
_seen: weakref.WeakKeyDictionary[Any, Measurement] = weakref.WeakKeyDictionary()


def recall(func: Any) -> Measurement | None:
    """What its calls did when they were looked at last; None where that is not known."""
    subject = _subject(func)
    return _seen.get(subject) if subject is not None else None


def remember(func: Any, measured: Measurement) -> None:
    """So much for the next run, whose inputs may be others to pickle.

    Not of calls that have threads or programs of their own: to see those takes its time.
    """
    subject = _subject(func)
    if subject is not None and measured.calls and not measured.own:
        _seen[subject] = replace(measured, transfer=0.0, unpicklable="")


def _subject(func: Any) -> Any:
    """What stays the same from run to run, by its identity; None where there may be no such thing."""
    while isinstance(func, (partial, MethodType)):
        func = func.func if isinstance(func, partial) else func.__func__
    return func if type(func) in (FunctionType, BuiltinFunctionType) else None
