"""A choice looked at again, in real runs and by its parts. What must hold does not depend on how fast the machine is."""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from builds import needs_gil

import flatout
from flatout._dispatch._dispatcher import Dispatcher
from flatout._dispatch._trial import ENOUGH, PATIENCE, VERDICT
from flatout._events import SEAT, BatchFinished, LoopIdle, SendBatch, TasksDrawn, Tick, WorkerReady
from flatout._model import Batch, Measurement, Options, Plan, Statistics, Work
from flatout._plan._choose import Situation
from flatout._plan._second_look import SecondLook, Tie

# A trial: a loop gets a share of the tasks until it is known what they do


def sent_to_loop(total: int, now: float = 0.0) -> tuple[Dispatcher, int]:
    """A dispatcher with a loop on trial with 1 of 4 shares, and how many tasks that was given."""
    dispatcher = Dispatcher(Options(), Plan("async", 1000), total)
    dispatcher.try_out(4)
    dispatcher.handle(Tick(), now)
    dispatcher.handle(TasksDrawn(Batch(0, list(range(total)))), now)
    return dispatcher, count(dispatcher.handle(WorkerReady(1), now))


def count(commands: list[Any]) -> int:
    return sum(len(command.batch) for command in commands if isinstance(command, SendBatch))


def test_a_loop_on_trial_gets_its_share_and_the_rest_when_nothing_has_ended_for_a_while() -> None:
    dispatcher, begun = sent_to_loop(400)
    assert begun == 100
    assert dispatcher.wake_at == PATIENCE
    assert count(dispatcher.handle(Tick(), PATIENCE / 2)) == 0
    assert count(dispatcher.handle(Tick(), PATIENCE)) == 300
    assert dispatcher.wake_at is None


def test_the_first_end_gives_time_for_a_verdict_and_more_ends_are_one() -> None:
    dispatcher, _ = sent_to_loop(400)
    assert count(dispatcher.handle(BatchFinished(1, 0, [0]), 0.01)) == 1, "one for one"
    assert dispatcher.wake_at == 0.01 + VERDICT
    more = list(range(ENOUGH))
    assert count(dispatcher.handle(BatchFinished(1, 1, more), 0.012)) == 300 - 1


def test_few_tasks_are_not_tried_out() -> None:
    _, begun = sent_to_loop(90)
    assert begun == 90


def test_idleness_does_not_end_a_trial() -> None:
    dispatcher, _ = sent_to_loop(400)
    assert count(dispatcher.handle(LoopIdle(1), 0.001)) == 0


# What ties coroutines to their loop


SEMAPHORE = asyncio.Semaphore(2)
SEEN: list[int] = []


async def plain(x: int) -> int:
    return x


async def uses_a_semaphore(x: int) -> int:
    async with SEMAPHORE:
        return x


async def notes(x: int) -> int:
    SEEN.append(x)
    return x


async def gives_a_lambda(x: int) -> Callable[[], int]:
    return lambda: x


class Client:
    """As the sessions of HTTP libraries: its connections belong to a loop."""

    def __init__(self) -> None:
        self._loop = None

    async def get(self, x: int) -> int:
        return x


async def gets(client: Client, x: int) -> int:
    return await client.get(x)


def tie_of(func: Callable[..., Any], item: Any = 1) -> str:
    tie = Tie(Work(func))
    tie(SendBatch(1, Batch(0, [item])), Statistics)
    value = asyncio.run(func(item))
    tie(BatchFinished(1, 0, [value]), Statistics)
    return tie.why


def test_nothing_ties_a_plain_coroutine() -> None:
    assert tie_of(plain) == ""


@pytest.mark.parametrize(
    ("func", "why"),
    [
        (uses_a_semaphore, "belongs to this event loop"),
        (functools.partial(gets, Client()), "belongs to this event loop"),
        (Client().get, "belongs to this event loop"),
        (notes, "the call changed the global 'SEEN'"),
        (gives_a_lambda, "gives_a_lambda"),
    ],
)
def test_what_belongs_to_a_loop_or_would_be_lost_or_cannot_cross_ties_it(func: Callable[..., Any], why: str) -> None:
    assert why in tie_of(func)


