"""How many tasks may start a second: what the user allows, and what a service that refuses calls is found to bear."""

from __future__ import annotations

import math
from collections.abc import Callable

SLACK = 0.02  # seconds for which starts that were held up may be made good: the driver wakes late at times; guessed
EVEN = 0.25  # of the time between two starts by which one may come early at a learned rate: a strict service counts; guessed
KEPT = 0.97  # of a rate that was refused, or measured, to go on with; guessed, so that most starts are accepted
NEAR = 1.05  # times the measured rate at most is one believed at which all were accepted: they may be saved up; guessed
ENOUGH = 8  # accepted starts between two refusals from which their rate is known; guessed
WINDOW = 4, 16  # accepted starts before the next step up: those of a second, but at least and at most so many; guessed
FIRST_STEP = 0.02  # share by which a learned rate is raised after a refusal, doubled with each further step; guessed
SLOWEST = 0.5  # starts a second below which no learned rate goes: a service that is down is asked every 2 s; guessed
QUICKLY = 4  # times as many starts after each that is accepted, below a rate that once was; guessed
SHORTEST = 0.001  # seconds over which a rate is measured at least; guessed

Say = Callable[[str, str, str], None]


class Bucket:
    """A token bucket: starts are let go at a rate, and a few at once where they were held up (`SLACK`).

    In any span of time no more start than rate x span + 1 + rate x slack. Reckoned by when the bucket is full again
    (the "theoretical arrival time" of ATM's generic cell rate algorithm), so that nothing has to be counted up.
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._slack = SLACK
        self._full_at = -math.inf
        self._held_until = -math.inf

    @property
    def ready_at(self) -> float:
        """When the next task may start."""
        return max(self._full_at - self._slack, self._held_until) if self.rate < math.inf else self._held_until

    def room(self, now: float) -> int | None:
        """How many may start now; None: any number."""
        if now < self.ready_at:
            return 0
        if self.rate == math.inf:
            return None
        # One at least, whatever rounding makes of it: else nobody would know when to come again.
        return max(1, int(1 + self.rate * (self._slack - max(0.0, self._full_at - now))))

    def take(self, count: int, now: float) -> None:
        """So many start."""
        if self.rate < math.inf:
            self._full_at = max(self._full_at, now) + count / self.rate

    def hold(self, until: float) -> None:
        """None may start before."""
        self._held_until = max(self._held_until, until)

    def set_rate(self, rate: float, now: float, slack: float = SLACK) -> None:
        """Another rate from now on; what was saved up at the old one is gone."""
        if rate < self.rate:
            self._full_at = now + slack
        self.rate, self._slack = rate, slack


class Pace:
    """The rate at which tasks may start: at most `most` a second, and no more than a service accepts.

    Between two refusals by a service that keeps a rate, as many calls were accepted as it allows for that time: its
    bucket was empty at both. So a refusal ends a span; nothing starts until those that began in it and are refused as
    well have come back (as long as the refusal took); then what was accepted over the length of the span is the rate.
    (Or the last rate at which all were accepted, if that is more: a pause may have cost some.) Where that were few, less may have been asked for: then it is taken to be between that and the rate that was refused.

    From there the rate is raised after every `WINDOW` accepted starts, by 2 %, then 4, 8, ...; below what was accepted
    before it rises by `QUICKLY`. The steps wait while fewer tasks start than might.
    """

    def __init__(self, most: float | None = None, say: Say = lambda before, after, reason: None) -> None:
        self._most = most or math.inf
        self._bucket = Bucket(self._most)
        self.bounded = most is not None  # there is a rate, or a pause, to be kept
        self._say = say
        self.learned = math.inf
        self._known = math.inf  # what was accepted once, with enough evidence
        self._good = 0.0  # a rate at which in this span all were accepted
        self._step = FIRST_STEP
        self._since: float | None = None  # the span: its begin,
        self._starts = self._refused = 0  # how many started in it, and how many of these were refused
        self._until = self._settle_at = math.inf  # its end, and when its refusals are in
        self._what = ""
        self._raised_at = -math.inf  # since when starts are at this rate
        self._started = self._accepted = 0  # since then

    @property
    def ready_at(self) -> float:
        """When the next may start."""
        return self._bucket.ready_at

    def room(self, wanted: int, now: float) -> int:
        """How many of so many may start now."""
        if not self.bounded:
            return wanted
        self._settle(now)
        room = self._bucket.room(now)
        return wanted if room is None else min(wanted, room)

    def paused(self, now: float) -> bool:
        """Whether none may start now."""
        return self.bounded and self.room(1, now) == 0

    def started(self, count: int, now: float) -> None:
        """So many start."""
        if self._since is None:
            self._since = now
        self._starts += count
        if self.bounded:
            self._started += count
            self._bucket.take(count, now)

    def hold(self, until: float) -> None:
        """None may start before."""
        self.bounded = True
        self._bucket.hold(until)

    def refused(self, count: int, began: float, now: float, what: str) -> None:
        """So many that began then were refused."""
        if self._since is None or began < self._since:
            return  # it tells of what has been reckoned with
        self._refused += count
        if self._until == math.inf:
            self._until, self._what = now, what
            self._settle_at = now + max(0.0, now - began)
            self.hold(self._settle_at)

    def accepted(self, count: int, began: float, now: float) -> None:
        """So many that began then were not refused."""
        if self.learned == math.inf or self._until < math.inf or began < self._raised_at:
            return
        self._accepted += count
        if self.learned < KEPT * self._known and self._most > self.learned:
            self._raise(min(QUICKLY * self.learned, KEPT * self._known), now)
        elif (
            self._accepted >= min(max(self.learned, WINDOW[0]), WINDOW[1])
            and self._started >= 0.8 * self.learned * (now - self._raised_at) - 1
        ):
            self._good = self.learned
            self._raise(self.learned * (1 + self._step), now)
            self._step = min(2 * self._step, 1.0)

    def _settle(self, now: float) -> None:
        """The refusals of the span are in: what does it say?"""
        if now < self._settle_at or self._since is None:
            return
        accepted = max(0, self._starts - self._refused)
        measured = max(accepted, 0.5) / max(self._until - self._since, SHORTEST)
        before = self.learned
        rate = max(KEPT * min(measured, before), min(self._good, NEAR * measured))
        self._good = 0.0
        if accepted >= ENOUGH:
            self._known = measured
        else:  # fewer may have been asked for than it would have accepted: it lies between that and what was refused
            rate = rate if before == math.inf else KEPT * math.sqrt(min(measured, before) * before)
        if 0 < accepted < ENOUGH:
            self._known = rate / KEPT if self._known == math.inf else max(rate / KEPT, self._known / 2)
        self._since, self._starts, self._refused = self._until, 0, 0
        self._until = self._settle_at = math.inf
        self._step = FIRST_STEP
        self._set(max(rate, SLOWEST), now, f"refused: {self._what}")

    def _raise(self, rate: float, now: float) -> None:
        self._set(rate, now, "all accepted")

    def _set(self, rate: float, now: float, reason: str) -> None:
        before, self.learned = self.learned, rate
        self._raised_at, self._started, self._accepted = now, 0, 0
        slack = SLACK if rate >= self._most else min(SLACK, EVEN / rate)
        self._bucket.set_rate(min(rate, self._most), now, slack)
        self._say(_a_second(before), _a_second(rate), reason)


def _a_second(rate: float) -> str:
    return "any number" if rate == math.inf else f"{rate:.3g}"
