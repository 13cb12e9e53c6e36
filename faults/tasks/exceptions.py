"""Exceptions that are hard to bring home."""

from __future__ import annotations

import sys
import threading
from typing import Any


def calls_sys_exit() -> None:
    sys.exit("enough")


def raises_keyboard_interrupt() -> None:
    raise KeyboardInterrupt("of its own")


class Locked(Exception):
    """Cannot be pickled."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


def raises_locked() -> None:
    raise Locked("not to be opened")


class TwoArguments(Exception):
    """Its unpickling calls `__init__` with the one argument that Exception has kept."""

    def __init__(self, name: str, code: int) -> None:
        super().__init__(f"{name} gave {code}")
        self.code = code


def raises_two_arguments() -> None:
    raise TwoArguments("disk", 3)


def recurses_endlessly() -> Any:
    return recurses_endlessly()


MESSAGE = 50_000_000  # characters


def raises_a_long_message() -> None:
    raise ValueError("x" * MESSAGE)
