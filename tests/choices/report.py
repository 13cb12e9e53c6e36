"""Says what was chosen, in a table, and lists the misses with what was read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from rich import box
from rich.table import Table

from choices.model import Case, Choice


def table(title: str, cases: Sequence[Case], choices: Sequence[Choice], loads: Sequence[int]) -> Table:
    found = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for heading in ["case", "right", *(_beside(load) for load in loads)]:
        found.add_column(heading, overflow="fold")
    for case in cases:
        cells = [_cell(case, [c for c in choices if (c.case, c.load) == (case.name, load)]) for load in loads]
        if any(cells):
            found.add_row(f"{case.name}: {case.about}" if case.about else case.name, " or ".join(case.kinds), *cells)
    return found


def _beside(load: int) -> str:
    return f"beside {load} others" if load else "alone"


def _cell(case: Case, choices: Sequence[Choice]) -> str:
    if not choices:
        return ""
    counts = Counter(choice.kind for choice in choices)
    misses = ", ".join(f"{kind} {count}" for kind, count in counts.most_common() if kind not in case.kinds)
    right = sum(count for kind, count in counts.items() if kind in case.kinds)
    return f"{right}/{len(choices)}" + (f" ({misses})" if misses else "")


def misses(cases: dict[str, Case], choices: Iterable[Choice]) -> list[Choice]:
    return [choice for choice in choices if choice.kind not in cases[choice.case].kinds]


def line(choice: Choice) -> str:
    figures = " ".join(
        f"{name} {value * 1000:.3g}" for name, value in choice.measured.items() if isinstance(value, float)
    )
    return f"{choice.case} ({_beside(choice.load)}), after {choice.seconds * 1000:.0f} ms: {choice.plan} [{figures} ms]"


def headline(cases: dict[str, Case], choices: Sequence[Choice]) -> str:
    parts = []
    for load in sorted({choice.load for choice in choices}):
        these = [choice for choice in choices if choice.load == load]
        right = len(these) - len(misses(cases, these))
        parts.append(f"{_beside(load)} {right} of {len(these)} right ({right / len(these):.1%})")
    return f"{len({c.case for c in choices})} cases: {'; '.join(parts)}."
