"""The exhibition told: by the law, on the virtual clock and live, with its pictures."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator
from dataclasses import replace

from flatout._chess._exhibition import (
    Ends,
    Exhibition,
    ends,
    ends_table_to_table,
    play_game_after_game,
    play_table_to_table,
)
from flatout._chess._live import check_speed, games_and_masters, play_live
from flatout._chess._picture import bars, clock, picture
from flatout._model import KINDS


def lines(exhibition: Exhibition, live: float | None = None, width: int = 80) -> Iterator[str]:
    """Tell the exhibition, line by line as it is known, in at most `width` columns (the tables of figures need 62).

    `live` is how many times faster it is then played in real time by every kind of worker; None: not played live.
    Raises PlanError for a speed that is not above 0.
    """
    if live is not None:
        check_speed(live)
    stayed, walked = play_game_after_game(exhibition), play_table_to_table(exhibition)
    yield from textwrap.wrap(_introduction(exhibition), width)
    yield ""
    yield from _figures(exhibition, ends(stayed), ends(walked))
    yield ""
    yield from textwrap.wrap(_who_waits(exhibition), width)
    yield ""
    yield from textwrap.wrap("A master's time: █ moving (in sum), · waiting.", width)
    moving = exhibition.moves * exhibition.move / exhibition.masters
    both = [("game after game", stayed), ("table to table", walked)]
    yield from bars([(name, moving, ends(spans).last_reply) for name, spans in both], width).splitlines()
    yield ""
    yield from textwrap.wrap("How she walks, at the beginning: █ a move, · the opponent thinks.", width)
    yield from picture(walked, width, seconds_per_column=_closely(exhibition, width)).splitlines()
    if live is not None:
        yield ""
        yield from _live_lines(exhibition, live, width)


def _introduction(exhibition: Exhibition) -> str:
    return (
        f"{_counted(exhibition.masters, 'master')}, {_counted(exhibition.opponents, 'opponent')},"
        f" {_counted(exhibition.pairs, 'pair')} of moves a game."
        f" A move takes the master {exhibition.move:g} s, a reply the opponent {exhibition.reply:g} s."
    )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _figures(exhibition: Exhibition, stayed: Ends, walked: Ends) -> Iterator[str]:
    """By the law and on the clock, side by side; and what more masters would change."""
    tables, masters = exhibition.opponents, exhibition.masters
    doubled = replace(exhibition, masters=2 * masters)
    yield f"{'':<22}{'by the law':>12}  {'on a virtual clock':>26}"
    yield f"{'':<22}{'at least':>12}  {'last move':>12}  {'last reply':>12}"
    for name, law, end in (
        ("game after game", exhibition.law_seconds(min(masters, tables), masters), stayed),
        ("table to table", exhibition.law_seconds(tables, masters), walked),
        (f"  with {2 * masters} masters", doubled.law_seconds(tables, 2 * masters), ends(play_table_to_table(doubled))),
    ):
        yield f"{name:<22}{clock(round(law, 3)):>12}  {clock(end.last_move):>12}  {clock(end.last_reply):>12}"


def _who_waits(exhibition: Exhibition) -> str:
    enough, tables = exhibition.tables_to_keep_up_with(), exhibition.opponents
    masters = _counted(exhibition.masters, "master")
    if math.isinf(enough):
        return "Moves take no time: any number of tables can be kept up with."
    sum_ = f"({exhibition.move:g} + {exhibition.reply:g}) / {exhibition.move:g}"
    sum_ = sum_ if exhibition.masters == 1 else f"{exhibition.masters} x {sum_}"
    keeps = f"{masters} can keep up with {enough:g} tables: {sum_}."
    if tables < enough:
        return f"{keeps} With {tables} the replies are the limit: more tables would take hardly any more time."
    return f"{keeps} With {tables} an opponent is always ready: the moves are the limit, the replies cost nothing."


def _closely(exhibition: Exhibition, width: int) -> float:
    """Seconds a column that show each move by itself, and two rounds where they have room."""
    a_round = max(exhibition.opponents * exhibition.move / exhibition.masters, exhibition.move + exhibition.reply)
    return max(exhibition.move, min(2 * a_round, ends_table_to_table(exhibition).last_reply) / width)


def _live_lines(exhibition: Exhibition, speed: float, width: int) -> Iterator[str]:
    seconds = sum(exhibition.law_seconds(*games_and_masters(exhibition, kind)) for kind in KINDS) / speed
    head = f"Live through flatout.map, {speed:g} times faster: {seconds:.0f} s at least. Starting workers counts, too."
    yield from textwrap.wrap(head, width)
    yield f"{'':<10}{'masters':>8}{'by the law':>14}{'measured':>14}{'ratio':>8}"
    for kind in KINDS:
        live = play_live(exhibition, kind, speed)
        law, measured = clock(round(live.law_seconds)), clock(round(live.measured_seconds))
        yield f"{kind:<10}{live.masters:>8}{law:>14}{measured:>14}{live.ratio:>8.2f}"
    lesson = (
        "A loop and threads use the waiting: one master serves all the tables. Processes cannot share a master; each"
        " has one of its own who plays game after game. They multiply the masters and leave the waiting unused."
    )
    yield from textwrap.wrap(lesson, width)
