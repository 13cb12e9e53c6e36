"""The report counts what was done, and says it in the terms of the exhibition law."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

import flatout

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
