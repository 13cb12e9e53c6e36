"""Threads of flatout's own beside the main thread, which alone is to hear of Ctrl-C.

Linux gives a signal that is for the process to the main thread, and wakes that. But until it gets a core, any other
thread that sets its mask takes the signal; and so do both, in the C library, when one thread starts another. Python would
then hear of it when the main thread's call is over: nothing breaks that off any more. So a thread is started with these
signals blocked, and each of the two lets them in when none waits for the main thread. (What is left is a signal in the
microsecond between that look and the letting in.)
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from itertools import takewhile
from operator import call, not_

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from typing import Any
else:
    import _signal  # `signal` itself, with enum, takes 3 ms to import

WAKING_SECONDS = 0.1  # that the main thread may take to get a core, and its signal with it; guessed
_ENDING = {getattr(_signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(_signal, name)}


in_reserve: list[Callable[[], bool]] = []
"""What ends threads that only wait for work, and tells whether there were any: asked where another one cannot be started."""


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
            self._begin()
        finally:
            self._let_in()

    def _begin(self) -> None:
        try:
            super().start()
        except RuntimeError:
            if self.ident is not None or not any(end() for end in in_reserve):
                raise
            # Once more from the beginning: in Python 3.13 it counts as started.
            target, args = self._target, self._args  # type: ignore[attr-defined]
            super().__init__(target=target, name=self.name, args=args, daemon=True)
            super().start()

    def run(self) -> None:
        """See `threading.Thread`."""
        self._let_in()
        super().run()

    def _let_in(self) -> None:
        if self._mask is None:
            return
        let_in = partial(_signal.pthread_sigmask, _signal.SIG_SETMASK, self._mask)
        until = time.monotonic() + WAKING_SECONDS
        while not _none_pending_then(let_in):
            if time.monotonic() > until:  # one that the main thread blocks for good waits for ever
                let_in()
                return
            time.sleep(0.001)


def _none_pending_then(let_in: Callable[[], object]) -> bool:
    """Let signals in if none waits. In one call of C, since between two of Python's other threads would run, for long."""
    empty = takewhile(
        not_, map(call, (_signal.sigpending, let_in))
    )  # `let_in` returns what was blocked, which is not empty
    return len(tuple(empty)) == 1
