"""Whichever tasks of a run are at fault, in whatever batches they travel: each fails for what it did, and no other fails."""

from __future__ import annotations

import contextvars
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import flatout
from flatout import Failure, Retry
from soak.tasks import FAULTS, IN_PROCESSES, VALUES, draw, perform, value_of


def check(jobs: list[Any], **options: Any) -> None:
    """Run the jobs, and hold each outcome against what must come of it."""
    outcomes: list[Any] = flatout.map(perform, jobs, via="process", on_error="return", **options).results()
    for job, outcome in zip(jobs, outcomes, strict=True):
        what, n = job[:2]
        if what in VALUES:
            assert outcome == value_of(job)
        else:
            assert isinstance(outcome, Failure)
            assert FAULTS[what][1](n, outcome.error), f"{what} {n} failed with {outcome.error!r}"
            assert (outcome.index, outcome.attempts) == (n, options["retry"].attempts if "retry" in options else 1)


@settings(deadline=None, max_examples=12, suppress_health_check=list(HealthCheck))
@given(
    st.integers(0, 1 << 30),
    st.integers(1, 80),
    st.sampled_from([0.05, 0.3]),
    st.sampled_from([None, 1, 2, 3, 7, 50]),
    st.integers(1, 3),
)
@example(48, 100, 0.3, 2, 2)
def test_faults_of_every_sort_in_batches_of_any_size(
    seed: int, count: int, often: float, chunksize: int | None, workers: int
) -> None:
    jobs = draw(random.Random(seed), count, IN_PROCESSES, often, large=True)
    check(jobs, chunksize=chunksize, max_concurrency=workers)


def test_the_same_with_further_attempts() -> None:
    whats = ["square", *IN_PROCESSES, "square"] * 2
    retry = Retry(2, on=BaseException, backoff=0.0)
    check([(what, n) for n, what in enumerate(whats)], chunksize=5, max_concurrency=2, retry=retry)


def test_tasks_that_hang_among_those_that_crash() -> None:
    whats = ["square", "hang", "die", "square", "spoil", "square", "hang", "scribble", "square"]
    check([(what, n) for n, what in enumerate(whats)], chunksize=3, max_concurrency=2, timeout=2.0)


def interrupts_itself(n: int) -> int:
    MADE.append(n)
    if n % 5 == 3:
        raise KeyboardInterrupt(n)
    return n


MADE: list[int] = []


@pytest.mark.parametrize("chunksize", [1, 4, 20])
def test_an_interrupt_of_a_task_s_own_in_a_thread_fails_that_task_alone_and_nothing_is_run_twice(
    chunksize: int,
) -> None:
    MADE.clear()
    how: dict[str, Any] = {"via": "thread", "chunksize": chunksize, "on_error": "return"}
    outcomes: list[Any] = flatout.map(interrupts_itself, range(20), **how).results()
    assert [o.error.args if isinstance(o, Failure) else o for o in outcomes] == [
        (n,) if n % 5 == 3 else n for n in range(20)
    ]
    assert sorted(MADE) == list(range(20))


class InterruptsWhenCompared:
    def __eq__(self, other: object) -> bool:
        raise KeyboardInterrupt

    __hash__ = None  # type: ignore[assignment]


COMPARED: contextvars.ContextVar[object] = contextvars.ContextVar("COMPARED")


def leaves_what_interrupts(n: int) -> int:
    if n % 5 == 3:
        COMPARED.set(InterruptsWhenCompared())
    return n


def test_what_interrupts_when_contexts_are_compared_in_a_thread_fails_nobody() -> None:
    def run() -> list[int]:
        COMPARED.set(InterruptsWhenCompared())
        return flatout.map(leaves_what_interrupts, range(20), via="thread", chunksize=4).results()

    assert contextvars.copy_context().run(run) == list(range(20))
