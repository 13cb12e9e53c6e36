"""The exhibition law: what no way of running the calls can beat.

These are the asymptotic bounds of operational analysis for the machine-repair model (P. J. Denning and J. P. Buzen,
"The Operational Analysis of Queueing Network Models", ACM Computing Surveys 10(3), 1978, pp. 225-261). They need no
assumption about distributions, only that what was measured goes on. All times are seconds; every result is a lower
bound, reached when nothing else stands in the way. Numbers of masters, cores and calls in flight are at least 1.
"""

from __future__ import annotations

import math


def exhibition_seconds(calls: int, compute: float, wait: float, in_flight: int, masters: int) -> float:
    """Seconds that `calls` calls take at least: each computes and waits, `masters` compute at once, `in_flight` are begun.

    The chess master with 24 opponents, 30 pairs of moves each, 5 s a move and 55 s a reply:

    >>> exhibition_seconds(24 * 30, compute=5, wait=55, in_flight=1, masters=1)
    43200.0
    >>> exhibition_seconds(24 * 30, compute=5, wait=55, in_flight=24, masters=1)
    3600.0
    """
    if calls == 0:
        return 0.0
    return max(calls * compute / masters, calls * (compute + wait) / in_flight, float(compute + wait))


def useful_in_flight(compute: float, wait: float, masters: float = 1, own: float = 0.0) -> float:
    """Calls in flight beyond which more do not help, since the masters are busy all the time; inf if nothing computes.

    `own` is what threads and processes of the call's own compute meanwhile: they need masters, too.

    >>> useful_in_flight(compute=5, wait=55)
    12.0

    A call that keeps two cores busy by itself, of eight:

    >>> useful_in_flight(compute=10, wait=0, masters=8, own=10)
    4.0
    """
    busy = compute + own
    return masters * (compute + wait) / busy if busy else math.inf


def inline_seconds_per_call(gil: float, free: float, wait: float) -> float:
    """Seconds per call in the plain loop: one call after another, exactly."""
    return gil + free + wait


def thread_seconds_per_call(
    gil: float, free: float, wait: float, cores: int, in_flight: int, own: float = 0.0
) -> float:
    """Seconds per call in threads, at least.

    `gil` is computed holding the GIL, one thread at a time; `free` without it, on every core, and so is `own`, by threads
    and processes of the call's own.
    """
    compute = gil + free
    return max(gil, (compute + own) / cores, (wait + compute) / in_flight)


def thread_masters(gil: float, free: float, cores: int, own: float = 0.0) -> float:
    """How many threads can compute at once, in the mean: 1 where all is computed holding the GIL, the cores without.

    >>> thread_masters(gil=1, free=3, cores=8)
    4.0
    """
    compute = gil + free
    return compute / max(gil, (compute + own) / cores) if compute else float(cores)


def process_seconds_per_call(
    gil: float,
    free: float,
    wait: float,
    transfer: float,
    cores: int,
    in_flight: int,
    parent: float = 0.0,
    own: float = 0.0,
) -> float:
    """Seconds per call in processes, at least.

    `transfer` is spent on carrying input and result across the border, `parent` is what the one parent process itself
    must do for each call: no number of cores makes that less. `own` is as in threads.
    """
    compute = gil + free + transfer
    return max((compute + own) / cores, parent, (wait + compute) / in_flight)
