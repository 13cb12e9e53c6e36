"""A batch run by two threads at once, the caller's and another: a round of the duel (see `_plan/_duel.py`)."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable

from flatout._events import SEAT, BatchFinished
from flatout._model import Batch, Work
from flatout._plan._duel import Reading, Round
from flatout._record import replace
from flatout._threads._daemons import Daemon
from flatout._workers._call import Caller

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any

    Await = Callable[[Awaitable[Any]], Any]


def run_by(threads: int, work: Work, batch: Batch, set_aside: Await) -> tuple[BatchFinished, Round]:
    """Run it, in this thread or half in this and half in another; returns the report, and what each thread has done.

    What calls return to be awaited goes to `set_aside`. Nothing of it can be given back meanwhile.
    """

    def run(part: Batch) -> BatchFinished:
        return Caller(work, set_aside).run(part, SEAT, set_aside)

    middle = batch.first + (len(batch) + 1) // 2
    other = _Other(lambda: run(batch.part(middle, batch.end)))
    if threads < 2 or len(batch) < 2 or not other.start():
        report, seconds = _timed(lambda: run(batch), time.perf_counter())
        return report, (Reading(len(report.values), seconds),)
    began = other.go()
    ours, seconds = _timed(lambda: run(batch.part(batch.first, middle)), began)
    theirs, their_seconds = other.report()
    return _joined(ours, theirs), (Reading(len(ours.values), seconds), Reading(len(theirs.values), their_seconds))


def _joined(first: BatchFinished, second: BatchFinished) -> BatchFinished:
    errors = [replace(error, offset=error.offset + len(first.values)) for error in second.errors]
    return replace(
        first,
        values=[*first.values, *second.values],
        errors=(*first.errors, *errors),
        seconds=first.seconds + second.seconds,
        cpu_seconds=first.cpu_seconds + second.cpu_seconds,
    )


class _Other:
    """A second thread. A Ctrl-C in the first leaves it behind."""

    def __init__(self, run: Callable[[], BatchFinished]) -> None:
        self._run = run
        self._here, self._go, self._over = threading.Event(), threading.Event(), threading.Event()
        self._began = 0.0
        self._report: tuple[BatchFinished, float] | None = None
        self._error: BaseException | None = None

    def start(self) -> bool:
        """Have it stand ready; False where no thread can be had."""
        try:
            Daemon(self._serve, "flatout-duel").start()
        except RuntimeError:
            return False
        return self._here.wait()

    def go(self) -> float:
        """Have it begin; returns when that was, for both: to come to run at all is part of the duel."""
        self._began = time.perf_counter()
        self._go.set()
        return self._began

    def report(self) -> tuple[BatchFinished, float]:
        """What it has done, and in how many seconds, when it is done. Raises what a call raised to end everything."""
        self._over.wait()
        if self._error is not None:
            raise self._error
        assert self._report is not None
        return self._report

    def _serve(self) -> None:
        self._here.set()
        self._go.wait()
        try:
            self._report = _timed(self._run, self._began)
        except BaseException as error:
            self._error = error
        self._over.set()


def _timed(run: Callable[[], BatchFinished], began: float) -> tuple[BatchFinished, float]:
    """Run that; returns the seconds since it began, those of waiting for a core with them.

    Who has waited for one has not run beside the other, and so has shown nothing.
    """
    report = run()
    return report, time.perf_counter() - began
