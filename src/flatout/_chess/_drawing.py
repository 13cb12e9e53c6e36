"""Drawings for the documentation: the exhibition, how the time falls with the tables in play, and what each kind is for.

The same arguments give the same text, to the byte: what is drawn is reckoned or played on the virtual clock, not measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from flatout._chess._exhibition import (
    Exhibition,
    Span,
    ends_table_to_table,
    play_game_after_game,
    play_table_to_table,
)
from flatout._chess._picture import clock
from flatout._chess._svg import INK, box, curve, document, dot, line, text, upright
from flatout._errors import PlanError
from flatout._plan import _law

MOVE, REPLY, FREE = "#2a6fbf", "#cfd8e3", "#f2f2f2"
KINDS = {"thread": "#d9822b", "process": "#2a6fbf"}


def drawings(exhibition: Exhibition) -> dict[str, str]:
    """Every drawing by the name of its file. Raises PlanError where nothing takes any time."""
    if exhibition.move + exhibition.reply == 0:
        raise PlanError("neither moves nor replies take any time, so there is nothing to draw")
    return {"exhibition.svg": both_ways(exhibition), "tables.svg": tables(exhibition), "kinds.svg": kinds()}


def draw_into(folder: str, exhibition: Exhibition) -> Iterator[str]:
    """Write every drawing into a folder, which is made if need be; yields their paths."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, drawing in drawings(exhibition).items():
        path = Path(folder, name)
        path.write_text(drawing, encoding="utf-8")
        yield str(path)


# --- game after game, and from table to table

_ROW, _LEFT, _WIDE, _TOP = 11, 100, 640, 60  # pixels: a table's row, its name, the time, what is above
_ROWS = 24  # tables that are drawn at most


def both_ways(exhibition: Exhibition) -> str:
    """The beginning of both ways to play, a row for each table and each master, and how long each takes in all."""
    seconds = 2 * max(exhibition.move + exhibition.reply, exhibition.opponents * exhibition.move / exhibition.masters)
    panels = [
        ("Game after game: she waits at the table", play_game_after_game(exhibition)),
        ("From table to table: while one opponent thinks, she moves at the others", play_table_to_table(exhibition)),
    ]
    shapes: list[str] = []
    top = _TOP
    for title, spans in panels:
        shapes += [text(12, top - 26, title, size=14), *_panel(exhibition, spans, seconds, top)]
        top += _panel_height(exhibition) + 60
    shapes += _totals(panels, exhibition, top - 30)
    return document(_LEFT + _WIDE + 20, top + 60, shapes)


def _panel_height(exhibition: Exhibition) -> int:
    return _ROW * (min(exhibition.opponents, _ROWS) + min(exhibition.masters, _ROWS)) + 8


def _panel(exhibition: Exhibition, spans: list[Span], seconds: float, top: int) -> Iterator[str]:
    rows, masters = min(exhibition.opponents, _ROWS), min(exhibition.masters, _ROWS)
    for second in _marks(seconds):
        x = _LEFT + _WIDE * second / seconds
        yield line(x, top - 4, x, top + _panel_height(exhibition))
        yield text(x, top - 8, clock(second), anchor="middle", size=10)
    for row in range(rows + masters):
        name = f"table {row + 1}" if row < rows else f"master {row - rows + 1}"
        y = top + _ROW * row + (8 if row >= rows else 0)
        yield text(_LEFT - 6, y + 9, name, anchor="end", size=10)
        yield box(_LEFT, y + 1, _WIDE, _ROW - 2, FREE)
    for span in spans:
        if span.start < seconds and span.table < rows:
            start, end = (_LEFT + _WIDE * min(at, seconds) / seconds for at in (span.start, span.end))
            yield box(start, top + _ROW * span.table + 1, end - start, _ROW - 2, MOVE if span.what == "move" else REPLY)
            if span.master is not None and span.master < masters:
                yield box(start, top + _ROW * (rows + span.master) + 9, end - start, _ROW - 2, MOVE)


