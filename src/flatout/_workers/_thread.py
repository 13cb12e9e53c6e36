"""A worker that is a thread of this process.

Threads cannot be killed. A thread that is killed is left behind: it ends its call some time, nobody listens any more,
and being a daemon it keeps no program from ending.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial

from flatout._awaitable import is_awaitable
from flatout._events import BatchFinished, WorkerExited, WorkerReady
from flatout._forks import leave
from flatout._model import Batch, Work
from flatout._threads import _kept
from flatout._workers._base import Host
from flatout._workers._call import Caller, OwnLoop


class ThreadWorker:
    """One daemon thread.

    keep: the thread may serve other runs before and after, unless an initializer makes it one of this run.
    """

    def __init__(self, number: int, work: Work, host: Host, keep: bool = False) -> None:
        self._number = number
        self._work = work
        self._host = host
        self._loop = OwnLoop()
        self._caller = Caller(work, self._loop, ends_all=())
        self._left_behind = False
        self._pid = os.getpid()
        self._name = f"flatout-{number}"
        self._keep = keep and work.initializer is None
        self._thread: _kept.KeptThread | None = None

    def start(self) -> None:
        """Start the thread."""
        try:
            self._thread = (_kept.take if self._keep else _kept.begin)(self._name)
        except RuntimeError as error:  # no more threads to be had
            self._host.post(WorkerExited(self._number, error))
            return
        if self._work.initializer is not None:
            self._do(self._initialize)
        else:  # so that it finds its first batch when it wakes, and need not sleep once more
            self._report(WorkerReady(self._number, self._name))

    def send(self, batch: Batch) -> None:
        """Have it run a batch."""
        self._do(partial(self._run, batch))

    def running(self) -> Sequence[tuple[int, float]]:
        """The task it is on."""
        current = self._caller.current
        return [] if current is None else [current]

    def cancel(self, index: int) -> None:
        """A thread cannot be made to end a call."""

    def stop(self) -> None:
        """Let the thread go."""
        if not self._keep:
            self._leave()
        elif self._loop.open:
            self._do(self._rest)
        elif self._thread is not None:
            _kept.give_back(self._thread)

    def _rest(self) -> None:
        """In the thread: only then may others have it, since to close a loop may take long."""
        assert self._thread is not None
        try:
            self._loop.close()
        finally:
            _kept.give_back(self._thread)

    def kill(self) -> None:
        """Leave the thread behind; its name tells, in a debugger, what it was left with."""
        current = self._caller.current
        if self._thread is not None:
            self._thread.name = f"{self._name} (left behind in task {current[0] if current else '?'})"
        self._leave()
        self._host.post(WorkerExited(self._number))

    def close(self) -> None:
        """Nothing of the host is held."""

    def join(self) -> None:
        """Wait for the end of the thread, which must not be one that is kept."""
        if self._thread is not None:
            self._thread.join()

    def _do(self, job: Callable[[], None] | None) -> None:
        if self._thread is not None:
            self._thread.inbox.put(job)

    def _leave(self) -> None:
        """The thread ends when it has ended what it is on."""
        self._left_behind = True
        self._do(self._loop.close)
        self._do(None)

    def _report(self, event: WorkerReady | BatchFinished | WorkerExited) -> None:
        if not self._left_behind:
            self._host.post(event)

    def _initialize(self) -> None:
        assert self._work.initializer is not None
        try:
            value = self._work.initializer()
            if is_awaitable(value):
                self._loop(value)
        except BaseException as error:
            self._give_up(WorkerExited(self._number, error, fatal=True))
        else:
            self._report(WorkerReady(self._number, self._name))

    def _run(self, batch: Batch) -> None:
        if self._left_behind:
            return
        try:
            event = self._caller.run(batch, self._number)
        except BaseException as error:  # of what a class of the user's does when it is only asked for its name
            self._give_up(WorkerExited(self._number, error, range(batch.first, batch.end)))
        else:
            if os.getpid() != self._pid:  # a child that a task has forked
                leave(event.errors[-1].error if event.errors else None)
            self._report(event)

    def _give_up(self, event: WorkerExited) -> None:
        if not self._left_behind:
            self._leave()
            self._host.post(event)
