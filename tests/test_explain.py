"""`explain` says what `map` would do, after a few calls and no more."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time

import pytest
from builds import needs_gil

import flatout
from flatout._explain import Explanation
from flatout._model import Measurement, Prediction
from flatout._plan._choose import Situation, choose


def compute(n: int) -> int:
    total = 0
    for i in range(n):
        total += i * i % 7
    return total


@needs_gil
def test_the_table_has_figures_for_every_kind() -> None:
    explanation = flatout.explain(compute, [300_000] * 60)
    text = str(explanation)
    assert text.startswith("measured over ")
    assert "predicted for all 60 inputs:" in text
    for kind in ("inline", "async", "thread", "process"):
        assert f"\n  {kind}" in text
    assert "<- chosen" in text
    assert "does not return an awaitable" in text
    kinds = [prediction.kind for prediction in explanation.predictions]
    assert kinds == ["inline", "async", "thread", "process", "process"]
    assert explanation.plan.kind == "process"
    assert explanation.inputs == 60
    assert explanation.measured.calls == explanation.calls


def test_only_a_few_inputs_are_used_up() -> None:
    calls: list[int] = []

    def call(i: int) -> None:
        calls.append(i)
        time.sleep(0.02)

    explanation = flatout.explain(call, itertools.count())
    assert 0 < len(calls) == explanation.calls < 10
    assert explanation.inputs is None
    assert explanation.plan.kind == "thread"
    time.sleep(0.1)
    assert len(calls) == explanation.calls


@needs_gil
def test_it_agrees_with_map() -> None:
    run = flatout.map(compute, [300_000] * 60)
    run.results()
    assert flatout.explain(compute, [300_000] * 60).plan.kind == run.plan.kind


def test_all_inputs_may_be_over_before_it_is_decided() -> None:
    explanation = flatout.explain(compute, [10, 10, 10])
    assert explanation.calls == 3
    assert explanation.plan.kind == "inline"


@pytest.mark.parametrize("where", ["outside", "inside"])
def test_a_coroutine_function_is_awaited_a_few_times(where: str) -> None:
    calls: list[int] = []

    async def call(i: int) -> None:
        calls.append(i)
        await asyncio.sleep(0.02)

    async def main() -> flatout.Explanation:
        return flatout.explain(call, range(100))

    explanation = asyncio.run(main()) if where == "inside" else flatout.explain(call, range(100))
    assert explanation.plan.kind == "async"
    assert 0 < len(calls) == explanation.calls < 10
    assert explanation.measured.wait >= 0.01
    assert "async" in str(explanation)
    assert "<- chosen" in str(explanation)


async def nap_and_compute(turns: int) -> int:
    await asyncio.sleep(0.01)
    return compute(turns)


def row_of(explanation: Explanation, way: str) -> Prediction:
    return next(prediction for prediction in explanation.predictions if prediction.way == way)


@pytest.mark.skipif(flatout.machine().usable_cores < 2, reason="one core is all there is")
def test_loops_in_processes_have_a_row_of_their_own_for_coroutines() -> None:
    explanation = flatout.explain(nap_and_compute, [100_000] * 300)
    loops, loop = row_of(explanation, "process of loops"), row_of(explanation, "async")
    assert not loops.impossible
    assert loops.seconds < loop.seconds
    assert loops.concurrency <= 300
    assert explanation.plan.kind == "async"
    assert "once they are seen to fill its core, loops in processes" in explanation.plan.reason
    assert "\n  process of loops" in str(explanation)


@pytest.mark.skipif(flatout.machine().usable_cores < 2, reason="one core is all there is")
def test_it_says_why_coroutines_are_not_spread() -> None:
    lock, seen = asyncio.Lock(), []

    async def by_turns(i: int) -> None:
        async with lock:
            await asyncio.sleep(0)

    async def noting(i: int) -> None:
        await asyncio.sleep(0)
        seen.append(i)

    async def unsent(i: int) -> object:
        await asyncio.sleep(0)
        return threading.Lock()

    for call, why in ((by_turns, "belongs to this event loop"), (noting, "lost in a process"), (unsent, "pickle")):
        assert why in row_of(flatout.explain(call, range(300)), "process of loops").impossible
    assert (
        "lost in a process" in row_of(flatout.explain(lambda i: noting(i), range(300)), "process of loops").impossible
    )
    few = row_of(flatout.explain(nap_and_compute, [1] * 50), "process of loops").impossible
    assert few == "100 or fewer are all begun at once"
    unknown = row_of(flatout.explain(nap_and_compute, iter([1] * 500)), "process of loops").impossible
    assert unknown == "how many they are is not known"


async def only_compute(turns: int) -> int:
    return compute(turns)


def test_the_wait_for_a_full_loop_is_called_that() -> None:
    said = "in part for the loop, whose core was full"
    deadline = time.monotonic() + 60
    while True:  # until nothing else keeps the loop waiting
        run = flatout.map(nap_and_compute, [100_000] * 60)
        run.results()
        assert run.plan is not None
        if said in run.plan.reason:
            break
        assert time.monotonic() < deadline
    for func, inputs in ((asyncio.sleep, [0.05] * 30), (only_compute, [100_000] * 3)):
        other = flatout.map(func, inputs)
        other.results()
        assert other.plan is not None
        assert said not in other.plan.reason


def test_a_call_by_itself_is_not_taken_to_compute_while_its_loop_wakes() -> None:
    """Of many, each takes a loop some 10 us; by itself ten times that."""

    async def nap(i: int) -> None:
        await asyncio.sleep(0.005)

    explanations = [flatout.explain(nap, range(1000)) for _ in range(3)]
    assert min(explanation.measured.gil for explanation in explanations) < 0.000_2

    async def compute_too(i: int) -> int:
        await asyncio.sleep(0.001)
        return compute(100_000)

    began = time.thread_time()
    compute(100_000)
    cost = time.thread_time() - began
    assert max(flatout.explain(compute_too, range(1000)).measured.gil for _ in range(3)) > 0.5 * cost


def test_a_function_that_returns_a_coroutine_is_told_apart() -> None:
    awaited: list[int] = []

    async def call(i: int) -> None:
        await asyncio.sleep(0)
        awaited.append(i)

    for inputs in (range(100), range(1)):
        awaited.clear()
        explanation = flatout.explain(lambda i: call(i), inputs)
        assert explanation.plan.kind == "async"
        assert 0 < explanation.calls == explanation.measured.calls <= len(inputs)
        assert awaited == list(range(explanation.calls))


def test_no_input_is_nothing_to_explain() -> None:
    async def call(i: int) -> None:
        """Never called."""

    for func in (compute, call):
        with pytest.raises(flatout.PlanError, match="no input"):
            flatout.explain(func, [])


def test_an_exception_of_a_call_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        flatout.explain(lambda x: 1 / x, [0])


def test_an_exception_of_one_among_others_is_raised_and_leaves_none_of_these_behind() -> None:
    ended: list[int] = []

    async def call(i: int) -> None:
        try:
            await asyncio.sleep(60 if i > 3 else 0)
        finally:
            ended.append(i)
        if i == 3:
            raise KeyError(i)

    with pytest.raises(KeyError):
        flatout.explain(call, range(100))
    assert sorted(ended) == list(range(len(ended)))
    assert len(ended) > 4


def test_several_iterables() -> None:
    assert flatout.explain(pow, [2] * 5, [3] * 7).inputs == 5


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(flatout.PlanError, match="callable"):
        flatout.explain(3, [1])  # type: ignore[arg-type]
    with pytest.raises(flatout.PlanError, match="iterable"):
        flatout.explain(compute, 3)  # type: ignore[arg-type]


def test_the_words_of_the_exhibition() -> None:
    """The master's own: 5 s a move, 55 s a reply."""
    plan = choose(Measurement(gil=5.0, free=0.0, wait=55.0), Situation(2, left=720))
    explanation = Explanation(plan, Measurement(5.0, 0.0, 55.0), plan.predictions, calls=1, inputs=720)
    text = str(explanation)
    for kind, figures in (("inline", "1 1 1"), ("thread", "1 11 12"), ("process", "2 16 24")):
        (line,) = (line for line in text.splitlines() if line.startswith(f"  {kind}  "))
        assert f" {figures}" in " ".join(line.split())
    assert "inline 12 h 0 min" in " ".join(text.split())
    assert "While one call computes, 11 others can wait: w / c." in text


def test_what_only_waits_can_wait_in_any_number() -> None:
    measured = Measurement(gil=0.0, free=0.0, wait=0.01)
    plan = choose(measured, Situation(2, left=100))
    text = str(Explanation(plan, measured, plan.predictions, calls=1, inputs=100))
    assert "any number can wait" in text


def test_what_only_computes_leaves_nobody_waiting() -> None:
    measured = Measurement(gil=0.01, free=0.0, wait=0.0)
    plan = choose(measured, Situation(2, left=100))
    assert "can wait" not in str(Explanation(plan, measured, plan.predictions, calls=1, inputs=100))
