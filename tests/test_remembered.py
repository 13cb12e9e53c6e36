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
from flatout._machine._machine import gil_enabled
from flatout._model import Batch, Measurement, Options, Statistics, Work
from flatout._plan import _remembered
from flatout._plan._chooser import TELLING, Chooser
from flatout._plan._evidence import AGREED, Beside, Evidence
from flatout._plan._remembered import FEWEST, Known, Others, in_the_mean, recall, remember
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
        (after(1, 0.001, 0.001), COMPUTES, False),  # too little to tell
        (after(6, 0.0018, 0.0018), COMPUTES, True),
        (after(6, 0.0022, 0.0022), COMPUTES, False),  # they take longer
        (after(30, 0.0004, 0.0004), COMPUTES, False),  # or not as long
        (after(6, 0.001, 0.0007), COMPUTES, False),  # they have come to wait
        (after(6, 0.001, 0.0001), WAITS, True),
        (after(6, 0.001, 0.00013), WAITS, False),
        (after(6, 0.001, 0.0005), WAITS, False),  # or to compute
        (after(1, 0.006, 0.0001), replace(WAITS, wait=0.03), True),  # of calls that wait one may be short
        (after(1, 0.006, 0.0001), replace(WAITS, wait=0.002), False),  # but not long
        (after(1, 0.06, 0.001), replace(WAITS, wait=0.03), True),
        (after(1, 0.06, 0.02), replace(WAITS, wait=0.06), False),  # nor compute much more
        (after(1, 0.006, 0.0001), COMPUTES, False),
        (after(6, 0.001, 0.001, held=0.9), COMPUTES, True),
        (after(6, 0.001, 0.001, held=0.5), COMPUTES, False),  # or to let go of the GIL
        (after(6, 0.001, 0.001), LETS_GO, False),  # nobody has looked, and so it may hold it
        (after(6, 0.001, 0.001, held=0.1), LETS_GO, True),
        (after(6, 0.001, 0.001, held=0.35), LETS_GO, True),  # where most lets go of it, the rest is hard to tell
        (after(6, 0.001, 0.001, held=0.5), LETS_GO, False),
        (after(6, 0.001, 0.001), Measurement(0.0, 0.0, 0.0), False),
    ],
)
def test_calls_that_do_something_else_by_now_are_looked_at_as_if_for_the_first_time(
    evidence: Evidence, known: Measurement, agrees: bool
) -> None:
    assert evidence.agrees(known) is agrees


def test_after_the_choice_nobody_looks_and_so_nobody_is_kept_out_by_the_gil() -> None:
    """A first call that lets go of the GIL, by which the choice fell after 4 of its 18 ms: it still does what is known."""
    evidence = Evidence(gil=True)
    evidence.begun(0.0, 0.0)
    for _ in range(8):
        evidence.saw(0.0005, 0.0005, False, 0.0, True)
    evidence.judged(0.004, 0.004)
    evidence.ended(1, 0.018, 0.018, lambda: 0.0)
    assert evidence.agrees(Measurement(0.0, 0.018, 0.0, calls=30))
    assert evidence.measurement(0.018, 0.018, 0.0, Beside()).gil == 0.0
    assert not evidence.agrees(Measurement(0.018, 0.0, 0.0, calls=30))


def test_the_least_that_tells_is_two_milliseconds() -> None:
    assert 0.0015 < AGREED < 0.0025, "the calls above are so many for that"


@pytest.mark.parametrize("func", [compute, time.sleep, functools.partial(compute, 5), Method().compute])
def test_a_function_is_remembered_whatever_it_is_wrapped_in(func: Any) -> None:
    remember(func, COMPUTES)
    assert recall(func) == Known(COMPUTES, COMPUTES)
    if isinstance(func, functools.partial):
        assert recall(functools.partial(compute, 6)) == recall(compute) == Known(COMPUTES, COMPUTES)
    remember(func, WAITS, COMPUTES)
    assert recall(func) == Known(WAITS, COMPUTES)


