"""Ways to take too long."""

from __future__ import annotations

import signal
import time


def loops_endlessly() -> None:
    while True:
        pass


def sleeps() -> None:
    time.sleep(86399)


def ignores_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    loops_endlessly()
