"""Functions made at random, whose right kind follows from the exhibition law.

A call is a few stretches in random order: it waits, computes with the GIL, or in a C call that lets go of it. How long each
takes is drawn, too, from 20 us to 200 ms for the call, and how many inputs there are, from 1 to 10,000. All follows from
the number of the function, which is its name.
"""

from __future__ import annotations

import functools
import hashlib
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, islice

from choices.cases import BY_NAME
from choices.model import Case, Job, Kind, Place
from flatout._model import Measurement
from flatout._plan._choose import Situation, choose

COUNT = 40
NAME = "generated "
NEAR = 1.25  # times as long as the best kind takes: what is within is right, too
LONGEST = 3.0  # seconds that the plain loop would take for all inputs, about
SLACK = 60e-6  # seconds that Linux sleeps longer than it is told to
CORES = 2  # that the right kind is reckoned for: more do not change it

Part = tuple[str, float]  # what, and for how many seconds


@dataclass(frozen=True)
class Recipe:
    """What a call does, stretch by stretch, and how many inputs there are."""

    parts: tuple[Part, ...]
    inputs: int

    def seconds(self, what: str) -> float:
        return sum(seconds for kind, seconds in self.parts if kind == what)

    @property
    def measurement(self) -> Measurement:
        """What a perfect probe would measure."""
        wait = self.seconds("wait") + SLACK * sum(what == "wait" for what, _ in self.parts)
        return Measurement(self.seconds("gil"), self.seconds("free"), wait, transfer=5e-6)

    def __str__(self) -> str:
        return ", ".join(f"{what} {seconds * 1000:.2f}" for what, seconds in self.parts) + f" ms, {self.inputs} times"


def recipe(number: int) -> Recipe:
    """Always the same for a number."""
    dice = random.Random(number)
    total = 10 ** dice.uniform(-4.7, -0.7)  # 20 us to 200 ms
    whats = dice.choices(
        ("gil", "free", "wait"), weights=(dice.random(), dice.random(), dice.random()), k=dice.randint(1, 4)
    )
    shares = [dice.random() + 0.05 for _ in whats]
    inputs = int(min(10 ** dice.uniform(0, 4), LONGEST / total)) or 1
    return Recipe(tuple((what, total * share / sum(shares)) for what, share in zip(whats, shares, strict=True)), inputs)


def best_kinds(made: Recipe) -> tuple[Kind, ...]:
    """The kinds that the law says are best for it, near ties included.

    By the very law that flatout chooses by, of what a perfect probe would have measured by the end of the first call: what
    is tested is the probe. The zygote may run by then or not.
    """
    found: list[Kind] = []
    watched = int(0.03 / made.measurement.seconds)
    for left in {max(0, made.inputs - 1), max(0, made.inputs - 1 - watched)}:
        for warm in (False, True):
            plan = choose(made.measurement, Situation(CORES, left, warm=warm))
            best = min(p.seconds for p in plan.predictions)
            found += [plan.kind, *(p.kind for p in plan.predictions if p.seconds <= NEAR * best)]
    return tuple(dict.fromkeys(found))


def run(parts: Sequence[Part], number: int) -> int:
    """A call."""
    for what, seconds in parts:
        if what == "wait":
            time.sleep(seconds)
        elif what == "gil":
            compute(seconds)
        else:
            hashlib.pbkdf2_hmac("sha256", b"password", b"salt", max(1, round(seconds * rate())))
    return number


def compute(seconds: float) -> int:
    """Hold the GIL for so many seconds of CPU time, however slow the machine."""
    end, total = time.thread_time() + seconds, 0
    while time.thread_time() < end:
        for i in range(100):
            total += i * i
    return total


@functools.cache
def rate() -> float:
    """Iterations of pbkdf2 in a second of CPU time: the best of three, found out before anything is watched."""
    return max(_rate() for _ in range(3))


def _rate() -> float:
    began = time.thread_time()
    hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 2000)
    return 2000 / (time.thread_time() - began)


def case(number: int) -> Case:
    made = recipe(number)

    def make(place: Place) -> Job:
        if made.seconds("free"):
            rate()
        return functools.partial(run, made.parts), range(made.inputs)

    return Case(f"{NAME}{number}", str(made), make, best_kinds(made), "the law says so")


def telling(number: int) -> bool:
    """Whether it matters what is chosen: not all kinds are about as good."""
    return len(best_kinds(recipe(number))) < 3


GENERATED = [case(number) for number in islice(filter(telling, count()), COUNT)]
BY_NAMES = {**BY_NAME, **{case.name: case for case in GENERATED}}


def case_named(name: str) -> Case:
    return BY_NAMES[name]
