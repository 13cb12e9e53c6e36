"""The rate at which tasks start: never beyond what is allowed, and found where a service refuses calls."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flatout._limits._rate import SLACK, SLOWEST, Bucket, Pace


def starts_of(bucket: Bucket, pauses: list[float], greed: list[int]) -> list[float]:
    """When tasks start that are let go as greedily as may be: after each pause as many as there is room for, and fewer."""
    now, starts = 0.0, []
    for pause, most in zip(pauses, greed, strict=False):
        now = max(now + pause, bucket.ready_at) if pause == 0.0 else now + pause
        room = bucket.room(now)
        assert room is not None
        assert (room > 0) == (now >= bucket.ready_at), "who comes when it is ready is let in"
        count = min(room, most)
        bucket.take(count, now)
        starts += [now] * count
    return starts


@given(
    st.floats(0.01, 500.0),
    st.lists(st.sampled_from([0.0, 1e-9, 0.001, 0.0199, 0.1]) | st.floats(0.0, 5.0), min_size=1, max_size=40),
    st.data(),
)
def test_a_bucket_never_lets_more_go_than_its_rate_over_any_span(
    rate: float, pauses: list[float], data: st.DataObject
) -> None:
    greed = data.draw(st.lists(st.integers(1, 20), min_size=len(pauses), max_size=len(pauses)))
    starts = starts_of(Bucket(rate), pauses, greed)
    for first, began in enumerate(starts):
        for last in range(first, len(starts)):
            allowed = rate * (starts[last] - began) + 1 + rate * SLACK
            assert last - first + 1 <= allowed * (1 + 1e-9) + 1e-6


@given(st.floats(0.5, 1000.0), st.integers(2, 200))
def test_a_bucket_lets_its_rate_go_where_it_is_asked_in_time(rate: float, count: int) -> None:
    starts = starts_of(Bucket(rate), [0.0] * count, [1] * count)
    assert starts[-1] == pytest.approx(max(0.0, (count - 1) / rate - SLACK), abs=1e-6)


def test_a_bucket_that_came_late_makes_it_good_within_its_slack() -> None:
    bucket = Bucket(100.0)
    starts = starts_of(bucket, [0.005 + (i % 2) * 0.01 for i in range(400)], [5] * 400)
    assert len(starts) / starts[-1] == pytest.approx(100.0, rel=0.03)


def test_without_a_rate_there_is_no_bound_but_a_pause_is_kept() -> None:
    pace = Pace()
    assert not pace.bounded
    assert pace.room(1000, 0.0) == 1000
    pace.hold(2.0)
    assert pace.bounded
    assert pace.paused(1.9)
    assert pace.ready_at == 2.0
    assert pace.room(1000, 2.0) == 1000


def against_a_service(
    rate: float, burst: float, seconds: float, delay: float = 0.01, most: float | None = None
) -> tuple[float, int, Pace]:
    """Up to 20 in flight; the service refuses what exceeds its rate. Returns accepted a second, refused, and the pace."""
    pace, now, tokens, at = Pace(most), 0.0, burst, 0.0
    accepted = refused = 0
    ends: list[tuple[float, float, bool]] = []
    while now < seconds:
        for end in [end for end in ends if end[0] <= now]:
            ends.remove(end)
            if end[2]:
                pace.accepted(1, end[1], now)
            else:
                pace.refused(1, end[1], now, "429")
        room = pace.room(20 - len(ends), now)
        if room:
            pace.started(room, now)
        for _ in range(room):
            tokens, at = min(burst, tokens + rate * (now - at)), now
            good = tokens >= 1
            tokens -= good
            accepted += good
            refused += not good
            ends.append((now + delay, now, good))
        now = min([now + 0.05, *(end[0] for end in ends), max(now + 0.0005, pace.ready_at)])
    return accepted / seconds, refused, pace


@pytest.mark.parametrize(("rate", "burst"), [(5, 1), (50, 1), (50, 20), (200, 50)])
def test_it_learns_the_rate_of_a_service_that_does_not_tell(rate: float, burst: float) -> None:
    throughput, refused, pace = against_a_service(rate, burst, 30.0)
    assert throughput > 0.93 * rate
    assert refused < 200 + 0.1 * throughput * 30
    assert 0.8 * rate < pace.learned < 1.5 * rate


def test_what_the_user_allows_is_never_exceeded_whatever_a_service_would_bear() -> None:
    throughput, refused, _ = against_a_service(1000, 100, 10.0, most=50.0)
    assert throughput == pytest.approx(50, rel=0.05)
    assert refused == 0


def test_where_all_is_refused_it_slows_down_and_then_comes_back() -> None:
    pace, now, asked, changes = Pace(say=lambda *change: changes.append(change)), 0.0, 0, []  # type: ignore[var-annotated]
    while now < 60.0:
        if pace.room(1, now):
            pace.started(1, now)
            asked += 1
            pace.refused(1, now, now + 0.01, "503")
        now = max(now + 0.01, pace.ready_at)
    assert asked < 60 * SLOWEST + 20
    assert pace.learned == SLOWEST
    for _ in range(100):
        now = max(now + 0.001, pace.ready_at)
        assert pace.room(1, now)
        pace.started(1, now)
        pace.accepted(1, now, now + 0.001)
    assert pace.learned > 100
    assert next(reason for _, _, reason in changes) == "refused: 503"


def test_refusals_of_calls_that_began_before_the_last_reckoning_are_not_reckoned_with_twice() -> None:
    pace = Pace()
    pace.started(20, 0.0)
    pace.refused(1, 0.0, 0.1, "429")
    assert pace.paused(0.15), "the other refusals of the span are waited for, as long as the first took"
    pace.refused(9, 0.0, 0.15, "429")
    assert pace.room(1, 0.2 + SLACK) == 1
    learned = pace.learned
    assert learned == pytest.approx(0.97 * 10 / 0.1)
    pace.refused(1, 0.05, 0.3, "429")
    assert pace.room(1, 0.5) == 1
    assert pace.learned == learned


@given(
    st.lists(
        st.tuples(st.sampled_from(["start", "refused", "accepted", "hold", "pass"]), st.floats(0.0, 3.0)), max_size=80
    ),
    st.none() | st.floats(0.1, 100.0),
)
def test_whatever_happens_it_can_go_on(steps: list[tuple[str, float]], most: float | None) -> None:
    pace, now = Pace(most), 0.0
    for what, number in steps:
        now += number if what == "pass" else 0.0
        if what == "start" and (room := pace.room(3, now)):
            pace.started(room, now)
        elif what == "refused":
            pace.refused(1, now - number, now, "429")
        elif what == "accepted":
            pace.accepted(1, now - number, now)
        elif what == "hold":
            pace.hold(now + number)
        assert pace.learned >= SLOWEST
        if pace.paused(now):
            assert now < pace.ready_at < now + 3.0 + 3.0 + 1 / SLOWEST + 31.0
            assert pace.room(1, pace.ready_at) == 1 or pace.ready_at > now
    assert pace.learned == math.inf or pace.bounded
