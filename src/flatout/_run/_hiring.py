"""Hires the workers of a run, and has the number of processes follow what the machine can give."""

from __future__ import annotations

import contextlib
import math
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from flatout._events import StartWorker
from flatout._machine._machine import usable_cores
from flatout._model import Inside, Options, Plan, Work
from flatout._plan._choose import for_cores
from flatout._run._driver import Driver
from flatout._threads._interrupts import put_off

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any

    from flatout._workers._base import Worker
    from flatout._workers._loop import Begun, LoopWorker
    from flatout._workers._process import ProcessWorker, Setup
    from flatout._workers._threads import ThreadsWorker

# Times the calls that keep a core busy if each takes just the mean, from which more threads in a process mostly take the GIL
# from each other: where 5 ms of computing follow 5 ms of waiting 5 take 0.92-0.97 of the time of 7 (measured).
AMPLE_THREADS = 2.5


class Hiring:
    """Knows what the workers of one run are told, and which there are.

    plan: tells the plan of this moment. follow: takes the plan for another number of cores. The thread that makes this
    begins the run: its affinity counts.
    """

    def __init__(
        self,
        work: Work,
        options: Options,
        total: int | None,
        driver: Driver,
        plan: Callable[[], Plan | None],
        follow: Callable[[Plan], None],
    ) -> None:
        self.begun: Begun = {}
        self.loop_worker: LoopWorker | None = None  # the latest
        self._threads: ThreadsWorker | None = None  # the latest that is many threads
        self._work = work
        self._options = options
        self._total = total
        self._driver = driver
        self._plan = plan
        self._follow = follow
        self._setup: tuple[str, Setup] | None = None  # for this way to run
        self._processes: weakref.WeakSet[ProcessWorker] = weakref.WeakSet()
        self._cores = 0  # that are usable at this moment, where worker processes are in use
        self._followed: tuple[Plan, int, Plan] | None = None  # a plan, the cores it was made for, and what followed
        self._thread = threading.get_native_id()

    def hire(self, order: StartWorker) -> Worker:
        """A worker that has not started."""
        number = order.worker
        if order.kind == "thread":
            return self._hire_thread(number, order.inside)
        if order.kind == "process":
            return self._hire_process(number)
        from flatout._workers._loop import LoopWorker

        self.loop_worker = LoopWorker(number, self._work, self._driver, self.begun)
        return self.loop_worker

    def _hire_thread(self, number: int, inside: Inside) -> Worker:
        if inside:
            from flatout._workers._threads import ThreadsWorker

            self._threads = ThreadsWorker(number, self._work, self._driver)
            return self._threads
        from flatout._workers._thread import ThreadWorker

        return ThreadWorker(number, self._work, self._driver, keep=True)

    @property
    def waiting_in_threads(self) -> int:
        """How many tasks wait for one of joined threads: all else that these have has begun."""
        return 0 if self._threads is None else self._threads.waiting

    @contextlib.contextmanager
    def threads_held(self) -> Iterator[ThreadsWorker | None]:
        """Joined threads, where there are any, begin nothing meanwhile."""
        threads = self._threads
        if threads is None:
            yield None
            return
        threads.hold(True)
        try:
            yield threads
        finally:
            threads.hold(False)

    def _hire_process(self, number: int) -> Worker:
        from flatout._workers._home import emit
        from flatout._workers._process import ProcessWorker

        self.watch_machine()
        plan = self._plan()
        setup, keep = self.set_up(plan), 2 * self._cores
        if plan is None or not plan.inside:
            worker = ProcessWorker(number, setup, self._driver, emit, keep)
        else:
            from flatout._workers._mixed import MixedWorker

            worker = MixedWorker(number, setup, self._driver, emit, keep, self._driver.clock)
        self._processes.add(worker)
        return worker

    def set_up(self, plan: Plan | None) -> Setup:
        """What worker processes are told by this plan; the function is pickled once for it. Raises NotPicklable."""
        with put_off():  # not in the middle of an import, which would leave Python's lock taken
            from flatout._workers._process import Setup

        way = plan.way if plan is not None else "process"
        if self._setup is None or self._setup[0] != way:
            fixed = self._options.chunksize or (plan and plan.chunksize)
            workers = (plan.processes or plan.concurrency) if plan is not None else usable_cores()
            workers = max(1, workers if self._total is None else min(workers, self._total))
            inside, preloads = _inside(plan, self._options.timeout is None) if plan is not None else (None, ())
            setup = Setup(self._work, max(1, usable_cores() // workers), not fixed, inside, preloads)
            self._setup = way, setup
        return self._setup[1]

    def watch_machine(self) -> None:
        """From now on look at what the machine can give: for worker processes."""
        if self._driver.resources is not None:
            return
        with put_off():
            from flatout._machine._resources import Resources
            from flatout._workers import _pool

        self._cores, plan = usable_cores(), self._plan()
        measured = plan.measured if plan is not None else None
        self._driver.resources = Resources(
            pids=lambda: [worker.pid for worker in list(self._processes)],
            finished=lambda: self._driver.statistics().settled,
            wanted=self._wanted,
            cores=self._cores,
            thread=self._thread,
            follow=self._follow_cores,
            let_go=_pool.let_go,
            known=measured.peak_bytes if measured is not None and measured.calls else 0,
        )

    def _wanted(self) -> tuple[int, int]:
        """How many worker processes this run would have now, and how many it might come to."""
        plan, now = self._plan(), len(self._processes)
        if plan is None or plan.kind != "process":
            return now, max(now, self._cores)  # of a gather, say: only some of its calls are for them
        wanted = plan.processes or plan.concurrency
        most = plan.processes or plan.ceiling or plan.concurrency
        return (wanted, most) if self._total is None else (min(wanted, self._total), min(most, self._total))

    def _follow_cores(self, cores: int) -> None:
        """Have the number of workers follow the cores, where it was flatout that chose it."""
        before, self._cores, plan = self._cores, cores, self._plan()
        fixed = self._options.max_concurrency is not None or isinstance(self._options.via, Plan)
        if fixed or plan is None or plan.kind != "process":
            return
        if self._followed is None or self._followed[2] is not plan:
            self._followed = plan, before, plan
        made, made_for, _ = self._followed
        following = for_cores(made, made_for, cores)
        self._followed = made, made_for, following
        self._follow(following)


def _inside(plan: Plan, patient: bool) -> tuple[Callable[..., Any] | None, Sequence[str]]:
    """What makes the one that runs several tasks at once in each process of a mixture, and what that has to load.

    patient: tasks may wait in the process until it is their turn: no time is counted for them.
    """
    if not plan.inside:
        return None, ()
    from flatout._child._zygote import LOOP
    from flatout._run._inside import Loop, Threads

    if plan.inside == "async":
        return Loop, (LOOP,)
    share = (plan.ceiling or plan.concurrency) / (plan.processes or 1)
    ample = AMPLE_THREADS * plan.predicted.useful / (plan.processes or 1) if plan.predicted and patient else share
    return partial(Threads, math.ceil(min(share, ample)), math.ceil(share)), ()
