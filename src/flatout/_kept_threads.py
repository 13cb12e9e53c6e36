"""Threads that wait a while for more work: to wake one takes a tenth of the 0.1-0.2 ms that it takes to start one."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

IDLE_SECONDS = 5.0  # that a thread waits; guessed: from run to run, not from hour to hour

Job = Callable[[], None]


class _KeptThread(threading.Thread):
    """A daemon thread that does one job after another. A job must not raise."""

    def __init__(self, name: str, job: Job) -> None:
        super().__init__(name=name, daemon=True)
        self.inbox: SimpleQueue[tuple[str, Job]] = SimpleQueue()
        self._job = job

    def run(self) -> None:
        """See `threading.Thread`."""
        job: Job | None = self._job
        del self._job
        while job is not None:
            job()
            job = None  # which holds the run
            self.name = "flatout-idle"
            _busy.discard(self)
            _idle.append(self)
            job = self._next()

    def _next(self) -> Job | None:
        try:
            self.name, job = self.inbox.get(timeout=IDLE_SECONDS)
        except Empty:
            try:
                _idle.remove(self)
            except ValueError:  # somebody has just taken it from there
                self.name, job = self.inbox.get()
            else:
                return None
        return job


_idle: list[_KeptThread] = []
_busy: set[_KeptThread] = set()


def clocks() -> list[int]:
    """The CPU clocks of those that are on a job, or still at the end of one. What these tell is no work of anybody else's."""
    of = getattr(time, "pthread_getcpuclockid", None)
    idents = [thread.ident for thread in list(_busy)]  # who is there lives on for some seconds
    return [] if of is None else [of(ident) for ident in idents if ident is not None]


def run(name: str, job: Job) -> threading.Thread:
    """Have a thread of this name do a job. Raises RuntimeError where no thread can be had."""
    try:
        thread = _idle.pop()
    except IndexError:
        thread = _KeptThread(name, job)
        _busy.add(thread)
        try:
            thread.start()
        except RuntimeError:
            _busy.discard(thread)
            raise
    else:
        _busy.add(thread)
        thread.inbox.put((name, job))
    return thread


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)
    os.register_at_fork(after_in_child=_busy.clear)
