"""Tables: predicted beside measured, for the chosen kind and for all; and the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table

from bench.law.model import APART, CLOSE, KINDS, Outcome, verdict
from bench.report import duration, ratio, table_of


def progress_line(outcome: Outcome) -> str:
    if outcome.note or not outcome.chosen:
        return f"{outcome.workload}: left out: {outcome.note}"
    predicted, measured = outcome.predicted(outcome.kind), outcome.measured_choice
    return (
        f"{outcome.workload}: {outcome.kind}, predicted {duration(predicted)}, took {duration(measured)} "
        f"({ratio(predicted, measured)})"
    )


def chosen_table(outcomes: Sequence[Outcome]) -> Table:
    title = "The chosen kind: predicted and measured for the tasks after the choice"
    numbers = ("tasks", "predicted", "measured", "predicted / measured, run by run", "other programs")
    table = table_of(title, ("workload", "chosen"), numbers)
    for one in outcomes:
        if one.ratio:
            off = max(one.ratio, 1 / one.ratio)
            others = min(chosen.turn.others for chosen in one.chosen)
            figures = duration(one.predicted(one.kind)), duration(one.measured_choice), f"{one.ratio:.2f}"
            style = None if off <= CLOSE else "bold"
            table.add_row(one.workload, one.kind, str(one.chosen[0].left), *figures, f"{others:.0%}", style=style)
    return table


def kinds_table(outcomes: Sequence[Outcome]) -> Table:
    table = table_of("Every kind by hand: predicted / measured", ("workload",), tuple(KINDS))
    table.add_column("in the wrong order")
    for one in outcomes:
        if one.chosen:
            cells = [_cell(one, kind) for kind in KINDS]
            wrong = ", ".join(f"{quick} before {slow}" for quick, slow, right in one.pairs() if not right)
            table.add_row(one.workload, *cells, wrong)
    return table


def _cell(outcome: Outcome, kind: str) -> str:
    predicted, measured = outcome.predicted(kind), outcome.measured(kind)
    if predicted is None or measured is None:
        return "-"
    return f"{duration(predicted)} / {duration(measured)} = {predicted / measured:.2f}"


def verdict_lines(outcomes: Sequence[Outcome]) -> Iterator[str]:
    found = verdict(outcomes)
    if found is None:
        yield "Nothing was compared."
        return
    yield (
        f"{found.workloads} workloads. For the chosen kind the median prediction is off by {found.median - 1:.0%} "
        f"(goal: 10%), {found.within:.0%} are within {CLOSE - 1:.0%}; predicted / measured is {found.bias:.2f} in the mean."
    )
    yield (
        f"{found.pairs} pairs of kinds differ by more than {APART - 1:.0%}: {found.ranked:.1%} are in the right order "
        "(goal: 95%)."
    )
    left_out = [one.workload for one in outcomes if not one.ratio]
    if left_out:
        yield f"Left out, since they were over before the choice or failed: {', '.join(left_out)}."
