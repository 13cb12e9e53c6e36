"""The report counts what was done, and says it in the terms of the exhibition law."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import pytest

import flatout
from flatout._model import Choice, Measurement, Prediction, Statistics
from flatout._record import replace
from flatout._run._report import Chosen

KINDS = ("auto", "inline", "thread", "process")


def compute(n: int) -> int:
    total = 0
    for i in range(n):
        total += i * i % 7
    return total


def odd_is_wrong(x: int) -> int:
    if x % 2:
        raise ValueError(x)
    return x


@pytest.mark.parametrize("via", KINDS)
def test_every_task_is_counted(via: Any) -> None:
    run = flatout.map(odd_is_wrong, range(11), via=via, on_error="return")
    run.results()
    report = run.report
    assert (report.tasks, report.succeeded, report.failed, report.cancelled) == (11, 6, 5, 0)
    assert report.plan is run.plan


@pytest.mark.parametrize("via", KINDS)
def test_what_was_drawn_and_not_finished_counts_as_cancelled(via: Any) -> None:
    with flatout.map(abs, range(100_000), via=via) as run:
        for value in run:
            if value == 5:
                break
    report = run.report
    assert report.tasks == report.succeeded + report.failed + report.cancelled
    assert report.succeeded >= 6


def test_a_retry_is_counted() -> None:
    run = flatout.map(odd_is_wrong, range(2), via="thread", retry=flatout.Retry(3, backoff=0.0), on_error="return")
    report = run.wait()
    assert (report.tasks, report.failed, report.retried) == (2, 1, 2)
    assert "2 tried again" in str(report)


def test_times_and_shares_of_waiting() -> None:
    report = flatout.map(lambda x: time.sleep(0.02), range(30), via="thread", max_concurrency=10).wait()
    assert report.loop_seconds >= 30 * 0.02
    assert report.seconds >= 3 * 0.02
    assert report.speedup == pytest.approx(report.loop_seconds / report.seconds)
    assert report.wait_share > 0.5
    assert 0.0 <= report.compute_share <= 1.0
    assert report.idle_share == pytest.approx(1.0 - report.compute_share)


def test_times_and_shares_of_computing() -> None:
    report = flatout.map(compute, [300_000] * 20, via="process").wait()
    assert 0.0 < report.compute_share <= 1.0
    assert 0.0 <= report.wait_share < 1.0
    assert report.loop_seconds > 0.0


def test_a_report_can_be_had_at_any_time() -> None:
    run = flatout.map(abs, range(10), via="thread", chunksize=1)
    before = run.report
    assert (before.tasks, before.seconds) == (0, 0.0)
    assert str(before).startswith("0 tasks in ")
    next(run)
    assert run.report.succeeded >= 1
    list(run)
    after = run.report
    assert after.succeeded == 10
    assert run.report == after  # the clock stands still once it is over


def test_its_text_says_what_and_why() -> None:
    run = flatout.map(abs, range(10), via="inline")
    run.results()
    text = str(run.report)
    assert text.startswith("10 tasks in ")
    assert "the cores computed" in text
    assert text.endswith(str(run.plan))


def test_one_task_is_one_task() -> None:
    assert str(flatout.map(abs, [1], via="inline").wait()).startswith("1 task in ")


def test_nothing_to_do_is_reported_as_such() -> None:
    report = flatout.map(abs, []).wait()
    assert (report.tasks, report.loop_seconds) == (0, 0.0)
    assert str(report)


def test_a_report_of_coroutines() -> None:
    async def nap(x: int) -> int:
        await asyncio.sleep(0.02)
        return x

    async def main() -> flatout.Report:
        run = flatout.map(nap, range(50))
        await run
        return run.report

    report = asyncio.run(main())
    assert report.succeeded == 50
    assert report.loop_seconds >= 50 * 0.02
    assert report.wait_share > 0.5


# --- predicted beside measured

MEASURED = Measurement(gil=0.010, free=0.0, wait=0.0)
PREDICTIONS = (
    Prediction("inline", 1, 0.4),
    Prediction("async", 0, math.inf, "the function does not return an awaitable"),
    Prediction("thread", 1, 0.5),
    Prediction("process", 2, 0.2),
)
PLAN = flatout.Plan("process", 2, 2, reason="so", measured=MEASURED, predictions=PREDICTIONS)
CHOICE = Choice(
    seconds=1.0, tasks=5, left=40, busy_seconds=0.5, cpu_seconds=0.5, under_way=0.0,
    queued_seconds=0.1, process_seconds=0.75,
)  # fmt: skip


def chosen_of(choice: Choice, plan: flatout.Plan = PLAN, done: int = 45, seconds: float = 1.25) -> Chosen | None:
    counts = Statistics(drawn=done, succeeded=done, busy_seconds=0.98, cpu_seconds=0.94)
    return flatout.Report.of(plan, counts, seconds, choice, process_seconds=0.80).chosen


def test_predicted_and_measured_speak_of_the_tasks_after_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flatout._run._report.usable_cores", lambda: 2)
    chosen = chosen_of(CHOICE)
    assert chosen
    assert (chosen.tasks, chosen.seconds, chosen.predicted) == (40, 0.25, 0.2)
    assert chosen.ratio == 1.25
    assert chosen.call_seconds == pytest.approx(0.012)
    assert chosen.in_flight == pytest.approx(chosen.tasks * chosen.call_seconds / chosen.seconds), "Little's law"
    shares = [chosen.compute_share, chosen.own_share, chosen.idle_share]
    assert shares == pytest.approx([0.44 / 0.5, 0.05 / 0.5, 0.01 / 0.5])


def test_of_a_run_that_was_left_early_so_much_is_predicted_as_was_done() -> None:
    chosen = chosen_of(CHOICE, done=15)
    assert chosen
    assert chosen.tasks == 10
    assert chosen.predicted == pytest.approx(0.05)
    unknown = chosen_of(replace(CHOICE, left=None), done=505)
    assert unknown
    assert unknown.predicted == pytest.approx(0.1), "half of what was predicted for 1000"


def test_no_less_is_predicted_than_a_call_takes() -> None:
    few = chosen_of(replace(CHOICE, left=None), done=15)
    assert few
    assert few.predicted == pytest.approx(0.010), "where their number was known, the law knows that"
    counts = Statistics(drawn=15, succeeded=15, busy_seconds=0.98, cpu_seconds=0.94)
    text = str(flatout.Report.of(PLAN, counts, 1.25, replace(CHOICE, left=None)))
    assert [line.split()[1:3] for line in text.splitlines() if line.startswith("  thread")] == [["10", "ms"]]


def test_calls_of_an_earlier_plan_that_had_not_ended_are_named_and_no_measure_of_this_one() -> None:
    report = flatout.Report.of(PLAN, Statistics(drawn=45, succeeded=45), 1.25, replace(CHOICE, beside=3))
    assert "  3 calls that had begun before, by another plan, ended beside them\n" in str(report)
    assert "a call took" not in str(report).partition("after the choice")[2].rpartition("\n")[0]


def test_nothing_is_set_beside_what_was_not_predicted() -> None:
    assert chosen_of(CHOICE, done=5) is None, "nothing was left"
    assert chosen_of(CHOICE, plan=flatout.Plan("process")) is None
    assert flatout.Report.of(PLAN, Statistics(), 0.0).chosen is None


def test_the_call_under_way_at_the_choice_counts_whole_in_the_mean_time_of_a_call() -> None:
    chosen = chosen_of(replace(CHOICE, under_way=0.012))
    assert chosen
    assert chosen.call_seconds == pytest.approx((0.48 + 0.012) / 41)


def test_that_calls_waited_for_a_core_is_told() -> None:
    counts = Statistics(drawn=45, succeeded=45, busy_seconds=0.98, cpu_seconds=0.94, queued_seconds=0.3)
    report = flatout.Report.of(PLAN, counts, 1.25, CHOICE, 0.80)
    assert report.chosen
    assert report.chosen.queued_seconds == pytest.approx(0.005)
    assert "(10 ms when it was measured), 5 ms of it waiting for a core; 1.92 of at most 2" in str(report)


def test_the_table_has_every_kind_and_says_what_came_between() -> None:
    counts = Statistics(drawn=45, succeeded=45, busy_seconds=0.98, cpu_seconds=0.94)
    lines = str(flatout.Report.of(PLAN, counts, 1.25, CHOICE, 0.80)).splitlines()
    table = lines[3:-3]
    assert [" ".join(line.split()) for line in table] == [
        "for the 40 tasks after the choice predicted measured",
        "inline 400 ms",
        "async - the function does not return an awaitable",
        "thread 500 ms",
        "process 200 ms 250 ms 1.25 times as predicted",
    ]
    assert "a call took 12 ms (10 ms when it was measured); 1.92 of at most 2 were under way" in lines[-3]
    assert "computing in calls" in lines[-2]


TRIES = 6  # runs: a busy machine may have one change its mind on the way, and then nothing was predicted for it


@pytest.mark.parametrize("counted", [True, False])
def test_a_run_sets_what_it_predicted_beside_what_it_took(counted: bool) -> None:
    for _ in range(TRIES):
        run = flatout.map(compute, [100_000] * 40 if counted else iter([100_000] * 40))
        run.results()
        report = run.report
        if report.chosen:
            break
    assert report.chosen
    assert 0 < report.chosen.tasks < 40
    assert 0.0 < report.chosen.seconds < report.seconds
    assert report.chosen.predicted > 0.0
    assert "times as predicted" in str(report)
    assert run.report == report


def test_a_call_that_is_under_way_at_the_choice_is_not_among_the_tasks_after_it() -> None:
    report = flatout.map(time.sleep, [0.3] * 6).wait()
    assert report.chosen
    assert report.chosen.tasks == 5
    assert 0.25 < report.chosen.call_seconds < 0.6
    assert report.chosen.in_flight > 2


def test_a_plan_made_in_the_middle_of_the_first_call_gets_its_figures_when_that_is_over() -> None:
    for _ in range(TRIES):
        run = flatout.map(lambda seconds: time.sleep(seconds), [0.3] * 6)  # made anew: nothing is remembered of it
        run.wait()
        waited_for_a_core = run.plan.measured is not None and run.plan.measured.wait < 0.3  # which counts for nothing
        if "looked at again" not in str(run.plan) and not waited_for_a_core:
            break
    assert run.plan.measured
    assert run.plan.measured.calls == 1
    assert run.plan.measured.wait > 0.25
    assert run.plan.predicted
    assert run.plan.predicted.kind == run.plan.kind == "thread"
    assert 0.3 <= run.plan.predicted.seconds < 0.6
    assert "at least" not in str(run.plan)