def _marks(seconds: float) -> Iterator[float]:
    """Four to eight round times."""
    steps = (digit * 10.0**power for power in range(-9, 9) for digit in (1, 3, 6))
    step = next(step for step in steps if seconds / step <= 8)
    yield from (number * step for number in range(int(seconds / step) + 1))


def _totals(panels: list[tuple[str, list[Span]]], exhibition: Exhibition, top: int) -> Iterator[str]:
    lasts = [max(span.end for span in spans) for _, spans in panels]
    moving = exhibition.moves * exhibition.move / exhibition.masters
    for number, (name, last) in enumerate(zip(("game after game", "table to table"), lasts, strict=True)):
        y, wide = top + 26 * number, (_WIDE - 60) * last / max(lasts)
        yield text(_LEFT - 6, y + 13, name, anchor="end", size=10)
        yield box(_LEFT, y, wide, 18, REPLY)
        yield box(_LEFT, y, wide * min(1.0, moving / last), 18, MOVE)
        yield text(_LEFT + wide + 6, y + 13, clock(last))
    yield box(_LEFT, top + 56, 10, 10, MOVE)
    yield text(_LEFT + 16, top + 65, "a move of the master (in the bars: in sum)")
    yield box(_LEFT + 320, top + 56, 10, 10, REPLY)
    yield text(_LEFT + 336, top + 65, "an opponent's reply (in the bars: she waits)")


# --- the time against the tables in play

_MOST_TABLES = 48
_CURVES = ((2, "#2a8f5b"), (1, MOVE))  # masters and their colour
_SIDE, _LOW = 560, 380  # pixels, wide and high


def tables(exhibition: Exhibition) -> str:
    """How long all the moves take, with so many tables in play: by the law, and played."""
    return document(_LEFT + _SIDE + 190, _TOP + _LOW + 56, _tables(exhibition))


def _tables(exhibition: Exhibition) -> Iterator[str]:
    longest = exhibition.law_seconds(1, 1)
    shortest = longest / _MOST_TABLES

    def x(k: float) -> float:
        return _LEFT + _SIDE * math.log(k) / math.log(_MOST_TABLES)

    def y(seconds: float) -> float:
        return _TOP + _LOW * math.log(longest / seconds) / math.log(longest / shortest)

    yield text(12, 22, f"{exhibition.moves} moves of {exhibition.move:g} s, replies of {exhibition.reply:g} s", size=14)
    yield text(12, 40, "Lines: by the law. Dots: played on a virtual clock, from the first move to the last reply.")
    for k in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48):
        yield line(x(k), _TOP, x(k), _TOP + _LOW)
        yield text(x(k), _TOP + _LOW + 18, str(k), anchor="middle")
        yield line(_LEFT, y(longest / k), _LEFT + _SIDE, y(longest / k))
        yield text(_LEFT - 6, y(longest / k) + 4, clock(round(longest / k)), anchor="end")
    yield text(_LEFT + _SIDE / 2, _TOP + _LOW + 42, "tables in play, k", anchor="middle")
    for masters, colour in _CURVES:
        yield from _curve(replace(exhibition, masters=masters), colour, x, y)


