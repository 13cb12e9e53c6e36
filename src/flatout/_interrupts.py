"""Ctrl-C, where it must not strike.

Python raises KeyboardInterrupt between any two instructions of the main thread. In the middle of starting or ending
something it would leave half of it behind, in one of `threading`'s conditions and events it would leave a lock taken, and
where a generator is collected, as when a `for` loop is left by `break`, it would be lost with a line on stderr.
"""

from __future__ import annotations

import sys
import threading
import time
from _thread import start_new_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from typing import Any
else:
    import _signal  # `signal` itself, with enum, takes 3 ms to import

PATIENCE = (
    0.5  # seconds between two Ctrl-C of somebody who sees that nothing happens; one key may send several; guessed
)
LONGEST_WAIT = 0.5  # seconds that Ctrl-C may be late: see `Bell.wait`; guessed


class put_off:
    """`with put_off():` Ctrl-C comes when the block is over, which must not take long.

    A second one counts as the first, unless it comes a while later: what hangs all the same can be left. Only where Ctrl-C
    raises something, in the main thread; the handlers of other signals run as ever.
    """

    def __enter__(self) -> None:
        self._came = 0.0  # when, by time.monotonic
        self._handler: Any = _signal.getsignal(_signal.SIGINT)
        if not callable(self._handler) or threading.get_ident() != threading.main_thread().ident:
            self._handler = None
            return
        try:
            _signal.signal(_signal.SIGINT, self._note)
        except ValueError:  # not the main interpreter
            self._handler = None

    def __exit__(self, *error: object) -> None:
        if self._handler is not None:
            _signal.signal(_signal.SIGINT, self._handler)
            if self._came and not isinstance(sys.exc_info()[1], KeyboardInterrupt):
                _send_again()

    def _note(self, number: int, frame: Any) -> None:
        now = time.monotonic()
        if self._came and now > self._came + PATIENCE:
            self._handler(number, frame)
        self._came = self._came or now


def _send_again() -> None:
    """Interrupt the main thread a moment later, when it has left what it is in."""
    try:
        start_new_thread(_signal.pthread_kill, (threading.get_ident(), _signal.SIGINT))
    except RuntimeError:  # no thread to be had
        _signal.raise_signal(_signal.SIGINT)


class Bell:
    """What one thread waits for and others ring; rung before, it is heard at once. Ctrl-C breaks no more than the wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # free: it has been rung
        self._lock.acquire()

    def ring(self) -> None:
        """From any thread."""
        if self._lock.locked():
            try:
                self._lock.release()
            except RuntimeError:  # another thread was quicker
                pass

    def hush(self) -> None:
        """Forget that it has been rung."""
        self._lock.acquire(blocking=False)

    def wait(self, seconds: float = LONGEST_WAIT) -> None:
        """Wait until it is rung, for so long at most, and in no case longer than LONGEST_WAIT.

        A signal in the moment in which CPython lets go of the GIL to wait for a lock does not end that wait, and where
        many threads want the GIL the moment is long.
        """
        self._lock.acquire(timeout=min(max(0.0, seconds), LONGEST_WAIT))
