"""The progress display: what it says, where it says it, and that it can harm nobody."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest

from flatout._events import Event, Finish, InputEnded, PlanChosen, Tick
from flatout._model import Plan, Statistics
from flatout._observe import _progress
from flatout._observe._progress import Progress


class Terminal:
    """A pseudo-terminal; what was written to it is read by a thread."""

    def __init__(self) -> None:
        self._master, self.slave = pty.openpty()
        self.stream: IO[str] = os.fdopen(self.slave, "w", closefd=False)
        self._chunks: list[bytes] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        try:
            while chunk := os.read(self._master, 65536):
                self._chunks.append(chunk)
        except OSError:  # the other side is closed
            pass

    def text(self) -> str:
        """All that was written; the terminal is closed by it."""
        if not self.stream.closed:
            self.stream.close()
            os.close(self.slave)
            self._reader.join()
            os.close(self._master)
        return b"".join(self._chunks).decode()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    terminal = Terminal()
    yield terminal
    terminal.text()


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """No event is passed over, and each may bring a line."""
    monkeypatch.setattr(_progress, "_SNAPSHOT_SECONDS", 0.0)
    monkeypatch.setattr(_progress, "_LINE_SECONDS", 0.0)


RUNNING = Statistics(drawn=9, succeeded=4, failed=1, cancelled=2, peak_workers=2)
OVER = replace(RUNNING, succeeded=8)


def play(progress: Progress, *events: tuple[Event | Finish, Statistics], total: int | None = None) -> None:
    progress.start(total)
    for event, statistics in events:
        progress(event, lambda statistics=statistics: statistics)  # type: ignore[misc]
    progress.stop()


WHOLE_RUN = (
    (PlanChosen(Plan("process")), Statistics()),
    (Tick(), RUNNING),
    (InputEnded(), RUNNING),
    (Finish(), OVER),
)


def test_a_log_gets_a_final_line() -> None:
    log = io.StringIO()
    play(Progress(log), *WHOLE_RUN)
    assert re.fullmatch(r"flatout: 9 done, 1 failed, \d+\.\d s, [\d,]+/s, 2 process workers\n", log.getvalue())


def test_a_log_gets_lines_on_the_way(eager: None) -> None:
    log = io.StringIO()
    play(Progress(log), *WHOLE_RUN)
    first, second, third, fourth, _ = log.getvalue().splitlines()
    assert first == "flatout: 0 done, 0/s, 0 process workers"
    assert re.fullmatch(r"flatout: 5 done, [\d,]+/s, 1 failed, 2 process workers", second)
    assert re.fullmatch(r"flatout: 5/9, [\d,]+/s, \d+\.\d s left, 1 failed, 2 process workers", third)
    assert re.match(r"flatout: 9/9, ", fourth)


def test_a_log_is_not_filled() -> None:
    log = io.StringIO()
    play(Progress(log), *[(Tick(), RUNNING)] * 10_000)
    assert len(log.getvalue().splitlines()) == 1


def test_a_known_total_is_shown_from_the_start(eager: None) -> None:
    log = io.StringIO()
    play(Progress(log), (Tick(), RUNNING), total=20)
    assert log.getvalue().startswith("flatout: 5/20, ")


def test_most_events_ask_for_no_statistics() -> None:
    asked: list[int] = []

    def statistics() -> Statistics:
        asked.append(1)
        return RUNNING

    progress = Progress(io.StringIO())
    progress.start(None)
    began = time.monotonic()
    for _ in range(20_000):
        progress(Tick(), statistics)
    assert len(asked) <= 2 + (time.monotonic() - began) / _progress._SNAPSHOT_SECONDS
    progress.stop()


def test_stop_speaks_once() -> None:
    log = io.StringIO()
    progress = Progress(log)
    play(progress, *WHOLE_RUN)
    progress.stop()
    progress(Tick(), lambda: RUNNING)
    assert len(log.getvalue().splitlines()) == 1


def test_nothing_that_fails_comes_out(eager: None) -> None:
    closed = io.StringIO()
    closed.close()
    play(Progress(closed), *WHOLE_RUN)

    def fails() -> Statistics:
        raise RuntimeError("no statistics")

    progress = Progress(io.StringIO())
    progress.start(None)
    progress(Tick(), fails)
    progress(Tick(), fails)
    progress.stop()


def test_many_threads_at_once(eager: None) -> None:
    log = io.StringIO()
    progress = Progress(log)
    progress.start(100)

    def play_many() -> None:
        for _ in range(200):
            progress(Tick(), lambda: RUNNING)

    threads = [threading.Thread(target=play_many) for _ in range(4)]
    for thread in threads:
        thread.start()
    progress.stop()
    for thread in threads:
        thread.join()
    assert all(line.startswith("flatout: ") for line in log.getvalue().splitlines())


def test_a_terminal_gets_a_bar_and_a_final_line(terminal: Terminal) -> None:
    play(Progress(terminal.stream), *WHOLE_RUN)
    text = terminal.text()
    assert "process" in text
    assert "9/9" in text or "5/9" in text
    assert "\x1b[?25h" in text, "the cursor is shown again"
    assert text.splitlines()[-1].endswith("2 process workers")


def test_two_runs_share_a_terminal(terminal: Terminal) -> None:
    first, second = Progress(terminal.stream), Progress(terminal.stream)
    first.start(None)
    second.start(None)
    second.stop()
    first.stop()
    third = Progress(terminal.stream)
    play(third, *WHOLE_RUN)
    text = terminal.text()
    assert text.count("\x1b[?25l") == 2, "the second had no live display, the third had one again"
    assert text.count("flatout: ") == 3


def test_a_dumb_terminal_gets_plain_lines(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    play(Progress(terminal.stream), *WHOLE_RUN)
    assert "\x1b" not in terminal.text()


PRINTING = """
import sys
from flatout._events import Finish, Tick
from flatout._model import Statistics
from flatout._observe._progress import Progress

progress = Progress()
progress.start(None)
for number in range(50):
    print("printed", number)
    print("complained", number, file=sys.stderr)
    progress(Tick(), lambda: Statistics(succeeded=number))
progress.stop()
"""


@pytest.mark.parametrize("stdout_too", [True, False])
def test_what_is_printed_meanwhile_stays_whole(terminal: Terminal, tmp_path: Path, stdout_too: bool) -> None:
    with open(tmp_path / "out", "w+") as out:
        stdout = terminal.slave if stdout_too else out
        subprocess.run([sys.executable, "-c", PRINTING], stdout=stdout, stderr=terminal.slave, check=True, timeout=60)
        out.seek(0)
        piped = out.read()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.text()).replace("\r", "\n").splitlines()
    numbers = range(50)
    assert [line for line in shown if line.startswith("complained")] == [f"complained {number}" for number in numbers]
    printed = [f"printed {number}" for number in numbers]
    assert [line for line in shown if line.startswith("printed")] == (printed if stdout_too else [])
    assert piped.splitlines() == ([] if stdout_too else printed)


def test_rich_is_imported_by_the_first_bar_only() -> None:
    code = "import sys, flatout._observe._progress; print('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
