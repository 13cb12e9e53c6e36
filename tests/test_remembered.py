"""What one run has seen of a function shortens the look of the next, as long as the calls still do the same."""

from __future__ import annotations

import functools
import gc
import time
import weakref
from typing import Any

import pytest

import flatout
from flatout import Plan
from flatout._machine import gil_enabled
from flatout._model import Batch, Measurement, Options, Work
from flatout._plan import _remembered
from flatout._plan._chooser import Chooser
from flatout._plan._evidence import AGREED, Evidence
from flatout._plan._remembered import recall, remember
from flatout._record import replace

COMPUTES = Measurement(0.001, 0.0, 0.0, calls=30)
LETS_GO = Measurement(0.0, 0.001, 0.0, calls=30)
WAITS = Measurement(0.0001, 0.0, 0.0009, calls=30)


def compute(turns: int) -> int:
    total = 0
    for i in range(turns):
        total += i * i % 7
    return total


class Method:
    def compute(self, turns: int) -> int:
        return compute(turns)


def after(calls: int, each: float, cpu: float, held: float | None = None) -> Evidence:
    """So many calls, each of so many seconds, of these computing; looks that found that share of it with the GIL held."""
    evidence = Evidence(gil=True)
    now = computed = 0.0
    for _ in range(calls):
        evidence.begun(now, computed)
        if held is not None:
            evidence.saw(each / 2, cpu / 2 * held, True, 0.0, True)
            evidence.saw(each / 2, cpu / 2 * (1 - held), False, 0.0, True)
        now, computed = now + each, computed + cpu
        evidence.ended(1, now, computed, lambda: 0.0)
    return evidence


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_remembered, "_seen", weakref.WeakKeyDictionary())


@pytest.mark.parametrize(
    ("evidence", "known", "agrees"),
    [
        (after(6, 0.001, 0.001), COMPUTES, True),
        (after(4, 0.001, 0.001), COMPUTES, False),  # too little to tell
        (after(6, 0.0018, 0.0018), COMPUTES, True),
        (after(6, 0.0022, 0.0022), COMPUTES, False),  # they take longer
        (after(30, 0.0004, 0.0004), COMPUTES, False),  # or not as long
        (after(6, 0.001, 0.0007), COMPUTES, False),  # they have come to wait
        (after(6, 0.001, 0.0001), WAITS, True),
        (after(6, 0.001, 0.00013), WAITS, False),
        (after(6, 0.001, 0.0005), WAITS, False),  # or to compute
        (after(6, 0.001, 0.001, held=0.9), COMPUTES, True),
        (after(6, 0.001, 0.001, held=0.5), COMPUTES, False),  # or to let go of the GIL
        (after(6, 0.001, 0.001), LETS_GO, False),  # nobody has looked, and so it may hold it
        (after(6, 0.001, 0.001, held=0.1), LETS_GO, True),
        (after(6, 0.001, 0.001), Measurement(0.0, 0.0, 0.0), False),
    ],
)
def test_calls_that_do_something_else_by_now_are_looked_at_as_if_for_the_first_time(
    evidence: Evidence, known: Measurement, agrees: bool
) -> None:
    assert evidence.agrees(known) is agrees


def test_the_least_that_tells_is_a_few_milliseconds() -> None:
    assert 0.004 < AGREED < 0.006, "the calls above are so many for that"


@pytest.mark.parametrize("func", [compute, time.sleep, functools.partial(compute, 5), Method().compute])
def test_a_function_is_remembered_whatever_it_is_wrapped_in(func: Any) -> None:
    remember(func, COMPUTES)
    assert recall(func) == COMPUTES
    if isinstance(func, functools.partial):
        assert recall(functools.partial(compute, 6)) == recall(compute) == COMPUTES
    remember(func, WAITS)
    assert recall(func) == WAITS


@pytest.mark.parametrize("measured", [Measurement(0.001, 0.0, 0.0, calls=0), Measurement(0.001, 0.0, 0.0, own=0.001)])
def test_what_was_not_seen_to_its_end_is_not_remembered(measured: Measurement) -> None:
    remember(func := lambda: None, measured)
    assert recall(func) is None


def test_what_is_said_of_the_inputs_is_not_remembered() -> None:
    remember(compute, replace(COMPUTES, transfer=0.5, unpicklable="an open file"))
    assert recall(compute) == COMPUTES


def test_an_object_that_is_called_is_not_remembered() -> None:
    remember(called := functools.cmp_to_key(lambda a, b: 0), COMPUTES)
    assert recall(called) is None


def test_a_function_that_is_gone_is_forgotten() -> None:
    func = lambda: None  # noqa: E731
    gone = weakref.ref(func)
    remember(func, COMPUTES)
    del func
    gc.collect()
    assert gone() is None


def test_a_finalizer_may_remember_in_the_middle_of_it() -> None:
    class Abandoned:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            remember(compute, COMPUTES)
            recall(compute)

    thresholds = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(1000):
            Abandoned()
            remember(compute, WAITS)
            assert recall(compute) in (COMPUTES, WAITS)
    finally:
        gc.set_threshold(*thresholds)


def chosen(known: Measurement | None, left: int) -> Plan:
    """What is chosen for so many calls that are left, once calls have been looked at."""
    plans: list[Plan] = []
    chooser = Chooser(Work(compute), Options(), 2, "", lambda: True, lambda: None, known=known)
    chooser.left = lambda: left
    chooser.adopt = plans.append
    while not plans:
        chooser.before(Batch(0, [20_000]))
        result = compute(20_000)
        chooser.ran(1)
        chooser.after(1, result)
    chooser.stop()
    return plans[0]


JUDGED = "judged by an earlier run, since the first calls are like it"


def test_what_is_known_decides_where_the_run_leaves_the_plain_loop() -> None:
    deadline = time.monotonic() + 60
    chosen(None, 1000)
    known = recall(compute)
    while JUDGED not in (plan := chosen(recall(compute), 1000)).reason:  # another program was in the way
        assert time.monotonic() < deadline
        known = recall(compute)
    assert plan.measured is not None
    assert known is not None
    assert plan.measured.seconds == known.seconds
    assert recall(compute) is known, "what was not looked at in full is not remembered"
    assert JUDGED not in chosen(recall(compute), 0).reason, "in the plain loop it costs nothing to look on"


@pytest.mark.skipif(flatout.machine().usable_cores < 2, reason="one core is all there is")
@pytest.mark.skipif(not gil_enabled(), reason="a duel is fought")
def test_a_second_run_of_a_function_is_judged_by_the_first() -> None:
    deadline = time.monotonic() + 60
    while True:  # until no other program is in the way
        run = flatout.map(compute, [20_000] * 400)
        assert list(run) == [compute(20_000)] * 400
        assert run.plan is not None
        if JUDGED in run.plan.reason:
            break
        assert time.monotonic() < deadline
    assert run.plan.kind == "process"
