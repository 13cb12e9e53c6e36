"""The law gives the known numbers exactly and never bends the wrong way."""

import heapq
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flatout._plan import _law as law

seconds = st.floats(min_value=0.0, max_value=1e6, allow_subnormal=False)
number = st.integers(min_value=1, max_value=10_000)


def test_the_masters_exhibition() -> None:
    assert law.exhibition_seconds(24 * 30, 5.0, 55.0, in_flight=1, masters=1) == 43_200.0
    assert law.exhibition_seconds(24 * 30, 5.0, 55.0, in_flight=24, masters=1) == 3_600.0
    assert law.exhibition_seconds(24 * 30, 5.0, 55.0, in_flight=24, masters=2) == 1_800.0
    assert law.useful_in_flight(5.0, 55.0) == 12.0
    assert law.useful_in_flight(5.0, 55.0, masters=2) == 24.0


def test_up_to_the_useful_number_more_tables_help_and_then_no_more() -> None:
    times = {tables: law.exhibition_seconds(720, 5.0, 55.0, in_flight=tables, masters=1) for tables in (11, 12, 13)}
    assert times[11] > times[12] == times[13] == 3_600.0


def test_no_computing_means_no_limit_in_flight() -> None:
    assert law.useful_in_flight(0.0, 1.0) == math.inf


def test_no_calls_take_no_time() -> None:
    assert law.exhibition_seconds(0, 5.0, 55.0, 1, 1) == 0.0


@given(number, seconds, seconds, number, number, number, number)
def test_more_in_flight_and_more_masters_never_cost_time(
    calls: int, compute: float, wait: float, in_flight: int, masters: int, more: int, yet_more: int
) -> None:
    before = law.exhibition_seconds(calls, compute, wait, in_flight, masters)
    assert law.exhibition_seconds(calls, compute, wait, in_flight + more, masters) <= before
    assert law.exhibition_seconds(calls, compute, wait, in_flight, masters + yet_more) <= before


@given(number, seconds, seconds, number, number)
def test_no_run_is_shorter_than_one_call_and_more_calls_never_shorter(
    calls: int, compute: float, wait: float, in_flight: int, masters: int
) -> None:
    time = law.exhibition_seconds(calls, compute, wait, in_flight, masters)
    assert compute + wait <= time <= law.exhibition_seconds(calls + 1, compute, wait, in_flight, masters)


@given(number, seconds, seconds)
def test_one_in_flight_is_one_after_another(calls: int, compute: float, wait: float) -> None:
    assert law.exhibition_seconds(calls, compute, wait, in_flight=1, masters=1) == calls * (compute + wait)


@given(number, seconds, seconds, number, seconds, seconds)
def test_a_run_is_no_shorter_than_its_last_call_nor_than_what_keeps_the_masters_busy(
    calls: int, each: float, call: float, in_flight: int, start: float, busy: float
) -> None:
    time = law.run_seconds(calls, each, call, in_flight, start, busy)
    assert time >= max(call, busy + calls * each)


def simulated(calls: int, seconds: float, in_flight: int, start: float) -> float:
    """Whoever is free takes the next call; workers begin one after the other."""
    free = [number * start for number in range(in_flight)]
    heapq.heapify(free)
    end = 0.0
    for _ in range(calls):
        end = heapq.heappop(free) + seconds
        heapq.heappush(free, end)
    return end


@given(
    st.integers(min_value=1, max_value=3000),
    st.floats(min_value=1e-4, max_value=1.0),
    st.integers(min_value=1, max_value=600),
    st.sampled_from([0.0, 0.0001, 0.001, 0.01]),
)
def test_workers_that_wait_are_predicted_as_a_simulation_has_them(
    calls: int, call: float, in_flight: int, start: float
) -> None:
    predicted = law.run_seconds(calls, 0.0, call, in_flight, start)
    real = simulated(calls, call, in_flight, start)
    assert predicted == pytest.approx(real, rel=0.1, abs=start)


def never_idle(compute: float, wait: float, masters: int, in_flight: int, spread: float) -> float:
    """How many times as long as masters that are never idle these take, simulated: calls wait, and compute for times that
    lie within `spread` of the mean, or are exponential where that is inf."""
    chance = random.Random(1)
    wants, free, computed = [wait] * in_flight, [0.0] * masters, 0.0
    for _ in range(20_000):
        begins = max(heapq.heappop(wants), free[0])
        each = (
            chance.expovariate(1 / compute) if math.isinf(spread) else compute * chance.uniform(1 - spread, 1 + spread)
        )
        heapq.heapreplace(free, begins + each)
        heapq.heappush(wants, begins + each + wait)
        computed += each
    return max(free) * masters / computed


@pytest.mark.parametrize(("spread", "enough", "ample"), [(math.inf, 1.17, 1.03), (0.3, 1.05, 1.0)])
def test_just_as_many_as_are_useful_leave_masters_idle_now_and_then(spread: float, enough: float, ample: float) -> None:
    assert law.useful_in_flight(5, 5, 2) == 4
    assert never_idle(5, 5, 2, 4, spread) == pytest.approx(enough, abs=0.01)
    assert never_idle(5, 5, 2, 6, spread) == pytest.approx(ample, abs=0.01)


