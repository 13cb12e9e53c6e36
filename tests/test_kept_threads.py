"""Threads that serve one run after another."""

from __future__ import annotations

import threading
import time

import pytest

import flatout
from flatout import _kept_threads


def me(_: int) -> threading.Thread:
    return threading.current_thread()


def idle(thread: threading.Thread) -> threading.Thread:
    """The same, once it waits for its next run."""
    while thread not in _kept_threads._idle:
        time.sleep(0.001)
    return thread


def run_one() -> threading.Thread:
    (thread,) = flatout.map(me, [0], via="thread", max_concurrency=1).results()
    return thread


def test_the_next_run_has_the_thread_of_the_last_under_a_name_of_its_own() -> None:
    first = idle(run_one())
    assert flatout.map(lambda _: (me(0), me(0).name), [0], via="thread", max_concurrency=1).results() == [
        (first, "flatout-1")
    ]


def test_an_initializer_has_threads_of_its_own() -> None:
    local = threading.local()

    def begin() -> None:
        assert not hasattr(local, "begun")
        local.begun = True

    for _ in range(3):
        run_one()
        run = flatout.map(lambda _: local.begun, range(3), via="thread", max_concurrency=1, initializer=begin)
        assert run.results() == [True] * 3


def test_a_thread_that_nobody_needs_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_kept_threads, "IDLE_SECONDS", 0.01)
    monkeypatch.setattr(_kept_threads, "_idle", [])
    thread = run_one()
    thread.join()
    assert _kept_threads._idle == []
    assert run_one() is not thread


def test_an_idle_thread_keeps_nothing_of_its_run() -> None:
    import gc
    import weakref

    class Big:
        pass

    big = Big()
    kept = weakref.ref(big)
    (thread,) = flatout.map(lambda _, held=big: me(0), [0], via="thread", max_concurrency=1).results()
    del big
    idle(thread)
    gc.collect()
    assert kept() is None
