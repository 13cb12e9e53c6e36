"""flatout against simulated services, on virtual time: as good as the best fixed number in flight, found without being told.

The whole of the dispatcher decides here, with nothing real around it. `bench/services` has the services.
"""

from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.services.cases import CASES
from bench.services.clock import Clock
from bench.services.model import Done, Metered, Refusing, Servers, Service, Sharing, always, exponential, lognormal
from bench.services.picture import draw
from bench.services.play import Played, play, play_fixed
from flatout._model import Plan

S = 0.1  # mean seconds of a call
DRAWS = {"constant": always(S), "exponential": exponential(S), "lognormal": lognormal(S, 0.7)}
PLANS = {"async": Plan("async", 100, 1000), "thread": Plan("thread", 100, 512)}
at_least_half = lambda dice: S / 2 + dice.expovariate(2 / S)  # noqa: E731
ROOT = Path(__file__).parents[1]
ENDLESS = 10**9
Make = Callable[[Clock], Service]

noise = pytest.mark.parametrize("noise", DRAWS)
kind = pytest.mark.parametrize("kind", PLANS)


def maker(service: Callable[..., Service], noise: str, seed: int = 1, **options: object) -> Make:
    return lambda clock: service(clock, DRAWS[noise], random.Random(seed), **options)


def best_of(make: Make, seconds: float, *in_flight: int) -> float:
    """The throughput with the best fixed number in flight."""
    return max(play_fixed(make, number, seconds) for number in in_flight)


def reasons(played: Played) -> str:
    return "; ".join(played.statistics.decisions)