@pytest.mark.parametrize(("compute", "wait", "masters"), [(5, 5, 2), (17, 5, 2), (5, 15, 2), (5, 5, 16), (5, 20, 8)])
def test_what_is_ample_seldom_leaves_a_master_idle(compute: float, wait: float, masters: int) -> None:
    in_flight = math.ceil(law.ample_in_flight(compute, wait, masters))
    assert never_idle(compute, wait, masters, in_flight, math.inf) < 1.04


def test_no_call_is_shared_out_at_the_end() -> None:
    assert law.run_seconds(4, each=1.0, seconds=2.0, in_flight=2) == 4.0
    assert law.run_seconds(5, each=1.0, seconds=2.0, in_flight=2) == 6.0, "one core idles while the last call is made"
    assert law.run_seconds(0, each=1.0, seconds=2.0, in_flight=2, busy=3.0) == 0.0


def test_workers_that_start_one_after_the_other_come_by_half_of_that_later() -> None:
    """A hundred start for 10 s in all; meanwhile the first ones work."""
    assert law.run_seconds(10_000, each=0.0, seconds=1.0, in_flight=101, start=0.1) == pytest.approx(10_000 / 101 + 5.5)
    assert law.run_seconds(101, each=0.0, seconds=100.0, in_flight=101, start=0.1) == 110.0, (
        "the last begins after 10 s"
    )
    assert law.workers_begun(101, 1.0, 101, 0.1) == 41, (
        "those that begin in the first 4 s have done it all a second later"
    )


@given(seconds, seconds, number)
def test_masters_are_one_under_the_gil_and_the_cores_without(gil: float, free: float, cores: int) -> None:
    assert law.thread_masters(gil, free, cores) * (1 + 1e-9) >= 1
    assert law.thread_masters(gil, free, cores) <= cores * (1 + 1e-9)
    assert law.thread_masters(1.0, 0.0, cores) == 1
    assert law.thread_masters(0.0, 1.0, cores) == pytest.approx(cores)


@given(seconds, seconds, seconds, number, number)
def test_threads_never_beat_the_gil_nor_lose_to_the_plain_loop(
    gil: float, free: float, wait: float, cores: int, in_flight: int
) -> None:
    inline = law.inline_seconds_per_call(gil, free, wait)
    threads = law.thread_seconds_per_call(gil, free, wait, cores, in_flight)
    assert gil <= threads <= inline * (1 + 1e-12)
    assert law.thread_seconds_per_call(gil, free, wait, cores, 1) == pytest.approx(inline)
    assert law.thread_seconds_per_call(gil, free, wait, cores + 1, in_flight) <= threads
    assert law.thread_seconds_per_call(gil, free, wait, cores, in_flight + 1) <= threads


@given(seconds, seconds, seconds, seconds, number, number, seconds)
def test_processes_pay_for_the_border_and_wait_for_the_parent(
    gil: float, free: float, wait: float, transfer: float, cores: int, in_flight: int, parent: float
) -> None:
    def per_call(transfer: float = transfer, cores: int = cores, in_flight: int = in_flight) -> float:
        return law.process_seconds_per_call(gil, free, wait, transfer, cores, in_flight, parent)

    assert per_call() >= parent
    assert per_call(transfer=0.0) <= per_call()
    assert per_call(cores=cores + 1) <= per_call()
    assert per_call(in_flight=in_flight + 1) <= per_call()


def test_what_each_kind_is_for() -> None:
    """On 8 cores with 64 in flight: a Python loop, a hash, a download."""
    assert law.thread_seconds_per_call(1.0, 0.0, 0.0, 8, 64) == 1.0
    assert law.process_seconds_per_call(1.0, 0.0, 0.0, 0.0, 8, 64) == 1 / 8
    assert law.thread_seconds_per_call(0.0, 1.0, 0.0, 8, 64) == 1 / 8
    assert law.thread_seconds_per_call(0.0, 0.0, 1.0, 8, 64) == 1 / 64
    assert law.inline_seconds_per_call(0.25, 0.25, 0.5) == 1.0


@given(number, seconds, seconds, number, number)
def test_the_law_of_many_calls_agrees_with_the_bounds_per_call(
    calls: int, compute: float, wait: float, cores: int, in_flight: int
) -> None:
    """Threads that hold the GIL are one master, processes and code without it are as many as there are cores."""
    total = law.exhibition_seconds(calls, compute, wait, in_flight, masters=1)
    assert total >= calls * law.thread_seconds_per_call(compute, 0.0, wait, cores, in_flight) * (1 - 1e-12)
    total = law.exhibition_seconds(calls, compute, wait, in_flight, masters=cores)
    assert total >= calls * law.process_seconds_per_call(compute, 0.0, wait, 0.0, cores, in_flight) * (1 - 1e-12)
