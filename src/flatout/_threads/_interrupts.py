"""Ctrl-C, and whatever else a signal's handler raises, where it must not strike.

Python calls handlers between any two instructions of the main thread. In the middle of starting or ending something a
KeyboardInterrupt would leave half of it behind, in one of `threading`'s conditions and events it would leave a lock taken,
and where a generator is collected, as when a `for` loop is left by `break`, it would be lost with a line on stderr.
"""

from __future__ import annotations

import math
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
# Not those by which profilers look at the program many times a second, nor what the system tells of children and windows.
_MAY_RAISE = [
    getattr(_signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGALRM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGXCPU")
    if hasattr(_signal, name)
]


class put_off:
    """`with put_off():` Ctrl-C comes when the block is over, which must not take long.

    So do other signals that a handler of the program's may raise at (an alarm that raises TimeoutError, say). A second
    Ctrl-C counts as the first, unless it comes a while later: what hangs all the same can be left. Only in the main
    thread, where handlers run.
    """

    def __enter__(self) -> None:
        self._came: dict[int, float] = {}  # signal -> when, by time.monotonic
        self._handlers: dict[int, Any] = {}  # in whose place `_note` stands
        if threading.get_ident() != threading.main_thread().ident:
            return
        try:
            for number in _MAY_RAISE:
                handler = _signal.getsignal(number)
                if callable(handler) and not _is_told_otherwise(handler):
                    self._handlers[number] = handler
                    _signal.signal(number, self._note)
        except BaseException as error:
            if type(error) is ValueError and not is_raised_by_handler(error):  # this is not the main interpreter
                self._handlers.clear()
                return
            self._put_back()
            raise

    def __exit__(self, *error: object) -> None:
        self._put_back()
        for number in self._came:
            if number != _signal.SIGINT or not isinstance(sys.exc_info()[1], KeyboardInterrupt):
                _send_again(number)

    def _put_back(self) -> None:
        """All of them, though one that is back may raise at once."""
        raised = None
        while True:
            try:
                for number, handler in self._handlers.items():
                    _signal.signal(number, handler)
                break
            except BaseException as error:
                raised = error
        if raised is not None:
            raise raised

    def _note(self, number: int, frame: Any) -> None:
        now = time.monotonic()
        if now > self._came.get(number, now) + PATIENCE:
            self._handlers[number](number, frame)
        self._came.setdefault(number, now)


def is_raised_by_handler(error: BaseException) -> bool:
    """Whether a handler of the program's for a signal has raised it, wherever that struck."""
    codes = {_code_of(_signal.getsignal(number)) for number in _signal.valid_signals()} - {None}
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code in codes:
            return True
        trace = trace.tb_next
    return False


def _code_of(handler: Any) -> Any:
    """What a frame of it runs; None for one that is not written in Python."""
    handler = getattr(handler, "func", handler)  # of a functools.partial
    return getattr(handler, "__code__", None) or getattr(type(handler).__call__, "__code__", None)


def _is_told_otherwise(handler: Any) -> bool:
    """Whether it is the one of an asyncio loop, which does nothing: the loop reads of the signal from a descriptor."""
    return getattr(handler, "__module__", "") == "asyncio.unix_events"


def _send_again(number: int) -> None:
    """Signal the main thread a moment later, when it has left what it is in."""
    try:
        start_new_thread(_signal.pthread_kill, (threading.get_ident(), number))
    except (RuntimeError, AttributeError):  # no thread to be had, or a system where none can be signalled
        _signal.raise_signal(number)


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


class Latch:
    """What is set once and waited for. Unlike a `threading.Event`, where that is interrupted it leaves no lock taken."""

    def __init__(self) -> None:
        self.is_set = False
        self._bell = Bell()

    def set(self) -> None:
        """From now on nobody waits."""
        self.is_set = True
        self._bell.ring()

    def wait(self, seconds: float = math.inf) -> bool:
        """Come back when it is set, or after so many seconds; returns whether it is."""
        until = time.monotonic() + seconds
        while not self.is_set and (left := until - time.monotonic()) > 0.0:
            self._bell.wait(left)
        if self.is_set:
            self._bell.ring()  # for others who wait
        return self.is_set
