"""What earlier runs of this process have shown of a function, so that its next run need not look for as long."""

from __future__ import annotations

import weakref
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType

from flatout._model import Measurement
from flatout._record import record, replace

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any

    from flatout._model import Statistics

FEWEST = 8  # calls whose means say more than a single one; guessed
IDLE = 0.5  # of a core that calls keep busy, up to which hardly one waits for another; guessed


@record
class Known:
    """What earlier calls of a function did. sent: whether they went to processes, so that inputs and results can."""

    measured: Measurement
    sent: bool = False


# Without a lock: each access is one operation of a dictionary, and a finalizer or a fork may come in the middle of any.
_seen: weakref.WeakKeyDictionary[Any, Known] = weakref.WeakKeyDictionary()


def recall(func: Any) -> Known | None:
    """What its calls did when they were looked at last; None where that is not known."""
    subject = _subject(func)
    return _seen.get(subject) if subject is not None else None


def remember(func: Any, measured: Measurement, sent: bool = False) -> None:
    """So much for the next run, whose inputs may be others to pickle.

    Not of calls that have threads or programs of their own: to see those takes its time.
    """
    subject = _subject(func)
    if subject is not None and measured.calls and not measured.own:
        _seen[subject] = Known(replace(measured, transfer=0.0, unpicklable=""), sent)


def in_the_mean(first: Measurement, counts: Statistics, seconds: float) -> Measurement:
    """What the calls of a run of so many seconds did, of which the first alone was looked at, if that waited.

    What they computed is known of all; of little beside much waiting nobody can tell whether it held the GIL, and so it is
    taken to. That they waited longer may be for the GIL, where a core was busy; or the first was the only one that waited.
    """
    calls, computed = counts.succeeded + counts.failed + counts.retried, counts.cpu_seconds
    if calls < FEWEST or not computed or first.wait < first.gil + first.free:
        return first
    wait = max(0.0, counts.busy_seconds - computed - counts.queued_seconds) / calls
    wait = wait if computed < IDLE * seconds else min(first.wait, wait)
    return replace(first, gil=computed / calls, free=0.0, wait=wait, calls=calls)


def _subject(func: Any) -> Any:
    """What stays the same from run to run, by its identity; None where there may be no such thing."""
    while isinstance(func, (partial, MethodType)):
        func = func.func if isinstance(func, partial) else func.__func__
    return func if type(func) in (FunctionType, BuiltinFunctionType) else None
