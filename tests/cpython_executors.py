"""CPython's own tests of executors, run from the interpreter that is installed, on flatout's.

All of `test.test_concurrent_futures` is run, class by class, as it stands there; what is left out is listed with its reason
in the table of docs/executor.md, and nowhere else. `test_executor_cpython` runs this file, once for each kind of worker.
What the tests find in the standard library is lent to them:

* `executor_type`, and `ThreadPoolExecutor` and `ProcessPoolExecutor` where they name these, is an executor of ours; the
  scripts that they start find it in `concurrent.futures`;
* it shows threads and processes under the names that the standard library's has for them (`Lent`);
* `BrokenProcessPool` means `WorkerDied`, and `PicklingError` means `NotPicklable`, where only the name differs.
"""

from __future__ import annotations

import importlib
import logging
import multiprocessing
import multiprocessing.util
import os
import re
import sys
import threading
import unittest
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar
from unittest import mock

import pytest
from test.support import script_helper  # type: ignore[import-untyped,import-not-found,unused-ignore]
from test.test_concurrent_futures import (  # type: ignore[import-not-found,unused-ignore]
    test_as_completed,
    test_deadlock,
    test_future,
    test_init,
    test_process_pool,
    test_shutdown,
    test_thread_pool,
    test_wait,
    util,
)

import flatout
from flatout._stations._process import LedFuture

PAGE = Path(__file__).parents[1] / "docs" / "executor.md"


class Lent(flatout.Executor):
    """An executor of ours as the tests look at it."""

    via: ClassVar[Any]

    def __init__(self, max_workers: int | None = None, mp_context: object = None, **options: Any) -> None:
        super().__init__(max_workers, via=self.via, **options)

    @property
    def _broken(self) -> bool:
        station: Any = self._station
        return any(each._broken for each in getattr(station, "_stations", {"only": station}).values())

    @property
    def _threads(self) -> list[threading.Thread]:
        station: Any = self._station
        station = getattr(station, "_stations", {}).get("thread", station)
        return [worker._thread for worker in station._threads]

    @property
    def _processes(self) -> dict[int, LentProcess]:
        station: Any = self._station
        workers = {} if station is None else station._driver._workers
        return {number: LentProcess(worker) for number, worker in workers.items() if worker._process is not None}

    @property
    def _executor_manager_thread(self) -> threading.Thread:
        station: Any = self._station
        reader: threading.Thread = station._host._reader
        return reader

    _call_queue = SimpleNamespace(join_thread=lambda: None)  # there is none


class LentProcess:
    """A worker process; it may go on to work for others when the executor has let go of it."""

    def __init__(self, worker: Any) -> None:
        self._worker = worker

    def join(self) -> None:
        assert self._worker._process is None


class ByThread(Lent):
    via = "thread"


class ByProcess(Lent):
    via = "process"


class ByAuto(Lent):
    via = "auto"


TYPES: dict[str, type[Lent]] = {"thread": ByThread, "process": ByProcess, "auto": ByAuto}
SCRIPT = "import concurrent.futures, flatout, functools\n" + "".join(
    f"concurrent.futures.{name} = functools.partial(flatout.Executor, via={via!r})\n"
    for name, via in {**{each.__name__: via for via, each in TYPES.items()}, "ThreadPoolExecutor": "thread"}.items()
)


def assert_python_ok(flag: str, code: str) -> Any:
    return script_helper.assert_python_ok(flag, SCRIPT + code, PYTHONPATH=os.pathsep.join(sys.path))


class Lending(unittest.TestCase):
    """Puts ours where a test looks for the standard library's; no thread may be left behind, of which theirs only warn."""

    modules: tuple[ModuleType, ...]

    def setUp(self) -> None:
        self._before = set(threading.enumerate())
        self.enterContext(mock.patch.object(logging.root, "handlers", []))  # pytest's, which keep messages from stderr
        ours = {"ThreadPoolExecutor": ByThread, "ProcessPoolExecutor": type("Named", (ByProcess,), {})}
        names = {
            "futures": SimpleNamespace(**{**vars(futures), **ours}),
            "assert_python_ok": assert_python_ok,
            "BrokenProcessPool": flatout.WorkerDied,
            "PicklingError": flatout.NotPicklable,
            "Future": LedFuture,
        }
        for module in self.modules:
            for name in names.keys() & vars(module).keys():
                self.enterContext(mock.patch.object(module, name, names[name]))
        super().setUp()

    def tearDown(self) -> None:
        super().tearDown()
        assert set(threading.enumerate()) <= self._before

    def get_context(self) -> Any:
        return multiprocessing.get_context("spawn")


