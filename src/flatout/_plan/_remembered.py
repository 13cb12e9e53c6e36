"""What earlier runs of this process have shown of a function, so that its next run need not look for as long."""

from __future__ import annotations

import math
import weakref
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType

from flatout._model import Measurement
from flatout._record import record, replace

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any


FEWEST = 8  # calls whose means say more than a single one; guessed
IDLE = 0.5  # of the cores that calls keep busy, up to which hardly one waits for another; guessed
LITTLE = 0.1  # of a call's time on a core, below which few looks fell into that; guessed


@record
class Known:
    """What calls of a function did: `first` those that a choice was made by, `mean` the others of the latest run of that sort.

    sent: results of theirs have come from processes.
    """

    first: Measurement
    mean: Measurement
    sent: bool = False

    @property
    def alike(self) -> tuple[Measurement, ...]:
        """What first calls of a later run are held against: any will do. Of calls that wait a single one was seen first."""
        return (self.first,) if self.first.wait < self.first.gil + self.first.free else (self.mean, self.first)


@record
class Others:
    """What the calls of a run did that came after those it was chosen by.

    Seconds in all that they took, computed and waited for a core; core_seconds: that the cores of the run gave meanwhile.
    """

    calls: int
    busy: float
    cpu: float
    queued: float
    core_seconds: float


# Without a lock: each access is one operation of a dictionary, and a finalizer or a fork may come in the middle of any.
_seen: weakref.WeakKeyDictionary[Any, Known] = weakref.WeakKeyDictionary()


def recall(func: Any) -> Known | None:
    """What its calls did in an earlier run; None where that is not known."""
    subject = _subject(func)
    return _seen.get(subject) if subject is not None else None


def remember(func: Any, first: Measurement, mean: Measurement | None = None, sent: bool = False) -> None:
    """So much for the next run, whose inputs may be others to pickle. mean: by default what the first did. sent: see `Known`.

    Not of calls that have threads or programs of their own: to see those takes its time.
    """
    subject = _subject(func)
    if subject is not None and first.calls and not first.own:
        first, mean = (replace(each, transfer=0.0, unpicklable="") for each in (first, mean or first))
        _seen[subject] = Known(first, mean, sent)


def in_the_mean(
    first: Measurement, others: Others, crowding: float = 1.0, before: Measurement | None = None
) -> Measurement:
    """What the calls of a run did that came after the first, which were looked at.

    crowding: how many times as long as alone a call computes where all cores are busy. before: what was the mean in the
    run before this one, where that is known.

    Of calls that compute all is so many times what the first did, and holds the GIL for the same share, but no longer than from
    one call's end to the next: so much of two of them does not go on at once. Of calls that wait
    it is known what they computed; of very little nobody can tell whether it held the GIL, and so it is taken to. That they
    waited longer may be for the GIL, where the cores were busy; or the first was the only one that waited. Then it is not
    taken to be more than before either: else each run would have more in flight than the last, and wait for longer.
    """
    if others.calls < FEWEST or others.cpu <= 0.0:
        return first
    seen, each, calls = first.gil + first.free, others.cpu / others.calls, first.calls + others.calls
    if first.wait < seen:
        longer = each / crowding / seen
        gil = min(longer * first.gil, others.core_seconds / others.calls)
        return replace(first, gil=gil, free=longer * seen - gil, wait=longer * first.wait, calls=calls)
    wait = max(0.0, others.busy - others.cpu - others.queued) / others.calls
    if others.cpu >= IDLE * others.core_seconds:
        each /= crowding
        wait = min(first.wait, wait, math.inf if before is None else before.wait)
    gil = each if seen <= LITTLE * first.seconds else each * first.gil / seen
    return replace(first, gil=gil, free=each - gil, wait=wait, calls=calls)


def _subject(func: Any) -> Any:
    """What stays the same from run to run, by its identity; None where there may be no such thing."""
    while isinstance(func, (partial, MethodType)):
        func = func.func if isinstance(func, partial) else func.__func__
    return func if type(func) in (FunctionType, BuiltinFunctionType) else None
