"""CPython's own tests of executors, run from the interpreter that is installed, on flatout's.

Left out is what cannot apply:

    test_interpreter_shutdown, test_submit_after_interpreter_shutdown, test_hang_gh83386
        start a Python that does `from concurrent.futures import <name of the executor>`; test_executor.py has their like
    what asks for `_threads`, `_processes` and the queues of the standard library's executors (`*TerminateTest`,
        test_saturation, test_del_shutdown and others): their inner parts; test_executor.py counts threads and processes
    FailingInitializerMixin
        wants the standard library's log message and `_broken`; test_executor.py has a failing initializer
    test_default_workers
        wants `_max_workers`, and the number of threads that only threads have; ours differs by kind and is documented
    test_cancel_futures by "auto"
        wants one of 50 calls to have begun at once; those that are held back are all cancelled
    test_deadlock, most of test_process_pool
        are about `multiprocessing` contexts, and about the pool breaking for all when a worker dies, which ours does not
    test_future
        is about `Future` alone, with no executor
"""

from __future__ import annotations

import functools
import threading
import unittest

import pytest

import flatout

pytest.importorskip(
    "test.test_concurrent_futures.executor", reason="this Python came without the folder of these tests"
)

from test.test_concurrent_futures import (  # type: ignore[import-not-found,unused-ignore]
    executor,
    test_as_completed,
    test_init,
    test_shutdown,
    test_thread_pool,
    test_wait,
    util,
)

LEFT_OUT = ("test_interpreter_shutdown", "test_submit_after_interpreter_shutdown", "test_hang_gh83386")


class ByThread:
    executor_type = staticmethod(functools.partial(flatout.Executor, via="thread"))


class ByProcess:
    executor_type = staticmethod(functools.partial(flatout.Executor, via="process"))


class ByAuto:
    executor_type = staticmethod(functools.partial(flatout.Executor, via="auto"))


class NoThreadLeft(unittest.TestCase):
    """What `util.BaseTestCase` only warns of: threads that are left behind."""

    def setUp(self) -> None:
        self._before = set(threading.enumerate())
        super().setUp()

    def tearDown(self) -> None:
        super().tearDown()
        assert set(threading.enumerate()) <= self._before


# By thread is further below, with what is said of threads in particular.
GENERIC: dict[str, tuple[type, tuple[str, ...]]] = {
    "Executor": (executor.ExecutorTest, ()),
    "AsCompleted": (test_as_completed.AsCompletedTests, ()),
    "Wait": (test_wait.WaitTests, ()),
    "Shutdown": (test_shutdown.ExecutorShutdownTest, LEFT_OUT),
}

for name, (tests, left_out) in GENERIC.items():
    for kind in (ByThread, ByProcess, ByAuto):
        if kind is ByThread and name in ("Executor", "Wait"):
            continue
        bases = (kind, tests, NoThreadLeft, util.ExecutorMixin, util.BaseTestCase)
        too_quick = ("test_cancel_futures",) if kind is ByAuto else ()
        attributes = dict.fromkeys((*left_out, *too_quick))  # what is None, unittest does not take for a test
        globals()[f"Test{name}{kind.__name__}"] = type(f"Test{name}{kind.__name__}", bases, attributes)


class TestThreadWait(ByThread, NoThreadLeft, test_wait.ThreadPoolWaitTests):  # type: ignore[misc,unused-ignore]
    """With a race of 100 futures."""


class TestThreadPool(ByThread, NoThreadLeft, test_thread_pool.ThreadPoolExecutorTest):  # type: ignore[misc,unused-ignore]
    """What is said of threads in particular."""

    test_default_workers = test_saturation = test_idle_thread_reuse = None
    test_hang_global_shutdown_lock = None


class TestThreadInitializer(ByThread, test_init.InitializerMixin, util.BaseTestCase):  # type: ignore[misc,unused-ignore]
    pass


class TestProcessInitializer(ByProcess, test_init.InitializerMixin, util.BaseTestCase):  # type: ignore[misc,unused-ignore]
    pass
