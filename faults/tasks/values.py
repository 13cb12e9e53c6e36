"""Inputs and results that are hard to move."""

from __future__ import annotations

import threading
from typing import Any


def returns_a_lambda() -> Any:
    return lambda: 1


def returns_a_lock() -> Any:
    return threading.Lock()
