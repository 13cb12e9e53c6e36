"""The summary of a run, in the terms of the exhibition law."""

from __future__ import annotations

from flatout._machine import usable_cores
from flatout._model import Plan, Statistics
from flatout._record import record
from flatout._units import duration


@record
class Report:
    """What a run has cost.

    tasks: inputs drawn. seconds: wall time. loop_seconds: the time of all calls together, which is what the plain loop
    would have taken where they did not hinder each other. speedup: loop_seconds / seconds. Shares are of the time that
    the usable cores had: computing in tasks, and the rest, idle; wait_share is the share of the calls' time spent waiting.
    """

    plan: Plan
    tasks: int
    succeeded: int
    failed: int
    cancelled: int
    retried: int
    workers_lost: int
    seconds: float
    loop_seconds: float
    speedup: float
    compute_share: float
    wait_share: float
    idle_share: float

    @classmethod
    def of(cls, plan: Plan, counts: Statistics, seconds: float) -> Report:
        """From the counts of a run and its wall time."""
        busy, cpu = counts.busy_seconds, min(counts.cpu_seconds, counts.busy_seconds)
        computing = min(1.0, cpu / (seconds * usable_cores())) if seconds else 0.0
        return cls(
            plan=plan,
            tasks=counts.drawn,
            succeeded=counts.succeeded,
            failed=counts.failed,
            cancelled=counts.cancelled,
            retried=counts.retried,
            workers_lost=counts.died,
            seconds=seconds,
            loop_seconds=busy,
            speedup=busy / seconds if seconds else 1.0,
            compute_share=computing,
            wait_share=(busy - cpu) / busy if busy else 0.0,
            idle_share=1.0 - computing,
        )

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        counts = [f"{self.tasks} task{'s' * (self.tasks != 1)} in {duration(self.seconds)}"]
        for count, what in ((self.failed, "failed"), (self.cancelled, "cancelled"), (self.retried, "tried again")):
            if count:
                counts.append(f"{count} {what}")
        if self.workers_lost:
            counts.append(f"{self.workers_lost} workers lost")
        return (
            f"{', '.join(counts)}\n"
            f"the calls took {duration(self.loop_seconds)} together: {self.speedup:.2f} times the wall time\n"
            f"the cores computed {self.compute_share:.0%} of the time and idled {self.idle_share:.0%}; "
            f"the calls waited {self.wait_share:.0%} of theirs\n"
            f"{self.plan}"
        )
