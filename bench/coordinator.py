"""Gives each seat its turn, one at a time, round after round, so that what disturbs the machine disturbs all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from bench import limits
from bench.chair import PATIENCE, Chair, Failed
from bench.contenders.flatout import LOOP
from bench.model import Cell, Contender, Result, Sample, Workload
from bench.seat import Order
from bench.service import Service
from bench.watch import Watch

ATTEMPTS = 3  # at one measurement, while the machine is disturbed; the last one is kept
REPEATED = 4  # one measurement in so many may be repeated: the machine may be slow for long
TOO_SLOW = 4.0  # times the quickest: a peer slower than that is measured once
ALWAYS = 0.5  # seconds: a peer quicker than that is measured in all rounds
HOPELESS = 5.0  # seconds: of a peer slower than that and far behind the first call stands, cold or not


@dataclass
class Disturbances:
    """How many measurements there were, and what the watch made of them."""

    measured: int = 0
    repeated: int = 0
    kept: int = 0

    def may_repeat(self) -> bool:
        return self.repeated < self.measured / REPEATED


@dataclass(frozen=True)
class Settings:
    """rounds: measurements of each, at most. patience: seconds after which a workload begins no other round.

    cutoff: seconds that one measurement may take. burn: seconds that the watch takes on each core. drawn: items for which
    the memory is measured. quick: fewer inputs, too.
    """

    rounds: int
    patience: float
    cutoff: float
    burn: float
    drawn: int
    quick: bool
    cores: int
    disturbances: Disturbances = field(default_factory=Disturbances)

    @classmethod
    def of(cls, quick: bool, cores: int, rounds: int | None) -> Settings:
        if quick:
            return cls(rounds or 3, 2.5, 2.0, 0.002, 100_000, quick, cores)
        return cls(rounds or 5, 60.0, 15.0, 0.01, 1_000_000, quick, cores)


class Match:
    """One workload, played by all its contenders. The plain loop must be the first of them: it is the reference."""

    def __init__(self, family: str, workload: Workload, settings: Settings, watch: Watch, service: Service) -> None:
        self._family, self._workload, self._settings = family, workload, settings
        self._watch, self._service = watch, service
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
        began = time.monotonic()
        with ExitStack() as stack:
            pairs = [(self._cell(contender), self._chair(stack, contender)) for contender in contenders]
            for _, chair in pairs:  # all are told before the first is waited for
                stack.callback(chair.leave)
            self._round(pairs, self._first)
            self._drop_the_hopeless(pairs)
            for number in range(self._settings.rounds):
                if number and time.monotonic() > began + self._settings.patience:
                    break
                self._round(pairs[number:] + pairs[:number], self._once_more)
                self._drop_the_slow(pairs)

    def _round(self, pairs: Sequence[tuple[Cell, Chair]], measure: Callable[[Cell, Chair], None]) -> None:
        for cell, chair in pairs:
            if not cell.out:
                self._attempt(cell, chair, measure)

    def _cell(self, contender: Contender) -> Cell:
        cell = Cell(contender.name, contender.way, contender.kind, contender.kept)
        self.cells.append(cell)
        return cell

    def _chair(self, stack: ExitStack, contender: Contender) -> Chair:
        order = Order(self._family, self._workload.name, contender.name, self.count, self._settings.cores)
        chair = Chair(order, contender.fresh)
        stack.callback(chair.close)
        return chair

    def _attempt(self, cell: Cell, chair: Chair, measure: Callable[[Cell, Chair], None]) -> None:
        try:
            measure(cell, chair)
        except Failed as failed:
            cell.note = str(failed)
            _drop(cell, chair)

    def _first(self, cell: Cell, chair: Chair) -> None:
        chair.wait_ready()
        cell.first = self._turn(cell, chair)

    def _once_more(self, cell: Cell, chair: Chair) -> None:
        disturbances = self._settings.disturbances
        disturbances.measured += 1
        for _ in range(ATTEMPTS):
            sample = self._turn(cell, chair)
            if not sample.disturbed or not disturbances.may_repeat():
                break
            disturbances.repeated += 1
        disturbances.kept += sample.disturbed
        cell.samples.append(sample)

    def _turn(self, cell: Cell, chair: Chair) -> Sample:
        before, served = self._watch.reading, self._service.cpu()
        answer = chair.turn(PATIENCE if cell.contender == LOOP else self._settings.cutoff)
        if answer["scale"] > 1:
            cell.note = f"scaled up from {self._workload.loop} calls"
        served = (self._service.cpu() - served) * answer["scale"]
        slowness = self._watch.slowness(max(before, self._watch.look()))
        self._check(cell, answer)
        return Sample(answer["seconds"], answer["cpu"] + served, slowness)

    def _check(self, cell: Cell, answer: dict[str, Any]) -> None:
        if cell.contender == LOOP and not self._expected:
            self._expected = answer["digest"]
        if answer["digest"] != self._expected:
            raise Failed("WRONG RESULTS" if self._expected else "not checked: the plain loop failed")

    def _drop_the_hopeless(self, pairs: Sequence[tuple[Cell, Chair]]) -> None:
        firsts = [(cell, chair, cell.first) for cell, chair in pairs if cell.first]
        bearable = max(HOPELESS, TOO_SLOW * min((first.seconds for *_, first in firsts), default=0.0))
        for cell, chair, first in firsts:
            if cell.is_peer and first.seconds > bearable:
                cell.samples, cell.note = [first], "its first call"
                _drop(cell, chair)

    def _drop_the_slow(self, pairs: Sequence[tuple[Cell, Chair]]) -> None:
        """Those far behind are not measured again."""
        bearable = max(ALWAYS, TOO_SLOW * min((cell.seconds for cell, _ in pairs if cell.seconds), default=0.0))
        for cell, chair in pairs:
            if cell.is_peer and not cell.out and (cell.seconds or 0.0) > bearable:
                _drop(cell, chair)

    def result(self, machine: limits.Machine) -> Result:
        """The least CPU that any one process needed for all tells what they need: that may well be less than the plain loop
        needs, since after each wait it finds cold caches, and after each large object gives its memory back."""
        alone = [cell for cell in self.cells if cell.kind != "process" and cell.way != "flatout"]
        cpu = min((cell.cpu for cell in alone if cell.cpu), default=None)
        bound = None if cpu is None else limits.limit(self._workload, self.count, cpu, machine)
        return Result(self._workload.name, self._workload.about, self.count, bound, self.cells)


def _drop(cell: Cell, chair: Chair) -> None:
    """It is measured no more, nor may what it keeps disturb the others: hundreds of threads that poll take much of a core."""
    cell.out = True
    chair.close(patience=0)
