"""What tasks print and log, on its way home: whole lines at a time."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
from collections import deque
from collections.abc import Callable

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from types import CodeType, FrameType
    from typing import Any

_MOST = 1 << 16  # bytes of a line after which it is sent though it has not ended


class _Lines(io.RawIOBase):
    """A raw stream that passes on whole lines."""

    def __init__(self, name: str, fd: int, emit: Callable[[str], None]) -> None:
        self.name = f"<{name}>"
        self._fd = fd
        self._emit = emit
        self._written: deque[bytes] = deque()  # what is yet to be dealt with
        self._rest = b""  # the beginning of a line
        self._own = False
        self._lock = threading.RLock()
        self._busy = False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def write(self, data: Any) -> int:
        """May be called in the middle of itself, by a finalizer or a signal handler that prints."""
        self._written.append(bytes(data))
        with self._lock:
            if not self._busy:
                self._busy = True
                try:
                    while self._written:
                        self._pass_on(self._written.popleft())
                finally:
                    self._busy = False
        return len(data)

    def _pass_on(self, data: bytes) -> None:
        text = self._rest + data
        end = text.rfind(b"\n") + 1 if len(text) < _MOST else len(text)
        self._rest = text[end:]
        if end:
            self._emit(text[:end].decode(errors="replace"))

    def finish(self) -> None:
        """Pass on what is left of a line."""
        with self._lock:
            rest, self._rest = self._rest, b""
            if rest:
                self._emit(rest.decode(errors="replace"))

    def flush(self) -> None:
        if self._own:
            self.finish()

    def let_go(self) -> None:
        """In a forked child: write to the descriptor, unfinished lines when they are flushed."""
        self._own, self._rest, self._lock, self._busy = True, b"", threading.RLock(), False
        self._written.clear()
        self._emit = lambda text: _write_all(self._fd, text.encode())


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


class _Stream(io.TextIOWrapper):
    """Stays open: who closes it would close it for the tasks that follow."""

    def close(self) -> None:
        """Only flush."""
        if not self.closed:
            self.flush()


class Output:
    """Stands in for sys.stdout and sys.stderr. (What writes to the descriptors themselves goes where the parent's do.)"""

    def __init__(self, send: Callable[[str, str], None]) -> None:
        self._send = send
        self._lines: list[_Lines] = []
        self._streams: list[Any] = []
        self._handler: Any = None
        self._levels: dict[str, int] = {}

    def take_over(self) -> None:
        """Be sys.stdout and sys.stderr, unless they are ours and open: an earlier run may have changed that."""
        if [sys.stdout, sys.stderr] == self._streams and not any(stream.closed for stream in self._streams):
            return
        self._lines = [
            _Lines("stdout", 1, lambda text: self._send("stdout", text)),
            _Lines("stderr", 2, lambda text: self._send("stderr", text)),
        ]
        self._streams = [_Stream(lines, "utf-8", "surrogateescape", write_through=True) for lines in self._lines]
        sys.stdout, sys.stderr = self._streams

    def flush(self) -> None:
        """Send unfinished lines too. A task may have put streams of its own in the place of ours, or closed these."""
        if sys.stdout not in self._streams or sys.stderr not in self._streams:  # ours keep nothing back
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    stream.flush()
        for lines in self._lines:
            lines.finish()

    def let_go(self) -> None:
        """In a forked child: send nothing more."""
        for lines in self._lines:
            lines.let_go()
        if self._handler is not None:
            import logging

            logging.getLogger().removeHandler(self._handler)

    def capture_logs(self, levels: dict[str, int], send: Callable[[tuple[dict[str, Any], bool]], None]) -> None:
        """Send log records home, from the levels on that loggers have there; an empty dict: nobody logs there."""
        if not levels:
            return
        import logging

        for name in self._levels.keys() - levels:
            logging.getLogger(name).setLevel(logging.NOTSET)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        self._levels = levels
        if self._handler is None:
            self._handler = _home_handler(send)
            logging.getLogger().addHandler(self._handler)


def _home_handler(send: Callable[[tuple[dict[str, Any], bool]], None]) -> Any:
    import logging

    functions = (logging.debug, logging.info, logging.warning, logging.error, logging.critical, logging.log)
    codes = {function.__code__ for function in functions}  # `exception` and `fatal` call these

    class Home(logging.Handler):
        """Passes a record on as plain data: its arguments may not be able to travel.

        With it goes whether it comes from a function such as `logging.warning`, which would have called `basicConfig` there.
        """

        def emit(self, record: logging.LogRecord) -> None:
            try:
                send((_fields(record), record.name == "root" and _called_by(codes)))
            except Exception:
                self.handleError(record)  # as every handler does: to log never raises

    return Home()


def _called_by(codes: set[CodeType]) -> bool:
    """Whether any of these functions has led here."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code not in codes:
        frame = frame.f_back
    return frame is not None


def _fields(record: Any) -> dict[str, Any]:
    import logging

    fields = {**record.__dict__, "msg": record.getMessage(), "args": None, "exc_info": None}
    if record.exc_info:
        fields["exc_text"] = logging.Formatter().formatException(record.exc_info)
    return {name: _plain(value) for name, value in fields.items()}


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)
