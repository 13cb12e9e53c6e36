"""How many tasks run at once, found by what comes of it."""

from __future__ import annotations

import math
from collections.abc import Callable

from flatout._limits._refusals import Refusals
from flatout._limits._start import Start
from flatout._limits._window import FEWEST, WORTH, Window

GAIN = 1.1  # a step that doubles must bring a tenth more throughput to be kept; guessed, above the noise of windows
PRECISE = 0.07  # the standard error of a throughput above which its window is made longer; guessed
SURE = 2.0  # standard errors that a throughput must be from what decides, or the window is made longer; guessed
REST = 2  # windows on a plateau before it is probed again, doubled each time that the probe brings nothing; guessed,
LONGEST_REST = 64  # so that probing costs a run that has found its plateau about a hundredth
IN_LINE = 1.1  # times the least time of a call from which calls seem to stand in line; guessed
ROOM = 1.2  # times as many in flight as a service seems to work on at once, for noise; guessed
LEVEL = 1.25  # times as much throughput as with fewer at most, up to which it has not risen with it; guessed
UNHINDERED = 1.5  # times as long as the quickest that a task takes where none waits for another; guessed
FALLEN = 1.5  # times less throughput than usual, in two windows one after the other, is a change for the worse; guessed
USUAL = 0.3  # weight of the newest window in the usual throughput; guessed

Say = Callable[[int, int, str], None]


