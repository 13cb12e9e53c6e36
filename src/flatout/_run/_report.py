"""The summary of a run, in the terms of the exhibition law: what was predicted, what was measured, and what came between."""

from __future__ import annotations

from flatout._machine._machine import usable_cores
from flatout._model import Choice, Plan, Statistics
from flatout._plan._choose import UNKNOWN
from flatout._record import record
from flatout._units import duration

NOTED = 0.05  # share of a call's time from which waiting for a core is told; guessed


@record
class Chosen:
    """What became of the tasks that the choice was made for, those that the first calls had not been.

    tasks: how many have ended. seconds: how long that took. predicted: what the law expected of the chosen kind for so
    many, `plan.predictions` of every kind for all that were left. call_seconds: mean time of a call, and
    queued_seconds: how much of that it waited for a core, as far as is known. in_flight: calls under way at a time, in the
    mean (Little's law: in_flight = tasks * call_seconds / seconds). beside: calls that an earlier plan had begun and that were
    still under way: what they took is in call_seconds and in_flight, too. share: how much that is of what `plan.predictions` are
    for; least: seconds that it takes at least, where their number was not known: one call.

    Shares of the time that the usable cores had: compute_share in calls; own_share in this process beside its calls
    (drawing inputs, handing tasks out, taking results, and whatever else the program did); idle_share: the rest, in
    which the cores were idle or other programs had them.
    """

    tasks: int
    seconds: float
    predicted: float
    call_seconds: float
    queued_seconds: float
    in_flight: float
    compute_share: float
    own_share: float
    idle_share: float
    beside: int = 0
    share: float = 1.0
    least: float = 0.0

    @property
    def ratio(self) -> float:
        """Measured over predicted: 1 where it came as predicted, 2 where it took twice as long."""
        return self.seconds / self.predicted if self.predicted else 1.0


@record
class Report:
    """What a run has cost.

    tasks: inputs drawn. seconds: wall time. loop_seconds: the time of all calls together, which is what the plain loop
    would have taken where they did not hinder each other. speedup: loop_seconds / seconds. Shares are of the time that
    the usable cores had: computing in tasks, and the rest, idle; wait_share is the share of the calls' time spent waiting.
    chosen: predicted beside measured; None where nothing was chosen by prediction, or nothing was left to do by it.
    decisions: what has changed the number of tasks in flight, or the rate at which they start, and why; the last dozen.
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
    chosen: Chosen | None = None
    decisions: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        plan: Plan,
        counts: Statistics,
        seconds: float,
        choice: Choice | None = None,
        process_seconds: float = 0.0,
    ) -> Report:
        """From the counts of a run, its wall time, and the CPU time of this process since that began."""
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
            chosen=None if choice is None else _since(choice, plan, counts, seconds, process_seconds),
            decisions=counts.decisions,
        )

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        counts = [f"{_counted(self.tasks, 'task')} in {duration(self.seconds)}"]
        for count, what in ((self.failed, "failed"), (self.cancelled, "cancelled"), (self.retried, "tried again")):
            if count:
                counts.append(f"{count} {what}")
        if self.workers_lost:
            counts.append(f"{self.workers_lost} workers lost")
        lines = [
            ", ".join(counts),
            f"the calls took {duration(self.loop_seconds)} together: {self.speedup:.2f} times the wall time",
            f"the cores computed {self.compute_share:.0%} of the time and idled {self.idle_share:.0%}; "
            f"the calls waited {self.wait_share:.0%} of theirs",
        ]
        if self.decisions:
            # That a learned rate goes up again, step by step, says less than why there is one.
            telling = [decision for decision in self.decisions if not decision.endswith("(all accepted)")]
            lines.append("; ".join({one.partition(":")[0]: one for one in telling or self.decisions}.values()))
        if self.chosen is not None:
            lines += _lines(self.chosen, self.plan)
        return "\n".join([*lines, str(self.plan)])


def _since(choice: Choice, plan: Plan, counts: Statistics, seconds: float, process_seconds: float) -> Chosen | None:
    """What was done since the choice, and what was predicted for so much of it."""
    predicted = plan.predicted
    tasks = counts.succeeded + counts.failed - choice.tasks
    took = seconds - choice.seconds
    if predicted is None or tasks <= 0 or took <= 0:
        return None
    busy = max(0.0, counts.busy_seconds - choice.busy_seconds)
    cpu = min(busy, max(0.0, counts.cpu_seconds - choice.cpu_seconds))
    own = process_seconds - choice.process_seconds - (0.0 if plan.kind == "process" else cpu)
    cores = took * usable_cores()
    computing = min(1.0, cpu / cores)
    share = _share(tasks, choice.left)
    least = plan.measured.seconds if choice.left is None and plan.measured is not None else 0.0
    own_share = min(1.0 - computing, max(0.0, own / cores))
    return Chosen(
        tasks=tasks,
        seconds=took,
        predicted=max(predicted.seconds * share, least),
        call_seconds=(busy + choice.under_way) / (tasks + (choice.under_way > 0)),
        queued_seconds=(counts.queued_seconds - choice.queued_seconds) / tasks,
        in_flight=busy / took,
        compute_share=computing,
        own_share=own_share,
        idle_share=1.0 - computing - own_share,
        beside=choice.beside,
        share=share,
        least=least,
    )


def _share(tasks: int, left: int | None) -> float:
    """How much of what was predicted has been done; where the number was unknown, that was for 1000."""
    return tasks / (left or UNKNOWN)


def _lines(chosen: Chosen, plan: Plan) -> list[str]:
    followed = plan.predicted
    lines = [f"{'for the ' + _counted(chosen.tasks, 'task') + ' after the choice':34}{'predicted':>10}{'measured':>10}"]
    for prediction in plan.predictions:
        name = f"  {prediction.way}"
        if prediction.impossible:
            lines.append(f"{name:34}{'-':>10}{'':13}{prediction.impossible}")
            continue
        line = f"{name:34}{duration(max(prediction.seconds * chosen.share, chosen.least)):>10}"
        if prediction is followed:
            line += f"{duration(chosen.seconds):>10}   {chosen.ratio:.2f} times as predicted"
        lines.append(line)
    return lines + _why(chosen, plan)


def _why(chosen: Chosen, plan: Plan) -> list[str]:
    """What kept the rest from being reached."""
    measured = plan.measured
    least = "" if measured is None or measured.calls else "at least "
    before = f" ({least}{duration(measured.seconds)} when it was measured)" if measured else ""
    queued = chosen.queued_seconds
    queue = f", {duration(queued)} of it waiting for a core" if queued > NOTED * chosen.call_seconds else ""
    calls = (
        f"  a call took {duration(chosen.call_seconds)}{before}{queue}; "
        f"{chosen.in_flight:.3g} of at most {plan.ceiling or plan.concurrency} were under way at a time"
    )
    if chosen.beside:
        calls = f"  {_counted(chosen.beside, 'call')} that had begun before, by another plan, ended beside them"
    return [
        calls,
        f"  the cores: {chosen.compute_share:.0%} computing in calls, {chosen.own_share:.0%} in this process beside them, "
        f"{chosen.idle_share:.0%} idle or with other programs",
    ]


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
