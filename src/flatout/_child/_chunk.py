"""Calls that travel together as one: what `Executor.map` sends with a chunksize. Workers import it, so it stays light."""

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def call_each(func: "Callable[..., Any]", chunk: "list[tuple[Any, ...]]") -> "list[Any]":
    """The results of a function for tuples of arguments."""
    return [func(*arguments) for arguments in chunk]
