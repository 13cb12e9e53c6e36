"""What `await` takes."""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import Any


def is_awaitable(value: object) -> bool:
    """Whether `await` would take it (as `inspect.isawaitable`, which is dear to import)."""
    if hasattr(type(value), "__await__"):
        return True
    code = getattr(value, "gi_code", None)  # the generator of a `types.coroutine` function
    return code is not None and bool(code.co_flags & 0x100)  # CO_ITERABLE_COROUTINE


async def awaited(value: Awaitable[Any]) -> Any:
    """What awaiting it gives: a coroutine, as event loops want one, of whatever can be awaited."""
    return await value
