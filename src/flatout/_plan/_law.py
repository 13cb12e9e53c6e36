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


def ample_in_flight(compute: float, wait: float, masters: float = 1, own: float = 0.0) -> float:
    """Calls in flight that seldom leave a master idle, though by chance many of them wait at once; inf if nothing computes.

    Of k calls that wait for a share p of their time k (1 - p) want a master in the mean, give or take the root of k p (1 - p).
    These are so many that the masters are busy with that taken off: a square-root rule, as for the staff of a call centre
    (S. Halfin and W. Whitt, "Heavy-traffic limits for queues with many exponential servers", Operations Research 29(3),
    1981, pp. 567-588). By a simulation (`tests/test_law.py`) four calls in flight that wait half of their time take two masters
    1.17 times as long as never idle ones where they compute for exponential times, and 1.05 for times within 30 % of the mean;
    six take 1.03 and 1.00.

    >>> round(ample_in_flight(compute=5, wait=5, masters=2), 1)
    6.6
    >>> round(ample_in_flight(compute=5, wait=0, masters=2), 1)
    2.0
    """
    useful = useful_in_flight(compute, wait, masters, own)
    if math.isinf(useful):
        return useful
    waiting = max(0.0, 1.0 - masters / useful)
    root = (math.sqrt(waiting) + math.sqrt(waiting + 4 * masters)) / 2  # of calls that want a master
    return root * root * useful / masters


def inline_seconds_per_call(gil: float, free: float, wait: float) -> float:
    """Seconds per call in the plain loop: one call after another, exactly."""
    return gil + free + wait


def thread_seconds_per_call(
    gil: float, free: float, wait: float, cores: float, in_flight: int, own: float = 0.0
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
    cores: float,
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


def run_seconds(
    calls: int, each: float, seconds: float, in_flight: int, start: float = 0.0, busy: float = 0.0
) -> float:
    """Seconds until so many calls are over, of `seconds` each.

    `each` is what a call costs where the masters, or what is shared, are busy all the time, and `busy` what else keeps them
    so. Where they are not, whoever is free takes the next call; no call is shared out at the end. Workers begin one after
    the other, `start` apart. Where that takes longer than a call they do not keep step, and the last calls are half over.

    >>> run_seconds(5, each=1, seconds=2, in_flight=2)
    6.0
    """
    if not calls:
        return 0.0
    k = workers_begun(calls, seconds, in_flight, start)
    late = (k - 1) * start
    in_step = -(-calls // k) * seconds + (calls - 1) % k * start
    out_of_step = calls * seconds / k + late / 2 + seconds / 2
    return max(busy + calls * each, float(in_step if late <= seconds else out_of_step))


def workers_begun(calls: int, seconds: float, in_flight: int, start: float) -> int:
    """How many of the workers that begin one after the other find anything to do.

    The first K of them have done K**2 start / (2 seconds) + K / 2 calls when the next one could have done one: where that
    is all of them, no other is needed.
    """
    if not start:
        return max(1, min(in_flight, calls))
    if not (calls and seconds):
        return 1
    needed = math.ceil(2 * calls / (0.5 + math.sqrt(0.25 + 2 * calls * start / seconds)))
    return max(1, min(in_flight, calls, needed))
