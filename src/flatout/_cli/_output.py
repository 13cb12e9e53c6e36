"""Where results and complaints go."""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import stat
import sys
import time
import traceback
from types import TracebackType
from typing import IO, Any, Literal, Self

Form = Literal["text", "json"]
STDOUT = 1
_FLUSH_SECONDS = 1.0  # guessed: the most that a file may lag behind; a pipe or a terminal (1.6 us a flush) never does


class OutputError(Exception):
    """Results cannot be written any more."""


class OutputClosed(OutputError):
    """Nobody reads any more, as after `| head`."""


class Output:
    """Results, a line each, to a file or standard output, at once where somebody may be reading along."""

    def __init__(self, path: str | None, form: Form) -> None:
        self._form = form
        # None is sys.stdout as it is at the moment of writing: a live display may stand in for it
        self._file: IO[str] | None = None
        if path:
            self._file = open(path, "w", encoding="utf-8", errors=_LOSSLESS)  # noqa: SIM115 (closed by __exit__)
        elif hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors=_LOSSLESS)
        self._check_open()
        self._flush_seconds = _FLUSH_SECONDS if _is_regular(self._file or sys.stdout) else 0.0
        self._flushed = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OutputError):
            return
        try:
            if self._file is not None:
                self._file.close()
            elif sys.stdout is not None and not sys.stdout.closed:
                sys.stdout.flush()
        except OSError as failure:
            raise _translated(failure) from failure

    def value(self, index: int, value: Any) -> None:
        """Write one result. Raises OutputError, or what `str(value)` raises."""
        self._line(str(value) if self._form == "text" else _json({"index": index, "ok": True, "value": value}))

    def failure(self, index: int, error: str) -> None:
        """Write that a task failed, where the form has room for it."""
        if self._form == "json":
            self._line(_json({"index": index, "ok": False, "error": error}))

    def _line(self, text: str) -> None:
        now = time.monotonic()
        flush = now - self._flushed >= self._flush_seconds
        if flush:
            self._flushed = now
        self._check_open()
        try:
            print(text, file=self._file, flush=flush)
        except OSError as error:
            raise _translated(error) from error

    def _check_open(self) -> None:
        """A program may be started without standard output, and a task in this process may close it."""
        if self._file is None and (sys.stdout is None or sys.stdout.closed):
            raise OutputError("cannot write results: standard output is closed")


def complain(text: str) -> None:
    """Say something on standard error, if anybody listens there."""
    with contextlib.suppress(OSError):
        print(f"flatout: {text}", file=sys.stderr, flush=True)


def described(error: BaseException) -> str:
    """Type and message in one line."""
    message = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def traceback_of(error: BaseException) -> str:
    """The whole traceback, as Python prints it, with the causes (those of a worker included) and notes."""
    return "".join(traceback.format_exception(error)).rstrip()


def _json(record: dict[str, Any]) -> str:
    try:
        return json.dumps(record, default=str, allow_nan=False)
    except (TypeError, ValueError, RecursionError):  # keys that are no strings, NaN, a circle
        return json.dumps({**record, "value": str(record["value"])})


def _is_regular(stream: IO[str] | None) -> bool:
    try:
        return stream is not None and stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):
        return False


def _translated(error: OSError) -> OutputError:
    if isinstance(error, BrokenPipeError):
        return OutputClosed()
    return OutputError(f"cannot write results: {error.strerror or error}")


def _lossless(error: UnicodeError) -> tuple[str | bytes, int]:
    """Undecodable bytes, as in the name of a file, go out as they came in; what else has no encoding is escaped."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)


_LOSSLESS = "flatout.lossless"
codecs.register_error(_LOSSLESS, _lossless)
