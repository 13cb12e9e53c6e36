"""How many tasks run at once: a limit that finds the capacity of what it calls."""

from __future__ import annotations

import heapq
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flatout._limits._adaptive import REST, Adaptive
from flatout._limits._governor import Governor
from flatout._limits._overload import Overload
from flatout._limits._window import Window

LATENCY = 0.1  # seconds of a call that need not wait


class Service:
    """Serves up to `capacity` calls at once, each in `LATENCY` seconds, more or less; further ones stand in line."""

    def __init__(self, limit: Adaptive, capacity: int, jitter: float = 0.3) -> None:
        self.limit, self.capacity, self.jitter = limit, capacity, jitter
        self.random = random.Random(capacity)
        self.now = 0.0
        self.ends: list[float] = []
        self.line = 0
        self.values: list[int] = []

    def serve(self, calls: int, saturated: bool = True) -> float:
        """So many calls, with as many in flight as the limit allows; returns calls a second."""
        began = self.now
        for _ in range(calls):
            while len(self.ends) + self.line < self.limit.value:
                self.line += 1
                self._begin()
            self.now = heapq.heappop(self.ends)
            self._begin()
            self.limit.finished(1, self.now, saturated)
            self.values.append(self.limit.value)
        return calls / (self.now - began)

    def _begin(self) -> None:
        if self.line and len(self.ends) < self.capacity:
            self.line -= 1
            heapq.heappush(self.ends, self.now + LATENCY * self.random.uniform(1 - self.jitter, 1 + self.jitter))


@pytest.mark.parametrize("start", [1, 16])
@pytest.mark.parametrize("capacity", [1, 3, 10, 64, 100, 1000])
@pytest.mark.parametrize(("jitter", "factor"), [(0.0, 2), (0.3, 2), (0.9, 16)])
def test_it_finds_the_capacity_and_stays_there(start: int, capacity: int, jitter: float, factor: int) -> None:
    service = Service(Adaptive(start, 10_000), capacity, jitter)
    service.serve(60 * capacity + 1000)
    service.values.clear()
    throughput = service.serve(100 * capacity)
    usual = sorted(service.values)[50 * capacity]
    assert capacity / factor <= usual <= factor * capacity
    assert throughput > 0.85 * capacity / LATENCY


def test_it_gets_there_in_few_windows() -> None:
    service = Service(Adaptive(16, 10_000), 1000)
    service.serve(3 * 1000)
    assert service.values[-1] == 1024


def test_at_the_plateau_it_probes_ever_less() -> None:
    service = Service(Adaptive(16, 10_000), 16, jitter=0.0)
    service.serve(1000)
    service.values.clear()
    service.serve(10_000)
    assert service.values.count(16) > 0.9 * len(service.values)
    assert {8, 32} <= set(service.values)


def test_where_more_brings_more_it_goes_on_to_the_ceiling() -> None:
    service = Service(Adaptive(1, 100), 10_000)
    service.serve(10_000)
    assert sorted(service.values[-1000:])[500] == 100


def test_it_goes_down_when_the_service_can_do_less() -> None:
    service = Service(Adaptive(16, 1000), 200)
    service.serve(10_000)
    assert service.values[-1] >= 200
    service.capacity = 20
    service.serve(20_000)
    assert sorted(service.values[-1000:])[500] <= 40


def test_a_step_that_brings_nothing_is_taken_back_and_rested_on() -> None:
    limit, values = Adaptive(16, 100), []
    for call in range(16 * 20):  # 40 calls a second, whatever the limit
        limit.finished(1, call * 0.025, saturated=True)
        values.append(limit.value)
    changes = [after for before, after in pairwise(values) if after != before]
    assert changes[:3] == [32, 16, 8]
    up = values.index(32)
    back = values.index(16, up)
    down = values.index(8)
    assert back - up == 2 * 32, "judged by a full window of the new size, after one that it is not judged by"
    assert down - back == (REST + 1) * 16, "and then left alone for a while"


def test_it_does_not_grow_while_the_input_starves_it() -> None:
    service = Service(Adaptive(4, 100), 50)
    service.serve(1000, saturated=False)
    assert set(service.values) == {4}


def test_a_window_with_a_gap_in_the_input_is_no_evidence() -> None:
    limit = Adaptive(4, 100)
    for call in range(400):
        limit.finished(1, call * 0.01, saturated=call % 4 != 0)
    assert limit.value == 4


def test_it_doubles_at_once_while_all_in_flight_wait_and_the_loop_is_idle() -> None:
    limit, values = Adaptive(100, 1000), []
    for _ in range(5):
        limit.idle(0.0)
        values.append(limit.value)
    assert values == [200, 400, 800, 1000, 1000]


def test_what_was_started_at_once_is_taken_back_where_it_brings_nothing() -> None:
    service = Service(Adaptive(100, 1000), 50, jitter=0.0)
    for _ in range(4):
        service.limit.idle(0.0)
    service.serve(20_000)
    assert sorted(service.values[-1000:])[500] <= 100


