"""The hands: one file per kind of worker, one protocol for all. A worker obeys and reports; it decides nothing."""

import sys


def zygote_age() -> float | None:
    """Seconds since the zygote's start began, None where there is none; where nobody has needed its pool yet, that is not
    imported to find out.
    """
    age = getattr(sys.modules.get("flatout._workers._pool"), "age", None)  # another thread may be importing it
    return None if age is None else age()


def idle_workers() -> tuple[int, int]:
    """How many worker processes, and how many threads, wait for a run; found out in the same way."""
    homes = (sys.modules.get(name) for name in ("flatout._workers._pool", "flatout._threads._kept"))
    processes, threads = (getattr(home, "idle", None) for home in homes)
    return (int(processes()) if processes is not None else 0, int(threads()) if threads is not None else 0)
