"""The hands: one file per kind of worker, one protocol for all. A worker obeys and reports; it decides nothing."""

import sys


def zygote_runs() -> bool:
    """Whether the zygote runs already; where nobody has needed its pool yet, that is not imported to find out."""
    warm = getattr(sys.modules.get("flatout._workers._pool"), "warm", None)  # another thread may be importing it
    return warm is not None and bool(warm())
