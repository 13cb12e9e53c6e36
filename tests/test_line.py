"""The place in the line of calls in flight from which one ends."""

from __future__ import annotations

import heapq
import random

from hypothesis import given
from hypothesis import strategies as st

from flatout._limits._line import LATELY, SHORT, Line

LONG = 1.0  # seconds of a call


def test_the_place_is_counted_from_those_that_began_first_and_are_in_flight() -> None:
    line = Line()
    line.began(range(5), "at once")
    assert line.ended([3], LONG) == 4
    assert line.ended([0], LONG) == 1
    assert line.ended([4], LONG) == 3
    line.began([5], "at once")
    assert line.ended([1, 5], 2 * LONG) == 3, "of several that end together it is that of the last"
    assert line.ended([2], LONG) == 1


@given(st.integers(1, 30), st.integers(1, 100), st.integers())
def test_who_takes_the_first_first_ends_none_that_has_as_many_before_it_as_it_works_on(
    servers: int, in_flight: int, seed: int
) -> None:
    dice, line, busy, waiting, begun, places = random.Random(seed), Line(), [], [], 0, []  # type: ignore[var-annotated]
    for _ in range(300):
        while len(busy) + len(waiting) < in_flight:
            waiting.append(begun)
            line.began([begun], "at once")
            begun += 1
        now = busy[0][0] if busy else 0.0
        while waiting and len(busy) < servers:
            heapq.heappush(busy, (now + dice.expovariate(1), waiting.pop(0)))
        places.append(line.ended([heapq.heappop(busy)[1]], LONG))
    assert max(places) <= min(servers, in_flight)
    assert max(places) > 0.8 * min(servers, in_flight) - 1


def test_a_task_that_was_lost_is_in_the_line_no_more_and_the_last_when_it_begins_again() -> None:
    line = Line()
    line.began(range(3), "at once")
    line.left([0])
    assert line.ended([2], LONG) == 2
    line.began([0], "at once")
    assert line.ended([0], LONG) == 2
    assert len(line) == 1


def test_what_waits_for_its_worker_has_no_place_and_takes_none() -> None:
    line = Line()
    line.began(range(3), "at once")
    line.began([3], "later")
    assert line.ended([3], LONG) == 0
    assert line.ended([2], LONG) == 3
    assert len(line) == 2


def test_no_place_is_known_as_long_as_calls_are_in_flight_that_began_before_all_this() -> None:
    line = Line(unseen=1)
    line.began([1, 2], "at once")
    assert line.ended([2], LONG) == 0
    line.left([0])
    assert line.ended([1], LONG) == 1
    assert len(line) == 0


def test_no_place_is_known_beside_calls_that_were_not_seen() -> None:
    line = Line()
    line.began(range(3), "at once")
    line.began([3, 4], "in turn")
    assert line.ended([2], LONG) == 0
    assert line.ended([3, 4], 2 * LONG) == 0
    assert line.ended([1], LONG) == 2


def test_short_calls_are_not_looked_at_and_longer_ones_again() -> None:
    line, calls = Line(), range(LATELY)
    line.began(range(1000, 1002), "at once")
    line.began(calls, "at once")
    assert line.ended(calls, LATELY * SHORT / 2) == LATELY + 2
    line.began(calls, "at once")
    assert line.ended([1000], LONG) == 0, "since those that were not seen are in flight"
    assert line.ended(calls, LATELY * LONG) == 0
    line.began([1002], "at once")
    assert line.ended([1002], LONG) == 2
