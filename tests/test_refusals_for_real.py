"""Services that refuse calls, through `flatout.map` itself: on virtual time, and one over real sockets."""

from __future__ import annotations

import asyncio
import socketserver
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import flatout
from flatout.testing import virtual_run


class TooMany(Exception):
    """A refusal as HTTP clients raise it."""

    def __init__(self, status: int, retry_after: float | None = None) -> None:
        super().__init__(status)
        self.status = status
        if retry_after is not None:
            self.retry_after = retry_after


def starts_of(refusals: dict[int, TooMany], inputs: int, **options: Any) -> tuple[list[tuple[int, float]], Any]:
    """When calls began on the virtual clock, of which the first ones of some tasks are refused; and the run."""
    starts: list[tuple[int, float]] = []

    async def call(n: int) -> int:
        starts.append((n, asyncio.get_running_loop().time()))
        await asyncio.sleep(0.01)
        if n in refusals:
            raise refusals.pop(n)
        return n

    run = flatout.map(call, range(inputs), **options)

    async def main() -> list[int]:
        return await run

    assert virtual_run(main()) == list(range(inputs))
    return starts, run


def test_a_task_that_was_told_to_wait_is_not_tried_before_and_neither_is_any_other() -> None:
    starts, run = starts_of({1: TooMany(429, 2.0)}, 30, retry=2, max_concurrency=3)
    refused_at = 0.01
    assert [n for n, at in starts if at <= refused_at] == [0, 1, 2]
    assert all(at >= refused_at + 2.0 for _, at in starts[3:])
    assert sorted(n for n, _ in starts) == sorted([*range(30), 1])
    assert "429" in str(run.report)


def test_without_retry_after_the_backoff_of_retry_is_kept() -> None:
    starts, _ = starts_of({1: TooMany(503)}, 10, retry=flatout.Retry(2, backoff=0.5))
    assert [at for n, at in starts if n == 1] == [0.0, pytest.approx(0.51)]


@pytest.mark.parametrize("rate", [3, 40.0, 1000])
def test_a_loop_starts_no_more_tasks_than_max_per_second(rate: float) -> None:
    starts, _ = starts_of({}, 200, max_per_second=rate)
    for first in range(0, 200, 7):
        for last in range(first, 200, 7):
            seconds = starts[last][1] - starts[first][1]
            assert last - first + 1 <= rate * (seconds + 0.02) + 1 + 1e-6
    assert starts[-1][1] == pytest.approx(199 / rate, abs=0.03)


@pytest.mark.parametrize("via", ["inline", "thread", "process"])
def test_so_does_every_other_kind_of_worker(via: Any) -> None:
    began = time.monotonic()
    assert flatout.map(abs, range(12), via=via, max_per_second=50).results() == list(range(12))
    assert time.monotonic() - began >= 11 / 50 - 0.02


class Handler(socketserver.StreamRequestHandler):
    """Answers by 200 to so many requests a second, by 429 with Retry-After to the others."""

    def handle(self) -> None:
        self.rfile.readline()
        server: Any = self.server
        with server.lock:
            now = time.monotonic()
            server.tokens = min(server.burst, server.tokens + server.rate * (now - server.at))
            server.at = now
            good = server.tokens >= 1
            server.tokens -= good
            server.accepted += good
            server.refused += not good
        head = b"200 OK\r\n" if good else b"429 Too Many Requests\r\nRetry-After: 0.05\r\n"
        self.wfile.write(b"HTTP/1.1 " + head + b"Content-Length: 2\r\nConnection: close\r\n\r\nok")


@contextmanager
def metered(rate: float, burst: float) -> Iterator[Any]:
    class Server(socketserver.ThreadingTCPServer):
        daemon_threads, request_queue_size, allow_reuse_address = True, 128, True

    with Server(("127.0.0.1", 0), Handler) as server:
        state: Any = server
        state.lock, state.rate, state.burst, state.tokens, state.at = (
            threading.Lock(),
            rate,
            burst,
            burst,
            time.monotonic(),
        )
        state.accepted = state.refused = 0
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_a_real_server_that_says_429_gets_all_calls_at_its_own_rate() -> None:
    with metered(rate=100, burst=10) as server:
        url = f"http://127.0.0.1:{server.server_address[1]}/"

        def fetch(n: int) -> bytes:
            try:
                with urllib.request.urlopen(url, timeout=30) as answer:
                    body: bytes = answer.read()
                    return body
            except urllib.error.HTTPError as error:
                error.close()
                raise

        run = flatout.map(fetch, range(150), via="thread", max_concurrency=16, retry=flatout.Retry(100, backoff=0.05))
        assert run.results() == [b"ok"] * 150
        assert server.accepted == 150
        assert server.refused < 150
        assert "starts a second" in str(run.report)
        assert "429" in str(run.report)
