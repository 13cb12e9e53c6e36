"""How long a run waited for a core that another program had: what it would have taken without that.

Linux tells of each thread how long it has run, and how long it could have run and had no core (`schedstat`). A thread that
waits for a core waits for whoever has it: another program, or another worker of the same run, which would be there on a calm
machine, too. So of the waiting a share counts, which is the other programs' share of all that the thread may have waited for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psutil

Times = dict[str, tuple[float, float]]  # of each thread: seconds on a core, and in the queue for one


def times() -> Times:
    """Of this process and all below it, so far."""
    me = psutil.Process()
    return {name: both for process in [me, *me.children(recursive=True)] for name, both in _times_of(process.pid)}


def _times_of(pid: int) -> Iterator[tuple[str, tuple[float, float]]]:
    for folder in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):  # it has ended
            ran, waited, _ = (folder / "schedstat").read_text().split()
            yield folder.name, (int(ran) / 1e9, int(waited) / 1e9)


def queued(before: Times, after: Times, used: float) -> float:
    """Seconds that the threads which did the work waited in the mean for others to leave their core.

    used: core seconds that all programs had meanwhile, this one included.
    """
    rose = [_since(both, before.get(name, (0.0, 0.0))) for name, both in after.items()]
    own = sum(ran for ran, _ in rose)
    if not own:
        return 0.0
    workers = own * own / sum(ran * ran for ran, _ in rose)  # how many that were, if all did the same
    mean = sum(ran * waited for ran, waited in rose) / own
    others, siblings = max(0.0, used - own), own * (1 - 1 / workers)
    return mean * others / (others + siblings) if others else 0.0


def _since(now: tuple[float, float], then: tuple[float, float]) -> tuple[float, float]:
    return max(0.0, now[0] - then[0]), max(0.0, now[1] - then[1])
