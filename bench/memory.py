"""Memory: a million results drawn one after the other from a generator's inputs, by a consumer that is slower than the workers.

python -m bench.memory NAME COUNT is one such program; `measure` watches it from outside.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import psutil

from bench.chair import environment
from bench.workloads.tiny import noop

CHUNK = 1_000
PAUSE = 0.005  # seconds that the consumer rests after so many results
EVERY = 0.05  # seconds between two looks at the memory
CUTOFF = 60.0  # seconds

Draw = Callable[[Iterator[int], int], Iterable[Any]]


@dataclass(frozen=True)
class Peak:
    """Bytes (proportional set size, PSS) at the highest: of the program's own process, and of all its processes."""

    name: str
    parent: int
    all: int
    seconds: float
    cut_off: bool


def plain_map(inputs: Iterator[int], count: int) -> Iterable[Any]:
    return map(noop, inputs)


def flatout_map(inputs: Iterator[int], count: int) -> Iterable[Any]:
    import flatout

    return flatout.map(noop, inputs)


def flatout_process(inputs: Iterator[int], count: int) -> Iterable[Any]:
    import flatout

    return flatout.map(noop, inputs, via="process")


def pool(inputs: Iterator[int], count: int) -> Iterable[Any]:
    from multiprocessing import Pool

    with Pool() as pool:
        yield from pool.imap(noop, inputs, CHUNK)


def executor(inputs: Iterator[int], count: int) -> Iterable[Any]:
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor() as pool:
        yield from pool.map(noop, inputs, chunksize=CHUNK)


def loky(inputs: Iterator[int], count: int) -> Iterable[Any]:
    from loky import get_reusable_executor

    yield from get_reusable_executor().map(noop, inputs, chunksize=CHUNK)


def joblib(inputs: Iterator[int], count: int) -> Iterable[Any]:
    from joblib import Parallel, delayed

    yield from Parallel(n_jobs=-1, return_as="generator")(delayed(noop)(x) for x in inputs)


def mpire(inputs: Iterator[int], count: int) -> Iterable[Any]:
    from mpire import WorkerPool

    with WorkerPool() as pool:
        yield from pool.imap(noop, inputs, iterable_len=count, chunk_size=CHUNK)


def pebble(inputs: Iterator[int], count: int) -> Iterable[Any]:
    from pebble import ProcessPool

    with ProcessPool() as pool:
        yield from pool.map(noop, inputs, chunksize=CHUNK).result()


DRAWS: dict[str, tuple[str, Draw]] = {  # by name: what must be installed, and the function
    "plain map": ("", plain_map),
    "flatout": ("flatout", flatout_map),
    "flatout via process": ("flatout", flatout_process),
    "Pool.imap, chunks of 1,000": ("", pool),
    "ProcessPoolExecutor, chunks of 1,000": ("", executor),
    "loky, chunks of 1,000": ("loky", loky),
    "joblib, as a generator": ("joblib", joblib),
    "mpire.imap, chunks of 1,000": ("mpire", mpire),
    "pebble, chunks of 1,000": ("pebble", pebble),
}


def main(name: str, count: int) -> None:
    inputs = (x for x in range(count))
    for number, value in enumerate(DRAWS[name][1](inputs, count)):
        assert value == number
        if number % CHUNK == 0:
            time.sleep(PAUSE)


def measure(count: int) -> list[Peak]:
    return [watch(name, count) for name, (needs, _) in DRAWS.items() if not needs or find_spec(needs)]


def watch(name: str, count: int) -> Peak:
    start = time.monotonic()
    parent = everyone = 0
    with subprocess.Popen([sys.executable, "-m", "bench.memory", name, str(count)], env=environment()) as program:
        process = psutil.Process(program.pid)
        while program.poll() is None and time.monotonic() < start + CUTOFF:
            own, below = pss([process]), pss(children(process))
            parent, everyone = max(parent, own), max(everyone, own + below)
            time.sleep(EVERY)
        cut_off = program.poll() is None
        if cut_off:
            for one in [*children(process), process]:
                with suppress(psutil.NoSuchProcess):
                    one.kill()
    if not cut_off and program.returncode:
        raise RuntimeError(f"{name} ended with {program.returncode}")
    return Peak(name, parent, everyone, time.monotonic() - start, cut_off)


def children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def pss(processes: Iterable[psutil.Process]) -> int:
    total = 0
    for process in processes:
        with suppress(psutil.Error):  # it ended meanwhile
            total += process.memory_full_info().pss
    return total


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
