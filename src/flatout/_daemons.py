"""Threads of flatout's own beside the main thread, which alone is to hear of Ctrl-C.

Linux gives a signal that is for the process to the main thread, and wakes that. But until it gets a core, any other
thread that sets its mask takes the signal; and so do both, in the C library, when one thread starts another. Python would
then hear of it when the main thread's call is over: nothing breaks that off any more. So a thread is started with these
signals blocked, and each of the two lets them in when none waits for the main thread. (What is left is a signal in the
microseconds between that look and the letting in.)
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from typing import Any
else:
    import _signal  # `signal` itself, with enum, takes 3 ms to import

WAKING_SECONDS = 0.1  # that the main thread may take to get a core, and its signal with it; guessed
_ENDING = {getattr(_signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(_signal, name)}


class Daemon(threading.Thread):
    """A daemon thread that, when it starts, takes no signal from the main thread."""

    def __init__(self, target: Callable[..., Any], name: str, args: tuple[Any, ...] = ()) -> None:
        super().__init__(target=target, name=name, args=args, daemon=True)
        self._mask: set[Any] | None = None  # of signals to block; None where the system knows no masks

    def start(self) -> None:
        """See `threading.Thread`."""
        if hasattr(_signal, "pthread_sigmask"):
            self._mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, _ENDING)
        try:
            super().start()
        finally:
            self._let_in()

    def run(self) -> None:
        """See `threading.Thread`."""
        self._let_in()
        super().run()

    def _let_in(self) -> None:
        if self._mask is not None:
            if _waiting():
                _give_way()
            _signal.pthread_sigmask(_signal.SIG_SETMASK, self._mask)


def _waiting() -> bool:
    """Whether such a signal waits for the main thread, or for one that blocks it for good."""
    return not _ENDING.isdisjoint(_signal.sigpending())


def _give_way() -> None:
    until = time.monotonic() + WAKING_SECONDS
    while _waiting() and time.monotonic() < until:
        time.sleep(0.001)
