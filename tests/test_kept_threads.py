"""Threads that serve one run after another."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

import flatout
from flatout._threads import _kept


def me(_: int) -> threading.Thread:
    return threading.current_thread()


def idle(thread: threading.Thread) -> threading.Thread:
    """The same, once it waits for its next run."""
    while thread not in _kept._idle:
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
    monkeypatch.setattr(_kept, "IDLE_SECONDS", 0.01)
    monkeypatch.setattr(_kept, "_idle", [])
    thread = run_one()
    thread.join()
    assert _kept._idle == []
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


def test_a_thread_that_is_given_back_in_the_middle_of_a_job_serves_nobody_before_its_end() -> None:
    began, over = threading.Event(), threading.Event()

    def job() -> None:
        began.set()
        over.wait(60)

    thread = _kept.take("busy")
    thread.inbox.put(job)
    assert began.wait(60)
    _kept.give_back(thread)
    other = _kept.take("other")
    assert other is not thread
    _kept.give_back(other)
    over.set()
    assert idle(thread).name == "flatout-idle"


def test_a_thread_left_behind_serves_nobody_else() -> None:
    over = threading.Event()
    run = flatout.map(lambda _: over.wait(60), [0], via="thread", timeout=0.1)
    with pytest.raises(flatout.TaskTimeout):
        run.results()
    (left,) = [thread for thread in threading.enumerate() if "left behind in task 0" in thread.name]
    over.set()
    left.join(60)
    assert not left.is_alive()


@pytest.mark.skipif(sys.platform != "linux", reason="by the size that Linux tells")
def test_those_that_idle_make_room_where_no_other_can_be_started() -> None:
    code = """
import resource, threading, time
threading.stack_size(1 << 26)
import flatout
from flatout._threads import _kept
from flatout._threads._daemons import Daemon

flatout.map(time.sleep, [0.01] * 40, via="thread", max_concurrency=8).wait()
while _kept.idle() < 8:
    time.sleep(0.001)
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (1 << 22),) * 2)
began = threading.Event()
try:
    while True:
        threading.Thread(target=began.wait, daemon=True).start()
except RuntimeError:
    pass  # not one more
Daemon(began.set, "one more").start()
print(began.wait(60), _kept.idle())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("True 0\n", "")