def _curve(exhibition: Exhibition, colour: str, x: object, y: object) -> Iterator[str]:
    assert callable(x)
    assert callable(y)
    masters, useful = exhibition.masters, exhibition.tables_to_keep_up_with()
    law = {k: exhibition.law_seconds(k, masters) for k in range(1, _MOST_TABLES + 1)}
    yield curve(((x(k), y(law[k])) for k in sorted(law)), colour)
    for k in range(1, _MOST_TABLES + 1):
        if exhibition.moves % k == 0:
            played = ends_table_to_table(replace(exhibition, opponents=k, pairs=exhibition.moves // k))
            yield dot(x(k), y(played.last_reply), colour)
    who = f"{masters} master{'s' * (masters > 1)}"
    yield text(_LEFT + _SIDE + 10, y(law[_MOST_TABLES]) + 4, f"{who}: k* = {useful:g}", colour=colour)


# --- what each kind of worker is for

_CORES, _THREADS, _PROCESSES = 8, 512, 64  # in flight at most, of each kind
_BORDER = 0.01  # of what a call computes: what it costs to move it to a process and back
_CELLS = 32  # on each side of the map
_CELL = 14  # pixels
_MOST_WAITING = 1024.0  # calls that can wait while one computes, at the right edge


def kinds() -> str:
    """A map: across, how many calls can wait while one computes; upwards, how much of the computing holds the GIL."""
    return document(_LEFT + _CELLS * _CELL + 230, _TOP + _CELLS * _CELL + 60, _kinds())


def _kinds() -> Iterator[str]:
    side = _CELLS * _CELL
    yield text(
        12,
        22,
        f"The best kind of worker by the law, and how many times as fast as the plain loop ({_CORES} cores)",
        size=14,
    )
    yield text(
        12,
        40,
        f"Up to {_THREADS} threads or {_PROCESSES} processes; to move a call costs {_BORDER:.0%} of what it computes.",
    )
    for column in range(_CELLS):
        yield from _column(column, side)
    for column in range(3, _CELLS, 5):
        for row in range(3, _CELLS, 6):
            gain = _best(_waiting(column), _held(row))[1]
            middle = _LEFT + _CELL * (column + 0.5)
            words = f"{gain:.2g}x" if gain < 10 else f"{gain:.0f}x"
            yield text(middle, _TOP + side - _CELL * row - 3, words, anchor="middle")
    yield from _axes(side)


def _column(column: int, side: int) -> Iterator[str]:
    """One column of the map; cells that look alike are one box."""
    looks = [_look(*_best(_waiting(column), _held(row))) for row in range(_CELLS)]
    first = 0
    for row in range(1, _CELLS + 1):
        if row == _CELLS or looks[row] != looks[first]:
            top = _TOP + side - _CELL * row
            yield box(_LEFT + _CELL * column, top, _CELL, _CELL * (row - first), *looks[first])
            first = row


def _look(kind: str, gain: float) -> tuple[str, float]:
    return KINDS[kind], round(0.25 + 0.7 * math.log(gain) / math.log(_THREADS), 1)


def _axes(side: int) -> Iterator[str]:
    for waiting in (0.25, 1, 4, 16, 64, 256, 1024):
        at = _LEFT + side * (math.log2(waiting) + 4) / (math.log2(_MOST_WAITING) + 4)
        yield text(at, _TOP + side + 18, f"{waiting:g}", anchor="middle")
    yield text(_LEFT + side / 2, _TOP + side + 40, "calls that can wait while one computes, w / c", anchor="middle")
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        yield text(_LEFT - 6, _TOP + side * (1 - share) + 4, f"{share:.0%}", anchor="end")
    yield upright(24, _TOP + side / 2, "of its computing, a call holds the GIL for")
    for number, (kind, colour) in enumerate(KINDS.items()):
        yield box(_LEFT + side + 20, _TOP + 20 * number, 12, 12, colour)
        yield text(_LEFT + side + 40, _TOP + 11 + 20 * number, {"thread": "threads", "process": "processes"}[kind])
    for number, words in enumerate(("the darker, the faster;", "equal within a fifth:", "threads, which move nothing")):
        yield text(_LEFT + side + 20, _TOP + 62 + 16 * number, words, colour=INK)


def _held(row: int) -> float:
    return row / (_CELLS - 1)


def _waiting(column: int) -> float:
    """From 1/16 of the time of computing to `_MOST_WAITING` times that."""
    return math.exp2(-4 + (math.log2(_MOST_WAITING) + 4) * (column + 0.5) / _CELLS)


def _best(waiting: float, held: float) -> tuple[str, float]:
    """The kind for calls that compute 1 s, and by what factor it beats the plain loop."""
    gil, free = held, 1.0 - held
    loop = _law.inline_seconds_per_call(gil, free, waiting)
    threads = _law.thread_seconds_per_call(gil, free, waiting, _CORES, _THREADS)
    processes = _law.process_seconds_per_call(gil, free, waiting, _BORDER, _CORES, _PROCESSES, parent=_BORDER / 2)
    return ("process", loop / processes) if 1.2 * processes < threads else ("thread", loop / threads)
