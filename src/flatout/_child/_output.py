"""What tasks print and log, on its way home: whole lines at a time."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any

_MOST = 1 << 16  # bytes of a line after which it is sent though it has not ended


class _Lines(io.RawIOBase):
    """A raw stream that passes on whole lines."""

    def __init__(self, fd: int, emit: Callable[[str], None]) -> None:
        self._fd = fd
        self._emit = emit
        self._rest = b""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def write(self, data: Any) -> int:
        text = self._rest + bytes(data)
        end = text.rfind(b"\n") + 1 if len(text) < _MOST else len(text)
        self._rest = text[end:]
        if end:
            self._emit(text[:end].decode(errors="replace"))
        return len(data)

    def finish(self) -> None:
        """Pass on what is left of a line."""
        rest, self._rest = self._rest, b""
        if rest:
            self._emit(rest.decode(errors="replace"))


class Output:
    """Stands in for sys.stdout and sys.stderr. (What writes to the descriptors themselves goes where the parent's do.)"""

    def __init__(self, send: Callable[[str, str], None]) -> None:
        self._lines = [
            _Lines(1, lambda text: send("stdout", text)),
            _Lines(2, lambda text: send("stderr", text)),
        ]
        sys.stdout, sys.stderr = (
            io.TextIOWrapper(lines, "utf-8", "surrogateescape", write_through=True)  # type: ignore[type-var]
            for lines in self._lines
        )
        self._handler: Any = None

    def flush(self) -> None:
        """Send unfinished lines too."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for lines in self._lines:
            lines.finish()

    def capture_logs(self, level: int | None, send: Callable[[dict[str, Any]], None]) -> None:
        """Send log records home, from the level of the parent's root logger on; None: the parent does not log."""
        if level is None:
            return
        import logging

        root = logging.getLogger()
        root.setLevel(level)
        if self._handler is None:
            self._handler = _home_handler(send)
            root.addHandler(self._handler)


def _home_handler(send: Callable[[dict[str, Any]], None]) -> Any:
    import logging

    class Home(logging.Handler):
        """Passes a record on as plain data: its arguments may not be able to travel."""

        def emit(self, record: logging.LogRecord) -> None:
            fields = {**record.__dict__, "msg": record.getMessage(), "args": None, "exc_info": None}
            if record.exc_info:
                fields["exc_text"] = logging.Formatter().formatException(record.exc_info)
            send({name: _plain(value) for name, value in fields.items()})

    return Home()


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)
