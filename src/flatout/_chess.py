"""The chess exhibition: one master, many tables, and where the twelve hours went.

Told three ways: by the law, on a virtual clock (with the very coroutines that are then played live), and live through
`flatout.map`. `lines` tells all of it, for the command `flatout chess`. Somewhat long, since the whole example is here in one place.

Times are counted in whole nanoseconds, as on the virtual clock. What is promised exactly is so promised for times that
are whole nanoseconds (0.1 s is), up to 48 days of play.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import os
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from flatout._errors import PlanError
from flatout._model import KINDS, Kind
from flatout._plan._law import exhibition_seconds, useful_in_flight
from flatout._virtual import virtual_run

_NANOSECONDS = 1_000_000_000  # in a second


@dataclass(frozen=True, slots=True)
class Exhibition:
    """Who plays, and how long everything takes.

    opponents: tables. move: seconds the master takes for a move. reply: seconds an opponent takes. pairs: moves and
    replies in a game. masters: how many walk the tables. Raises PlanError for numbers that cannot be played.
    """

    opponents: int = 24
    move: float = 5.0
    reply: float = 55.0
    pairs: int = 30
    masters: int = 1

    def __post_init__(self) -> None:
        for name in ("opponents", "pairs", "masters"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise PlanError(f"{name} is {value!r}: give a whole number of at least 1")
        for name in ("move", "reply"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 2**22:
                raise PlanError(f"{name} is {value!r}: give seconds, from 0 up to 48 days (2**22 s)")

    @property
    def moves(self) -> int:
        """Moves of the masters in all."""
        return self.opponents * self.pairs

    def law_seconds(self, in_flight: int, masters: int) -> float:
        """What the exhibition law allows at best, from the first move to the last reply."""
        return exhibition_seconds(self.moves, _count(self.move), _count(self.reply), in_flight, masters) / _NANOSECONDS

    def tables_to_keep_up_with(self) -> float:
        """Tables that the masters can serve without letting anybody wait; inf for moves that take no time."""
        return useful_in_flight(_count(self.move), _count(self.reply), self.masters)


@dataclass(frozen=True, slots=True)
class Ends:
    """Seconds from the first move until the last move and the last reply are made."""

    last_move: float
    last_reply: float


def ends_table_to_table(exhibition: Exhibition) -> Ends:
    """When it ends if the masters walk, each to the table whose opponent has been ready for longest: exact.

    The tables come up in one unchanging order. Move number j (from 0, of all tables together) begins when move j - m
    has freed a master and the reply to move j - k has come: the latest of the chains of such steps back to the start.

    >>> ends_table_to_table(Exhibition())
    Ends(last_move=3600.0, last_reply=3655.0)
    """
    move, reply = _count(exhibition.move), _count(exhibition.reply)
    last, tables = exhibition.moves - 1, exhibition.opponents
    begin = max(
        (last - rounds * tables) // exhibition.masters * move + rounds * (move + reply)
        for rounds in range(exhibition.pairs)
    )
    return Ends((begin + move) / _NANOSECONDS, (begin + move + reply) / _NANOSECONDS)


def _count(seconds: float) -> int:
    """In whole nanoseconds, which add up without error."""
    return round(seconds * _NANOSECONDS)


# --- on a virtual clock


@dataclass(frozen=True, slots=True)
class Span:
    """What went on at a table from `start` to `end`, in seconds; `master` is who moved. Tables count from 0."""

    table: int
    start: float
    end: float
    what: Literal["move", "reply"]
    master: int | None = None


class Hall:
    """The masters and what is seen of them. Its coroutines know nothing of the clock that they run on."""

    def __init__(self, exhibition: Exhibition) -> None:
        self.exhibition = exhibition
        self.spans: list[Span] = []
        self._free = asyncio.Semaphore(exhibition.masters)  # fair: who waits longest is next
        self._idle = list(range(exhibition.masters))

    async def walked(self, table: int) -> None:
        """One game, from whose table the master walks on after each move."""
        for _ in range(self.exhibition.pairs):
            async with self._a_master() as master:
                await self._move(table, master)
            await self._reply(table)

    async def stayed(self, table: int) -> None:
        """One game at whose table a master stays."""
        async with self._a_master() as master:
            for _ in range(self.exhibition.pairs):
                await self._move(table, master)
                await self._reply(table)

    @contextlib.asynccontextmanager
    async def _a_master(self) -> AsyncIterator[int]:
        async with self._free:
            master = self._idle.pop(0)
            yield master
            self._idle.append(master)

    async def _move(self, table: int, master: int) -> None:
        start = _now()
        await asyncio.sleep(self.exhibition.move)
        self.spans.append(Span(table, start, _now(), "move", master))

    async def _reply(self, table: int) -> None:
        start = _now()
        await asyncio.sleep(self.exhibition.reply)
        self.spans.append(Span(table, start, _now(), "reply"))


def _now() -> float:
    return asyncio.get_running_loop().time()


def play_game_after_game(exhibition: Exhibition) -> list[Span]:
    """Play on a virtual clock, a master staying with a game to its end."""
    hall = Hall(_on_the_clock(exhibition))
    virtual_run(_all(hall.stayed(table) for table in range(exhibition.opponents)))
    return hall.spans


def play_table_to_table(exhibition: Exhibition) -> list[Span]:
    """Play on a virtual clock, the masters walking on after each move: one coroutine a table."""
    hall = Hall(_on_the_clock(exhibition))
    virtual_run(_all(hall.walked(table) for table in range(exhibition.opponents)))
    return hall.spans


async def _all(games: Iterable[Coroutine[Any, Any, None]]) -> None:
    await asyncio.gather(*games)


def _on_the_clock(exhibition: Exhibition) -> Exhibition:
    """The same in whole nanoseconds, so that a sum of sleeps is rounded just as one sleep is."""
    move, reply = _count(exhibition.move) / _NANOSECONDS, _count(exhibition.reply) / _NANOSECONDS
    return replace(exhibition, move=move, reply=reply)


def ends(spans: list[Span]) -> Ends:
    """When the last move and the last reply of what was played ended."""
    last_move = max(span.end for span in spans if span.what == "move")
    return Ends(last_move, max(span.end for span in spans if span.what == "reply"))


# --- live


@dataclass(frozen=True, slots=True)
class Live:
    """How a live exhibition went, in seconds of the exhibition: those on the clock times `speed`."""

    kind: Kind
    masters: int
    law_seconds: float
    measured_seconds: float

    @property
    def ratio(self) -> float:
        """Measured by law: 1.0 is the best that can be."""
        return self.measured_seconds / self.law_seconds if self.law_seconds else math.inf


def play_live(exhibition: Exhibition, kind: Kind, speed: float) -> Live:
    """Play in real time, `speed` times faster, by one `flatout.map` over the tables in workers of this kind.

    A move is a sleep that holds a master. "inline" plays game after game. "async" and "thread" share the masters, so
    these walk from table to table. Processes cannot share a master: each has one of its own, who plays whole games.
    So processes multiply the masters; they put no waiting to use. Choose a speed at which a move lasts 5 ms or more:
    an event loop on Linux sleeps whole milliseconds (epoll). Raises PlanError for an unknown kind or speed.
    """
    if kind not in KINDS:
        raise PlanError(f"kind is {kind!r}: give one of {', '.join(KINDS)}")
    _check_speed(speed)
    faster = replace(exhibition, move=exhibition.move / speed, reply=exhibition.reply / speed)
    in_flight, masters = _live_numbers(exhibition, kind)
    began = time.perf_counter()
    _map_tables(faster, kind, in_flight)
    measured = (time.perf_counter() - began) * speed
    return Live(kind, masters, exhibition.law_seconds(in_flight, masters), measured)


def _check_speed(speed: float) -> None:
    if not 0 < speed < math.inf:
        raise PlanError(f"speed is {speed!r}: give a number above 0, so many times faster than real time")


def _live_numbers(exhibition: Exhibition, kind: Kind) -> tuple[int, int]:
    """Games in play and masters, by kind."""
    if kind == "inline":
        return 1, 1
    if kind == "process":
        processes = min(_usable_cores(), exhibition.opponents)
        return processes, processes
    return exhibition.opponents, exhibition.masters


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _map_tables(exhibition: Exhibition, kind: Kind, in_flight: int) -> None:
    import flatout

    tables = range(exhibition.opponents)
    if kind == "async":
        flatout.map(Hall(exhibition).walked, tables, via="async", max_concurrency=in_flight).results()
    elif kind == "thread":
        game = functools.partial(_game_with_shared_masters, exhibition, threading.Semaphore(exhibition.masters))
        flatout.map(game, tables, via="thread", max_concurrency=in_flight).results()
    else:
        whole = functools.partial(_whole_game, exhibition)
        flatout.map(whole, tables, via=kind, max_concurrency=in_flight, chunksize=1).results()


def _game_with_shared_masters(exhibition: Exhibition, free: threading.Semaphore, table: int) -> None:
    for _ in range(exhibition.pairs):
        with free:
            time.sleep(exhibition.move)
        time.sleep(exhibition.reply)


def _whole_game(exhibition: Exhibition, table: int) -> None:
    """One game with a master who stays: the one of this process."""
    for _ in range(exhibition.pairs):
        time.sleep(exhibition.move)
        time.sleep(exhibition.reply)


# --- pictures and text

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
        label = _clock(number * tick)
        label = label.removesuffix(":00") if tick >= 60 else label
        column = math.floor(number * tick / step + 0.5)
        if (column > len(axis) or not axis) and column + len(label) <= columns:
            axis = f"{axis:<{column}}{label}"
    return axis


def _clock(seconds: float) -> str:
    """h:mm:ss, with decimals where there are any."""
    minutes, rest = divmod(round(seconds, 6), 60)
    return f"{int(minutes) // 60}:{int(minutes) % 60:02}:" + f"{rest:09.6f}".rstrip("0").rstrip(".")


def bars(rows: Iterable[tuple[str, float, float]], width: int = 80) -> str:
    """Compare whole exhibitions: for each name the seconds that a master moves, in sum, of the seconds that it lasts."""
    rows = list(rows)
    margin = max(len(name) for name, _, _ in rows) + 1
    longest = max(total for _, _, total in rows)
    step = longest / max(_FEWEST_COLUMNS, width - margin - max(len(_clock(total)) for _, _, total in rows) - 1) or 1.0

    def bar(moving: float, total: float) -> str:
        return ("█" * round(moving / step)).ljust(round(total / step), "·")

    return "\n".join(f"{name:<{margin}}{bar(moving, total)} {_clock(total)}" for name, moving, total in rows)


def lines(exhibition: Exhibition, live: float | None = None, width: int = 80) -> Iterator[str]:
    """Tell the exhibition, line by line as it is known, in at most `width` columns (the tables of figures need 62).

    `live` is how many times faster it is then played in real time by every kind of worker; None: not played live.
    Raises PlanError for a speed that is not above 0.
    """
    if live is not None:
        _check_speed(live)
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
        ("game after game", exhibition.law_seconds(masters, masters), stayed),
        ("table to table", exhibition.law_seconds(tables, masters), walked),
        (f"  with {2 * masters} masters", doubled.law_seconds(tables, 2 * masters), ends(play_table_to_table(doubled))),
    ):
        yield f"{name:<22}{_clock(round(law, 3)):>12}  {_clock(end.last_move):>12}  {_clock(end.last_reply):>12}"


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
    seconds = sum(exhibition.law_seconds(*_live_numbers(exhibition, kind)) for kind in KINDS) / speed
    head = f"Live through flatout.map, {speed:g} times faster: {seconds:.0f} s at least. Starting workers counts, too."
    yield from textwrap.wrap(head, width)
    yield f"{'':<10}{'masters':>8}{'by the law':>14}{'measured':>14}{'ratio':>8}"
    for kind in KINDS:
        live = play_live(exhibition, kind, speed)
        law, measured = _clock(round(live.law_seconds)), _clock(round(live.measured_seconds))
        yield f"{kind:<10}{live.masters:>8}{law:>14}{measured:>14}{live.ratio:>8.2f}"
    lesson = (
        "A loop and threads use the waiting: one master serves all the tables. Processes cannot share a master; each"
        " has one of its own who plays game after game. They multiply the masters and leave the waiting unused."
    )
    yield from textwrap.wrap(lesson, width)
