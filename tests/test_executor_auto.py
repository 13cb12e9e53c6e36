"""Where an `Executor` by "auto" sends which function, and how it knows one again."""

from __future__ import annotations

import contextvars
import functools
import gc
import math
import os
import threading
import time
import weakref
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future
from typing import Any

import pytest
from builds import needs_gil

import flatout
from flatout._plan import _evidence
from flatout._stations._base import Call
from flatout._stations._verdicts import Verdict, Verdicts, known_by

SECONDS = 60
ATTEMPTS = 3  # a machine that is busy with other work may mislead the measurement


def compute(seconds: float = 0.04) -> int:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
    return os.getpid()


def nap() -> int:
    time.sleep(0.02)
    return os.getpid()


def apply(func: Callable[..., Any], *args: Any) -> Any:
    return func(*args)


def decorated(func: Callable[..., Any]) -> Callable[..., Any]:
    def inner(*args: Any) -> Any:
        return func(*args)

    return inner


class Job:
    def __init__(self, func: Callable[[], Any]) -> None:
        self.func = func

    def run(self) -> Any:
        return self.func()

    __call__ = run


# How each of several is made anew for each call; all of them compute.
ANEW: dict[str, Callable[[], Callable[[], int]]] = {
    "function": lambda: compute,
    "lambda": lambda: lambda: compute(),
    "partial": lambda: functools.partial(apply, compute, 0.04),
    "closure": lambda: decorated(compute),
    "method": lambda: Job(compute).run,
    "object": lambda: Job(compute),
}


def places(func: Callable[[], Callable[[], int]], calls: int = 6) -> set[int]:
    """The processes in which calls of a function ran that is made anew for each."""
    with flatout.Executor(2) as pool:
        return {future.result(SECONDS) for future in [pool.submit(func()) for _ in range(calls)]}


@pytest.mark.parametrize("name", ANEW)
@needs_gil
def test_what_computes_is_known_again_however_often_it_is_made(name: str) -> None:
    assert any(len(places(ANEW[name])) > 1 for _ in range(ATTEMPTS))


@needs_gil
def test_functions_are_judged_one_by_one() -> None:
    for _ in range(ATTEMPTS):
        with flatout.Executor(2) as pool:
            calls = {
                name: [pool.submit(func, *args) for _ in range(5)]
                for name, (func, args) in {
                    "computes": (apply, (compute,)),
                    "waits": (apply, (nap,)),
                    "is short": (apply, (os.getpid,)),
                }.items()
            }
            pids = {name: {future.result(SECONDS) for future in some} for name, some in calls.items()}
        assert pids["waits"] == pids["is short"] == {os.getpid()}
        if len(pids["computes"]) > 1:
            return
    raise AssertionError("three times everything stayed in this process")


seen: list[int] = []


def note(x: int) -> None:
    compute(0.02)
    seen.append(x)


def test_what_was_judged_of_one_function_is_not_held_of_another() -> None:
    """Else what the second does to the caller's memory would be lost in a process."""
    seen.clear()
    with flatout.Executor(2) as pool:
        for wrap in (decorated, lambda func: functools.partial(apply, func), lambda func: Job(func).run):
            futures.wait([pool.submit(wrap(compute)) for _ in range(3)])
            futures.wait([pool.submit(wrap(functools.partial(note, x))) for x in range(3)])
    assert sorted(seen) == sorted([0, 1, 2] * 3)


def test_effects_of_what_is_mapped_in_chunks_are_kept() -> None:
    seen.clear()
    with flatout.Executor(2) as pool:
        list(pool.map(note, range(8), chunksize=2))
    assert sorted(seen) == list(range(8))


def test_calls_in_a_context_stay_in_threads() -> None:
    """What `asyncio.to_thread` makes of a call."""
    variable = contextvars.ContextVar("variable", default=0)
    with flatout.Executor(2) as pool:
        for x in range(5):
            variable.set(x)
            context = contextvars.copy_context()
            assert pool.submit(functools.partial(context.run, variable.get)).result(SECONDS) == x