@kind
@noise
@pytest.mark.parametrize("seed", [1, 2])
def test_a_fixed_capacity_is_found(kind: str, noise: str, seed: int) -> None:
    make = maker(Servers, noise, seed, servers=40)
    best = best_of(make, 30, 10, 20, 30, 40, 60, 80, 160)
    played = play(make, PLANS[kind], ENDLESS, until=30)
    assert played.throughput > 0.9 * best
    assert played.samples[-1].limit <= 4 * 40
    too_many = sum(sample.limit > 80 for sample in played.samples[len(played.samples) // 4 :])
    assert too_many < 0.4 * len(played.samples)
    assert max(played.overshoots()[1:], default=0) < 40, "in successes per server, each at three or four times as many"


@kind
@pytest.mark.parametrize("seed", [3, 6, 8, 9])
def test_servers_without_memory_are_counted_by_the_order_in_which_calls_end(kind: str, seed: int) -> None:
    """The first of a line end at the same rate as the others: their times do not tell how many are worked on at once."""
    played = play(maker(Servers, "exponential", seed, servers=40), PLANS[kind], ENDLESS, until=30)
    assert played.throughput > 0.9 * 40 / S
    pairs = itertools.pairwise(played.samples)
    assert sum(after.at - before.at for before, after in pairs if before.limit > 2 * 40) < 5, "of 30 seconds"


@pytest.mark.parametrize("noise", ["exponential", "lognormal"])
@pytest.mark.parametrize("servers", [300, 600, 700, 850])
def test_more_servers_than_most_but_fewer_than_were_begun_are_used(servers: int, noise: str) -> None:
    played = play(maker(Servers, noise, 1, servers=servers), PLANS["async"], ENDLESS, until=8)
    assert played.throughput > 0.9 * servers / S


@kind
def test_calls_that_take_some_time_at_least_are_not_taken_for_a_line(kind: str) -> None:
    """Where nobody waits for anybody, those that begin last do not end first either."""
    plan = PLANS[kind]
    unlimited = play(lambda clock: Service(clock, at_least_half, random.Random(1)), plan, ENDLESS, until=10)
    assert plan.ceiling is not None
    assert unlimited.throughput > 0.9 * plan.ceiling / S
    assert unlimited.samples[-1].limit == plan.ceiling


@kind
def test_a_service_that_slows_all_calls_down_is_not_slower_for_it(kind: str) -> None:
    make = maker(Sharing, "exponential", servers=40)
    best = best_of(make, 10, 20, 40, 80, 160)
    assert play(make, PLANS[kind], ENDLESS, until=10).throughput > 0.9 * best


@kind
@noise
@pytest.mark.parametrize("tells", [True, False], ids=["retry_after", "429 alone"])
def test_a_rate_is_learned(kind: str, noise: str, tells: bool) -> None:
    make = maker(Metered, noise, rate=50, burst=20, tells=tells)
    best = best_of(make, 20, 2, 4, 5, 6, 8, 16)
    played = play(make, PLANS[kind], ENDLESS, until=20)
    assert played.throughput > 0.9 * best
    at_the_start = 1000 if kind == "async" else 512
    assert played.service.refused < 1.5 * at_the_start + 0.1 * 20 * 50
    assert "starts a second" in reasons(played)
    assert "429" in reasons(played)


@kind
@noise
def test_what_accepts_fewer_calls_than_are_in_flight_is_not_pressed(kind: str, noise: str) -> None:
    make = maker(Refusing, noise, most=40)
    best = best_of(make, 30, 10, 20, 30, 40, 60)
    played = play(make, PLANS[kind], ENDLESS, until=30)
    assert played.throughput > 0.88 * best
    assert played.samples[-1].limit <= 1.2 * 40
    assert played.service.refused < 2.5 * 1000
    assert "refused for being too many" in reasons(played)


@kind
def test_connections_that_are_reset_where_there_are_too_many_are_too_many(kind: str) -> None:
    make = maker(Refusing, "lognormal", most=40, error=ConnectionResetError)
    played = play(make, PLANS[kind], ENDLESS, until=30)
    assert played.throughput > 0.85 * best_of(make, 30, 20, 30, 40, 60)
    assert sorted(sample.limit for sample in played.samples[-2000:])[1000] <= 80
    assert "connections failed" in reasons(played)


class Flaky(Service):
    """Three of ten connections are reset, whatever is in flight."""

    def _take(self, done: Done) -> None:
        self._answer(self.draw(self.dice), done, ConnectionResetError() if self.dice.random() < 0.3 else None)


@kind
def test_connections_that_fail_whatever_is_in_flight_are_no_reason_to_have_less(kind: str) -> None:
    played = play(maker(Flaky, "lognormal"), Plan(PLANS[kind].kind, 100, 100), ENDLESS, until=20)
    assert played.samples[-1].limit == 100
    assert "connections fail as often with fewer" in reasons(played)
    assert played.throughput > 0.9 * 0.7 * 100 / S


@kind
@noise
def test_a_capacity_that_halves_is_followed(kind: str, noise: str) -> None:
    make = maker(Servers, noise, servers=80, later=40, change_at=15.0)
    best = best_of(make, 30, 20, 40, 80, 160)
    played = play(make, PLANS[kind], ENDLESS, until=30)
    assert played.throughput > 0.9 * best
    assert min(sample.limit for sample in played.samples if sample.at > 15) <= 3 * 40


@kind
@noise
def test_where_more_always_brings_more_it_goes_to_the_ceiling(kind: str, noise: str) -> None:
    plan = Plan(PLANS[kind].kind, 20, 200)
    make = maker(Service, noise)
    best = best_of(make, 20, 50, 100, 200)
    played = play(make, plan, ENDLESS, until=20)
    assert played.throughput > 0.9 * best
    assert all(sample.in_flight <= 200 for sample in played.samples)


@kind
def test_what_is_out_of_order_for_a_while_is_asked_seldom_and_then_used_again(kind: str) -> None:
    plan = Plan(PLANS[kind].kind, 50, 50)
    make = maker(Refusing, "lognormal", out_from=10.0, out_until=20.0)
    played = play(make, plan, ENDLESS, until=60)
    assert played.throughput > 0.9 * best_of(make, 60, 50)
    assert played.service.refused < 400
    assert played.samples[-1].limit == 50


def test_without_retries_a_service_that_refuses_costs_few_tasks() -> None:
    from flatout._model import Retry

    make = maker(Metered, "lognormal", rate=200, burst=50)
    played = play(make, Plan("async", 100, 200), 4000, retry=Retry(attempts=1))
    assert played.statistics.failed < 500
    assert played.statistics.succeeded + played.statistics.failed == 4000


def test_a_rate_that_the_user_sets_is_kept_and_reached() -> None:
    make = maker(Service, "exponential")
    played = play(make, PLANS["async"], ENDLESS, until=20, max_per_second=120.0)
    assert played.throughput == pytest.approx(120, rel=0.03)
    assert played.service.calls < 120 * played.seconds + 120 * 0.02 + 2


@pytest.mark.parametrize("most", [1, 7, 60])
def test_never_more_than_max_concurrency(most: int) -> None:
    make = maker(Servers, "exponential", servers=100)
    played = play(make, Plan("async", most, most), 3000, max_concurrency=most)
    assert max(sample.in_flight for sample in played.samples) == most


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="sum() of floats is more exact since 3.12: drawn by 3.11")
def test_the_pictures_of_the_documentation_are_what_is_drawn_today() -> None:
    case = next(case for case in CASES if case.name == "metered")
    drawn = draw(case, case.play())
    assert drawn == (ROOT / "docs" / "limits" / "metered.svg").read_text(encoding="utf-8")


def test_there_is_a_picture_of_every_case() -> None:
    assert {path.stem for path in (ROOT / "docs" / "limits").iterdir()} == {case.name for case in CASES}