def lowest_of(quickest: float, others: float) -> int:
    """The lowest limit at 1000 calls a second, one of which took so many seconds, and all others so many."""
    limit, lowest = Adaptive(16, 16), 16
    limit.finished(1, 0.0, True, quickest)
    for call in range(1, 1000):
        limit.finished(1, 0.001 * call, True, others)
        lowest = min(lowest, limit.value)
    return lowest


def test_no_step_down_is_tried_while_tasks_take_as_long_as_the_quickest() -> None:
    assert lowest_of(0.010, 0.011) == 16
    assert lowest_of(0.010, 0.020) < 16
    assert lowest_of(0.0, 0.0) < 16, "nothing is known of how long they take"


def test_completions_at_one_moment_are_no_division_by_zero() -> None:
    limit = Adaptive(2, 100)
    for _ in range(100):
        limit.finished(5, 1.0, saturated=True)
    assert limit.value == 2


@pytest.mark.parametrize("seconds", [5e-324, 1e-200])
def test_calls_that_took_less_than_any_clock_tells_took_no_time(seconds: float) -> None:
    window = Window(1)
    for now in (1.0, 2.0, 3.0):
        window.add(16, 0, seconds, now)
    assert (window.error, window.throughput) == (0.0, 16.0)


@settings(deadline=None)
@given(
    start=st.integers(1, 100),
    ceiling=st.integers(1, 200),
    calls=st.lists(st.tuples(st.integers(1, 500), st.floats(0.0, 10.0), st.booleans()), max_size=200),
)
def test_it_stays_within_its_bounds_and_at_most_doubles_or_halves(
    start: int, ceiling: int, calls: list[tuple[int, float, bool]]
) -> None:
    limit, now = Adaptive(start, ceiling), 0.0
    assert limit.value == min(start, ceiling)
    for count, seconds, saturated in calls:
        now, before = now + seconds, limit.value
        limit.finished(count, now, saturated)
        assert max(1, before // 2) <= limit.value <= min(ceiling, 2 * before + 1)
        assert saturated or limit.value == before


@settings(deadline=None)
@given(st.integers(1, 100), st.integers(1, 100), st.floats(0.0, 1e6), st.booleans())
def test_a_fixed_limit_stays(value: int, count: int, now: float, saturated: bool) -> None:
    limit = Adaptive(value, value, explores=False)
    limit.finished(count, now, saturated)
    assert limit.value == value


@settings(deadline=None)
@given(
    start=st.integers(1, 100),
    ceiling=st.integers(1, 200),
    explores=st.booleans(),
    steps=st.lists(
        st.tuples(
            st.sampled_from(["end", "idle", "start"]),
            st.integers(1, 50),
            st.floats(0.0, 5.0),
            st.floats(0.0, 10.0),
            st.booleans(),
            st.floats(0.0, 1.0),
            st.booleans(),
        ),
        max_size=200,
    ),
)
def test_whatever_is_refused_it_stays_within_its_bounds(
    start: int, ceiling: int, explores: bool, steps: list[tuple[str, int, float, float, bool, float, bool]]
) -> None:
    limit, now, changes = Adaptive(start, ceiling, lambda *change: changes.append(change), explores=explores), 0.0, []  # type: ignore[var-annotated]
    for what, count, pause, seconds, saturated, share, reset in steps:
        now += pause
        if what == "idle":
            limit.idle(now)
        elif what == "start":
            limit.started(now)
        else:
            failed = int(share * count)
            limit.finished(count, now, saturated, seconds, True, *((0, failed) if reset else (failed, 0)))
        assert 1 <= limit.value <= ceiling
    values = [min(start, ceiling), *(after for _, after, _ in changes)]
    assert [before for before, _, _ in changes] == values[:-1]
    assert values[-1] == limit.value
    assert all(reason for _, _, reason in changes)


def test_every_decision_has_its_reason_and_those_in_a_row_are_one() -> None:
    governor = Governor()
    governor.adopt(100, 1000, explores=True)
    for _ in range(4):
        governor.idle(0.0)
    assert list(governor.decisions) == ["in flight: 100 -> 1000 (all in flight wait and nothing computes)"]
    governor.started(range(100), 0.0)
    busy = [Overload("busy", "503")] * 50
    governor.finished(range(100), 0.1, True, 10.0, True, busy)
    assert governor.value == 500
    assert governor.decisions[1] == "in flight: 1000 -> 500 (calls were refused for being too many)"
    governor.finished(range(10), 0.2, True, 1.0, True, [Overload("rate", "429", 3.0)])
    assert not governor.pace.room(1, 3.1)
    assert governor.pace.room(1, 3.2 + 0.02)
    assert governor.decisions[2].startswith("starts a second: any number -> ")
    assert governor.decisions[2].endswith(" (refused: 429)")
