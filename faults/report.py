"""Says what came of it: as a table on the terminal, as a table in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

from faults.cases import SECTIONS
from faults.contenders import FLATOUT, PEERS
from faults.model import Verdict

COLUMNS = list(dict.fromkeys(one.column for one in [*FLATOUT, *PEERS]))


def cells(verdicts: Sequence[Verdict]) -> dict[tuple[str, str], Verdict]:
    """By case and column; of several contenders in one column the one about which there is most to say."""
    columns = {one.name: one.column for one in [*FLATOUT, *PEERS]}
    found: dict[tuple[str, str], Verdict] = {}
    for verdict in verdicts:
        key = verdict.case, columns[verdict.contender]
        if key not in found or (verdict.missed, len(verdict.complaints)) > (found[key].missed, len(found[key].complaints)):
            found[key] = verdict
    return found


def tables(verdicts: Sequence[Verdict]) -> list[Table]:
    found = cells(verdicts)
    columns = [column for column in COLUMNS if any(key[1] == column for key in found)]
    return [table for title, cases in SECTIONS.items() if (table := _table(title, [case.name for case in cases], columns, found)).row_count]


def _table(title: str, names: list[str], columns: list[str], found: dict[tuple[str, str], Verdict]) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for column in ("case", *columns):
        table.add_column(column, overflow="fold")
    for name in names:
        row = [found.get((name, column)) for column in columns]
        if any(row):
            table.add_row(name, *map(word, row))
    return table


def word(verdict: Verdict | None) -> str:
    if verdict is None:
        return "-"
    return f"({verdict.word})" if verdict.known else verdict.word


def details(verdicts: Sequence[Verdict], known: bool = False) -> list[str]:
    """Everything that flatout misses."""
    names = {one.name for one in FLATOUT}
    return [
        f"{verdict.case} / {verdict.contender}: " + "; ".join(map(str, verdict.complaints))
        for verdict in verdicts
        if verdict.contender in names and verdict.complaints and bool(verdict.known) == known
    ]
