"""A program at a terminal of its own, typed at and read as a person would."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from types import TracebackType

PATIENCE = 60.0  # seconds; only a test that fails takes so long
CTRL_C, CTRL_D, CTRL_Z = "\x03", "\x04", "\x1a"

# A session leader with the terminal as its own, which then becomes the program.
_LOGIN = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]|\r")


class Terminal:
    """`with Terminal([sys.executable, "-i"]) as terminal:` hangs up at the end."""

    def __init__(self, command: Sequence[str], **environment: str) -> None:
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _LOGIN, *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "TERM": "dumb", "PS1": "$ ", **environment},
        )
        os.close(slave)
        self._seen = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._master)
        try:
            self.process.wait(5)  # seconds: SIGHUP has ended it, unless it is stuck
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def type(self, text: str) -> None:
        """Have a person type it."""
        os.write(self._master, text.encode())

    def read_until(self, text: str) -> str:
        """What is shown until that is, this included."""
        deadline = time.monotonic() + PATIENCE
        while text not in self._seen:
            self._read(deadline, f"{text!r} does not come")
        shown, _, self._seen = self._seen.partition(text)
        return shown + text

    def read_to_end(self) -> str:
        """What is shown until the program has ended, and nobody else has the terminal open."""
        deadline = time.monotonic() + PATIENCE
        try:
            while True:
                self._read(deadline, "it does not end")
        except EOFError:
            shown, self._seen = self._seen, ""
            return shown

    def _read(self, deadline: float, complaint: str) -> None:
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"{complaint}; shown: {self._seen}"
        try:
            data = os.read(self._master, 4096)
        except OSError:  # Linux says so
            data = b""
        if not data:
            raise EOFError(f"{complaint}; shown: {self._seen}")
        self._seen += _COLOURS.sub("", data.decode(errors="replace"))
