"""Threads that wait a while for more work: to wake one takes a tenth of the 0.1-0.2 ms that it takes to start one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue

from flatout._threads._daemons import Daemon, in_reserve
from flatout._threads._times import clock_of

IDLE_SECONDS = (
    60.0  # that a thread waits, which takes 24 KB (measured); guessed: from run to run, not from hour to hour
)

ENDING_SECONDS = 1.0  # that those are waited for which are to end; guessed

Job = Callable[[], object]


class KeptThread(Daemon):
    """A thread that does what is put into its inbox, one job after another; None ends it. A job must not raise."""

    def __init__(self, name: str) -> None:
        super().__init__(self._serve, name)
        self.inbox: SimpleQueue[Job | None] = SimpleQueue()
        self.at_work = False  # whether it is on a job
        self.clock: int | None = None  # that tells its CPU time, None where the system has none

    def _serve(self) -> None:
        try:
            while (job := self._next()) is not None:
                self.at_work = True
                job()
                job = None  # which holds the run
                self.at_work = False
        finally:
            _taken.discard(self)

    def _next(self) -> Job | None:
        while True:
            try:
                return self.inbox.get(timeout=IDLE_SECONDS)
            except Empty:
                try:
                    _idle.remove(self)
                except ValueError:  # it belongs to somebody
                    continue
                if self.inbox.empty():
                    return None
                _idle.append(self)  # it has been given back with something to do first


_idle: list[KeptThread] = []
_taken: set[KeptThread] = set()


def idle() -> int:
    """How many have nothing to do."""
    return len(_idle)


def clocks() -> list[int]:
    """The CPU clocks of those that belong to somebody. What these tell is no work of anybody else's."""
    return [thread.clock for thread in list(_taken) if thread.clock is not None]


def take(name: str) -> KeptThread:
    """A thread of this name that has nothing to do. Raises RuntimeError where no thread can be had."""
    try:
        thread = _idle.pop()
    except IndexError:
        return begin(name)
    thread.name = name
    _taken.add(thread)
    return thread


def begin(name: str) -> KeptThread:
    """The same, but one that has served nobody before."""
    thread = KeptThread(name)
    _taken.add(thread)
    try:
        thread.start()
    except RuntimeError:
        _taken.discard(thread)
        raise
    assert thread.ident is not None
    thread.clock = clock_of(thread.ident)  # as long as it is sure to be there
    return thread


def give_back(thread: KeptThread) -> None:
    """Let it serve somebody else, once it has done what it is on."""
    if thread.at_work:
        thread.inbox.put(lambda: _let_rest(thread))
    else:
        _let_rest(thread)


def _let_rest(thread: KeptThread) -> None:
    thread.name = "flatout-idle"
    _taken.discard(thread)
    _idle.append(thread)


def _end_idle() -> bool:
    """They keep memory, for their stacks, and count where threads are counted."""
    ended: list[KeptThread] = []
    with suppress(IndexError):
        while True:
            ended.append(_idle.pop())
    for thread in ended:
        thread.inbox.put(None)
    until = time.monotonic() + ENDING_SECONDS
    for thread in ended:
        thread.join(max(0.0, until - time.monotonic()))
    return bool(ended)


in_reserve.append(_end_idle)

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)
    os.register_at_fork(after_in_child=_taken.clear)
