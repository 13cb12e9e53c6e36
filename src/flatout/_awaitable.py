"""What `await` takes."""

from __future__ import annotations

from types import GeneratorType

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import Any


def is_awaitable(value: object) -> bool:
    """Whether `await` would take it (as `inspect.isawaitable`, which is dear to import, and asks the value itself)."""
    kind = type(value)
    if kind is GeneratorType:  # of a `types.coroutine` function, perhaps
        return bool(value.gi_code.co_flags & 0x100)  # type: ignore[attr-defined]  # CO_ITERABLE_COROUTINE
    try:
        return hasattr(kind, "__await__")
    except Exception:  # of a metaclass
        return False


async def awaited(value: Awaitable[Any]) -> Any:
    """What awaiting it gives: a coroutine, as event loops want one, of whatever can be awaited."""
    return await value
