"""What a host opens it closes, also where it cannot begin."""

from __future__ import annotations

import os
import threading
from concurrent import futures

import pytest

import flatout

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="looks at open files as Linux shows them")


def waits() -> list[str]:
    """What threads sleep on: pipes, and what watches them."""
    links = [
        os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/dev/fd/{fd}")
    ]
    return sorted(link for link in links if link.startswith(("pipe:", "anon_inode:[eventpoll]")))


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the system lets the user have no more of them."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)


@pytest.mark.usefixtures("no_threads")
def test_a_run_that_gets_no_thread_leaves_nothing_open() -> None:
    before = waits()
    with pytest.raises(RuntimeError, match="can't start new thread"):
        flatout.map(str, range(3), via="thread").results()
    assert waits() == before


@pytest.mark.usefixtures("no_threads")
def test_an_executor_that_gets_no_thread_leaves_nothing_open() -> None:
    before = waits()
    pool = flatout.Executor(1, via="process")
    with pytest.raises(futures.BrokenExecutor, match="can't start new thread"):
        pool.submit(str, 1).result()
    pool.shutdown()
    assert waits() == before
