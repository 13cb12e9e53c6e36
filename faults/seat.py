"""A process of its own for one case and some contenders, one after the other: plays, judges, writes a verdict for each.

python -m faults.seat ORDER, a JSON object of an `Order`'s fields. Each line of its file of verdicts is a JSON object of one
`Verdict`'s fields; who reads it sees by what is missing where this process has died or hung.
"""

from __future__ import annotations

import functools
import gc
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from faults import tasks
from faults.cases import case_named
from faults.contenders import contender_named
from faults.judge import Observed, judge, ran_again
from faults.model import COUNT, Case, Complaint, Contender, Trial, Verdict
from faults.traces import PATIENCE, started_by_tasks, wait_until


@dataclass(frozen=True)
class Order:
    """folder: of this seat alone. verdicts: the file for them."""

    case: str
    contenders: list[str]
    folder: str
    verdicts: str


def main() -> None:
    order = Order(**json.loads(sys.argv[1]))
    case = case_named(order.case)
    with open(order.verdicts, "a", buffering=1) as file:
        os.set_inheritable(file.fileno(), False)
        for number, name in enumerate(order.contenders):
            folder = Path(order.folder, str(number))
            folder.mkdir()
            os.environ[tasks.FOLDER] = str(folder)
            print(json.dumps(asdict(try_out(case, contender_named(name), folder))), file=file)


def try_out(case: Case, contender: Contender, folder: Path) -> Verdict:
    """The case, between two runs in which nothing goes wrong."""
    before = counted(case, contender)
    meanwhile = threading.Thread(target=case.meanwhile, args=(folder,), daemon=True) if case.meanwhile else None
    if meanwhile:
        meanwhile.start()
    seen = played(contender, made_ready(case, contender, folder))
    complaints = judge(case, contender, seen)
    complaints += ran_again(case, contender, folder / "ran")
    if meanwhile:
        meanwhile.join(PATIENCE)
    if problem := case.after(folder):
        complaints.append(Complaint("spoils", problem))
    seconds = seen.seconds
    seen = Observed()  # whatever the results hold on to
    complaints += left_running(case)
    complaints += grown(case, contender, before)
    if seconds > case.within:
        complaints.append(Complaint("slow", f"{seconds:.1f} s"))
    return Verdict(case.name, contender.name, seconds, complaints)


def made_ready(case: Case, contender: Contender, folder: Path) -> Trial:
    call: Callable[..., object] = tasks.call_async if contender.kind == "async" else tasks.call
    return Trial(
        task=functools.partial(call, case.fault, frozenset(case.at), os.fsencode(folder / "ran")),
        inputs=case.inputs or (lambda: range(case.count)),
        timeout=case.timeout,
        initializer=case.initializer,
        safe_here=case.safe_here,
    )


def played(contender: Contender, trial: Trial) -> Observed:
    seen, began = Observed(), time.monotonic()
    try:
        seen.outcomes.extend(contender.play(trial))
    except BaseException as error:
        seen.ended = error
    seen.seconds = time.monotonic() - began
    return seen


def counted(case: Case, contender: Contender) -> tuple[int, int]:
    """Threads and descriptors of this process after a run of healthy tasks; raises where those fail."""
    task = tasks.healthy_async if contender.kind == "async" else tasks.healthy
    trial = Trial(task=task, inputs=lambda: range(COUNT), timeout=case.timeout, safe_here=case.safe_here)
    seen = played(contender, trial)
    values = [outcome.value for outcome in seen.outcomes]
    if seen.ended is not None or values != [x * x for x in range(COUNT)]:
        raise AssertionError(f"healthy tasks gave {seen}")
    return threads_and_descriptors()


def threads_and_descriptors() -> tuple[int, int]:
    return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))


def left_running(case: Case) -> list[Complaint]:
    """What tasks have started and what still runs, where all of that must end with them."""
    if not case.gone or wait_until(lambda: not started_by_tasks()):
        return []
    return [Complaint("leaves processes", ", ".join(started_by_tasks()))]


def grown(case: Case, contender: Contender, before: tuple[int, int]) -> list[Complaint]:
    """Another run of healthy tasks must work, and then this process must have no more than after the first."""
    try:
        counted(case, contender)
    except AssertionError as error:
        return [Complaint("breaks", f"the next run: {error}")]
    allowed = before[0] + (len(case.at) if contender.kind == "thread" and case.timeout else 0), before[1]

    def is_back() -> bool:
        gc.collect()
        return all(now <= then for now, then in zip(threads_and_descriptors(), allowed, strict=True))

    if wait_until(is_back):
        return []
    after = threads_and_descriptors()
    return [Complaint("leaves descriptors or threads", f"{before} threads, descriptors before, {after} after")]


if __name__ == "__main__":
    main()
