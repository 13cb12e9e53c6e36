"""No more calls in flight than there are descriptors for: each that waits is taken to need one, a connection or a file."""

from __future__ import annotations

from flatout._machine._machine import open_files_left
from flatout._model import Plan
from flatout._record import replace

SPARE = 64  # descriptors left for the program's own: modules, logs, what flatout itself opens; guessed


def within_open_files(plan: Plan) -> Plan:
    """The plan, with as many in flight as the limit of open files allows, and a note in its reason where that binds.

    Processes have their own.
    """
    wanted = max(plan.concurrency, plan.ceiling or 1)
    if plan.kind not in ("thread", "async") or wanted == 1:
        return plan
    left = open_files_left(wanted + SPARE)
    if left is None or left - SPARE >= wanted:
        return plan
    most = max(1, left - SPARE)
    reason = f"{plan.reason}; at most {most} at once, since {left} more files can be opened (ulimit -n)"
    ceiling = None if plan.ceiling is None else min(plan.ceiling, most)
    return replace(plan, concurrency=min(plan.concurrency, most), ceiling=ceiling, reason=reason)
