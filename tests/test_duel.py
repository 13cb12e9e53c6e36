"""The duel of two threads against one, which decides where there is no GIL; fought here with the GIL as well."""

from __future__ import annotations

import functools
import hashlib
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from flatout._model import Measurement, Options, Plan, Work
from flatout._plan._choose import Situation, choose
from flatout._plan._chooser import Chooser
from flatout._plan._duel import FRUITLESS, ROUNDS, SCALES, SIDE, Duel, Reading, gain, shared_out
from flatout._run._engine import Engine
from flatout._run._run import Run

COMPUTES = Measurement(gil=0.0, free=0.010, wait=0.0, transfer=5e-6)  # as the probe has it without a GIL
NO_GIL = Situation(8, left=1000, gil=False)


def sides(seconds: float, calls: int = 1) -> tuple[Reading, Reading]:
    return Reading(calls, seconds), Reading(calls, seconds)


# --- from readings


@pytest.mark.parametrize(
    ("each", "expected"), [(0.010, 2.0), (0.0125, 1.6), (0.020, 1.0), (0.040, 0.5)], ids=["two", "most", "one", "worse"]
)
def test_what_two_threads_gain(each: float, expected: float) -> None:
    assert gain(0.010, [sides(each)]) == pytest.approx(expected)


def test_the_better_round_counts() -> None:
    assert gain(0.010, [sides(0.1), sides(0.010)]) == pytest.approx(2.0)
    assert gain(0.010, []) is None


def test_who_is_done_first_waits() -> None:
    assert gain(0.010, [(Reading(2, 0.020), Reading(2, 0.040))]) == pytest.approx(1.0)


def test_what_one_thread_does_when_it_is_warm_counts() -> None:
    alone = (Reading(2, 0.020),)
    assert gain(0.050, [alone, sides(0.010)]) == pytest.approx(2.0)
    assert gain(0.050, [alone, sides(0.020)]) == pytest.approx(1.0)
    assert gain(0.050, [alone]) is None


@pytest.mark.parametrize(
    ("gained", "serial"), [(None, 1.0), (0.7, 1.0), (SCALES - 0.01, 1.0), (1.6, 0.25), (2.0, 0.0), (2.4, 0.0)]
)
def test_what_does_not_scale_is_serial(gained: float | None, serial: float) -> None:
    measured = shared_out(COMPUTES, gained)
    assert (measured.gil, measured.free) == pytest.approx((serial * 0.010, (1 - serial) * 0.010))
    assert measured.seconds == pytest.approx(COMPUTES.seconds)


@pytest.mark.parametrize(
    ("gained", "cores", "kind"),
    [
        (2.0, 8, "thread"),
        (1.9, 8, "thread"),
        (1.4, 8, "process"),  # contention that eight threads would feel more
        (1.4, 2, "thread"),
        (1.1, 8, "process"),
        (0.5, 8, "process"),
        (None, 8, "process"),
    ],
)
def test_threads_are_taken_where_they_scale(gained: float | None, cores: int, kind: str) -> None:
    plan = choose(shared_out(COMPUTES, gained), Situation(cores, left=1000, gil=False))
    assert plan.kind == kind
    assert "GIL held" not in str(plan)


def test_where_threads_do_not_scale_and_processes_are_out_of_the_question_the_plain_loop_stays() -> None:
    measured = shared_out(COMPUTES, 0.8)
    assert choose(measured, Situation(8, left=1000, gil=False, no_process="the moon is full")).kind == "inline"


def test_a_duel_has_rounds_of_some_length() -> None:
    duel = Duel()
    assert duel.begin(SIDE / 10) == 20
    assert duel.begin(1.0) == 2
    assert duel.threads == 1
    assert not duel.fought((Reading(2, 2.0),))
    for _ in range(ROUNDS - 1):
        assert duel.threads == 2
        assert not duel.fought(sides(SIDE))
    assert duel.on
    assert duel.fought(sides(SIDE))
    assert not duel.on


def test_without_pairs_there_is_no_duel() -> None:
    duel = Duel()
    duel.begin(1.0)
    assert [duel.fought((Reading(1, 1.0),)) for _ in range(FRUITLESS)][-1]
    assert duel.gain is None


def test_without_a_second_thread_there_is_no_duel() -> None:
    duel = Duel()
    duel.begin(1.0)
    duel.fought((Reading(2, 1.0),))
    assert duel.fought((Reading(2, 1.0),))
    assert duel.gain is None


# --- with real calls: the duel is asked for, as if there were no GIL

BIG = bytes(1_000_000)