def test_calls_that_need_each_other_are_under_way_together() -> None:
    barrier = threading.Barrier(3)
    with flatout.Executor(3) as pool:
        assert sorted(pool.map(lambda _: barrier.wait(SECONDS), range(3))) == [0, 1, 2]


# What a function is known by


def known(func: Any, /, *args: Any, **keywords: Any) -> list[Any]:
    return known_by(Call(Future(), func, args, keywords, contextvars.Context()))


def same(first: Any, second: Any) -> bool:
    return list(map(id, known(first))) == list(map(id, known(second)))


def test_the_same_made_anew_is_known() -> None:
    for make in ANEW.values():
        assert same(make(), make())
    numbers: list[int] = []
    assert same(numbers.append, [1].append)
    assert same(functools.lru_cache(compute), compute)


def test_others_are_not_mistaken_for_it() -> None:
    assert not same(decorated(compute), decorated(nap))
    assert not same(Job(compute).run, Job(nap).run)
    assert not same(Job(compute), Job(nap))
    assert not same(functools.partial(apply, compute), functools.partial(apply, nap))
    assert known(apply, compute) != known(apply, nap)
    assert known(apply, func=compute) != known(apply, func=nap)
    assert not same(len, abs)
    assert not same(int, float)


def test_whoever_has_to_do_with_himself_is_known() -> None:
    def recursive() -> Any:
        return recursive

    job = Job(compute)
    job.func = job.run
    assert known(recursive) == [recursive.__code__]
    assert len(known(job.run)) == 1


def test_no_function_is_kept_for_being_remembered() -> None:
    verdicts = Verdicts()
    for x in range(100):
        func = eval(f"lambda: {x}")
        verdicts.add(Call(Future(), func, (), {}, contextvars.Context()), Verdict("thread"))
    del func
    gc.collect()
    assert len(verdicts) <= 1  # the last one Python itself may keep for a while


@needs_gil
def test_a_function_is_let_go_with_its_call_without_the_garbage_collector() -> None:
    class Owner:
        def method(self) -> None:
            pass

    gone = threading.Event()
    gc.disable()
    try:
        with flatout.Executor() as executor:
            owner = Owner()
            weakref.finalize(owner, gone.set)
            executor.submit(owner.method)
            del owner
            assert gone.wait(20)
    finally:
        gc.enable()


def test_a_function_that_is_met_again_is_found() -> None:
    verdicts, verdict = Verdicts(), Verdict("process")
    verdicts.add(Call(Future(), lambda: 0, (), {}, contextvars.Context()), verdict)
    call = Call(Future(), compute, (1,), {}, contextvars.Context())
    assert verdicts.find(call) is None
    verdicts.add(call, verdict)
    assert verdicts.find(call._replace(args=(2,))) is verdict
    verdicts.remove(verdict)
    assert verdicts.find(call) is None


def test_calls_that_are_held_back_are_cancelled_where_the_end_comes_just_as_they_are_let_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for constant in ("ENOUGH", "WAITED", "CLEAR"):  # the first call is judged when it is over
        monkeypatch.setattr(_evidence, constant, math.inf)
    pool = flatout.Executor(2)
    held: list[Future[int]] = []

    def work(n: int) -> int:
        if n == 0:
            held.extend(pool.submit(work, n) for n in range(1, 4))
            station = pool._station._stations["thread"]  # type: ignore[union-attr]
            monkeypatch.setattr(station, "accept", functools.partial(late, station.accept))
        return n

    def late(accept: Callable[[Call], None], call: Call) -> None:
        pool.shutdown(wait=False, cancel_futures=True)
        accept(call)

    assert pool.submit(work, 0).result(SECONDS) == 0
    futures.wait(held, SECONDS)
    assert [future.cancelled() for future in held] == [True] * 3
    pool.shutdown()
