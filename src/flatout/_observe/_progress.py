"""The live display: how far a run is, how fast, and how long it will take.

The driver's thread calls the observer for every event. It looks at the clock, and ten times a second at most takes a
snapshot of the run's statistics, which are that thread's own; what is drawn, by rich's thread, is the latest snapshot.
A terminal gets a bar, anything else (a log file) a plain line every few seconds. Nothing here can fail the run: a
display that cannot be drawn is given up.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from flatout._events import Command, Event, Finish, InputEnded, PlanChosen
from flatout._model import Statistics

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

_SNAPSHOT_SECONDS = 0.1  # the eye follows no faster
_REFRESHES_PER_SECOND = 5  # a refresh takes rich about 1 ms of the GIL
_LINE_SECONDS = 5.0  # guessed: a log that says enough and is not filled
_RATE_SECONDS = 10.0  # the rate is that of so long a while: steady, yet the time left follows a change of pace

_terminal = threading.Lock()  # held by the run that has the live display: two would overwrite each other


class Progress:
    """An observer that shows the progress of one run on `stream`, by default standard error."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._given_up = False
        self._stopped = False
        self._live: Live | None = None
        self._kind = ""
        self._total: int | None = None
        self._latest = Statistics()
        self._began = self._next_snapshot = time.monotonic()
        self._next_line = self._began + _LINE_SECONDS
        self._samples: deque[tuple[float, int]] = deque([(self._began, 0)])

    def start(self, total: int | None) -> None:
        """Begin to show. `total` is the number of tasks, None where it is not known."""
        with self._lock, self._giving_up():
            self._stream = self._stream or sys.stderr
            self._total = total
            if _is_terminal(self._stream) and _terminal.acquire(blocking=False):
                try:
                    self._live = self._started_live(self._stream)
                except BaseException:
                    _terminal.release()
                    raise

    def __call__(self, event: Event | Command, statistics: Callable[[], Statistics]) -> None:
        """Take note of an event. `statistics` is called here or not at all."""
        if self._given_up:
            return
        now = time.monotonic()
        if now < self._next_snapshot and not isinstance(event, _TELLING):
            return
        with self._lock, self._giving_up():
            self._latest = statistics()
            self._note(event, now)

    def stop(self) -> None:
        """Say what came of it, once, and leave the terminal as it was."""
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
            with self._giving_up():
                self._close_live()
            if not self._given_up:
                with self._giving_up():
                    self._print(self._final())
            self._given_up = True

    @contextmanager
    def _giving_up(self) -> Iterator[None]:
        """Turns an error of the display into its end."""
        try:
            yield
        except Exception:
            self._given_up = True

    def _note(self, event: Event | Command, now: float) -> None:
        if isinstance(event, PlanChosen):
            self._kind = event.plan.kind
        if isinstance(event, InputEnded):
            self._total = self._latest.drawn
        if now >= self._next_snapshot:
            self._next_snapshot = now + _SNAPSHOT_SECONDS
            self._sample(now)
        if self._live is None and now >= self._next_line:
            self._next_line = now + _LINE_SECONDS
            self._print(self._line())

    def _sample(self, now: float) -> None:
        self._samples.append((now, _done(self._latest)))
        while self._samples[0][0] < now - _RATE_SECONDS:
            self._samples.popleft()

    def _rate(self) -> float:
        """Tasks a second of late."""
        (began, before), (ended, after) = self._samples[0], self._samples[-1]
        return (after - before) / (ended - began) if ended > began else 0.0

    def _parts(self) -> list[str]:
        """What there is to say in the middle of a run, the number of tasks first."""
        done, rate = _done(self._latest), self._rate()
        parts = [f"{done:,}/{self._total:,}" if self._total is not None else f"{done:,} done"]
        parts.append(f"{_rounded(rate)}/s")
        if self._total is not None and rate:
            parts.append(f"{_clock(max(0, self._total - done) / rate)} left")
        if self._latest.failed:
            parts.append(f"{self._latest.failed:,} failed")
        return parts

    def _line(self) -> str:
        return ", ".join([*self._parts(), self._by()])

    def _final(self) -> str:
        seconds = time.monotonic() - self._began
        done, failed = _done(self._latest), self._latest.failed
        pace = f"{_clock(seconds)}, {_rounded(done / seconds if seconds else 0.0)}/s"
        return f"{done:,} done, {failed:,} failed, {pace}, {self._by()}"

    def _by(self) -> str:
        """Who does it: "inline", as every run begins, or "2 process workers"."""
        if self._kind in ("", "inline"):
            return "inline"
        count = self._latest.peak_workers
        return f"{count} {self._kind} worker{'' if count == 1 else 's'}"

    def _print(self, text: str) -> None:
        print(f"flatout: {text}", file=self._stream, flush=True)

    def _started_live(self, stream: IO[str]) -> Live:
        from rich.console import Console
        from rich.live import Live

        live = Live(
            console=Console(file=stream),
            get_renderable=self._drawn,
            refresh_per_second=_REFRESHES_PER_SECOND,
            transient=True,
            # what is printed meanwhile goes above the bar; into a pipe it must go as ever
            redirect_stdout=_is_terminal(sys.stdout),
            redirect_stderr=_is_terminal(sys.stderr),
        )
        live.start()
        return live

    def _close_live(self) -> None:
        if self._live is not None:
            try:
                self._live.stop()
            finally:
                self._live = None
                _terminal.release()

    def _drawn(self) -> RenderableType:
        """The bar, by the latest snapshot. Called in rich's thread, without the lock."""
        from rich.progress_bar import ProgressBar
        from rich.spinner import Spinner
        from rich.table import Table
        from rich.text import Text

        count, *others = self._parts()
        row = Table.grid(padding=(0, 1))
        bar: RenderableType = Spinner("dots")
        if self._total is not None:
            bar = ProgressBar(total=max(1, self._total), completed=_done(self._latest), width=30)
        row.add_row(Text(self._kind, style="bold"), bar, Text(count, style="green"), Text(", ".join(others)))
        return row


_TELLING = (PlanChosen, InputEnded, Finish)  # change what is shown, so they are never passed over


def _is_terminal(stream: IO[str] | None) -> bool:
    try:
        return stream is not None and stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
    except ValueError:  # closed
        return False


def _done(statistics: Statistics) -> int:
    """Tasks that came to an end of their own: those that were cancelled did not."""
    return statistics.succeeded + statistics.failed


def _rounded(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def _clock(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02} min"