class Seen:
    """Notes which thread made which call."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.call = call
        self.calls: list[tuple[int, str, int]] = []

    def __call__(self, number: int) -> int:
        self.call()
        self.calls.append((number, threading.current_thread().name, threading.get_ident()))
        return number


def digest() -> None:
    hashlib.sha256(BIG).digest()


def compute() -> None:
    total = 0
    for i in range(20_000):
        total += i * i % 7


def run_of(func: Callable[[int], Any], count: int, no_process: str = "no", **options: Any) -> Run[Any]:
    """A run that is to fight a duel."""
    work, chosen = Work(func), Options(**options)

    def start(**how: Any) -> Engine:
        chooser = Chooser(work, chosen, 2, no_process, lambda: True, lambda: None, duels=True)
        return Engine(work, (range(count),), chosen, None, chooser=chooser, **how)

    return Run(start, chosen.on_error)


def fighters(seen: Seen) -> list[int]:
    """The calls that were made by the second thread."""
    return [number for number, name, _ in seen.calls if name == "flatout-duel"]


two_cores = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two threads need two cores")


def fought(func: Callable[[], object], count: int = 400, no_process: str = "no") -> tuple[Run[Any], float]:
    """A run with a duel, and what the duel has shown; a machine that is busy may take the first calls for waiting ones."""
    for _ in range(20):
        seen = Seen(func)
        run = run_of(seen, count, no_process)
        assert run.results() == list(range(count))
        assert sorted(number for number, _, _ in seen.calls) == list(range(count)), "no input is run twice"
        assert run._engine is not None
        assert run._engine.chooser is not None
        duel = run._engine.chooser._duel
        assert duel is not None
        if duel.gain is not None:
            assert fighters(seen)
            return run, duel.gain
    raise AssertionError("there never was a duel")


@two_cores
def test_what_lets_go_of_the_gil_wins_its_duel() -> None:
    for _ in range(9):
        run, gained = fought(digest, 2000)  # on a busy machine a duel may take hundreds, and few must not be left
        assert (run.plan.kind == "thread") == (gained >= SCALES), gained
        if gained >= SCALES:
            return
    pytest.skip("the machine is too busy for two threads to show anything")


def test_what_holds_the_gil_loses_it() -> None:
    for _ in range(9):  # on a busy machine a thread by itself may be the one that is kept waiting
        run, gained = fought(compute)
        assert (run.plan.kind == "thread") == (gained >= SCALES), gained
        if gained < SCALES:
            break
    assert gained < SCALES
    assert run.plan.kind == "inline"
    assert "gains nothing from threads" in str(run.plan)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes")
def test_then_processes_are_taken() -> None:
    for _ in range(20):
        run = run_of(burns, 2_000, no_process="")
        assert run.results() == list(range(2_000))
        assert run._engine is not None
        assert run._engine.chooser is not None
        duel = run._engine.chooser._duel
        if (
            duel is not None and duel.gain is not None and duel.gain < SCALES
        ):  # else a thread by itself was kept waiting
            break
    assert run.plan.kind == "process"


def burns(x: int) -> int:
    compute()
    return x


def test_a_duel_gives_what_fails_its_own_place() -> None:
    def call(number: int) -> int:
        compute()
        if number % 7 == 3:
            raise ValueError(number)
        return number

    results = run_of(call, 200, on_error="return").results()
    for number, value in enumerate(results):
        if number % 7 == 3:
            assert (value.index, value.error.args) == (number, (number,))
        else:
            assert value == number


def test_a_duel_ends_with_the_first_failure() -> None:
    def call(number: int) -> int:
        compute()
        if number == 40:
            raise ValueError(number)
        return number

    got: list[int] = []
    with pytest.raises(ValueError, match="40"):
        got.extend(run_of(call, 200))
    assert got == list(range(40))


def test_few_inputs_need_no_duel() -> None:
    for count in range(6):
        assert run_of(burns, count).results() == list(range(count))


def test_what_waits_needs_no_duel() -> None:
    seen = Seen(functools.partial(time.sleep, 0.01))
    run_of(seen, 60).results()
    assert not fighters(seen)


def test_single_tasks_fight_no_duel() -> None:
    """The user has asked for them one by one: what is not shown to scale goes to processes, or stays."""
    seen = Seen(compute)
    run = run_of(seen, 100, chunksize=1)
    assert run.results() == list(range(100))
    assert not fighters(seen)


def test_what_ends_everything_in_the_second_thread_ends_the_run() -> None:
    def call(number: int) -> int:
        compute()
        if threading.current_thread().name == "flatout-duel":
            met.append(number)
            raise KeyboardInterrupt
        return number

    met: list[int] = []
    while not met:  # until there is a duel
        try:
            run_of(call, 400).results()
        except KeyboardInterrupt:
            assert met
        else:
            assert not met


def test_the_plan_of_the_duel_is_not_the_users() -> None:
    run = run_of(Seen(compute), 300)
    run.results()
    assert isinstance(run.plan, Plan)
    assert "to see what two threads gain" not in run.plan.reason
