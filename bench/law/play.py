"""Gives the turns of one workload: with no option, then each kind by hand on what was left, round after round."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import Any

import psutil

from bench.chair import PATIENCE, Chair, Failed
from bench.law.model import DISTURBED, KINDS, Chosen, Outcome, Turn
from bench.law.seat import Way
from bench.model import Workload
from bench.seat import Order

LONGEST = 1.0  # seconds that a kind by hand is to run; of what takes longer a part is run, and its time scaled up
ATTEMPTS = 3  # at one measurement, while other programs disturb it
LOOK = 0.1  # seconds to see whether the machine is calm


@dataclass
class Settings:
    """rounds: of each workload. patience: seconds that all waiting for a calm machine may take."""

    rounds: int
    patience: float
    cores: int

    def calm(self) -> None:
        """Wait until other programs let the cores be, as long as there is patience left."""
        while self.patience > 0 and psutil.cpu_percent(LOOK) > 100 * DISTURBED:
            self.patience -= LOOK


class Play:
    def __init__(self, family: str, workload: Workload, settings: Settings) -> None:
        self._settings = settings
        self._outcome = Outcome(workload.name, workload.about)
        order = Order(family, workload.name, "law", workload.count, settings.cores)
        self._chair = Chair(order, module="bench.law.seat")

    def play(self) -> Outcome:
        try:
            self._chair.wait_ready()
            self._ask(Way())  # what is loaded once is loaded, and the zygote runs
            for _ in range(self._settings.rounds):
                if self._outcome.note:
                    break
                self._round()
        except Failed as failed:
            self._outcome.note = str(failed)
        finally:
            self._chair.close()
        return self._outcome

    def _round(self) -> None:
        chosen = self._chosen()
        if chosen is None:
            return
        self._outcome.chosen.append(chosen)
        for kind in KINDS:
            if kind in chosen.predicted:
                self._outcome.by_hand.setdefault(kind, []).append(self._by_hand(kind, chosen))

    def _chosen(self) -> Chosen | None:
        answer = self._calmly(Way())
        if "over" in answer:
            self._outcome.note = "" if self._outcome.chosen else answer["over"]
            return None
        predicted = {kind: (seconds, in_flight) for kind, (seconds, in_flight) in answer["predicted"].items()}
        turn = Turn(answer["seconds"], answer["others"])
        return Chosen(answer["kind"], answer["skip"], answer["left"], predicted, turn, answer["measured"])

    def _by_hand(self, kind: str, chosen: Chosen) -> Turn:
        seconds, in_flight = chosen.predicted[kind]
        part = max(min(chosen.left, 2 * in_flight), int(chosen.left * min(1.0, LONGEST / max(seconds, 1e-9))))
        answer = self._calmly(Way(kind, chosen.skip, part, in_flight))
        return Turn(answer["seconds"] * chosen.left / part, answer["others"])

    def _calmly(self, way: Way) -> dict[str, Any]:
        """The answer to a turn that was not disturbed, or the least disturbed of a few."""
        answers: list[dict[str, Any]] = []
        for _ in range(ATTEMPTS):
            self._settings.calm()
            began = time.monotonic()
            answers.append(self._ask(way))
            if "over" in answers[-1] or answers[-1]["others"] <= DISTURBED or self._settings.patience <= 0:
                break
            self._settings.patience -= time.monotonic() - began
        return min(answers, key=lambda answer: answer["others"])

    def _ask(self, way: Way) -> dict[str, Any]:
        return self._chair.turn(PATIENCE, json.dumps(asdict(way)))
