"""The exhibition as pictures for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable

from flatout._chess._exhibition import (
    Span,
)

_MARKS = {"move": "█", "reply": "·"}
_FEWEST_COLUMNS = 10  # however narrow the terminal
_TICK_COLUMNS = 9  # between times on the axis: room for "0:00:30" and a gap
_TICKS = (
    *(digit * 10.0**power for power in range(-9, 0) for digit in (1, 2, 5)),
    *(1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200),
    *(digit * 86_400 * 10.0**power for power in range(9) for digit in (1, 2, 5)),
)


def picture(spans: Iterable[Span], width: int = 80, *, seconds_per_column: float | None = None, rows: int = 24) -> str:
    """Draw who did what: a row for each table, then one for each master, time to the right.

    Moves are █, replies ·, and a blank is a table that waits for a master or a master who waits. Lines have at most
    `width` characters. `seconds_per_column` shows the beginning closely; None: all of it. At most `rows` tables and as
    many masters are drawn, the others are counted.
    """
    spans = list(spans)
    drawn = _rows("table", ((span.table, span) for span in spans), rows)
    drawn += _rows("master", ((span.master, span) for span in spans if span.master is not None), rows)
    margin = max(len(name) for name, _ in drawn) + 1
    columns = max(_FEWEST_COLUMNS, width - margin)
    step = seconds_per_column or max(span.end for span in spans) / columns or 1.0
    lines = [("", _axis(step, columns)), *((name, _cells(row, step, columns)) for name, row in drawn)]
    return "\n".join(f"{name:<{margin}}{line}".rstrip() for name, line in lines)


def _rows(noun: str, entries: Iterable[tuple[int, Span]], most: int) -> list[tuple[str, list[Span]]]:
    """The spans by the number of who they belong to, with a name; what is too many becomes one empty row."""
    spans_of: dict[int, list[Span]] = {}
    for number, span in entries:
        spans_of.setdefault(number, []).append(span)
    rows = [(f"{noun} {number + 1}", spans_of[number]) for number in sorted(spans_of)]
    return rows if len(rows) <= most else [*rows[:most], (f"+ {len(rows) - most} {noun}s", [])]


def _cells(spans: list[Span], step: float, columns: int) -> str:
    """One row. A move fills one cell at least, however short, and exactly one if it is as long as a column."""
    cells = [" "] * columns
    for span in sorted(spans, key=lambda span: span.what, reverse=True):  # replies first, moves over them
        first, last = math.floor(span.start / step + 0.5), math.floor(span.end / step + 0.5)
        last = min(columns, max(last, first + 1) if span.what == "move" else last)
        cells[first:last] = _MARKS[span.what] * (last - first)
    return "".join(cells)


def _axis(step: float, columns: int) -> str:
    """Times above the columns where they begin: h:mm, and seconds where minutes are too coarse."""
    tick = next((tick for tick in _TICKS if tick / step >= _TICK_COLUMNS), _TICKS[-1])
    axis = ""
    for number in range(math.ceil(columns * step / tick)):
        label = clock(number * tick)
        label = label.removesuffix(":00") if tick >= 60 else label
        column = math.floor(number * tick / step + 0.5)
        if (column > len(axis) or not axis) and column + len(label) <= columns:
            axis = f"{axis:<{column}}{label}"
    return axis


def clock(seconds: float) -> str:
    """h:mm:ss, with decimals where there are any."""
    minutes, rest = divmod(round(seconds, 6), 60)
    return f"{int(minutes) // 60}:{int(minutes) % 60:02}:" + f"{rest:09.6f}".rstrip("0").rstrip(".")


def bars(rows: Iterable[tuple[str, float, float]], width: int = 80) -> str:
    """Compare whole exhibitions: for each name the seconds that a master moves, in sum, of the seconds that it lasts."""
    rows = list(rows)
    margin = max(len(name) for name, _, _ in rows) + 1
    longest = max(total for _, _, total in rows)
    step = longest / max(_FEWEST_COLUMNS, width - margin - max(len(clock(total)) for _, _, total in rows) - 1) or 1.0

    def bar(moving: float, total: float) -> str:
        return ("█" * round(moving / step)).ljust(round(total / step), "·")

    return "\n".join(f"{name:<{margin}}{bar(moving, total)} {clock(total)}" for name, moving, total in rows)
