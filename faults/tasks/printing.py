"""What tasks print, log and read."""

from __future__ import annotations

import os
import sys
import threading

from faults.tasks import SURVIVED

TYPE_CHECKING = False  # see `faults.tasks`
if TYPE_CHECKING:
    from typing import Any

MUCH = 10_000_000  # characters


def prints_lines() -> str:
    for _ in range(MUCH // 100):
        print("x" * 99)
    return SURVIVED


def prints_one_line() -> str:
    print("x" * MUCH)
    return SURVIVED


def writes_bytes() -> str:
    sys.stdout.buffer.write(b"\xff" * MUCH)
    return SURVIVED


def writes_to_descriptors() -> str:
    for fd in (1, 2):
        data = memoryview(b"x" * MUCH)
        while data:
            data = data[os.write(fd, data) :]
    return SURVIVED


def prints_a_lone_surrogate() -> str:
    print("\ud800 \udcff", file=sys.stdout)
    return SURVIVED


def reads_stdin() -> str:
    return f"{input('?')}"


class _Rude:
    def __str__(self) -> str:
        raise ValueError("no words")

    __repr__ = __str__


def logs_badly() -> str:
    import logging

    log = logging.getLogger("faults")
    log.error("%d %d", "one")
    log.error("%s", _Rude())
    log.error("with a lock %s", threading.Lock(), extra={"lock": threading.Lock()})
    log.error(_Rude())
    return SURVIVED


def warns() -> str:
    import warnings

    warnings.warn("a warning of a task's", stacklevel=2)
    return SURVIVED


def holds_the_log() -> str:
    """Ends with the lock of a handler taken, by a thread that lives on."""
    import logging

    handler = logging.StreamHandler()
    logging.getLogger().addHandler(handler)
    taken = threading.Event()

    def hold(lock: Any) -> None:
        lock.acquire()
        taken.set()
        threading.Event().wait()

    threading.Thread(target=hold, args=(handler.lock,), daemon=True).start()
    taken.wait()
    logging.getLogger().removeHandler(handler)
    return SURVIVED
