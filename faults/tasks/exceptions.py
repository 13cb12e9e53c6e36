"""Exceptions that are hard to bring home."""

from __future__ import annotations

import os
import socket
import sys
import threading

import flatout

TYPE_CHECKING = False  # see `faults.tasks`
if TYPE_CHECKING:
    from typing import Any, NoReturn

MESSAGE = 50_000_000  # characters
DEPTH = 5_000  # causes in a row
FRAMES = 20_000  # of each of two functions in a traceback


def raises(kind: type[BaseException], *args: Any) -> None:
    raise kind(*args)


def recurses_endlessly() -> Any:
    return recurses_endlessly()


def asks_for_too_much_memory() -> Any:
    return bytearray(1 << 62)


def raises_a_long_message() -> None:
    raise ValueError("x" * MESSAGE)


class Locked(Exception):
    """Cannot be pickled."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class TwoArguments(Exception):
    """Its unpickling calls `__init__` with the one argument that Exception has kept."""

    def __init__(self, name: str, code: int) -> None:
        super().__init__(f"{name} gave {code}")
        self.code = code


class KeywordOnly(Exception):
    def __init__(self, *, code: int) -> None:
        super().__init__("code", code)
        self.code = code


class Slotted(Exception):
    __slots__ = ("code",)

    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


def raises_locked() -> None:
    raise Locked("not to be opened")


def raises_two_arguments() -> None:
    raise TwoArguments("disk", 3)


def raises_keyword_only() -> None:
    raise KeywordOnly(code=3)


def raises_slotted() -> None:
    raise Slotted(3)


def raises_a_local_class() -> None:
    class Local(Exception):
        pass

    raise Local("from in here")


class NoStr(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")

    __repr__ = __str__


class ExitingStr(Exception):
    def __str__(self) -> str:
        raise SystemExit("in the middle of a word")

    __repr__ = __str__


class NotAStr(Exception):
    def __str__(self) -> str:
        return 42  # type: ignore[return-value]


class NoReduce(Exception):
    def __reduce__(self) -> Any:
        raise ValueError("stays here")


class ExitingReduce(Exception):
    def __reduce__(self) -> Any:
        raise SystemExit("while it is pickled")


class InterruptingReduce(Exception):
    def __reduce__(self) -> Any:
        raise KeyboardInterrupt("while it is pickled")


class DeadlyReduce(Exception):
    def __reduce__(self) -> Any:
        os._exit(9)


class SomethingElse(Exception):
    """Comes back as no exception at all."""

    def __reduce__(self) -> Any:
        return int, ("3",)


class NoClass(Exception):
    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise ValueError("of no class")


class NoEquality(Exception):
    def __eq__(self, other: object) -> bool:
        raise ValueError("not to be compared")

    __hash__ = None  # type: ignore[assignment]


class NoTruth(Exception):
    def __bool__(self) -> bool:
        raise ValueError("neither true nor false")


class NoAttributes(Exception):
    def __getattribute__(self, name: str) -> Any:
        raise ValueError(f"no {name}")


class NoNotes(Exception):
    def add_note(self, note: str) -> NoReturn:
        raise TypeError("no notes")


class NoSetattr(Exception):
    def __setattr__(self, name: str, value: Any) -> None:
        raise ValueError("not to be changed")


def _load_exiting() -> Any:
    raise SystemExit("while it is loaded")


class ExitsWhenLoaded(Exception):
    def __reduce__(self) -> Any:
        return _load_exiting, ()


def _load_only_in(pid: int) -> Any:
    if os.getpid() != pid:
        raise KeyboardInterrupt("while it is loaded elsewhere")
    return InterruptsElsewhere("elsewhere")


class InterruptsElsewhere(Exception):
    """Loads well where it was made, and interrupts whoever loads it in another process."""

    def __reduce__(self) -> Any:
        return _load_only_in, (os.getpid(),)


def raises_a_group() -> None:
    raise ExceptionGroup(
        "several", [ValueError("one"), ExceptionGroup("inner", [KeyError("two"), OSError(5, "three")])]
    )


def is_the_group(error: BaseException) -> bool:
    one, inner = error.exceptions  # type: ignore[attr-defined]
    return type(one) is ValueError and [type(each) for each in inner.exceptions] == [KeyError, OSError]


def raises_a_group_with_a_lock() -> None:
    raise ExceptionGroup("several", [ValueError("one"), Locked("two")])


def raises_from_another() -> None:
    try:
        raise KeyError("the first")
    except KeyError as error:
        second = ValueError("the second")
        second.add_note("a note of its own")
        raise second from error


def has_cause_and_note(error: BaseException) -> bool:
    """In a traceback as text, where it comes from another process."""
    told = f"{error.__cause__!r} {error.__cause__}"
    return "the first" in told and "a note of its own" in getattr(error, "__notes__", ())


def raises_in_a_context() -> None:
    try:
        raise KeyError("the first")
    except KeyError:
        raise ValueError("the second")  # noqa: B904


def has_context(error: BaseException) -> bool:
    return "the first" in f"{error.__cause__} {error.__context__}"


def raises_a_long_chain() -> None:
    error: BaseException = ValueError("the first")
    for number in range(DEPTH):
        following = ValueError(str(number))
        following.__cause__ = error
        error = following
    raise error


def raises_from_the_depth() -> Any:
    """With a traceback in which no two lines in a row are alike."""
    sys.setrecursionlimit(3 * FRAMES)
    return _deeper(FRAMES)


def _deeper(depth: int) -> Any:
    return _deeper_still(depth - 1) if depth else int("no number")


def _deeper_still(depth: int) -> Any:
    return _deeper(depth)


def raises_a_circle() -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    raise one


def raises_a_deep_group() -> None:
    error: Exception = ValueError("the innermost")
    for _ in range(DEPTH):
        error = ExceptionGroup("deeper", [error])
    raise error


def raises_with_strange_notes() -> None:
    error = ValueError("with notes")
    error.__notes__ = 42  # type: ignore[assignment]
    raise error


def raises_flatouts_own() -> None:
    raise flatout.RunCancelled("by the task itself")


def raises_what_cannot_be_found() -> None:
    """Its class has gone from its module."""
    kind = type("Gone", (Exception,), {"__module__": __name__})
    raise kind("nowhere to be found")


def cancels_itself() -> None:
    import asyncio

    raise asyncio.CancelledError("by itself")


def loses_a_connection() -> None:
    """As the end of a worker's stream would be told."""
    one, other = socket.socketpair()
    other.close()
    with one:
        one.send(b"x" * 100)


def exits_with_an_object() -> None:
    sys.exit(threading.Lock())  # type: ignore[arg-type]