class Adaptive:
    """Doubles while throughput rises with it, and halves while throughput does not fall with it.

    A window is as many completions as there are places, during all of which the limit was the bottleneck; more where
    chance might still decide. A step is tried for two, of calls that began after it: the first still tells of the change,
    the second is compared with the last before the step. A step up that brings less than a tenth is taken back, and so is
    a step down that costs more; then the limit rests and the other way is tried. (Steps down undo what chance has let
    pass: without them noise drives the limit up for ever.) None is tried while tasks take about as long as the quickest
    did, and so do not wait for one another. Where throughput falls by itself, so that calls take longer and longer with no
    gain, the way down is tried at once.

    Before any of this can be known it doubles as long as everything in flight waits and nobody computes: by the law of
    the exhibition more in flight is useful then. A service cannot be asked what it bears; where it bears less, the
    first completions show it (`Start`). Calls that are refused for being too many cut it (`Refusals`).

    explores: whether it may grow, or shrink for anything but refusals; say: is told of each change and its reason.
    """

    def __init__(
        self,
        start: int,
        ceiling: int,
        say: Say = lambda before, after, reason: None,
        *,
        explores: bool = True,
    ) -> None:
        self.value = min(start, ceiling)
        self._ceiling = ceiling
        self._say = say
        self.explores = self.learns = explores  # learns: completions are of interest
        self._start: Start | None = Start() if explores else None  # None: the start is over
        self._refusals = Refusals()
        self._upward = True
        self._before: int | None = None  # the value before the step that is on trial
        self._base = self._base_error = 0.0  # completions a second before that step, and how sure that is
        self._rest = REST
        self._idle_windows = 0  # still to pass without a judgement
        self._usual = 0.0  # completions a second at this value, 0: not known
        self._worse = 0  # windows in a row that were far below it
        self._window = Window(self.value)
        self._changed_at = -math.inf
        self._least: tuple[float, float] = (
            math.inf,
            math.inf,
        )  # the least mean time of a call in a window, and with how many in flight
        self._lined_up = False  # the start has shown that calls stand in line
        self.quickest = math.inf  # mean of the tasks that ended together, the least so far

    @property
    def starting(self) -> bool:
        """Whether nothing has ended yet, and the value may grow."""
        return self._start is not None and self._start.fresh and self.value < self._ceiling

    def started(self, now: float) -> None:
        """A task starts."""
        if self._start is not None:
            self._start.started(now)

    def finished(
        self,
        count: int,
        now: float,
        saturated: bool,
        seconds: float = 0.0,
        comparable: bool = True,
        busy: int = 0,
        broken: int = 0,
        reach: int = 0,
    ) -> None:
        """Note completions; step when a window is full.

        saturated: the limit, not the input, held back the rest. seconds: how long they took together; 0: not known.
        comparable: the first of them had no other in its way. busy, broken: how many of them were refused for being too
        many, or failed in a way that may come of that. reach: the place in the line of the one that began last (see `Line`);
        0: not known.
        """
        self.learns = self.learns or busy + broken > 0
        began = now - seconds / count if seconds else math.nan
        if self._refusals.ended(count, busy, broken, began, self.value):
            return self._cut(now)
        if self._refusals.over or not self.explores:
            return self._recover(now)
        if busy < count:
            self.quickest = min(self.quickest, seconds / count if comparable else 0.0)
        if not saturated:
            return self._open()
        if self._start is not None and (fit := self._start.ended(count, began, now, self.value, reach)):
            return self._settle_for(fit, now, self._start.sure)
        if began < self._changed_at and self._idle_windows > 0:
            return None  # it tells of the value before
        if self._window.full(now):
            self._full(now)
        self._window.add(count, busy + broken, seconds, now, reach)
        return None

    def idle(self, now: float) -> None:
        """Double, without waiting for completions: where nothing computes, more in flight is useful (k* of the law)."""
        if self.explores and not self._refusals.seen:
            self._set(min(self.value * 2, self._ceiling), now, "all in flight wait and nothing computes")
            self._before = None
            if self._start is not None:
                self._start.more()

    def _open(self, since: float | None = None) -> None:
        """Begin a window, with the next completions or where the last one ended."""
        self._window = Window(self.value, since)

    def _set(self, value: int, now: float, reason: str) -> None:
        if value != self.value:
            self._say(self.value, value, reason)
            self.value, self._changed_at, self._usual, self._worse = value, now, 0.0, 0
        self._open(None if self._window.count else self._window.since)

    def _full(self, now: float) -> None:
        """A window is full: go on with it where chance might decide, else close it."""
        window, changing = self._window, self._before is not None and self._idle_windows > 0
        doubtful = window.error > PRECISE or (self._before is not None and self._doubtful(window))
        if changing or self._refusals.bound or not doubtful or not window.extend():
            self._open(window.latest)
            self._close(window, now)

    def _close(self, window: Window, now: float) -> None:
        if self._start is not None and window.mean:  # of those that were started together, the short ones end first
            self._start = None
            return
        if self._before is None or self._idle_windows == 0:
            self._note_time(window.mean)
        if self._idle_windows > 0:
            self._idle_windows -= 1
            if self._before is None:
                self._look_for_change(window.throughput, now)
        elif self._before is None:
            self._step(window, now)
        else:
            self._judge(window, now)

    def _doubtful(self, window: Window) -> bool:
        """Whether chance may still decide which side of the mark the throughput is on."""
        away = math.log(max(window.throughput, 1e-9) / max(self._base * self._needed(), 1e-9))
        return abs(away) < SURE * math.hypot(window.error, self._base_error)

    def _judge(self, window: Window, now: float) -> None:
        """Keep the step that is on trial, and go on, or take it back."""
        assert self._before is not None
        if window.throughput < self._base * self._needed():
            reason = "more brought nothing" if self._upward else "fewer brought less"
            if not self._upward:
                self._least = window.mean, self.value  # so calls do not stand in line at the value before
            self._set(self._before, now, reason)
            self._before = None
            self._turn_round()
        else:
            self._rest = REST
            self._step(window, now)

    def _needed(self) -> float:
        """What throughput must be after the step on trial, in terms of that before."""
        assert self._before is not None
        if not self._upward or self._refusals.bound:
            return 1 / GAIN
        return 1 + (GAIN - 1) * min(1.0, self.value / self._before - 1)

    def _look_for_change(self, throughput: float, now: float) -> None:
        """At rest: is throughput what it was?"""
        self._worse = self._worse + 1 if throughput * FALLEN < self._usual else 0
        if self._worse == 2:
            fit = max(1, self.value // 4, int(self.value * throughput / self._usual))
            self._upward, self._rest = False, REST
            self._try(fit, throughput, 0.0, now, "latency grew without gain")
        elif not self._worse:
            self._usual += (USUAL if self._usual else 1.0) * (throughput - self._usual)

    def _step(self, window: Window, now: float) -> None:
        if self._upward:
            target = self._refusals.next_above(self.value, self._more(window), self._ceiling)
        else:
            target = self._fewer(window)
        if target == self.value:
            self._before = None
            self._turn_round()
        else:
            reason = "throughput rises with it" if self._upward else "as much with fewer"
            self._try(target, self._base_of(window), window.error, now, reason)

    def _base_of(self, window: Window) -> float:
        """The throughput that a step is compared with. That of a step out of a line is not to be high by chance."""
        if self._upward or not self._usual or not window.in_order:
            return window.throughput
        return min(window.throughput, self._usual + USUAL * (window.throughput - self._usual))

    def _more(self, window: Window) -> int:
        """How many more to try: twice as many; half as many more where calls seem to stand in line; none where they do."""
        least, at = self._least
        slow = window.mean > IN_LINE * least and at <= WORTH * self.value
        tried = 0.0 if self._before is None else self._base  # the step before has just been kept
        if slow and window.in_order and window.throughput < LEVEL * max(tried, at / least):
            return self.value
        half = slow or (self._lined_up and window.in_order)
        return min(math.ceil(1.5 * self.value) if half else 2 * self.value, self._ceiling)

    def _fewer(self, window: Window) -> int:
        """How many might do as well, where calls take so long: those that need not stand in line, if that is known."""
        mean, half = window.mean, max(self.value // 2, 1)
        if 0.0 < mean < UNHINDERED * self.quickest:
            return self.value
        least, at = self._least
        known = bool(mean) and at <= WORTH * self.value
        target = math.ceil(ROOM * self.value * least / mean) if known else half
        if window.in_order and not (known and mean <= IN_LINE * least):
            target = max(window.reach, min(target, math.ceil(ROOM * window.reach)))
        target = max(target, half)
        return target if target <= WORTH * self.value else self.value

    def _note_time(self, mean: float) -> None:
        """A window of calls took so long on average: what is least, and with how many in flight at most, is remembered."""
        least, at = self._least
        if mean < least:
            self._least = mean, min(at, self.value)

    def _try(self, target: int, throughput: float, error: float, now: float, reason: str) -> None:
        """Put a value on trial."""
        before = self.value
        self._set(target, now, reason)
        self._before, self._base, self._base_error = before, throughput, error
        self._idle_windows = 1

    def _turn_round(self) -> None:
        self._upward = not self._upward
        self._idle_windows, self._rest = self._rest, min(2 * self._rest, LONGEST_REST)

    # Beside the steps

    def _settle_for(self, fit: int, now: float, sure: bool) -> None:
        """The first completions have shown that calls stand in line."""
        self._begin_anew()
        self._upward, self._lined_up = sure, True
        self._set(max(1, fit), now, "latency grew without gain")

    def _cut(self, now: float) -> None:
        """Calls were refused for being too many, or have failed as if they had been."""
        self._begin_anew()
        fit, reason = self._refusals.cut(self.value, now)
        self._set(fit, now, reason)

    def _begin_anew(self) -> None:
        self._start, self._before, self._upward, self._idle_windows = None, None, True, 1

    def _recover(self, now: float) -> None:
        """Where only refusals count: go back to what was in flight before, once nothing is refused."""
        if self._refusals.over or self._refusals.clean >= max(self.value, FEWEST):
            self._refusals.begin()
            self._begin_anew()
            target = self._refusals.next_above(self.value, self._ceiling, self._ceiling)
            self._set(target, now, "nothing is refused any more")