def own_tests(tests: type) -> list[tuple[type, str]]:
    """The tests of a class, each with the class that it comes from."""
    found = {name: each for each in reversed(tests.__mro__) for name in vars(each) if name.startswith("test")}
    return [(each, name) for name, each in found.items()]


def unit(tests: type, name: str) -> str:
    """What a test is called in the table."""
    return f"{tests.__module__.rpartition('.')[2].removeprefix('test_')}.{tests.__name__}.{name}"


def table() -> dict[tuple[str, str], str]:
    """By test and kind of worker: why that is left out."""
    rows = re.findall(r"^\| `(\S+)` \| ([a-z, ]+) \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return {(test, kind): reason for test, kinds, reason in rows for kind in kinds.split(", ")}


# What is about executors in general is run by each kind of worker (these classes have it from `executor.ExecutorTest` and
# the like), what is about threads also by "auto", where everything stays that these tests call.
WHERE: dict[type, tuple[str, ...]] = {
    test_thread_pool.ThreadPoolExecutorTest: ("thread", "auto"),
    test_process_pool.ProcessPoolExecutorTest: ("process",),
    test_shutdown.ThreadPoolShutdownTest: ("thread", "auto"),
    test_shutdown.ProcessPoolShutdownTest: ("process",),
    test_wait.ThreadPoolWaitTests: ("thread", "process", "auto"),
    test_as_completed.AsCompletedTests: ("thread", "process", "auto"),
    test_init.InitializerMixin: ("thread", "process", "auto"),
    test_init.FailingInitializerMixin: ("thread", "process", "auto"),
    test_init.FailingInitializerResourcesTest: ("process",),
    test_deadlock.ExecutorDeadlockTest: ("process",),
    test_future.FutureTests: ("process",),  # `LedFuture`, which "auto" gives, too
}

LEFT_OUT = table()
RUN: dict[tuple[str, str], str] = {}  # by test and kind: the class that runs it


def adapted(tests: type, kind: str) -> type[unittest.TestCase]:
    """A class of the suite, as it is run by a kind of worker."""
    name = f"Test{tests.__name__}By{kind.title()}"
    attributes: dict[str, Any] = {"executor_type": TYPES[kind], "modules": (sys.modules[tests.__module__], util)}
    for where, test in own_tests(tests):
        pair = unit(where, test), kind
        if pair in LEFT_OUT:
            attributes[test] = None  # which unittest does not take for a test
        else:
            RUN[pair] = name
    mixins = [each for each in (util.ExecutorMixin, util.BaseTestCase) if not issubclass(tests, each)]
    return type(name, (Lending, tests, *mixins), attributes)


globals().update(
    {each.__name__: each for tests, kinds in WHERE.items() for each in [adapted(tests, kind) for kind in kinds]}
)


@pytest.fixture(scope="module", autouse=True)
def as_theirs() -> Iterator[None]:
    """What their modules do when they are done: multiprocessing has been used."""
    yield
    multiprocessing.util._cleanup_tests()  # type: ignore[attr-defined]


def all_tests() -> set[str]:
    """Every test of the suite that is installed, whoever has it, but for those of another executor, of interpreters."""
    folder = Path(util.__file__).parent
    modules = [
        importlib.import_module(f"test.test_concurrent_futures.{file.stem}")
        for file in folder.glob("*.py")
        if file.stem not in ("__init__", "test_interpreter_pool")
    ]
    return {
        unit(each, name)
        for module in modules
        for each in vars(module).values()
        if isinstance(each, type) and each.__module__ == module.__name__
        for name in vars(each)
        if name.startswith("test")
    }
