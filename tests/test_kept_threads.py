"""Threads that serve one run after another."""

from __future__ import annotations

import threading
import time

import pytest

import flatout
from flatout._workers import _kept_threads


def me(_: int) -> threading.Thread:
    return threading.current_thread()


def idle() -> list[threading.Thread]:
    """The threads that wait, once those of the run before do."""
    while any(thread.name != "flatout-idle" for thread in threads()):
        time.sleep(0.001)
    return list(_kept_threads._idle)


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if isinstance(thread, _kept_threads._KeptThread)]


def run_one() -> threading.Thread:
    (thread,) = flatout.map(me, [0], via="thread", max_concurrency=1).results()
    return thread


def test_the_next_run_has_the_thread_of_the_last_under_a_name_of_its_own() -> None:
    first = run_one()
    assert first in idle()
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
    for thread in idle():  # those that wait longer are given something to do
        _kept_threads._idle.remove(thread)  # type: ignore[arg-type]
        thread.inbox.put(("flatout-last", lambda: None))  # type: ignore[attr-defined]
        thread.join()
    thread = run_one()
    thread.join()
    assert idle() == []
    assert run_one() is not thread


def test_an_idle_thread_keeps_nothing_of_its_run() -> None:
    import gc
    import weakref

    class Big:
        pass

    big = Big()
    kept = weakref.ref(big)
    flatout.map(lambda _, held=big: None, range(3), via="thread").wait()
    del big
    idle()
    gc.collect()
    assert kept() is None
