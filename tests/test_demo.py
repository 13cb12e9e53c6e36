"""The demo, in small, for real: its server, its tasks, and a run of every part."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from flatout import _demo
from flatout._demo import _server, _show, _tasks

SMALL = _demo.parts(files=40, pages=30, blocks=8, block_bytes=1 << 20)


def test_the_parts_have_names() -> None:
    assert tuple(SMALL) == _demo.NAMES


@pytest.mark.parametrize("name", _demo.NAMES)
def test_every_part_gives_what_the_plain_loop_gives(name: str) -> None:
    shown = _demo.play(SMALL[name])
    assert 0 < shown.sample <= shown.tasks
    assert shown.seconds > 0
    assert shown.loop_seconds > 0
    assert shown.ideal_seconds > 0
    labels = [label for label, _ in _demo.rows(shown) if label != "but"]
    assert labels == ["measured", "chosen", "plain loop", "flatout", "at best", "results"]


def unsteady(_: str) -> int:
    return time.perf_counter_ns()


def test_results_that_differ_are_not_passed_over() -> None:
    with pytest.raises(_demo.WrongResults):
        _demo.play(replace(SMALL["computing"], func=unsteady))


def test_the_sample_is_spread_over_light_and_heavy() -> None:
    part = replace(SMALL["computing"], weight=float, sample=4)
    assert _demo._sample([7, 0, 6, 1, 5, 2, 4, 3], part) == [3, 7, 4, 0]  # the weights 1, 3, 5, 7


def test_a_busy_machine_is_told() -> None:
    assert _demo._busy([_demo.Loop(1.0, 0.97, 0.1, []), _demo.Loop(1.0, 0.95, 0.1, [])]) == ""
    assert "50% of a core" in _demo._busy([_demo.Loop(1.0, 0.6, 0.1, []), _demo.Loop(1.0, 0.4, 0.1, [])])


def test_the_server_keeps_its_clients_waiting_and_answers_right() -> None:
    with _tasks.page_urls(3) as urls:
        for url in urls:
            path = url[url.index("/page") :]
            began = time.monotonic()
            assert _tasks.fetch(url) == _server.page(path)
            assert time.monotonic() - began >= _server.delay(path)
            assert _server.SHORTEST_SECONDS <= _server.delay(path) <= _server.LONGEST_SECONDS


def test_coroutines_fetch_the_same() -> None:
    with _tasks.page_urls(2) as urls:
        loop = _demo.plain_loop(_tasks.fetch_async, urls)
        assert loop.results == [_tasks.fetch(url) for url in urls]


def test_the_server_survives_a_client_that_hangs_up() -> None:
    with _tasks.page_urls(1) as [url]:
        host, port = url.split("/")[2].split(":")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(b"GET /pa")
        assert _tasks.fetch(url)


def test_the_server_ends_with_its_context() -> None:
    with _tasks.page_urls(1) as [url]:
        server = _child_server()
    assert not server.is_running()
    with pytest.raises(ConnectionError):
        _tasks.fetch(url)


def test_the_server_ends_when_the_demo_is_killed() -> None:
    code = "from flatout._demo import _tasks\nwith _tasks.page_urls(1) as urls: print(urls[0], flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as demo:
        assert demo.stdout is not None
        demo.stdout.readline()
        server = _child_server(demo.pid)
        os.kill(demo.pid, signal.SIGKILL)
    assert server.wait(30) is None or not server.is_running()


def _child_server(parent: int | None = None) -> psutil.Process:
    [server] = [
        child for child in psutil.Process(parent).children() if any("_server" in part for part in child.cmdline())
    ]
    return server


def test_count_names(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text("a = b\nprint(a, '\\d')\n")
    bad.write_text("def")
    assert _tasks.count_names(str(good)) == Counter(a=2, b=1, print=1)
    assert _tasks.count_names(str(bad)) is None


def test_digest(tmp_path: Path) -> None:
    file = tmp_path / "file"
    content = bytes(range(256)) * 4096
    file.write_bytes(content)
    assert _tasks.digest((str(file), 1000, 700_000)) == hashlib.sha256(content[1000:701_000]).hexdigest()
    assert _tasks.digest((str(file), 0, 1 << 30)) == hashlib.sha256(content).hexdigest()


def test_stdlib_blocks_differ_and_have_their_size() -> None:
    with _tasks.stdlib_blocks(4, 1 << 16) as blocks:
        assert len({_tasks.digest(block) for block in blocks}) == 4
        assert all(offset + size <= os.path.getsize(path) for path, offset, size in blocks)
    assert not os.path.exists(blocks[0][0])


def test_show_runs_one_part(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(_demo, "parts", lambda: SMALL)
    _demo.show("hashing")
    shown = capsys.readouterr().out
    assert "sha256" in shown
    assert "times as fast" in shown
    assert "Waiting" not in shown
    assert "\x1b" not in shown


def test_rows_on_a_terminal_have_colours(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    _show.show("A title", [("label", "[text]"), (_show.FAST, "fast")])
    shown = capsys.readouterr().out
    assert "A title" in shown
    assert "[text]" in shown
    assert "\x1b[" in shown
