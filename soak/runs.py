"""Runs of `flatout.map` of every kind, asked for in every way, with every option."""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import flatout
from soak.account import Account, Scene
from soak.tasks import ANYWHERE, IN_PROCESSES, Job, draw, perform, perform_in_loop, perform_noted, prepare

FAULTS_OF_A_RUN = 20  # on average, at most: each may cost a worker, which takes a while to replace
HANGING = 2  # tasks of a run that hang, at most
TIMEOUT = 2.0  # seconds


class Order(NamedTuple):
    """A run as it is asked for."""

    func: Callable[[Job], Any]
    jobs: list[Job]
    options: dict[str, Any]
    way: str

    def __str__(self) -> str:
        whats = sorted({job[0] for job in self.jobs})
        return f"map of {len(self.jobs)} jobs ({' '.join(whats)}), {self.options}, by {self.way}"


def order(rng: random.Random, ways: tuple[str, ...]) -> Order:
    """A run at random."""
    via = rng.choice(["process"] * 6 + ["thread", "async", "inline", "auto", "auto"])
    count = int(2 ** rng.uniform(0, 9))
    options: dict[str, Any] = {"via": via, "on_error": rng.choice(["return", "return", "skip", "raise"])}
    if rng.random() < 0.7:
        options["max_concurrency"] = rng.randint(1, 3) if via == "process" else rng.randint(1, 20)
    if via != "async" and rng.random() < 0.5:
        options["chunksize"] = rng.choice([1, 1, 2, 7, 50])
    if rng.random() < 0.2:
        options["buffersize"] = rng.randint(1, 100)
    if rng.random() < 0.3:
        options["retry"] = flatout.Retry(rng.randint(2, 3), backoff=rng.choice([0.0, 0.01]))
    if via in ("process", "thread") and rng.random() < 0.1:
        options["initializer"] = prepare
    faults = rng.choice([(), IN_PROCESSES if via == "process" else ANYWHERE])
    often = min(rng.choice([0.01, 0.05, 0.3]), FAULTS_OF_A_RUN / count)
    jobs = draw(rng, count, faults, often, large=rng.random() < 0.5)
    if via in ("process", "async") and rng.random() < 0.15:
        options["timeout"] = TIMEOUT
        for n in rng.sample(range(count), min(count, rng.randint(0, HANGING))):
            jobs[n] = "hang", n
    return Order(perform_in_loop if via == "async" else perform, jobs, options, rng.choice(ways))


# By a plain loop

WAYS = ("results", "for", "as_completed", "wait", "break", "with", "cancel")


def run_plainly(rng: random.Random, account: Account) -> None:
    """One run, asked for in this thread."""
    asked = order(rng, WAYS)
    if asked.options["via"] == "process" and rng.random() < 0.2:
        return _noted(account, asked)
    with account.scene(str(asked)) as scene:
        inputs: Iterable[Job] = _drawn(asked.jobs) if rng.random() < 0.3 else asked.jobs
        run = flatout.map(asked.func, inputs, **asked.options)
        account.count(tasks=len(asked.jobs))
        _consume(rng, account, scene, asked, run)
        _add_up(account, scene, run)


def _consume(rng: random.Random, account: Account, scene: Scene, asked: Order, run: Any) -> None:
    some = rng.randint(0, len(asked.jobs))
    match asked.way:
        case "as_completed":
            _completed(account, scene, asked, run.as_completed(), run)
        case "wait":
            _to_its_end(account, scene, asked, [], run.wait, run)
        case "break":
            values: list[Any] = []
            with suppress(StopIteration):
                _to_its_end(account, scene, asked, values, lambda: values.extend(islice(run, some)), run, some)
        case "with":
            with run:
                values = []
                _to_its_end(account, scene, asked, values, lambda: values.extend(islice(run, some)), run, some)
        case "cancel":
            timer = threading.Timer(rng.random() * 0.1, run.cancel)
            timer.start()
            values = []
            _to_its_end(account, scene, asked, values, lambda: values.extend(run), run, cancelled=True)
            timer.join()
        case "for":
            values = []
            _to_its_end(account, scene, asked, values, lambda: values.extend(run), run)
        case _:
            values = []
            _to_its_end(account, scene, asked, values, lambda: values.extend(run.results()), run)


def _to_its_end(
    account: Account,
    scene: Scene,
    asked: Order,
    values: list[Any],
    consume: Callable[[], object],
    run: Any,
    some: int | None = None,
    cancelled: bool = False,
) -> None:
    """Have the values consumed, and check what came: all of it, or `some` at most, or what there was when it ended."""
    ended: BaseException | None = None
    try:
        consume()
    except BaseException as error:
        ended = error
    check_values(account, scene, asked, values, ended, run, some, cancelled)


def check_values(
    account: Account,
    scene: Scene,
    asked: Order,
    values: list[Any],
    ended: BaseException | None,
    run: Any,
    some: int | None = None,
    cancelled: bool = False,
) -> None:
    """What came of a run that was consumed in order."""
    jobs, on_error = asked.jobs, asked.options["on_error"]
    if cancelled and (ended is None or isinstance(ended, flatout.RunCancelled)):
        some, ended = len(values), None
    if ended is not None and account.gave_up(ended):
        some, ended = len(values), None
    if ended is not None:
        failed = _named(ended)
        if on_error != "raise" or failed is None or failed >= len(jobs):
            account.mismatch(scene, f"it ended with {ended!r:.1000}")
            return
        account.failed(scene, jobs[failed], ended)
        jobs = jobs[:failed]
        if asked.way in ("wait", "results"):
            return
    elif some is not None:
        jobs = jobs[: len(values)] if on_error != "skip" else jobs
        if len(values) > some:
            account.mismatch(scene, f"{len(values)} values came where {some} were asked for")
    if asked.way == "wait":
        counts = run.report
        if counts.succeeded + counts.failed != len(jobs):
            account.mismatch(scene, f"{len(jobs)} jobs, but {counts}")
    elif on_error == "skip":
        missing = len(jobs) - len(values) if some is not None or ended is not None else run.report.failed
        account.check_some(scene, jobs, values, missing)
    else:
        account.check_all(scene, jobs, values)


