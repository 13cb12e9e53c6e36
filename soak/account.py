"""Every outcome is accounted for: checked against the plain loop, or explained by the job itself or by a killing."""

from __future__ import annotations

import contextlib
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import flatout
from soak.killer import Killer
from soak.tasks import FAULTS, VALUES, Job, value_of

_BY_SIGNAL = re.compile(r"worker process (\d+) was killed by (\w+)")
_MOST_MISMATCHES = 20  # told in full


class Scene:
    """One run, or one use of an executor: what it is, and when it began."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.began = time.monotonic()
        self.thread = threading.get_ident()


class Account:
    """Figures of the soak, and what did not come as it should; for all threads."""

    def __init__(self, killer: Killer) -> None:
        self.killer = killer
        self.figures: Counter[str] = Counter()
        self.mismatches: list[str] = []
        self.under_way: set[Scene] = set()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def scene(self, text: str) -> Iterator[Scene]:
        """While it goes on."""
        scene = Scene(text)
        with self._lock:
            self.under_way.add(scene)
        try:
            yield scene
        except BaseException as error:
            import traceback

            self.mismatch(scene, "it raised " + "".join(traceback.format_exception(error)))
        finally:
            with self._lock:
                self.under_way.discard(scene)
        self.count(runs=1)

    def count(self, **more: int) -> None:
        """Add to the figures."""
        with self._lock:
            self.figures.update(more)

    def mismatch(self, scene: Scene, text: str) -> None:
        """Something is not as it should be."""
        with self._lock:
            self.mismatches.append(f"{scene.text}\n    {text}")
        if len(self.mismatches) <= _MOST_MISMATCHES:
            print(f"MISMATCH {self.mismatches[-1]}", file=sys.stderr, flush=True)

    # Outcomes

    def check(self, scene: Scene, job: Job, outcome: Any) -> None:
        """One outcome: a value, or a `Failure` of the job."""
        if isinstance(outcome, flatout.Failure):
            self.failed(scene, job, outcome.error)
            if outcome.index != job[1]:
                self.mismatch(scene, f"{job!r:.200} was called task {outcome.index}")
        elif job[0] not in VALUES:
            self.mismatch(scene, f"{job!r:.200} gave {outcome!r:.200}, where it should have failed")
        elif outcome != value_of(job):
            self.mismatch(scene, f"{job!r:.200} gave {outcome!r:.200}, not {value_of(job)!r:.200}")
        else:
            self.count(values=1)

    def failed(self, scene: Scene, job: Job, error: BaseException) -> None:
        """A job failed with that."""
        what, n = job[:2]
        if what in FAULTS and FAULTS[what][1](n, error):
            self.count(own_faults=1)
        elif self.explained(scene, error):
            self.count(killed=1)
        else:
            self.mismatch(scene, f"{job!r:.200} failed with {error!r:.1000}")

    def explained(self, scene: Scene, error: BaseException) -> bool:
        """Whether a killing is the reason."""
        if isinstance(error, flatout.TaskTimeout):
            return self.killer.stopped_one(scene.began)
        if not isinstance(error, flatout.WorkerDied):
            return False
        by_signal = _BY_SIGNAL.search(str(error))
        if by_signal:
            return self.killer.struck(int(by_signal[1]), by_signal[2])
        lost = "lost together with its supervisor" in str(error) or "no worker process could be started" in str(error)
        return lost and self.killer.killed_a_zygote(scene.began - 1.0)

    def gave_up(self, error: BaseException) -> bool:
        """Whether a run had to be given up, since its workers were killed time after time before they got anything done."""
        given_up = isinstance(error, flatout.WorkerDied) and "and so the run was given up" in str(error)
        if given_up:
            self.count(given_up=1)
        return given_up

    def check_all(self, scene: Scene, jobs: Sequence[Job], outcomes: Sequence[Any]) -> None:
        """The outcomes of all jobs in their order."""
        if len(outcomes) != len(jobs):
            self.mismatch(scene, f"{len(jobs)} jobs have {len(outcomes)} outcomes")
        for job, outcome in zip(jobs, outcomes, strict=False):
            self.check(scene, job, outcome)

    def check_some(self, scene: Scene, jobs: Sequence[Job], values: Sequence[Any], failed: int) -> None:
        """The values of those that did not fail, in their order, where so many failed."""
        if len(values) + failed != len(jobs):
            self.mismatch(scene, f"{len(jobs)} jobs have {len(values)} values and {failed} failures")
        left = iter(jobs)
        for value in values:
            # `any` goes on until it has found the job.
            if not any(job[0] in VALUES and value_of(job) == value for job in left):
                self.mismatch(scene, f"{value!r:.200} is no job's value, or not in its place")
                return
        self.count(values=len(values), unseen=failed)