def test_before_a_call_has_ended_it_is_not_known() -> None:
    tie = Tie(Work(plain))
    tie(SendBatch(1, Batch(0, [1])), Statistics)
    assert tie.why


# Real runs


def compute(milliseconds: float) -> int:
    end = time.thread_time() + milliseconds / 1000
    while time.thread_time() < end:
        pass
    return os.getpid()


async def nap_and_compute(milliseconds: float) -> int:
    await asyncio.sleep(0.005)
    return compute(milliseconds)


needs_cores = pytest.mark.skipif(flatout.machine().usable_cores < 2, reason="one core is all there is")


@needs_cores
def test_coroutines_that_fill_their_loop_are_spread_over_processes() -> None:
    run = flatout.map(nap_and_compute, [3] * 400)
    pids = run.results()
    assert run.plan.way == "process of loops"
    assert len(set(pids)) >= 3, "those that the loop had begun it finished"
    assert pids[0] == os.getpid()


async def hold_up_and_compute(milliseconds: float) -> int:
    """The first holds up its loop before any other can have ended."""
    if milliseconds == 4:
        time.sleep(0.05)
    return await nap_and_compute(3)


@needs_cores
def test_they_are_spread_though_the_loop_is_held_up_at_the_start() -> None:
    run = flatout.map(hold_up_and_compute, [4] + [3] * 399)
    run.wait()
    assert run.plan.way == "process of loops"


def test_in_the_callers_own_loop_they_stay() -> None:
    async def main() -> set[int]:
        return set(await flatout.map(nap_and_compute, [2] * 150))

    assert asyncio.run(main()) == {os.getpid()}


@needs_cores
@needs_gil
def test_calls_that_turn_dear_leave_the_plain_loop() -> None:
    run = flatout.map(compute, [0] * 3000 + [5] * 200)
    assert len(set(run.results())) >= 2
    assert run.plan.kind == "process"


def test_a_batch_in_the_callers_thread_that_takes_long_is_cut_short_with_nothing_lost_or_twice() -> None:
    """No-ops are handed out thousands at a time: the dear ones among them must not all be the caller's."""
    calls: list[int] = []  # an effect: so they stay in this process, whatever they do
    dear = threading.Event()

    def call(x: int) -> int:
        calls.append(x)
        if x >= 20_000:
            dear.set()
            time.sleep(0.02)
        return x

    run = flatout.map(call, range(20_200))
    assert run.results() == list(range(20_200))
    assert sorted(calls) == list(range(20_200)), "each once"
    assert dear.is_set()


def waits_then_computes(item: tuple[int, int]) -> int:
    wait, milliseconds = item
    time.sleep(wait / 1000)
    return compute(milliseconds)


@needs_cores
@needs_gil
def test_threads_whose_calls_come_to_compute_hand_over_to_processes() -> None:
    for _ in range(5):  # beside programs that keep the cores busy they may look as if they waited
        run = flatout.map(waits_then_computes, [(20, 0)] * 300 + [(0, 4)] * 1000, max_concurrency=32)
        pids = run.results()
        if run.plan.kind == "process":
            break
    assert run.plan.kind == "process"
    assert len(set(pids)) >= 3


@needs_cores
@needs_gil
def test_processes_whose_calls_come_to_wait_hand_over_to_where_more_can_wait() -> None:
    run = flatout.map(waits_then_computes, [(0, 4)] * 100 + [(30, 0)] * 600)
    began = time.perf_counter()
    run.wait()
    assert "looked at again" in run.plan.reason
    assert time.perf_counter() - began < 600 * 0.03 / 2, "two processes would have needed all of that"


def meets(folder: str) -> int:
    """How many of these have been under way at once, in one process, at some time while this was."""
    name = f"{folder}/{os.getpid()}-{threading.get_ident()}"
    open(name, "w").close()
    compute(2)
    time.sleep(0.004)
    together = sum(entry.startswith(f"{os.getpid()}-") for entry in os.listdir(folder))
    os.remove(name)
    return together


