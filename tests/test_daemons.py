"""Threads of flatout's own, and the signals that are the main thread's."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from flatout._threads._daemons import Daemon

pytestmark = pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="this system knows no masks")


def blocked() -> set[int]:
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, ()))


def blocked_in_a_daemon() -> set[int]:
    seen: list[set[int]] = []
    thread = Daemon(lambda: seen.append(blocked()), "test")
    thread.start()
    thread.join()
    return seen[0]


def test_it_begins_with_the_signals_let_in_that_its_starter_lets_in() -> None:
    """So that programs it starts hear of Ctrl-C."""
    before = blocked()
    assert blocked_in_a_daemon() == before == blocked()
    assert signal.SIGINT not in before
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        assert blocked_in_a_daemon() == before | {signal.SIGINT} == blocked()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_one_that_cannot_be_started_leaves_the_signals_of_its_starter_let_in() -> None:
    thread = Daemon(lambda: None, "test")
    thread.start()
    thread.join()
    with pytest.raises(RuntimeError):
        thread.start()  # a second time
    assert signal.SIGINT not in blocked()


def test_a_signal_that_the_main_thread_blocks_for_good_keeps_no_thread_from_its_work() -> None:
    code = """
import os, signal
from flatout._threads._daemons import Daemon
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
os.kill(os.getpid(), signal.SIGINT)
for _ in range(2):
    thread = Daemon(print, "test", ("worked",))
    thread.start()
    thread.join()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "worked\nworked\n", "")
