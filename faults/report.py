"""Says what came of it: in tables on the terminal, and in Markdown."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

from rich import box
from rich.table import Table

import flatout
from faults.cases import SECTIONS
from faults.contenders import FLATOUT, PEERS
from faults.model import Case, Verdict

COLUMNS = {one.name: one.column for one in [*FLATOUT, *PEERS]}
OURS = {one.name for one in FLATOUT}
HEADINGS = {"process": "flatout", "mixtures": "flatout, several in flight"} | {
    one.column: f"`{one.column}`" for one in PEERS
}  # of the columns that can be compared
BEGIN, END = "<!-- tables: `make faults` -->\n", "<!-- end of the tables -->\n"
LEGEND = {
    "ok": "the task at fault fails alone, or survives what can be survived; all else is as it must be",
    "lost n": "n other tasks have no result",
    "no blame": "every other result is there, but not what became of the task at fault, or not why",
    "hangs": "it has not ended after ten seconds more than it should take (25 for flatout), and had to be killed",
    "fails": "the task fails where it must not",
    "breaks": "the caller's own process dies, or the next run fails",
    "leaves ...": "processes, files or shared memory are still there when the program is over",
    "-": "not tried: the case cannot be put to it",
}

Cells = dict[tuple[str, str], Verdict]


def cells(verdicts: Iterable[Verdict]) -> Cells:
    """By case and column; of several contenders in one column the one about which there is most to say."""
    found: Cells = {}
    for verdict in verdicts:
        key = verdict.case, COLUMNS[verdict.contender]
        if key not in found or _weight(verdict) > _weight(found[key]):
            found[key] = verdict
    return found


def _weight(verdict: Verdict) -> tuple[bool, int]:
    return verdict.missed, len(verdict.complaints)


def word(verdict: Verdict | None) -> str:
    if verdict is None:
        return "-"
    return f"({verdict.word})" if verdict.known else verdict.word


def tables(verdicts: Sequence[Verdict]) -> list[Table]:
    found = cells(verdicts)
    columns = _columns(found)
    tables = [_table(title, ["case", *columns], _rows(cases, columns, found)) for title, cases in SECTIONS.items()]
    return [table for table in tables if table.row_count]


def _columns(found: Cells) -> list[str]:
    return [column for column in dict.fromkeys(COLUMNS.values()) if any(key[1] == column for key in found)]


def _table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _rows(cases: Sequence[Case], columns: Sequence[str], found: Cells) -> list[list[str]]:
    rows = [[case.name, *(word(found.get((case.name, column))) for column in columns)] for case in cases]
    return [row for row in rows if set(row[1:]) != {"-"}]


def summary_table(verdicts: Sequence[Verdict]) -> Table:
    found = cells(verdicts)
    columns = _columns(found)
    return _table("Cases that went well, of those tried", ["", *columns], _summary_rows(columns, found))


def _summary_rows(columns: Sequence[str], found: Cells) -> list[list[str]]:
    rows = [[title, *(_score(cases, column, found) for column in columns)] for title, cases in SECTIONS.items()]
    every = [case for cases in SECTIONS.values() for case in cases]
    return [*(row for row in rows if set(row[1:]) != {"-"}), ["all", *(_score(every, one, found) for one in columns)]]


def _score(cases: Sequence[Case], column: str, found: Cells) -> str:
    tried = [found[case.name, column] for case in cases if (case.name, column) in found]
    return f"{sum(not one.complaints for one in tried)}/{len(tried)}" if tried else "-"


def misses(verdicts: Sequence[Verdict]) -> list[str]:
    """What flatout does not meet and does not own up to."""
    return [
        f"{one.case} / {one.contender}: {'; '.join(map(str, one.complaints))}"
        for one in verdicts
        if one.contender in OURS and one.missed
    ]


def headline(verdicts: Sequence[Verdict]) -> str:
    ours = [one for one in verdicts if one.contender in OURS]
    known = len({one.case for one in ours if one.known})
    return (
        f"flatout: {sum(not one.complaints for one in ours)} of {len(ours)} trials went well, "
        f"{len(misses(verdicts))} did not; {known} cases have a limit that is documented."
    )


# Markdown


def markdown(verdicts: Sequence[Verdict]) -> str:
    """The tables for the documentation: processes beside processes."""
    found = cells(verdicts)
    columns = [column for column in HEADINGS if column in _columns(found)]
    headings = [HEADINGS[column] for column in columns]
    parts = [f"{_versions()}\n", _grid(["", *headings], _summary_rows(columns, found))]
    for title, cases in SECTIONS.items():
        about = {case.name: f"{case.name}: {case.about}" for case in cases}
        rows = [[about[row[0]], *row[1:]] for row in _rows(cases, columns, found)]
        if rows:
            parts.append(f"<details><summary>{title}</summary>\n\n{_grid(['', *headings], rows)}\n</details>\n")
    return "\n".join([*parts, *_limits()])


def _limits() -> Iterable[str]:
    """What flatout does not meet, as the cases own it."""
    owned = [case for cases in SECTIONS.values() for case in cases if case.limits]
    if owned:
        yield (
            'What flatout does not always meet (in brackets where it showed in this run; "truth raises" is about `Executor`, which '
            "has no\ncolumn here):\n"
        )
        yield "".join(f"* {case.name}: {'; '.join(dict.fromkeys(case.limits.values()))}.\n" for case in owned)


def _grid(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _versions() -> str:
    peers = ", ".join(f"{one.needs} {version(one.needs)}" for one in PEERS if one.needs and one.installed)
    day = datetime.datetime.now(datetime.UTC).date()
    return f"Run on {day} with CPython {platform.python_version()}, flatout {flatout.__version__}, {peers}."


def inserted(text: str, path: Path) -> str:
    """The text of a file with the tables between its marks; the tables alone where it has none."""
    page = path.read_text() if path.exists() else ""
    if BEGIN not in page or END not in page:
        return text
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}"
