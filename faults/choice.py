"""Chooses what is tried: which cases with which contenders, and which of them share a process."""

from __future__ import annotations

import re
from collections.abc import Iterable

from faults.cases import CASES
from faults.chair import Pair
from faults.contenders import FLATOUT, PEERS
from faults.model import Case, Contender


def groups(only: str = "", contenders: str = "", quick: bool = False) -> list[list[Pair]]:
    """Those together that share a process: all of flatout's ways to run a case, or one peer."""
    pairs = [
        (case, one)
        for case in CASES
        if re.search(only, case.name) and (case.quick or not quick) and not case.needs() and not too_much(case)
        for one in [*FLATOUT, *PEERS]
        if re.search(contenders, one.name, re.IGNORECASE) and one.installed and one.suits(case)
        if not quick or is_quick(case, one)
    ]
    return grouped(pairs)


def grouped(pairs: Iterable[Pair]) -> list[list[Pair]]:
    found: dict[tuple[str, str], list[Pair]] = {}
    for case, contender in pairs:
        found.setdefault((case.name, "" if contender.kind else contender.name), []).append((case, contender))
    return list(found.values())


def is_quick(case: Case, contender: Contender) -> bool:
    """In the quick run one contender stands for those that would do the same."""
    if not contender.quick:
        return False
    same = contender.kind == "auto" and not case.safe_here  # auto takes processes too
    waits = case.timeout is not None and contender.name == "flatout process, in batches"
    return not same and not waits


def too_much(case: Case) -> bool:
    """Whether it takes more memory than there is."""
    import psutil

    return case.memory > psutil.virtual_memory().available
