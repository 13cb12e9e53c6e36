"""What the probe saw, written down, and judged again by the probe's own arithmetic and the chooser's own rules.

A recording is JSON: what the choice depended on, and the events as rows of integers (microseconds, from one event to the
next where it is a clock), as `Evidence` is told them:

    0 begun: time, CPU          3 a look: present, computed, blocked (2: unknown), queued, whole
    1 ended: time, CPU, calls,  4 shown?: time, CPU, queued, 0 computes, 1 rests in the queue for a core, 2 rests asleep (3: and
                                     programs that it has started run)
      queued (-1: not asked)    5 settled?
    2 imported: time, CPU       6 measured: time, CPU, queued, CPU elsewhere, kept out, CPU of the
                                     watcher (0 where it is missing)
                                7 calls in hand that are over: time, CPU, how many
                                8 garbage collected: seconds, CPU
                                9 missed between looks: kept out, present, computed, queued
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from flatout._model import Batch, Measurement, Options, Plan, Work
from flatout._plan import _chooser, _probe
from flatout._plan._choose import Situation
from flatout._plan._chooser import Chooser
from flatout._plan._evidence import Beside, Evidence, Spent
from flatout._record import replace

UNIT = 1e-6  # seconds
Row = list[int]


class Recording(Evidence):
    """Writes down what it is told."""

    last: Recording | None = None  # of this process

    def __init__(self, gil: bool) -> None:
        super().__init__(gil)
        self.rows: list[Row] = []
        self._time = self._cpu = 0
        Recording.last = Recording.last or self

    def _clocks(self, now: float, cpu: float) -> tuple[int, int]:
        """Since the last event, rounded so that nothing adds up."""
        if not self.rows:
            self._time, self._cpu = units(now), units(cpu)
        time, cpu_time = units(now) - self._time, units(cpu) - self._cpu
        self._time, self._cpu = units(now), units(cpu)
        return time, cpu_time

    def begun(self, now: float, cpu: float) -> None:
        self.rows.append([0, *self._clocks(now, cpu)])
        super().begun(now, cpu)

    def ended(self, calls: int, now: float, cpu: float, queued: Callable[[], float]) -> None:
        row = [1, *self._clocks(now, cpu), calls, -1]
        self.rows.append(row)

        def noted() -> float:
            value = queued()
            row[-1] = units(value)
            return value

        super().ended(calls, now, cpu, noted)

    def imported(self, now: float, cpu: float) -> None:
        self.rows.append([2, *self._clocks(now, cpu)])
        super().imported(now, cpu)

    def in_hand(self, over: int, now: float, cpu: float) -> None:
        if over > self._in_hand:
            self.rows.append([7, *self._clocks(now, cpu), over])
        super().in_hand(over, now, cpu)

    def collected(self, seconds: float, cpu: float) -> None:
        self.rows.append([8, units(seconds), units(cpu)])
        super().collected(seconds, cpu)

    def missed(self, kept_out: float, present: float, computed: float, queued: float) -> None:
        self.rows.append([9, units(kept_out), units(present), units(computed), units(queued)])
        super().missed(kept_out, present, computed, queued)

    def saw(self, present: float, computed: float, blocked: bool | None, queued: float, whole: bool) -> None:
        state = 2 if blocked is None else int(blocked)
        self.rows.append([3, units(present), units(computed), state, units(queued), int(whole)])
        super().saw(present, computed, blocked, queued, whole)

    def shown(
        self,
        now: float,
        cpu: float,
        queued: float,
        resting: bool,
        asleep: Callable[[], bool],
        alone: Callable[[], bool] = lambda: True,
    ) -> bool:
        state = ((2 if alone() else 3) if asleep() else 1) if resting else 0
        self.rows.append([4, *self._clocks(now, cpu), units(queued), state])
        return super().shown(now, cpu, queued, resting, lambda: state >= 2, lambda: state == 2)

    def settled(self) -> bool:
        self.rows.append([5])
        return super().settled()

    def measurement(self, now: float, cpu: float, queued: float, beside: Beside) -> Measurement:
        figures = units(beside.elsewhere), int(beside.kept_out), units(beside.watching)
        self.rows.append([6, *self._clocks(now, cpu), units(queued), *figures])
        return super().measurement(now, cpu, queued, beside)


class Recorder(Chooser):
    """Writes down what the choice depends on beside the measurement."""

    last: Recorder | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        self.first: Plan | None = None  # as it was chosen and carried out, before any second look
        self.instead: Plan | None = None  # where the function could not be sent, or its data takes long
        self.asked: dict[str, Any] = {}
        super().__init__(*args, **options)
        Recorder.last = Recorder.last or self  # a second look makes another

    def _adopted(self, adopt: Callable[[Plan], None], plan: Plan) -> None:
        self.instead = None
        adopt(plan)  # which may take 100 ms, since cloudpickle is imported: the plan is known only then
        self.first = self.instead or plan

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, functools.partial(self._adopted, value) if name == "adopt" else value)

    def measure(self) -> Measurement:
        measured = super().measure()
        asked = {"transfer": units(measured.transfer) * UNIT, "unpicklable": measured.unpicklable}
        self.asked.update({name: value for name, value in asked.items() if value})  # in place: two threads may be at it
        return measured

    def situation(self) -> Situation:
        situation = super().situation()
        self.asked["situation"] = {name: getattr(situation, name) for name in type(situation).__annotations__}
        self.asked["watches"] = self._watches_effects()
        return situation

    def _effects_seen(self) -> str:
        seen = super()._effects_seen()
        if seen:
            self.asked["seen"] = seen
        return seen

    def without_processes(self, reason: str) -> Plan:
        self.asked["refused"] = reason
        self.instead = super().without_processes(reason)
        return self.instead

    def with_data(self, writing: float, loading: float) -> Plan:
        self.instead = super().with_data(writing, loading)
        return self.instead


def record() -> None:
    """From now on what happens in this process is written down."""
    setattr(_probe, "Evidence", Recording)  # noqa: B010 - mypy knows them as classes
    setattr(_chooser, "Chooser", Recorder)  # noqa: B010


def first_plan() -> Plan | None:
    """The plan that was chosen, if one was."""
    return Recorder.last.first if Recorder.last is not None else None


def recorded() -> dict[str, Any]:
    """What was; empty where nothing was watched."""
    if Recording.last is None or Recorder.last is None or not Recorder.last.asked:
        return {}
    return {**Recorder.last.asked, "rows": Recording.last.rows}


def units(seconds: float) -> int:
    return round(seconds / UNIT)


class Replayed(Chooser):
    """Chooses by a recording: no clock, no thread, and nothing is looked at."""

    def __init__(self, recording: dict[str, Any]) -> None:
        situation = Situation(**recording["situation"])
        nothing = Work(abs)
        super().__init__(
            nothing, Options(), situation.cores, "", lambda: math.inf if situation.warm else None, lambda: None
        )
        self.plan: Plan | None = None
        self.adopt = self._adopted
        self._recording = recording
        self._given = situation
        self._evidence = Evidence(situation.gil)
        self._time = self._cpu = self._queued = 0.0
        self._beside = Beside()
        self._calls_over = False

    def _adopted(self, plan: Plan) -> None:
        self.plan = plan

    def measure(self) -> Measurement:
        beside = replace(self._beside, most=self._given.cores)
        measured = self._evidence.measurement(self._time, self._cpu, self._queued, beside)
        if self._no_process:
            return measured
        transfer, unpicklable = self._recording.get("transfer", 0.0), self._recording.get("unpicklable", "")
        return replace(measured, transfer=transfer, unpicklable=unpicklable)

    def spent(self) -> tuple[Spent, float]:
        return self._evidence.spent(self._time, self._cpu)

    def situation(self) -> Situation:
        return replace(self._given, no_process=self._no_process)

    def _effects_seen(self) -> str:
        """Most are seen when the call has ended."""
        return self._recording.get("seen", "") if self._calls_over else ""

    def _effects_possible(self) -> str:
        """What cannot be sent at all is found out at this time, too."""
        refused: str = self._recording.get("refused", "")
        return refused

    def _watches_effects(self) -> bool:
        return bool(self._recording["watches"])

    def before(self, batch: Batch) -> bool:
        raise NotImplementedError

    def run(self) -> Plan:
        """The plan at the end of all that was recorded, at the latest."""
        rows = self._recording["rows"]
        self._beside = Beside(next((row[4] * UNIT for row in rows if row[0] == 6), 0.0))
        not_before = 0.0
        for row, after in zip(rows, [*rows[1:], [5]], strict=True):
            if row[0] == 1:
                not_before = 0.0
            if self._tell(row) and self._present() >= not_before:
                if after[0] == 6:  # it was judged then and there
                    self._tell(after)
                wait = self._decide()
                if self.plan is not None:
                    return self.plan
                not_before = self._present() + (wait or 0.0)
                if after[0] == 6:
                    self._tell([6, -after[1], -after[2], *after[3:]])
        self._calls_over = True
        self._first_over = True
        self._decide()
        assert self.plan is not None
        return self.plan

    def _present(self) -> float:
        return self._evidence.present(self._time, self._cpu, self._queued)

    def _tell(self, row: Row) -> bool:
        """Tell the evidence of an event; whether it is time to choose."""
        kind, figures = row[0], row[1:]
        if kind in (0, 1, 2, 4, 6, 7):
            self._time += figures[0] * UNIT
            self._cpu += figures[1] * UNIT
        if kind == 0:
            self._evidence.begun(self._time, self._cpu)
        elif kind == 1:
            self._queued = max(self._queued, figures[3] * UNIT)
            self._evidence.ended(figures[2], self._time, self._cpu, lambda: self._queued)
            self._calls_over = True
            self._first_over = True
        elif kind == 2:
            self._evidence.imported(self._time, self._cpu)
        elif kind == 3:
            self._queued = max(self._queued, figures[3] * UNIT)
            blocked = None if figures[2] == 2 else bool(figures[2])
            self._evidence.saw(figures[0] * UNIT, figures[1] * UNIT, blocked, self._queued, bool(figures[4]))
        elif kind == 4:
            self._queued = max(self._queued, figures[2] * UNIT)
            state = figures[3]
            return self._evidence.shown(
                self._time, self._cpu, self._queued, state > 0, lambda: state >= 2, lambda: state == 2
            )
        elif kind == 5:
            return self._evidence.settled()
        elif kind == 6:
            self._queued = max(self._queued, figures[2] * UNIT)
            watching = figures[5] * UNIT if len(figures) > 5 else 0.0
            self._beside = Beside(figures[3] * UNIT, kept_out=bool(figures[4]), watching=watching)
        elif kind == 7:
            self._evidence.in_hand(figures[2], self._time, self._cpu)
        elif kind == 8:
            self._evidence.collected(figures[0] * UNIT, figures[1] * UNIT)
        elif kind == 9:
            self._queued = max(self._queued, figures[3] * UNIT)
            kept_out, present, computed = (figure * UNIT for figure in figures[:3])
            self._evidence.missed(kept_out, present, computed, self._queued)
        return False


def replayed(recording: dict[str, Any]) -> Plan:
    """What flatout makes of a recording now."""
    return Replayed(recording).run()
