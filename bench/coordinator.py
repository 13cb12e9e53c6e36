"""Gives each seat its turn, one at a time, round after round, so that what disturbs the machine disturbs all alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from bench import limits
from bench.chair import Chair, Failed
from bench.contenders.flatout import LOOP
from bench.model import Cell, Contender, Result, Sample, Workload
from bench.seat import Order
from bench.watch import Watch

ATTEMPTS = 3  # at one measurement, while the machine is disturbed; the last one is kept
REPEATED = 4  # one measurement in so many may be repeated: the machine may be slow for long
TOO_SLOW = 8.0  # times the quickest first call: a contender slower than that is measured once
ALWAYS = 1.0  # seconds: a quicker one is measured in all rounds in any case


@dataclass(frozen=True)
class Settings:
    """rounds: measurements of each. cutoff: seconds that one may take. quick: fewer inputs."""

    rounds: int
    cutoff: float
    quick: bool


@dataclass
class Disturbances:
    measured: int = 0
    repeated: int = 0
    kept: int = 0

    def may_repeat(self) -> bool:
        return self.repeated < self.measured / REPEATED


class Match:
    """One workload, played by all its contenders. The plain loop must be the first of them: it is the reference."""

    def __init__(self, family: str, workload: Workload, settings: Settings, cores: int, watch: Watch, disturbances: Disturbances) -> None:
        self._family, self._workload, self._settings, self._cores = family, workload, settings, cores
        self._watch, self._disturbances = watch, disturbances
        self.count = workload.quick if settings.quick else workload.count
        self.cells: list[Cell] = []
        self._expected = ""

    def play(self, contenders: Sequence[Contender]) -> None:
        """All together, interleaved; then those that keep servers busy, each by itself."""
        self._play([contender for contender in contenders if not contender.cluster])
        for contender in contenders:
            if contender.cluster:
                self._play([contender])

    def _play(self, contenders: Sequence[Contender]) -> None:
        with ExitStack() as stack:
            pairs = [(self._cell(contender), self._seat(stack, contender)) for contender in contenders]
            for cell, chair in pairs:
                self._attempt(cell, chair, self._first)
            self._drop_the_slow([cell for cell, _ in pairs])
            for number in range(self._settings.rounds):
                for cell, chair in pairs[number:] + pairs[:number]:
                    self._attempt(cell, chair, self._once_more)

    def _cell(self, contender: Contender) -> Cell:
        cell = Cell(contender.name, contender.way, contender.kind, contender.kept)
        self.cells.append(cell)
        return cell

    def _seat(self, stack: ExitStack, contender: Contender) -> Chair:
        chair = Chair(Order(self._family, self._workload.name, contender.name, self.count, self._cores))
        stack.callback(chair.close)
        return chair

    def _attempt(self, cell: Cell, chair: Chair, measure: Callable[[Cell, Chair], None]) -> None:
        if cell.note:
            return
        try:
            measure(cell, chair)
        except Failed as failed:
            cell.note = str(failed)
            chair.close(at_once=True)

    def _first(self, cell: Cell, chair: Chair) -> None:
        chair.wait_ready()
        cell.first = self._turn(cell, chair)

    def _once_more(self, cell: Cell, chair: Chair) -> None:
        self._disturbances.measured += 1
        for _ in range(ATTEMPTS):
            sample = self._turn(cell, chair)
            if not sample.disturbed or not self._disturbances.may_repeat():
                break
            self._disturbances.repeated += 1
        self._disturbances.kept += sample.disturbed
        cell.samples.append(sample)

    def _turn(self, cell: Cell, chair: Chair) -> Sample:
        before = self._watch.reading
        answer = chair.turn(self._settings.cutoff)
        slowness = self._watch.slowness(max(before, self._watch.look()))
        self._check(cell, answer)
        return Sample(answer["seconds"], answer["cpu"], slowness)

    def _check(self, cell: Cell, answer: dict[str, Any]) -> None:
        if cell.contender == LOOP and not self._expected:
            self._expected = answer["digest"]
        if answer["digest"] != self._expected:
            raise Failed("WRONG RESULTS")

    def _drop_the_slow(self, cells: Sequence[Cell]) -> None:
        """Those far behind are measured once: their first call stands."""
        first = {cell.contender: cell.first for cell in cells if cell.first}
        quickest = min((sample.seconds for sample in first.values()), default=0.0)
        for cell in cells:
            sample = first.get(cell.contender)
            if sample and cell.contender != LOOP and sample.seconds > max(ALWAYS, TOO_SLOW * quickest):
                cell.samples, cell.note = [sample], "once"

    def result(self, machine: limits.Machine) -> Result:
        loop = next(cell for cell in self.cells if cell.contender == LOOP)
        bound = None if loop.cpu is None else limits.limit(self._workload, self.count, loop.cpu, machine)
        return Result(self._workload.name, self._workload.about, self.count, bound, self.cells)