@pytest.mark.parametrize("measured", [Measurement(0.001, 0.0, 0.0, calls=0), Measurement(0.001, 0.0, 0.0, own=0.001)])
def test_what_was_not_seen_to_its_end_is_not_remembered(measured: Measurement) -> None:
    remember(func := lambda: None, measured)
    assert recall(func) is None


@pytest.mark.parametrize(
    ("seconds", "cpu", "known", "agrees"),
    [
        (0.006, 0.006, replace(COMPUTES, gil=0.1), True),
        (0.0015, 0.0015, replace(COMPUTES, gil=0.1), False),  # too little to tell
        (0.006, 0.003, replace(COMPUTES, gil=0.1), False),  # it waits
        (0.006, 0.006, COMPUTES, False),  # it takes much longer
        (0.006, 0.0, Measurement(0.003, 0.0, 0.02, calls=30), True),
        (0.006, 0.006, Measurement(0.003, 0.0, 0.02, calls=30), True),  # it may compute first
        (0.004, 0.004, Measurement(0.003, 0.0, 0.02, calls=30), False),  # but then that is to be seen for a while
        (0.009, 0.009, Measurement(0.003, 0.0, 0.02, calls=30), False),  # not for so long
        (0.006, 0.001, Measurement(0.0001, 0.0, 0.02, calls=30), True),  # as first calls do
        (0.006, 0.002, Measurement(0.0001, 0.0, 0.02, calls=30), False),
        (0.006, 0.006, Measurement(0.0, 0.1, 0.0, calls=30), False),  # nobody has looked, and so it may hold the GIL
    ],
)
def test_a_first_call_may_be_known_before_it_is_over(
    seconds: float, cpu: float, known: Measurement, agrees: bool
) -> None:
    evidence = Evidence(gil=True)
    evidence.begun(0.0, 0.0)
    assert evidence.within_first
    assert evidence.may_agree(known, seconds, cpu, 0.0) is agrees
    evidence.ended(1, seconds, cpu, lambda: 0.0)
    evidence.begun(seconds, cpu)
    assert not evidence.within_first


WAITED = Measurement(0.0002, 0.0001, 0.02, calls=1, peak_bytes=5)
RUN = Others(100, 9.0, 0.6, 0.0, core_seconds=0.6)


@pytest.mark.parametrize(
    ("first", "others", "learned"),
    [
        (WAITED, RUN, (0.006, 0.0, 0.02)),  # nobody can tell whether so little let go of the GIL
        (replace(WAITED, gil=0.004, free=0.002), RUN, (0.004, 0.002, 0.02)),
        (Measurement(0.0, 0.0, 0.0, peak_bytes=5), replace(RUN, core_seconds=6.0), (0.006, 0.0, 0.084)),  # in no time
        (
            WAITED,
            replace(RUN, core_seconds=6.0),
            (0.006, 0.0, 0.084),
        ),  # with a core that idles nobody waits for another
        (WAITED, replace(RUN, busy=0.7), (0.006, 0.0, 0.001)),  # it was the only one that waited
        (WAITED, replace(RUN, calls=FEWEST - 1), (0.0002, 0.0001, 0.02)),
        (WAITED, replace(RUN, cpu=0.0), (0.0002, 0.0001, 0.02)),  # where the system does not tell
        # Calls that compute did all the same, but for so many times as long.
        (replace(WAITED, gil=0.04, free=0.01, wait=0.01), RUN, (0.0048, 0.0012, 0.0012)),
    ],
)
def test_it_is_remembered_what_the_other_calls_of_a_run_have_computed(
    first: Measurement, others: Others, learned: tuple[float, float, float]
) -> None:
    mean = in_the_mean(first, others)
    assert (mean.gil, mean.free, mean.wait) == pytest.approx(learned)
    assert mean.peak_bytes == 5


def test_what_calls_took_longer_since_all_cores_were_busy_is_none_of_their_own() -> None:
    mean = in_the_mean(replace(COMPUTES, gil=0.0009), Others(100, 0.11, 0.11, 0.0, core_seconds=0.11), crowding=1.1)
    assert mean.gil == pytest.approx(0.001)


