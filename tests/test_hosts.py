"""What a host opens it closes, also where it cannot begin."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from concurrent import futures

import pytest

import flatout
from flatout._run._hosts import ThreadHost
from flatout._run._shared_host import SharedHost

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


class Quiet:
    """What a shared host drives: it has nothing to do, and may be over."""

    wake_at = None
    pending = finished = False
    in_hand = 0

    def pump(self) -> None:
        """Nothing to deal with."""

    def hand_out(self) -> None:
        """Nobody to call back."""

    def fail(self, error: BaseException) -> None:
        raise error


class Due:
    """What a thread host drives: as it is about to sleep for good, another thread finds that something is due soon."""

    def __init__(self) -> None:
        self.host: ThreadHost
        self.pending = self.finished = False
        self.at: float | None = 0.0
        self.asked = 0
        self.rung = threading.Event()

    @property
    def wake_at(self) -> float | None:
        if self.at is not None and self.asked == 0:
            self.asked, at, self.at = 1, self.at, None  # the first sleep ends at once
            return at
        if self.asked == 1 and self.host.here and self.host._asleep:
            self.asked = 2
            other = threading.Thread(target=self._post)
            other.start()
            other.join()
            return None  # what was read before
        return self.at

    def _post(self) -> None:
        self.at, self.pending = time.monotonic() + 0.05, True
        self.host.wake()

    def pump(self) -> None:
        self.pending = False
        if self.asked == 2 and self.at is not None and self.at <= time.monotonic():
            self.finished = True
            self.rung.set()

    def fail(self, error: BaseException) -> None:
        self.finished = True


def test_what_is_due_sooner_than_was_known_as_it_fell_asleep_wakes_it() -> None:
    driven = Due()
    driven.host = ThreadHost(driven, time.monotonic)
    driven.host.run()
    try:
        assert driven.rung.wait(20)
    finally:
        driven.finished = True
        driven.host._interrupt()
        driven.host.join(20)


def test_who_led_and_was_taken_for_overdue_wakes_the_reader_at_the_end() -> None:
    """It may have read what was to wake the reader, who would sleep for ever."""
    driven, host = Quiet(), SharedHost()
    host.run(driven)
    read, write = os.pipe()
    host.watch(read, lambda: None)
    sockets = host._sockets
    assert sockets is not None

    def over() -> bool:
        """The reader leads again; the end comes, and its byte is read here."""
        host._leader = None
        driven.finished = True
        sockets.interrupt()
        with contextlib.suppress(OSError):  # the reader was quicker, and needs no one to wake it
            sockets._waker.hush()
        return True

    host.lead(over)
    host.join(10)
    assert host._sockets is None, "the reader has ended and closed them"
    for fd in (read, write):
        os.close(fd)


class Posted(Quiet):
    """What a host drives, with something to deal with."""

    pending = True

    def pump(self) -> None:
        """Deal with it."""
        self.pending = False
        self.finished = True


def test_what_is_posted_before_the_hosts_thread_has_begun_is_dealt_with_by_who_posts_it() -> None:
    """Other threads see the host a moment before that: whoever reported just then had the run end."""
    before, driven = waits(), Posted()
    host = ThreadHost(driven, time.monotonic)
    with futures.ThreadPoolExecutor(1) as pool:  # the main thread never deals with it
        pool.submit(host.wake).result()
    assert driven.finished
    host.run()
    host.join(10)
    assert waits() == before
