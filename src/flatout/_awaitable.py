"""What `await` takes."""


def is_awaitable(value: object) -> bool:
    """Whether `await` would take it (as `inspect.isawaitable`, which is dear to import)."""
    if hasattr(type(value), "__await__"):
        return True
    code = getattr(value, "gi_code", None)  # the generator of a `types.coroutine` function
    return code is not None and bool(code.co_flags & 0x100)  # CO_ITERABLE_COROUTINE
