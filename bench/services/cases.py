"""The runs that the documentation shows: a service each, lognormal times, a fixed seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from bench.services.clock import Clock
from bench.services.model import Metered, Refusing, Servers, Service, lognormal
from bench.services.play import Played, play
from flatout._model import Plan

SECONDS = 0.1  # that a call takes in the mean
SEED = 7
SHOWN = 30.0  # seconds of a run


@dataclass(frozen=True)
class Case:
    """name: of the file. title: for people. best: calls a second that the service can do, at a moment."""

    name: str
    title: str
    make: Callable[[Clock], Service]
    plan: Plan
    best: Callable[[float], float]

    def play(self) -> Played:
        """The first seconds of an endless run."""
        return play(self.make, self.plan, 10**9, until=SHOWN)


def _service(cls: Callable[..., Service], **options: object) -> Callable[[Clock], Service]:
    return lambda clock: cls(clock, lognormal(SECONDS), random.Random(SEED), **options)


COROUTINES, THREADS = Plan("async", 100, 1000), Plan("thread", 100, 512)
CASES = (
    Case("fixed", "40 servers, a line before them", _service(Servers, servers=40), COROUTINES, lambda now: 400),
    Case(
        "halves",
        "80 servers, 40 of them gone after 15 s",
        _service(Servers, servers=80, later=40, change_at=15.0),
        COROUTINES,
        lambda now: 800 if now < 15 else 400,
    ),
    Case("metered", "429 above 50 calls a second", _service(Metered, rate=50, burst=20), COROUTINES, lambda now: 50),
    Case("unlimited", "as many as you like", _service(Service), THREADS, lambda now: 5120),
    Case("refusing", "503 above 40 calls in flight", _service(Refusing, most=40), COROUTINES, lambda now: 400),
    Case(
        "outage",
        "503 for everything from 10 s to 15 s",
        _service(Refusing, out_from=10.0, out_until=15.0),
        Plan("async", 100, 100),
        lambda now: 0 if 10 <= now < 15 else 1000,
    ),
)
