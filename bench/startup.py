"""Cold start: a whole program, from the start of its interpreter to the results of four no-ops over processes, and to its end."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec

from bench.chair import environment

PROGRAMS = {  # by name: what must be installed, and the program
    "flatout": ("flatout", "import flatout\nprint(list(flatout.map(abs, range(4))))"),
    "flatout via process": ("flatout", 'import flatout\nprint(list(flatout.map(abs, range(4), via="process")))'),
    "Pool": ("", "from multiprocessing import Pool\nwith Pool() as pool: print(pool.map(abs, range(4)))"),
    "ProcessPoolExecutor": (
        "",
        "from concurrent.futures import ProcessPoolExecutor\n"
        "with ProcessPoolExecutor() as pool: print(list(pool.map(abs, range(4))))",
    ),
    "loky": ("loky", "from loky import get_reusable_executor\nprint(list(get_reusable_executor().map(abs, range(4))))"),
    "joblib": (
        "joblib",
        "from joblib import Parallel, delayed\nprint(Parallel(n_jobs=-1)(delayed(abs)(x) for x in range(4)))",
    ),
    "mpire": ("mpire", "from mpire import WorkerPool\nwith WorkerPool() as pool: print(pool.map(abs, range(4)))"),
    "pebble": (
        "pebble",
        "from pebble import ProcessPool\nwith ProcessPool() as pool: print(list(pool.map(abs, range(4)).result()))",
    ),
}


@dataclass(frozen=True)
class Start:
    """Medians in seconds, from the start of the interpreter."""

    name: str
    results: float
    end: float


def measure(rounds: int) -> list[Start]:
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in PROGRAMS}
    for _ in range(rounds):
        for name, program in installed():
            times[name].append(run(program))
    return [Start(name, *map(statistics.median, zip(*pairs, strict=True))) for name, pairs in times.items() if pairs]


def installed() -> Iterator[tuple[str, str]]:
    for name, (needs, program) in PROGRAMS.items():
        if not needs or find_spec(needs):
            yield name, program


def run(program: str) -> tuple[float, float]:
    """Seconds to the results, and to the end."""
    start = time.perf_counter()
    with subprocess.Popen([sys.executable, "-u", "-c", program], stdout=subprocess.PIPE, env=environment()) as process:
        assert process.stdout
        line = process.stdout.readline()
        results = time.perf_counter() - start
        process.wait()
        end = time.perf_counter() - start
    if line != b"[0, 1, 2, 3]\n":
        raise RuntimeError(f"a program printed {line!r}:\n{program}")
    return results, end
