"""Threads and processes that tasks start, flatout's own among them."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable

import flatout
from faults.tasks import SLEEPER, SURVIVED, healthy
from faults.tasks.times import breed

TYPE_CHECKING = False  # see `faults.tasks`
if TYPE_CHECKING:
    from typing import Any


_EXPECTED = [x * x for x in range(20)]


def _right(values: Any) -> str:
    assert list(values) == _EXPECTED, values
    return SURVIVED


# Threads


def raises_in_a_thread() -> str:
    thread = threading.Thread(target=_raise)
    thread.start()
    thread.join()
    return SURVIVED


def _raise() -> None:
    raise ValueError("in a thread")


def leaves_a_thread(daemon: bool, target: Callable[[], None]) -> str:
    threading.Thread(target=target, daemon=daemon).start()
    return SURVIVED


def sleep_on() -> None:
    time.sleep(float(SLEEPER))


def compute_on() -> None:
    while True:
        pass


def print_on() -> None:
    while True:
        print("still here")
        time.sleep(0.001)


# Processes


def leaves_programs() -> str:
    breed()
    return SURVIVED


def breeds_and_dies() -> None:
    breed()
    os._exit(1)


def forks() -> str:
    """Returns in the child too."""
    os.fork()
    return SURVIVED


def forks_and_raises() -> None:
    os.fork()
    raise ValueError("in both")


def forks_and_leaves_it() -> str:
    if os.fork() == 0:
        sleep_on()
    return SURVIVED


def forks_and_exits_there() -> str:
    pid = os.fork()
    if pid == 0:
        sys.exit(4)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 4
    return SURVIVED


def forks_past_python() -> str:
    """Returns in both processes, and in neither does Python know."""
    import ctypes

    ctypes.PyDLL(None).fork()
    return SURVIVED


def forks_past_python_and_dies() -> None:
    """The child has whatever its parent had open, and stays."""
    import ctypes

    if ctypes.PyDLL(None).fork() == 0:
        os.setsid()
        sleep_on()
    os._exit(1)


def runs_a_program() -> str:
    import subprocess

    done = subprocess.run([sys.executable, "-c", "print(6 * 7)"], capture_output=True, text=True, check=True)
    assert done.stdout == "42\n", done
    return SURVIVED


# Other runs


def uses_flatout(via: Any) -> str:
    return _right(flatout.map(healthy, range(20), via=via, max_concurrency=2))


def is_not_multiplied() -> str:
    """Within a worker, processes are not chosen."""
    run = flatout.map(_computes, range(20))
    values = run.results()
    assert run.plan is not None
    assert run.plan.kind != "process", run.plan
    return _right(values)


def _computes(x: int) -> int:
    sum(i * i for i in range(20_000))
    return x * x


def uses_flatouts_executor() -> str:
    with flatout.Executor(2, via="process") as executor:
        return _right(executor.map(healthy, range(20)))


def leaves_a_run_open() -> str:
    run = flatout.map(time.sleep, [0.001] * 1000, via="process", max_concurrency=1)
    next(iter(run))
    _kept.append(run)
    return SURVIVED


_kept: list[Any] = []


def uses_multiprocessing(method: str) -> str:
    import multiprocessing

    with multiprocessing.get_context(method).Pool(2) as pool:
        return _right(pool.map(healthy, range(20)))


def uses_process_pool_executor() -> str:
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(2) as executor:
        return _right(executor.map(healthy, range(20)))


def uses_threads() -> str:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as executor:
        return _right(executor.map(healthy, range(20)))


def uses_asyncio() -> str:
    import asyncio

    async def one(x: int) -> int:
        await asyncio.sleep(0)
        return x * x

    async def main() -> list[int]:
        return await asyncio.gather(*(one(x) for x in range(20)))

    return _right(asyncio.run(main()))
