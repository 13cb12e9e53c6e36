"""For tests of what is measured: this machine may be busy with other work."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec

P = ParamSpec("P")

TRIES = 3


def by_measuring(test: Callable[P, None]) -> Callable[P, None]:
    """A test of a choice that rests on some 30 ms of measuring: it must come out right once in three tries."""

    @functools.wraps(test)
    def tried(*args: P.args, **kwargs: P.kwargs) -> None:
        for _ in range(TRIES - 1):
            try:
                return test(*args, **kwargs)
            except AssertionError:
                continue
        return test(*args, **kwargs)

    return tried
