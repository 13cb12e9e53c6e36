"""The services. Each answers a call by `done(error)`, None for a success, some time after it has arrived."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.services.clock import Clock

Done = Callable[[Exception | None], None]
Draw = Callable[[random.Random], float]  # of seconds

REFUSAL = 0.005  # seconds that a refusal takes


class Refused(Exception):
    """As HTTP clients raise it: with a status, and perhaps with the seconds to wait."""

    def __init__(self, status: int, retry_after: float | None = None) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        if retry_after is not None:
            self.headers = {"Retry-After": f"{retry_after:.3f}"}


def always(seconds: float) -> Draw:
    """Every call takes as long."""
    return lambda dice: seconds


def exponential(mean: float) -> Draw:
    """Many short calls, a few long ones, no memory."""
    return lambda dice: dice.expovariate(1 / mean)


def lognormal(mean: float, sigma: float = 0.5) -> Draw:
    """As the times of most real services are distributed."""
    return lambda dice: mean * dice.lognormvariate(-sigma * sigma / 2, sigma)


@dataclass
class Service:
    """Bears any number of calls. `peak`: most in flight; `calls`, `refused`: how many there were."""

    clock: Clock
    draw: Draw
    dice: random.Random
    in_flight: int = 0
    calls: int = 0
    refused: int = 0

    def capacity(self, now: float) -> float:
        """Calls in flight beyond which more bring nothing."""
        return float("inf")

    def call(self, done: Done) -> None:
        """A call arrives."""
        self.calls += 1
        self.in_flight += 1
        self._take(done)

    def _take(self, done: Done) -> None:
        self._answer(self.draw(self.dice), done)

    def _refuse(self, done: Done, error: Exception) -> None:
        self.refused += 1
        self._answer(REFUSAL, done, error)

    def _answer(self, seconds: float, done: Done, error: Exception | None = None) -> None:
        def end() -> None:
            self.in_flight -= 1
            done(error)

        self.clock.after(seconds, end)


@dataclass
class Servers(Service):
    """Works on `servers` calls at once, on `later` from `change_at` on; the others stand in line."""

    servers: int = 1
    later: int = 0
    change_at: float = float("inf")
    _line: deque[Done] = field(default_factory=deque)
    _busy: int = 0

    def capacity(self, now: float) -> float:
        return self.servers if now < self.change_at else self.later

    def _take(self, done: Done) -> None:
        self._line.append(done)
        self._begin()

    def _begin(self) -> None:
        while self._line and self._busy < self.capacity(self.clock.now):
            self._busy += 1
            self._work_on(self._line.popleft())

    def _work_on(self, done: Done) -> None:
        def ended(error: Exception | None) -> None:
            self._busy -= 1
            self._begin()
            done(error)

        self._answer(self.draw(self.dice), ended)


@dataclass
class Sharing(Service):
    """Works on all calls at once, each the slower the more there are beyond `servers`: no line, no order."""

    servers: int = 1

    def capacity(self, now: float) -> float:
        return self.servers

    def _take(self, done: Done) -> None:
        self._work_on(self.draw(self.dice), done)

    def _work_on(self, left: float, done: Done) -> None:
        """In slices, at the speed of the moment."""
        slice_ = min(left, 0.02)
        slowed = max(1.0, self.in_flight / self.servers)
        if left <= slice_:
            self._answer(slice_ * slowed, done)
        else:
            self.clock.after(slice_ * slowed, lambda: self._work_on(left - slice_, done))


@dataclass
class Metered(Service):
    """Accepts `rate` calls a second, `burst` at once after a pause; refuses the others by 429."""

    rate: float = 1.0
    burst: float = 1.0
    tells: bool = True  # for how long to wait
    _tokens: float = -1.0
    _at: float = 0.0

    def _take(self, done: Done) -> None:
        self._tokens = self.burst if self._tokens < 0 else self._tokens
        self._tokens = min(self.burst, self._tokens + self.rate * (self.clock.now - self._at))
        self._at = self.clock.now
        if self._tokens >= 1:
            self._tokens -= 1
            super()._take(done)
        else:
            wait = (1 - self._tokens) / self.rate
            self._refuse(done, Refused(429, wait if self.tells else None))


@dataclass
class Refusing(Service):
    """Refuses calls, by `error`, while it has `most` in hand; and all of them from `out_from` to `out_until`."""

    most: int = 1_000_000
    error: Callable[[], Exception] = lambda: Refused(503)
    out_from: float = float("inf")
    out_until: float = float("inf")
    _in_hand: int = 0

    def capacity(self, now: float) -> float:
        return 0 if self.out_from <= now < self.out_until else self.most

    def _take(self, done: Done) -> None:
        if self._in_hand >= self.capacity(self.clock.now):
            return self._refuse(done, self.error())
        self._in_hand += 1

        def ended(error: Exception | None) -> None:
            self._in_hand -= 1
            done(error)

        return self._answer(self.draw(self.dice), ended)