@needs_cores
@needs_gil
def test_where_a_mixture_is_chosen_at_once_several_calls_are_in_flight_in_a_process(tmp_path: Any) -> None:
    for _ in range(9):  # on a busy machine the probe may see something else
        run = flatout.map(meets, [str(tmp_path)] * 200)
        together = run.results()
        if run.plan.way == "process of threads" and "looked at again" not in run.plan.reason:
            break
    assert run.plan.way == "process of threads"
    assert max(together) > 1


def test_calls_that_seemed_to_have_threads_of_their_own_are_probed_once_more() -> None:
    """Those of BLAS spin for a while when they are started, and would speak for all calls."""
    now, asked = [0.0], []
    fills = Plan("inline", measured=Measurement(0.005, 0.0, 0.0, own=0.005))
    situation, nothing = lambda: Situation(2, 1000), lambda plan: False
    look = SecondLook(situation, lambda: fills, lambda: now[0], nothing, lambda: asked.append(now[0]))
    look.adopted(fills, Statistics())
    seen = BatchFinished(SEAT, 0, [1], seconds=0.005)
    for moment in (0.1, 0.2, 0.4):
        now[0] = moment
        look(seen, Statistics)
    assert asked == [0.4]
    look.adopted(fills, Statistics())
    now[0] = 2.0
    look(seen, Statistics)
    assert asked == [0.4], "twice is enough"


class LookAtThreads:
    """A look at 50 threads that are all in calls, by a clock of its own; what it finds better."""

    def __init__(self, possible: bool) -> None:
        self.now, self.ended = 0.0, 0
        self.found: list[Plan] = []
        self.plan = Plan("thread", 50, measured=Measurement(0.0, 0.0, 0.02))
        self._possible = possible
        situation = Situation(4, 10_000, warm=True)
        self.look = SecondLook(lambda: situation, lambda: self.plan, lambda: self.now, self._change, lambda: None)
        self.adopt()

    def _change(self, plan: Plan) -> bool:
        self.found.append(plan)
        return self._possible

    def _counts(self) -> Statistics:
        return Statistics(succeeded=self.ended, busy_seconds=0.5 * self.ended, running=50, workers=50)

    def adopt(self) -> None:
        self.look.adopted(self.plan, self._counts())

    def passes(self, calls: int, seconds: float, compute: Callable[[], object]) -> None:
        """So many calls end while this process computes, again and again, for so many seconds at least."""
        began = time.process_time()
        while (computed := time.process_time() - began) < seconds:
            compute()
        self.now, self.ended = self.now + computed, self.ended + calls
        self.look(BatchFinished(1, 0, [0]), self._counts)


@pytest.mark.parametrize("possible", [True, False])
def test_there_is_no_other_verdict_before_a_new_plan_is_adopted_unless_it_cannot_be(possible: bool) -> None:
    threads = LookAtThreads(possible)
    for calls in (40, 10):  # of 3 ms; and of 12, so that what was tried may be tried again
        threads.passes(calls, 0.12, lambda: None)
    assert len(threads.found) == (1 if possible else 2)


def test_a_full_garbage_collection_is_not_taken_for_what_threads_compute() -> None:
    """A process with many objects takes a core for 0.1 s for one; the threads of the calls were taken to."""
    heap: list[list[list[int]]] = [[[]] for _ in range(600_000)]
    before = [*gc.callbacks]
    threads = LookAtThreads(False)
    threads.passes(40, 0.06, gc.collect)
    assert not threads.found
    threads.look.end()
    threads.adopt()
    assert gc.callbacks == before, "nor when a plan comes after the end"
    del heap


def test_calls_as_long_as_the_first_which_was_judged_in_its_middle_are_not_probed_anew() -> None:
    asked: list[None] = []
    plan = Plan("inline", measured=Measurement(0.06, 0.0, 0.0, calls=0))
    look = SecondLook(
        lambda: Situation(2, 1000), lambda: plan, lambda: 0.0, lambda plan: False, lambda: asked.append(None)
    )
    look.adopted(plan, Statistics())
    plan = Plan("inline", measured=Measurement(0.3, 0.0, 0.0))  # its figures are made anew at the end of the first call
    look(BatchFinished(SEAT, 1, [1], seconds=0.3), Statistics)
    assert not asked
    look(BatchFinished(SEAT, 2, [1], seconds=1.0), Statistics)
    assert len(asked) == 1