def test_waiting_that_may_be_for_the_gil_grows_no_more_from_run_to_run() -> None:
    first, before = replace(WAITED, wait=1.0), replace(WAITED, wait=0.05)
    assert in_the_mean(first, RUN, before=before).wait == 0.05
    idle = replace(RUN, core_seconds=6.0)
    assert in_the_mean(first, idle, before=before).wait == pytest.approx(0.084), "where cores idle it is their own"


def test_what_went_on_in_two_threads_at_once_did_not_hold_the_gil() -> None:
    mean = in_the_mean(Measurement(0.009, 0.001, 0.0, calls=3), Others(100, 1.0, 1.0, 0.0, core_seconds=0.5))
    assert (mean.gil, mean.free) == pytest.approx((0.005, 0.005))


def test_to_explain_calls_forgets_nothing_of_a_whole_run() -> None:
    remember(nap, replace(WAITS, calls=400))
    flatout.explain(nap, range(100))
    assert recall(nap) == Known(replace(WAITS, calls=400), replace(WAITS, calls=400))
    remember(nap_again, WAITS)
    flatout.map(nap_again, range(100)).results()
    assert recall(nap_again) != Known(WAITS, WAITS)


def test_what_is_said_of_the_inputs_is_not_remembered() -> None:
    remember(compute, replace(COMPUTES, transfer=0.5, unpicklable="an open file"))
    assert recall(compute) == Known(COMPUTES, COMPUTES)


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
            assert recall(compute) in (Known(COMPUTES, COMPUTES), Known(WAITS, WAITS))
    finally:
        gc.set_threshold(*thresholds)


def test_first_calls_are_held_against_first_ones_and_one_that_waits_against_all() -> None:
    assert Known(COMPUTES, WAITS).alike == (COMPUTES,)
    assert Known(WAITS, COMPUTES).alike == (COMPUTES, WAITS)


def chosen(known: Known | None, left: int, turns: int = 20_000) -> Plan:
    """What is chosen for so many calls that are left, once calls have been looked at."""
    plans: list[Plan] = []
    chooser = Chooser(Work(compute), Options(), 2, "", lambda: True, lambda: None, known=known)
    chooser.left = lambda: left
    chooser.adopt = plans.append
    watched(chooser, turns)
    chooser.stop()
    return plans[0]


def watched(chooser: Chooser, turns: int) -> None:
    """Has calls looked at until the choice falls."""
    while not chooser.decided:
        chooser.before(Batch(0, [turns]))
        result = compute(turns)
        chooser.ran(1)
        chooser.after(1, result)


JUDGED = "judged by an earlier run, since the first calls are like it"


@pytest.mark.parametrize("left", [1000, 0])  # which leave the plain loop, or stay there
def test_what_is_known_decides(left: int) -> None:
    deadline = time.monotonic() + 60
    chosen(None, left)
    known = recall(compute)
    while JUDGED not in (plan := chosen(recall(compute), left)).reason:  # another program was in the way
        assert time.monotonic() < deadline
        known = recall(compute)
    assert plan.measured is not None
    assert known is not None
    assert plan.measured.seconds == known.mean.seconds
    assert recall(compute) is known, "what was not looked at in full is not remembered"


def test_what_a_later_look_has_seen_is_not_taken_for_what_first_calls_do() -> None:
    """Else the next run, whose first calls are like those of this one, would be looked at in full."""
    chooser = Chooser(Work(compute), Options(), 2, "", lambda: True, lambda: None)
    watched(chooser, 20_000)
    later = chooser.anew()
    chooser.stop()
    seen = recall(compute)
    watched(later, 200_000)
    later.stop(Statistics(succeeded=100, busy_seconds=1.0, cpu_seconds=1.0), 0.5, spread=True)
    known = recall(compute)
    assert seen is not None
    assert known is not None
    assert known.first == seen.first
    assert known.mean.gil + known.mean.free > 2 * (known.first.gil + known.first.free)


