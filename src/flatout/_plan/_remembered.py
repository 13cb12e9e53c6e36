"""What earlier runs of this process have shown of a function, so that its next run need not look for as long."""

from __future__ import annotations

import weakref
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType

from flatout._model import Measurement
from flatout._plan._evidence import MUCH_LONGER
from flatout._record import replace

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any

    from flatout._model import Statistics

FEWEST = 8  # calls whose means say more than a single one; guessed
IDLE = 0.5  # of the cores that calls keep busy, up to which hardly one waits for another; guessed
LITTLE = 0.1  # of a call's time on a core, below which few looks fell into that; guessed


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


def in_the_mean(first: Measurement, counts: Statistics, core_seconds: float) -> Measurement:
    """What the calls of a run did, of which the first alone was looked at. core_seconds: that its cores gave in that time.

    Where that computed, it counts, unless the others turned out to be quite unlike it: beside each other calls take somewhat
    longer than alone. Where it waited, what they computed is known of all; of very little nobody can tell whether it held
    the GIL, and so it is taken to. That they waited longer may be for the GIL, where the cores were busy; or the first was
    the only one that waited.
    """
    calls, computed, seen = counts.ended, counts.cpu_seconds, first.gil + first.free
    if calls < FEWEST or not computed:
        return first
    each = computed / calls
    if first.wait < seen:
        return first if 1 / MUCH_LONGER <= each / seen <= MUCH_LONGER else _times(first, each / seen)
    wait = max(0.0, counts.busy_seconds - computed - counts.queued_seconds) / calls
    wait = wait if computed < IDLE * core_seconds else min(first.wait, wait)
    gil = each if seen <= LITTLE * first.seconds else each * first.gil / seen
    return replace(first, gil=gil, free=each - gil, wait=wait, calls=calls)


def _times(measured: Measurement, longer: float) -> Measurement:
    return replace(measured, gil=longer * measured.gil, free=longer * measured.free, wait=longer * measured.wait)


def _subject(func: Any) -> Any:
    """What stays the same from run to run, by its identity; None where there may be no such thing."""
    while isinstance(func, (partial, MethodType)):
        func = func.func if isinstance(func, partial) else func.__func__
    return func if type(func) in (FunctionType, BuiltinFunctionType) else None
