"""Executors of every kind: calls submitted, mapped, cancelled, waited for, by several threads."""

from __future__ import annotations

import random
from concurrent import futures
from typing import Any

import flatout
from soak.account import Account, Scene
from soak.tasks import ANYWHERE, IN_PROCESSES, VALUES, Job, draw, perform

PATIENCE = 60  # seconds for a call
VIAS = ("process", "process", "process", "thread", "auto")


def use_an_executor(rng: random.Random, account: Account) -> None:
    """One executor, from its making to its shutdown."""
    via: Any = rng.choice(VIAS)
    options: dict[str, Any] = {"via": via, "max_workers": rng.randint(1, 3)}
    if via == "process" and rng.random() < 0.3:
        options["max_tasks_per_child"] = rng.randint(1, 10)
    faults = IN_PROCESSES if via == "process" else ANYWHERE
    count = int(2 ** rng.uniform(0, 7))
    jobs = draw(rng, count, rng.choice([(), faults]), rng.choice([0.02, 0.2]), large=rng.random() < 0.5)
    way = rng.choice(["submit", "submit", "map", "chunks", "cancel", "drop"])
    with account.scene(f"Executor of {options}, {count} jobs, by {way}") as scene:
        account.count(tasks=count)
        if way == "drop":
            return _submit(rng, account, scene, flatout.Executor(**options), jobs, False)
        with flatout.Executor(**options) as pool:
            if way in ("map", "chunks"):
                _map(rng, account, scene, pool, jobs, rng.randint(2, 9) if way == "chunks" else 1)
            else:
                _submit(rng, account, scene, pool, jobs, way == "cancel")
    return None


def _submit(
    rng: random.Random, account: Account, scene: Scene, pool: flatout.Executor, jobs: list[Job], cancel: bool
) -> None:
    submitted = [pool.submit(perform, job) for job in jobs]
    if cancel:
        for future in rng.sample(submitted, rng.randint(0, len(jobs))):
            future.cancel()
        pool.shutdown(wait=rng.random() < 0.5, cancel_futures=rng.random() < 0.5)
    del pool
    for job, future in zip(jobs, submitted, strict=True):
        _check(account, scene, job, future, cancel)


def _check(account: Account, scene: Scene, job: Job, future: futures.Future[Any], cancel: bool) -> None:
    if future.cancelled():
        if not cancel:
            account.mismatch(scene, f"{job!r:.200} was cancelled by nobody")
        account.count(cancelled=1)
    elif (error := future.exception(PATIENCE)) is not None:
        account.failed(scene, job, error)
    else:
        account.check(scene, job, future.result())


def _map(
    rng: random.Random, account: Account, scene: Scene, pool: flatout.Executor, jobs: list[Job], chunksize: int
) -> None:
    """The results until the first failure, which with chunks is that of any job of its chunk."""
    results = pool.map(perform, jobs, chunksize=chunksize, buffersize=rng.choice([None, 3]))
    count = 0
    try:
        for job, value in zip(jobs, results, strict=False):
            account.check(scene, job, value)
            count += 1
    except BaseException as error:
        chunk = jobs[count : count + chunksize]
        # A lambda is at fault only when all are done, and their results are pickled.
        faulty = sorted((job for job in chunk if job[0] not in VALUES), key=lambda job: job[0] == "lambda")
        account.failed(scene, (faulty or chunk)[0], error)
        return
    if count != len(jobs):
        account.mismatch(scene, f"{len(jobs)} jobs have {count} results")