def test_what_calls_may_change_is_read_once_there_is_a_call_and_not_before() -> None:
    noted: list[int] = []

    def note(turns: int) -> int:
        if turns < 0:
            noted.append(turns)
        return compute(turns)

    chooser = Chooser(Work(note), Options(), 2, "", lambda: True, lambda: None)
    assert not chooser.situation_later().no_process
    assert chooser.before(Batch(0, [1000]))
    assert "'noted'" in chooser.situation_later().no_process
    chooser.stop()


def ended_after(seconds: float) -> float:
    """Has calls looked at for so long, and the run ended; returns how long it was in the end."""
    chooser = Chooser(Work(compute), Options(), 2, "", lambda: True, lambda: None)
    began = time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds:
        chooser.before(Batch(0, [20_000]))
        result = compute(20_000)
        chooser.ran(1)
        chooser.after(1, result)
    chooser.stop()
    return spent


def test_a_run_that_is_over_before_the_choice_falls_is_remembered_where_it_has_told_enough() -> None:
    while ended_after(0.003) > TELLING:  # another program was in the way
        _remembered._seen.clear()
    assert recall(compute) is None
    ended_after(0.025)
    known = recall(compute)
    assert known is not None
    assert known.first.gil + known.first.free > known.first.wait


def test_in_the_middle_of_a_call_in_the_plain_loop_nobody_waits_for_the_choice() -> None:
    chosen(None, 0, turns=2_000_000)
    assert JUDGED not in chosen(recall(compute), 0, turns=2_000_000).reason


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


def nap(x: int) -> None:
    time.sleep(0.02)


def nap_again(x: int) -> None:
    time.sleep(0.02)


def nap_as_long_as(seconds: float) -> None:
    time.sleep(seconds)


def naps_and_computes(turns: int) -> int:
    time.sleep(0.02)
    return compute(turns)


def test_what_turns_out_to_be_otherwise_is_told_and_remembered_as_it_is() -> None:
    """What waits longer than twice as long is noticed when the first call is over: it was judged before."""
    deadline = time.monotonic() + 60
    while True:  # until no other program is in the way
        remember(nap_as_long_as, Measurement(0.0, 0.0001, 0.01, calls=100))
        run = flatout.map(nap_as_long_as, [0.1] * 40)
        run.results()
        assert run.plan is not None
        assert run.plan.measured is not None
        if run.plan.measured.wait > 0.09:
            break
        assert time.monotonic() < deadline
    assert JUDGED not in run.plan.reason
    known = recall(nap_as_long_as)
    assert known is not None
    assert known.first.wait > 0.09


@pytest.mark.skipif(flatout.machine().usable_cores < 2, reason="one core is all there is")
@pytest.mark.skipif(not gil_enabled(), reason="a duel is fought")
def test_what_a_whole_run_has_computed_decides_for_the_next() -> None:
    deadline = time.monotonic() + 60
    while True:  # until no other program is in the way
        flatout.map(naps_and_computes, [40_000] * 200).results()
        run = flatout.map(naps_and_computes, [40_000] * 200)
        run.results()
        assert run.plan is not None
        if JUDGED in run.plan.reason and run.plan.way == "process of threads":
            break
        assert time.monotonic() < deadline
    known = recall(naps_and_computes)
    assert known is not None
    assert known.mean.calls == 200


@pytest.mark.skipif(flatout.machine().usable_cores < 2, reason="one core is all there is")
@pytest.mark.skipif(not gil_enabled(), reason="a duel is fought")
def test_calls_that_turn_dear_are_foreseen_the_second_time() -> None:
    inputs = [20_000] * 40 + [200_000] * 60
    deadline = time.monotonic() + 60
    while True:  # until no other program is in the way
        flatout.map(compute, inputs).results()
        run = flatout.map(compute, inputs)
        run.results()
        assert run.plan is not None
        if JUDGED in run.plan.reason:
            break
        assert time.monotonic() < deadline
    known = recall(compute)
    assert known is not None
    assert known.mean.gil > 2 * known.first.gil
    assert run.plan.measured is not None
    assert run.plan.measured.gil > 2 * known.first.gil
