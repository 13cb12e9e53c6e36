"""A process of its own for some cases and their contenders, one after the other: plays, judges, writes a verdict for each.

python -m faults.seat PAIRS FOLDER VERDICTS: a JSON list of [case, contender], a folder for files, a file for verdicts. Each
line of that is a JSON object of one `Verdict`'s fields; who reads it sees by what is missing where this process died or hung.
"""

from __future__ import annotations

import functools
import gc
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from faults import tasks
from faults.cases import case_named
from faults.contenders import contender_named
from faults.judge import Observed, judge, ran_again
from faults.model import COUNT, Case, Complaint, Contender, Trial, Verdict
from faults.traces import PATIENCE, PAUSE, end_workers, started_by_tasks, wait_until

STRAY = "stray"  # the file that tells of a process which is not this one, and yet has come so far
REPEATS = 4  # runs, each of which must leave more than the last: what is kept for the next one has an end


def main() -> None:
    pid = os.getpid()
    pairs, folder, verdicts = json.loads(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    for number, (case, contender) in enumerate(pairs):
        verdict = try_out(case_named(case), contender_named(contender), folder / str(number))
        if os.getpid() != pid:  # a worker has come back into its caller's program
            (folder / str(number) / STRAY).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        with open(verdicts, "a") as file:  # not before: some tasks write to whatever is open
            file.write(f"{json.dumps(asdict(verdict))}\n")


def try_out(case: Case, contender: Contender, folder: Path) -> Verdict:
    """The case, between two runs in which nothing goes wrong, in a directory of its own."""
    here = folder / "here"
    here.mkdir(parents=True)
    os.chdir(here)
    os.environ[tasks.FOLDER] = str(folder)
    end_workers()
    run_healthy(case, contender)
    before = threads_and_descriptors()
    seen = played_out(case, contender, folder)
    complaints = judge(case, contender, seen)
    complaints += ran_again(contender, folder / "ran")
    if problem := case.after(folder):
        complaints.append(Complaint("spoils", problem))
    seconds = seen.seconds
    seen = Observed()  # whatever the results hold on to
    complaints += left_running(case)
    try:
        complaints += grown(case, contender, before, folder)
    except AssertionError as error:
        complaints.append(Complaint("breaks", f"the next run: {error}"))
    if (folder / STRAY).exists():
        complaints.insert(0, Complaint("breaks", "a worker went on with the caller's program"))
    if here.exists() and (files := os.listdir(here)):
        complaints.append(Complaint("leaves files", ", ".join(files)))
    if seconds > case.within:
        complaints.append(Complaint("slow", f"{seconds:.1f} s"))
    return Verdict(case.name, contender.name, seconds, complaints)


def played_out(case: Case, contender: Contender, folder: Path) -> Observed:
    """The case itself, with what goes on beside it."""
    (folder / tasks.OVER).unlink(missing_ok=True)
    meanwhile = threading.Thread(target=case.meanwhile, args=(folder,), daemon=True) if case.meanwhile else None
    if meanwhile:
        meanwhile.start()
    seen = played(contender, made_ready(case, contender, folder))
    (folder / tasks.OVER).touch()
    if meanwhile:
        meanwhile.join(PATIENCE)
    return seen


def made_ready(case: Case, contender: Contender, folder: Path) -> Trial:
    call: Callable[..., object] = tasks.call_async if contender.awaits else tasks.call
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


def run_healthy(case: Case, contender: Contender) -> None:
    """Run tasks of which none is at fault; raises AssertionError where they fail."""
    task = tasks.healthy_async if contender.awaits else tasks.healthy
    trial = Trial(task=task, inputs=lambda: range(COUNT), timeout=case.timeout, safe_here=case.safe_here)
    seen = played(contender, trial)
    values = [outcome.value for outcome in seen.outcomes]
    assert (seen.ended, values) == (None, [x * x for x in range(COUNT)]), f"healthy tasks gave {seen}"


def threads_and_descriptors() -> tuple[int, int]:
    return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))


def left_running(case: Case) -> list[Complaint]:
    """What tasks have started and what still runs, where all of that must end with them."""
    if not case.gone or wait_until(lambda: not started_by_tasks()):
        return []
    return [Complaint("leaves processes", ", ".join(started_by_tasks()))]


def grown(case: Case, contender: Contender, before: tuple[int, int], folder: Path) -> list[Complaint]:
    """Another healthy run must work, and leave no more threads and descriptors than the first.

    Something may be kept for the next run: what has grown is played again, and must grow each time.
    """
    if contender.kind is None or contender.kind in case.left:
        run_healthy(case, contender)
        return []
    counts = [before]
    for attempt in range(REPEATS):
        if attempt:
            played_out(case, contender, folder)
        run_healthy(case, contender)
        if wait_until(lambda: within(counts[-1]), PATIENCE if attempt else PAUSE):
            return []
        counts.append(threads_and_descriptors())
    return [Complaint("leaves descriptors or threads", f"(threads, descriptors) were {counts}")]


def within(most: tuple[int, int]) -> bool:
    """Whether there are no more than that, at the latest when garbage has been collected, which is dear."""
    for _ in range(2):
        if all(now <= then for now, then in zip(threads_and_descriptors(), most, strict=True)):
            return True
        gc.collect()
    return False


if __name__ == "__main__":
    main()
