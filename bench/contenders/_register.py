"""Two decorators that make contenders of functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bench.model import Call, Contender, Hints, Kind, Way

Opening = Callable[[Hints], Iterator[Call]]


class Register(list[Contender]):
    """The contenders of one module."""

    def call(
        self, name: str, kind: Kind | None, way: Way = "newcomer", *, kept: bool = False, **more: Any
    ) -> Callable[[Call], Call]:
        """Enter a function `(func, items) -> list` that starts what it needs itself.

        kept: what it started stays for the next call by itself, as joblib's workers do.
        """

        def enter(call: Call) -> Call:
            @contextmanager
            def opened(hints: Hints) -> Iterator[Call]:
                yield call

            self.append(Contender(name, kind, way, opened, kept, **more))
            return call

        return enter

    def opening(
        self, name: str, kind: Kind, way: Way = "tuned", *, kept: bool = True, **more: Any
    ) -> Callable[[Opening], Opening]:
        """Enter a generator function that gets the expert's hints, makes a pool, and yields the call."""

        def enter(opening: Opening) -> Opening:
            self.append(Contender(name, kind, way, contextmanager(opening), kept, **more))
            return opening

        return enter