def _named(error: BaseException) -> int | None:
    """The task that a note names."""
    for note in getattr(error, "__notes__", ()):
        if note.startswith("flatout: raised by task "):
            return int(note.split()[4].rstrip(","))
    return None


def _completed(account: Account, scene: Scene, asked: Order, done: Iterable[flatout.Done], run: Any) -> None:
    try:
        all_done = list(done)
    except BaseException as error:
        failed = _named(error)
        if account.gave_up(error):
            return
        if asked.options["on_error"] != "raise" or failed is None:
            account.mismatch(scene, f"it ended with {error!r:.1000}")
        else:
            account.failed(scene, asked.jobs[failed], error)
        return
    check_done(account, scene, asked, all_done, run)


def check_done(account: Account, scene: Scene, asked: Order, all_done: list[flatout.Done], run: Any) -> None:
    """What came of a run in the order of finishing."""
    indices = {done.index for done in all_done}
    expected = len(asked.jobs) - (run.report.failed if asked.options["on_error"] == "skip" else 0)
    if len(indices) != len(all_done) or len(indices) != expected:
        account.mismatch(scene, f"{len(all_done)} outcomes of {len(indices)} jobs, not of {expected}")
    for done in all_done:
        account.check(scene, asked.jobs[done.index], done.failure or done.value)


def _add_up(account: Account, scene: Scene, run: Any) -> None:
    counts = run._engine.statistics() if run._engine is not None else None
    if counts is None:
        return
    account.count(retried=counts.retried, died=counts.died)
    if counts.drawn != counts.succeeded + counts.failed + counts.cancelled:
        account.mismatch(scene, f"the counts do not add up: {counts}")


def _drawn(jobs: list[Job]) -> Iterator[Job]:
    yield from jobs


# What ran how often


def _noted(account: Account, asked: Order) -> None:
    """At chunksize 1 nothing is begun twice."""
    options = {**asked.options, "chunksize": 1, "on_error": "return", "retry": None}
    fd, path = tempfile.mkstemp(prefix="soak-")
    os.close(fd)
    asked = asked._replace(func=partial(perform_noted, path), options=options, way="noted")
    try:
        with account.scene(str(asked)) as scene:
            account.count(tasks=len(asked.jobs))
            try:
                outcomes = flatout.map(asked.func, asked.jobs, **options).results()
            except flatout.WorkerDied as error:
                if not account.gave_up(error):
                    raise
                return
            account.check_all(scene, asked.jobs, outcomes)
            with open(path) as file:
                begun = [int(line) for line in file]
            # What is reported behind bytes that a task has scribbled into the stream is lost.
            twice = sorted(n for n in set(begun) if begun.count(n) > 1)
            if len(twice) > sum(job[0] == "scribble" for job in asked.jobs):
                account.mismatch(scene, f"begun twice: {twice}")
            for job, outcome in zip(asked.jobs, outcomes, strict=True):
                if not isinstance(outcome, flatout.Failure) and job[1] not in begun:
                    account.mismatch(scene, f"{job!r:.200} has a value and was never begun")
    finally:
        os.unlink(path)


# In an event loop

LOOP_WAYS = ("await", "async for", "as_completed", "break", "with", "timeout")


async def run_in_loop(rng: random.Random, account: Account) -> None:
    """One run, asked for in a running loop."""
    asked = order(rng, LOOP_WAYS)
    with account.scene(str(asked)) as scene:
        inputs: Any = _adrawn(asked.jobs) if rng.random() < 0.3 else asked.jobs
        run = flatout.map(asked.func, inputs, **asked.options)
        account.count(tasks=len(asked.jobs))
        await _consume_in_loop(rng, account, scene, asked, run)
        _add_up(account, scene, run)


async def _consume_in_loop(rng: random.Random, account: Account, scene: Scene, asked: Order, run: Any) -> None:
    values: list[Any] = []
    ended: BaseException | None = None
    some = rng.randint(0, len(asked.jobs)) if asked.way in ("break", "with") else None
    try:
        match asked.way:
            case "await":
                values = await run
            case "as_completed":
                done = [done async for done in run.as_completed()]
                return check_done(account, scene, asked, done, run)
            case "timeout":
                async with asyncio.timeout(rng.random() * 0.1):
                    await _take(run, values, None)
            case _:
                async with run:
                    await _take(run, values, some)
    except BaseException as error:
        ended = error
    if asked.way == "timeout" and isinstance(ended, TimeoutError) and not isinstance(ended, flatout.TaskTimeout):
        some, ended = len(values), None
    way = asked._replace(way="results") if asked.way in ("await", "as_completed") else asked
    return check_values(account, scene, way, values, ended, run, some)


async def _take(run: Any, values: list[Any], some: int | None) -> None:
    if some == 0:
        return
    async for value in run:
        values.append(value)
        if len(values) == some:
            return


async def _adrawn(jobs: list[Job]) -> AsyncIterator[Job]:
    for job in jobs:
        yield job
