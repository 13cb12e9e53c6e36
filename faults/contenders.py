"""Who runs the cases, each as its documentation recommends for tasks that may fail.

A peer's own modules are imported inside the functions: a seat loads its own contender only, and a peer may be missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import Any, Literal

import flatout
from faults.model import WORKERS, Contender, Outcome, Style, Trial

ENOUGH = 60.0  # seconds that no healthy task takes: what is told to flatout where all that is wanted is isolation


def _outcome(get: Callable[[], Any]) -> Outcome:
    try:
        return Outcome(get())
    except BaseException as error:
        return Outcome(error=error)


# flatout


Via = Literal["process", "thread", "async", "inline", "auto"]


def mapped(
    via: Via | flatout.Plan, style: Style = "return", chunksize: int | None = None, retry: flatout.Retry | None = None
) -> Callable[[Trial], Iterator[Outcome]]:
    def play(trial: Trial) -> Iterator[Outcome]:
        timeout = trial.timeout
        if via == "auto" and timeout is None and not trial.safe_here:
            timeout = ENOUGH  # with a timeout, auto takes processes only
        run: flatout.Run[Any] = flatout.map(
            trial.task,
            trial.inputs(),
            via=via,
            max_concurrency=WORKERS if isinstance(via, str) else None,
            chunksize=chunksize,
            timeout=timeout,
            on_error=style,
            retry=retry,
            initializer=trial.initializer,
        )
        for value in run:
            yield Outcome(error=value.error, failure=value) if type(value) is flatout.Failure else Outcome(value)

    return play


def mixed(inside: Literal["thread", "async"]) -> Callable[[Trial], Iterator[Outcome]]:
    """Several tasks in flight in each process: who is to blame for a death shows where each is tried again alone."""
    plan = flatout.Plan("process", 2 * WORKERS, processes=WORKERS, inside=inside)
    return mapped(plan, retry=flatout.Retry(2, backoff=0.0))


def submitted(trial: Trial) -> Iterator[Outcome]:
    with flatout.Executor(WORKERS, via="process", initializer=trial.initializer) as executor:
        yield from _futures(executor, trial, None)


# The peers


def _futures(executor: Executor, trial: Trial, timeout: float | None) -> Iterator[Outcome]:
    """One future for each input, since `map` ends with the first exception."""
    futures: list[Future[Any]] = [executor.submit(trial.task, item) for item in trial.inputs()]
    for future in futures:
        yield _outcome(lambda future=future: future.result(timeout))  # type: ignore[misc]


def process_pool_executor(trial: Trial) -> Iterator[Outcome]:
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(WORKERS, initializer=trial.initializer) as executor:
        yield from _futures(executor, trial, trial.timeout)


def multiprocessing_pool(trial: Trial) -> Iterator[Outcome]:
    import multiprocessing

    with multiprocessing.Pool(WORKERS, trial.initializer) as pool:
        results = [pool.apply_async(trial.task, (item,)) for item in trial.inputs()]
        for result in results:
            yield _outcome(lambda result=result: result.get(trial.timeout))  # type: ignore[misc]


def loky(trial: Trial) -> Iterator[Outcome]:
    from loky import get_reusable_executor

    executor = get_reusable_executor(WORKERS, initializer=trial.initializer)
    yield from _futures(executor, trial, trial.timeout)


def joblib(trial: Trial) -> Iterator[Outcome]:
    """It ends with the first exception; as a generator it gives at least what came before."""
    from joblib import Parallel, delayed

    parallel = Parallel(WORKERS, timeout=trial.timeout, return_as="generator", initializer=trial.initializer)
    for value in parallel(delayed(trial.task)(item) for item in trial.inputs()):
        yield Outcome(value)


def mpire(trial: Trial) -> Iterator[Outcome]:
    from mpire import WorkerPool

    with WorkerPool(WORKERS) as pool:
        options: dict[str, Any] = {"task_timeout": trial.timeout, "worker_init": trial.initializer}
        results = [pool.apply_async(trial.task, (item,), **options) for item in trial.inputs()]
        for result in results:
            yield _outcome(result.get)


def pebble(trial: Trial) -> Iterator[Outcome]:
    from pebble import ProcessPool

    with ProcessPool(WORKERS, initializer=trial.initializer) as pool:
        futures = [pool.schedule(trial.task, args=[item], timeout=trial.timeout) for item in trial.inputs()]
        for future in futures:
            yield _outcome(future.result)


def _processes() -> Iterable[Contender]:
    name = "flatout process"
    yield Contender(name, "process", mapped("process"), "process")
    yield Contender(f"{name}, in batches", "process", mapped("process", chunksize=5), "process")
    yield Contender(
        f"{name}, one by one", "process", mapped("process", chunksize=1), "process", single=True, quick=False
    )
    yield Contender(f"{name}, skip", "process", mapped("process", "skip"), "process", "skip", quick=False)
    yield Contender(f"{name}, raise", "process", mapped("process", "raise"), "process", "raise", quick=False)
    yield Contender("flatout Executor", "Executor", submitted, "executor", single=True, quick=False)


def _mixtures() -> Iterable[Contender]:
    name, column = "flatout mixture", "mixtures"
    yield Contender(f"{name} of threads", column, mixed("thread"), "mixture", inside="thread", quick=False)
    yield Contender(f"{name} of loops", column, mixed("async"), "mixture", inside="async", quick=False)


# The threads last: one that is left behind may go on computing.
FLATOUT: list[Contender] = [
    Contender("flatout inline", "inline", mapped("inline"), "inline"),
    Contender("flatout async", "async", mapped("async"), "async"),
    Contender("flatout auto", "auto", mapped("auto"), "auto"),
    *_processes(),
    *_mixtures(),
    Contender("flatout thread", "thread", mapped("thread"), "thread"),
]
PEERS: list[Contender] = [
    Contender("ProcessPoolExecutor", "ProcessPoolExecutor", process_pool_executor, single=True),
    Contender("multiprocessing.Pool", "Pool", multiprocessing_pool, single=True),
    Contender("loky", "loky", loky, single=True, needs="loky"),
    Contender("joblib", "joblib", joblib, needs="joblib"),
    Contender("mpire", "mpire", mpire, needs="mpire"),
    Contender("pebble", "pebble", pebble, single=True, needs="pebble"),
]


def contender_named(name: str) -> Contender:
    return next(one for one in [*FLATOUT, *PEERS] if one.name == name)
