"""What the probe's readings say: arithmetic alone, which is given numbers, reads no clock and starts no thread.

Readings recorded once can so be judged again at any time: `tests/choices` does that.

Not all calls count. What was spent before modules were imported in the middle of a call does not, nor does a first call
that took much longer than the others (it filled a cache, made a connection), nor calls before some that take much longer.
A full garbage collection does not count, either: it comes seldom, and in whatever call comes then.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from flatout._model import Measurement
from flatout._plan._elsewhere import LEAST, NOTICED
from flatout._record import record

ENOUGH = 0.030  # seconds of calls after which they are judged: some six switch intervals
CLEAR = 0.008  # seconds of watched computing after which calls are judged that all let go of the GIL, or all hold it; guessed
WAITED = 0.005  # seconds of calls that did next to nothing but wait, after which they are judged; guessed
MUCH_LONGER = 2  # times as long as the mean of the others: no-ops came first, or something was made ready; guessed
AGREED = (
    0.002  # seconds of calls after which they are taken to do what was seen of them before: some four looks; guessed
)
MIXES = 0.005  # the same of one that computes, where such calls then wait; guessed
RESTS = 0.0004  # seconds of waiting, one look, that are enough for that where calls were seen to mostly wait; guessed
# By which what is seen may differ from what was seen before: of the share of its time that a call computes; of all computing,
# for the share that holds the GIL. Guessed.
ALIKE = 0.2
# Of computing, with the GIL held: up to that most lets go of it. (Measured with thumbnails: 0-0.35, from run to run.)
MOSTLY_FREE = 0.4
BOOT_AFTER = 0.005  # seconds of computing after which the zygote is started in case it is wanted
ALONE = 0.130  # seconds from which a first call that computes speaks for the others, which would be kept waiting else; guessed
FEW = 0.1  # of the computing watched, below which looks that tell less must help; guessed
STARVED = 2 * ENOUGH  # seconds after which calls are judged though they were hardly watched
LONG = (
    0.025  # seconds that calls may go on before the watcher, which has to fight for the GIL, sees to anything; guessed
)
NAP = 0.0005  # seconds between two looks
_USUAL = 0.00015  # seconds by which a look takes longer on an idle machine (measured)
_LATE = 0.0003  # seconds beyond that from which it was a core that the watcher had to wait for, if not the GIL; guessed
_NOTICED = (
    0.00005  # seconds beyond that from which it was the GIL that made a look late (measured: others reach 0.03 ms)
)

Number = Callable[[], float]
Spent = tuple[float, float, int]  # on calls: seconds, of these on a core, their number


@record
class Totals:
    """Of calls: seconds, of these on a core and in vain (in the queue for a core, or until the GIL was taken), their number; of the looks at them: CPU seconds
    watched, and of these with the GIL held, and the same of looks that tell less; CPU seconds after the last look."""

    seconds: float = 0.0
    cpu: float = 0.0
    queued: float = 0.0
    calls: int = 0
    watched: float = 0.0
    held: float = 0.0
    loose: float = 0.0
    loose_held: float = 0.0
    unseen: float = 0.0

    def since(self, past: Totals) -> Totals:
        """What has come on top of that."""
        return Totals(
            self.seconds - past.seconds,
            self.cpu - past.cpu,
            self.queued - past.queued,
            self.calls - past.calls,
            self.watched - past.watched,
            self.held - past.held,
            self.loose - past.loose,
            self.loose_held - past.loose_held,
            self.unseen - past.unseen,
        )

    @property
    def each(self) -> float:
        """Seconds per call."""
        return self.seconds / self.calls if self.calls else 0.0

    @property
    def present(self) -> float:
        """Seconds that were not spent in vain. (Between the calls, too, a thread may wait for a core.)"""
        return max(self.cpu, self.seconds - max(0.0, self.queued))

    @property
    def waits(self) -> bool:
        """Whether calls do next to nothing but wait, for a core or for something else."""
        return self.cpu < self.seconds / 10


@record
class Beside:
    """What goes on beside the thread that makes the calls.

    elsewhere: CPU seconds of the calls in other threads and processes, `most` of them in a second at most. kept_out: if there
    were few looks, it was the GIL that kept the watcher out, not that it waits for a core. watching: CPU seconds of the
    watcher and its like, who take the GIL from calls that want to compute.
    """

    elsewhere: float = 0.0
    most: float = 1.0
    kept_out: bool = True
    watching: float = 0.0


class Evidence:
    """Readings of calls made by one thread, and of the looks of another at them. Times are seconds on that thread's clocks.

    Whoever calls it sees to it that only one thread does at a time.
    """

    def __init__(self, gil: bool) -> None:
        self.turn = 0  # how often calls have begun or ended
        self._gil = gil
        self._finished = Totals()  # without what the looks say
        self._seen = math.inf  # CPU seconds of all calls when they were last looked at
        self._queued = self._lost = self._watched = self._held = self._loose = self._loose_held = 0.0
        self._marks: list[Totals] = []  # after some ends of calls, the first and the second among them
        self._latest = Totals()  # after the last
        self._left_out = Totals()
        self._began: float | None = None
        self._cpu_began = 0.0
        self._collecting = self._cpu_collecting = 0.0  # garbage, in the middle of calls
        self._in_hand = 0  # calls of those under way that are over
        self._reached = Totals()  # with these, when the last of them was seen to be over

    # What happens

    def begun(self, now: float, cpu: float) -> None:
        """Calls begin."""
        self._began, self._cpu_began, self._in_hand = now, cpu, 0
        self._reached = self._finished
        self.turn += 1

    def in_hand(self, over: int, now: float, cpu: float) -> None:
        """So many of the calls that are under way, one after another, are over."""
        if self._began is None or over <= self._in_hand:
            return
        self._in_hand = over
        self._reached = self._and_current(now, cpu, self._finished.calls + over)
        self._keep(self._with_looks(self._reached, 0.0))

    def ended(self, calls: int, now: float, cpu: float, queued: Number) -> None:
        """So many calls have ended since. `queued` is read only where they did not compute all the time."""
        if self._began is None:
            return
        if now - self._began > 1.1 * (cpu - self._cpu_began):
            self._queued = max(self._queued, queued())
        past, began, self._began = self._finished, self._began, None
        self.turn += 1
        self._finished = Totals(
            past.seconds + max(0.0, now - began), past.cpu + max(0.0, cpu - self._cpu_began), calls=past.calls + calls
        )
        self._mark(self._so_far(now, cpu))

    def imported(self, now: float, cpu: float) -> None:
        """Modules were imported just now: that happens once, in whatever call comes first."""
        self._left_out = self._up_to(now, cpu)

    def collected(self, seconds: float, cpu: float) -> None:
        """In the middle of the call that is under way, all objects of the program were looked through for garbage."""
        if self._began is not None:
            self._began += seconds
            self._cpu_began += cpu
            self._collecting, self._cpu_collecting = self._collecting + seconds, self._cpu_collecting + cpu
            self.turn += 1

    def missed(self, kept_out: float, present: float, computed: float, queued: float) -> None:
        """Between two looks: for so long of that time the watcher wanted the GIL and did not get it. For the rest see `saw`.

        Nor did the calls, as far as they did not compute.
        """
        if self._began is not None:
            self._lost += max(0.0, min(kept_out, present - computed - max(0.0, queued - self._queued)))
        self._queued = max(self._queued, queued)

    def saw(self, present: float, computed: float, blocked: bool | None, queued: float, whole: bool) -> None:
        """One look: for so long the watcher slept or wanted the GIL, and for so long the calls computed meanwhile.

        blocked: whether it had to wait for the GIL when its nap was over; None where that cannot be told, and how late it
        came must do. queued: seconds that the thread of the calls has waited for a core so far. whole: no call ended
        meanwhile, and flatout itself did nothing: what is done then holds the GIL.
        """
        without_core = max(0.0, queued - self._queued)
        if blocked:  # who gives the GIL away sleeps until the other has a core and takes it
            self._lost += max(0.0, present - computed - without_core - NAP)
        self._queued = max(self._queued, queued)
        late = present - NAP - _USUAL
        held = computed * float(bool(blocked))
        if blocked is None and late > _NOTICED:
            held = computed * min(1.0, (late + NAP) / present)
        # Who had to wait for a core may have had to until the calls let go of the GIL and of the core; and while these wait
        # for one, the GIL may be free.
        if whole and (blocked is not False or (late <= _LATE and without_core < present / 10)):
            self._watched += computed
            self._held += held
        else:
            self._loose += computed
            self._loose_held += held

    def judged(self, now: float, cpu: float) -> None:
        """They are looked at no more, though one may be under way."""
        self._seen = self._finished.cpu + self.under_way(now, cpu)[1]

    # What follows

    @property
    def seconds(self) -> float:
        """Of all finished calls, those that do not count included."""
        return self._finished.seconds

    def spent(self, now: float, cpu: float) -> tuple[Spent, float]:
        """Seconds of all calls so far, of these on a core, and how many have begun; seconds of the one under way.

        With the garbage collections that came in the middle of them.
        """
        past, (under_way, computed) = self._finished, self.under_way(now, cpu)
        calls = past.calls + (self._in_hand + 1 if self._began is not None else 0)
        spent = past.seconds + under_way + self._collecting, past.cpu + computed + self._cpu_collecting
        return (*spent, calls), under_way

    @property
    def one_that_waits(self) -> bool:
        """Whether a single call is over, which did next to nothing but wait."""
        return self._finished.calls == 1 and self._counted(self._latest).waits

    @property
    def within(self) -> bool:
        """Whether calls are under way."""
        return self._began is not None

    @property
    def within_first(self) -> bool:
        """Whether the first is, and no other."""
        return self._began is not None and not (self._finished.calls or self._in_hand)

    def under_way(self, now: float, cpu: float) -> tuple[float, float]:
        """Seconds since those under way began, and how many of them they have computed."""
        return (0.0, 0.0) if self._began is None else (now - self._began, max(0.0, cpu - self._cpu_began))

    def long(self, now: float) -> bool:
        """Whether those under way have been so for long."""
        return self._began is not None and now - self._began >= LONG

    def settled(self) -> bool:
        """Whether finished calls have shown what they do."""
        counted = self._counted(self._latest)
        if counted.waits:
            clear = counted.seconds >= WAITED
        elif self._finished.calls < 2 and counted.present < ALONE:
            return False  # it may have made something ready for the others
        else:
            clear = counted.watched >= CLEAR and counted.cpu > 0.9 * counted.seconds and not 0.1 < _share(counted) < 0.9
        watched = counted.watched + counted.loose >= counted.cpu / 3 or counted.present >= STARVED
        return (counted.present >= ENOUGH and watched) or (clear and counted.queued < counted.seconds / 10)

    def agrees(self, known: Measurement) -> bool:
        """Whether finished calls do what was seen of such calls before, as far as can be told so early."""
        counted = self._counted(self._latest)
        if not counted.calls or counted.present < AGREED or not known.seconds:
            return False
        if self.one_that_waits:  # of calls that wait some take longer than others
            return known.wait > known.seconds / 2 and self._within(counted, known)
        longer = counted.present / counted.calls / known.seconds
        computing = known.gil + known.free
        share, share_then = counted.cpu / counted.present, computing / known.seconds
        if not 1 / MUCH_LONGER <= longer <= MUCH_LONGER or abs(share - share_then) > ALIKE * max(share, share_then):
            return False
        return not computing or _alike(counted, known)

    def may_agree(self, known: Measurement, now: float, cpu: float, queued: float) -> bool:
        """Whether the first call, which is under way, does what was seen of such calls before, as far as it has come."""
        counted = self._counted(self._so_far(now, cpu, queued))
        if known.wait < known.seconds / 10:
            least = AGREED
        else:
            least = RESTS if counted.waits and known.wait > known.seconds / 2 else MIXES
        if not least <= counted.present <= MUCH_LONGER * known.seconds:
            return False
        return self._within(counted, known) and (counted.cpu < counted.present / 2 or _alike(counted, known))

    def _within(self, counted: Totals, known: Measurement) -> bool:
        """Whether it has computed and waited no longer than such calls do, roughly."""
        noise, waited = ALIKE * counted.present, counted.present - counted.cpu
        computing = known.gil + known.free
        return counted.cpu <= MUCH_LONGER * computing + noise and waited <= MUCH_LONGER * known.wait + noise

    def shown(
        self,
        now: float,
        cpu: float,
        queued: float,
        resting: bool,
        asleep: Callable[[], bool],
        alone: Callable[[], bool] = lambda: True,
    ) -> bool:
        """Whether a call that is under way has shown what it does.

        resting: it has not computed since the last look. asleep: tells whether it could not run, either; in the queue for
        a core a call only seems to wait. alone: tells whether no program that it has started runs, of which little is known yet.
        """
        if self._began is None:
            return False
        if resting and self._unlike_first(now, cpu):
            self._left_out = self._marks[0]
        current, computed = now - self._began, cpu - self._cpu_began
        counted = self._counted(self._so_far(now, cpu, queued))
        present = counted.present
        if resting:
            if counted.cpu < present / 10 and current >= WAITED and WAITED <= present < ENOUGH:
                return asleep() and alone()
            least = WAITED if counted.cpu < present / 10 else LONG
            return current >= least and present >= ENOUGH and asleep()
        return (computed if self._finished.calls == 1 else current) >= self._long() and present >= ENOUGH

    def present(self, now: float, cpu: float, queued: float) -> float:
        """Seconds for which the calls that count have waited or computed so far."""
        return self._counted(self._so_far(now, cpu, queued)).present

    def computing(self, now: float, cpu: float) -> bool:
        """Whether the calls have computed for a few milliseconds, and little else."""
        counted = self._counted(self._so_far(now, cpu))
        return counted.cpu > BOOT_AFTER and counted.cpu > counted.present / 2

    def measurement(self, now: float, cpu: float, queued: float, beside: Beside) -> Measurement:
        """What has been seen so far, per call. In the middle of the first call it is taken to be half over."""
        total = self._so_far(now, cpu, queued)
        counted = self._counted(total)
        counted_part = counted.seconds / total.seconds if total.seconds else 1.0
        computing = counted.cpu / counted.present if counted.present else 0.0
        seconds = max(counted.cpu, counted.present - beside.watching * counted_part * computing)
        gil = min(counted.cpu, _share(counted, beside.kept_out) * counted.present) if self._gil else 0.0
        own = beside.elsewhere * counted_part
        # It is not older than the calls.
        own = min(own, beside.most * seconds) if own > max(NOTICED * seconds, LEAST) else 0.0
        scale = 1 / self._calls(counted, total) if counted.calls else 2.0
        once = (
            scale if counted.calls or not counted.waits else 1.0
        )  # before it waits a call computes, and after that little
        return Measurement(
            gil * once,
            (counted.cpu - gil) * once,
            (seconds - counted.cpu) * scale,
            calls=self._finished.calls,
            own=own * scale,
        )

    # How

    def _long(self) -> float:
        """Seconds for which a call must have computed. The second need only show that it is no trifle beside the first."""
        return min(self._finished.seconds / 2, CLEAR) if self._finished.calls == 1 else LONG

    def _unlike_first(self, now: float, cpu: float) -> bool:
        """Whether the second call has waited for so long, where the first did not, that the two are unlike each other."""
        if self._finished.calls != 1 or self._left_out.calls or self._finished.waits:
            return False
        assert self._began is not None
        return now - self._began >= LONG and cpu - self._cpu_began < (now - self._began) / 10

    def _mark(self, total: Totals) -> None:
        """Of thousands of short calls not every one is kept."""
        self._latest = total
        self._keep(total)
        self._weigh_first()

    def _keep(self, total: Totals) -> None:
        if len(self._marks) < 2 or total.seconds > 1.1 * self._marks[-1].seconds:
            self._marks.append(total)

    def _weigh_first(self) -> None:
        """Leave the first call out, if it took much longer than the others."""
        if len(self._marks) < 2 or self._left_out.calls >= self._marks[0].calls:
            return
        first, others = self._marks[0].since(self._left_out), self._latest.since(self._marks[0])
        if first.each > MUCH_LONGER * others.each:
            self._left_out = self._marks[0]

    def _counted(self, total: Totals) -> Totals:
        """Of all, what is not left out; if the later half of the time went into calls much longer than the others, that."""
        counted = total.since(self._left_out)
        half = self._left_out.seconds + counted.seconds / 2
        marks = [m for m in (*self._marks, self._latest) if m.calls > self._left_out.calls and m.seconds <= half]
        if not marks or total.since(marks[-1]).each <= MUCH_LONGER * counted.each:
            return counted
        # They became so where those after and those before are least like each other.
        return total.since(max(marks, key=lambda m: total.since(m).each / max(m.since(self._left_out).each, 1e-9)))

    def _so_far(self, now: float, cpu: float, queued: float = 0.0) -> Totals:
        """All, with the call that is under way once it is longer than those before."""
        past = self._finished if self._began is None else self._reached
        before = past.since(self._left_out)
        total = past if self._began is None else self._and_current(now, cpu, past.calls + (before.calls > 0))
        if before.calls and total.seconds - past.seconds < before.each:
            return self._with_looks(past, queued)
        return self._with_looks(total, queued)

    def _calls(self, counted: Totals, total: Totals) -> float:
        """How many calls were counted: the one that is under way in part, as long as those that are over took longer."""
        under_way = total.seconds - (self._finished if self._began is None else self._reached).seconds
        if under_way <= 0.0:
            return counted.calls
        over, before = counted.calls - 1, counted.seconds - under_way
        if not over:
            return 0.5
        return over + (min(1.0, under_way * over / before) if before > 0.0 else 1.0)

    def _up_to(self, now: float, cpu: float) -> Totals:
        """All up to now, in whatever call."""
        past = self._finished
        return self._with_looks(past if self._began is None else self._and_current(now, cpu, past.calls), 0.0)

    def _and_current(self, now: float, cpu: float, calls: int) -> Totals:
        assert self._began is not None
        past = self._finished
        return Totals(past.seconds + now - self._began, past.cpu + max(0.0, cpu - self._cpu_began), calls=calls)

    def _with_looks(self, total: Totals, queued: float) -> Totals:
        self._queued = max(self._queued, queued)
        looks = self._watched, self._held, self._loose, self._loose_held, max(0.0, total.cpu - self._seen)
        return Totals(total.seconds, total.cpu, self._queued + self._lost, total.calls, *looks)


def _alike(counted: Totals, known: Measurement) -> bool:
    """Whether as much of the computing holds the GIL. Where nobody has looked, it may be that the GIL kept him out.

    Where most lets go of it, in pieces, the first looks tell little of how much the rest is.
    """
    share, then = _share(counted), known.gil / (known.gil + known.free)
    return abs(share - then) <= ALIKE or max(share, then) <= MOSTLY_FREE


def _share(counted: Totals, kept_out: bool = True) -> float:
    """Of computing, with the GIL held. Who seldom gets in is kept out by the GIL (see `_probe._Brisk`)."""
    watched, held, seen = counted.watched, counted.held, counted.cpu - counted.unseen
    if watched < FEW * seen:
        watched, held = watched + counted.loose, held + counted.loose_held
    starved = max(0.0, seen / 3 - counted.watched - counted.loose) if kept_out else 0.0
    return min(1.0, (held + starved) / (watched + starved)) if watched + starved > 0 else 1.0
