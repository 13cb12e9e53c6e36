"""Garbage on the sockets of real workers: who is sent some ends, who sends some costs the task that did it and no other."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from test_faults import GUARD
from test_wire_fuzz import garbage, made_up

import flatout
from flatout import Failure, WorkerDied
from flatout._wire import _frames
from flatout._workers import _pool

# A worker that is sent garbage ends


@pytest.fixture(scope="module", autouse=True)
def new_workers() -> None:
    """A warm one may end by itself just then: a run would hire another."""
    _pool.let_go()


def exit_of(process: _pool.Process) -> int | None:
    """Wait for the end of a worker; its exit status."""
    process.sock.settimeout(GUARD)
    with contextlib.suppress(ConnectionError):
        while process.sock.recv(1 << 16):
            pass
    return process.exitcode


@settings(deadline=None, max_examples=20)
@given(garbage.filter(lambda bytes_: len(bytes_) >= 33 or not _frames._BEGIN.startswith(bytes_[:4])))
@example(b"\xff" * 100)
@example(made_up(_frames.RESULTS, 0, 0, 0, []))
@example(made_up(_frames.SETUP, 0, 0, 0, []))
@example(made_up(_frames.SETUP, 1, 3, 0, [5], b"abcdefgh"))
@example(made_up(_frames.DEFINE, 1, 0, 0, [5], b"abcde"))
@example(made_up(_frames.BATCH, 0, 3, 0, [], b"abc"))
@example(made_up(_frames.BATCH, 0, 0, 9, []))
@example(made_up(_frames.BATCH, 0, 0, 0, [], size=1 << 63))
@example(made_up(222, 0, 0, 0, []))
def test_a_worker_that_is_sent_what_makes_no_sense_ends(foreign: bytes) -> None:
    process = _pool.lease()
    try:
        process.sock.setblocking(True)
        process.sock.sendall(foreign)
        assert exit_of(process) in (70, 0)
    finally:
        process.forget()


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 60))
@example(0)
@example(32)
def test_a_worker_whose_stream_ends_in_the_middle_ends(length: int) -> None:
    process = _pool.lease()
    try:
        process.sock.setblocking(True)
        process.sock.sendall(made_up(_frames.BATCH, 0, 0, 0, [], bytes(100))[:length])
        process.sock.shutdown(socket.SHUT_WR)
        assert exit_of(process) == 0
    finally:
        process.forget()


# A worker that sends garbage costs the task that did it, and no other


def write_to_sockets(data: bytes) -> None:
    """Do what a task does that takes the descriptor of another for its own."""
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"):
                os.write(int(fd), data)


def spoils(foreign: dict[int, bytes], x: int) -> str:
    if x in foreign:
        write_to_sockets(foreign[x])
    return f"result {x}"


def results_of(foreign: dict[int, bytes], count: int, **options: Any) -> list[Any]:
    run = flatout.map(partial(spoils, foreign), range(count), via="process", on_error="return", **options)
    return run.results()


def check_results(results: list[Any], foreign: dict[int, bytes]) -> None:
    """Who spoilt a stream has failed for it, and nobody else."""
    for x, result in enumerate(results):
        if x not in foreign:
            assert result == f"result {x}"
        else:
            assert isinstance(result, Failure), f"task {x} wrote {foreign[x]!r} and got {result!r}"
            assert isinstance(result.error, WorkerDied)
            assert "cannot be understood" in str(result.error)


@settings(deadline=None, max_examples=15, suppress_health_check=list(HealthCheck))
@given(
    st.dictionaries(st.integers(0, 59), garbage, max_size=4),
    st.sampled_from([None, 1, 7, 60]),
    st.integers(1, 3),
)
@example({3: made_up(_frames.RESULTS, 0, 0, 0, [], size=1 << 63)[:33]}, 1, 1)
@example({3: made_up(_frames.RESULTS, 0, 0, 0, [], size=1 << 63)[:33]}, 10, 1)
@example(dict.fromkeys(range(0, 60, 10), b"\xf1"), 60, 2)
@example({59: _frames._BEGIN}, None, 1)
def test_a_task_that_spoils_the_stream_of_its_worker_fails_alone(
    foreign: dict[int, bytes], chunksize: int | None, workers: int
) -> None:
    check_results(results_of(foreign, 60, chunksize=chunksize, max_concurrency=workers), foreign)


def write_again_and_again() -> None:
    for _ in range(1000):
        write_to_sockets(os.urandom(9))


def spoils_on_and_on(x: int) -> tuple[int, bytes]:
    """Leave a thread behind that writes to the socket while results go by it."""
    if x % 50 == 10:
        threading.Thread(target=write_again_and_again, daemon=True).start()
    return x, bytes([x % 256]) * 30_000


def test_garbage_in_the_middle_of_results_makes_no_wrong_ones() -> None:
    results = flatout.map(spoils_on_and_on, range(200), via="process", on_error="return", chunksize=20).results()
    for x, result in enumerate(results):
        assert isinstance(result, Failure) or result == (x, bytes([x % 256]) * 30_000)
    assert sum(isinstance(result, Failure) for result in results) < 20, "and costs few tasks"
