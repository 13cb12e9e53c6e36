"""The exhibition itself: who plays, when it ends by exact reckoning, and the play on the virtual clock.

Times are counted in whole nanoseconds, as on the virtual clock. What is promised exactly is so promised for times that
are whole nanoseconds (0.1 s is), up to 48 days of play.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from flatout._errors import PlanError
from flatout._plan._law import exhibition_seconds, useful_in_flight
from flatout._virtual import virtual_run

_NANOSECONDS = 1_000_000_000  # in a second
_MOST_MOVES = 100_000  # that are played move by move, three times over: some 6 s, and 20 s at as many tables


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
        if self.moves > _MOST_MOVES:
            raise PlanError(
                f"opponents is {self.opponents!r} and pairs is {self.pairs!r}: give at most {_MOST_MOVES:,} moves in all,"
                " opponents times pairs"
            )
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
        masters = min(exhibition.masters, exhibition.opponents)  # others would never find a table to move at
        self._free = asyncio.Semaphore(masters)  # fair: who waits longest is next
        self._idle = list(range(masters))

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
