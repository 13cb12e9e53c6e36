"""The exhibition played in real time, so many times faster, through `flatout.map`."""

from __future__ import annotations

import functools
import math
import threading
import time
from dataclasses import dataclass, replace

from flatout._chess._exhibition import (
    Exhibition,
    Hall,
)
from flatout._errors import PlanError
from flatout._machine._machine import usable_cores
from flatout._model import KINDS, Kind


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
    check_speed(speed)
    faster = replace(exhibition, move=exhibition.move / speed, reply=exhibition.reply / speed)
    in_flight, masters = games_and_masters(exhibition, kind)
    began = time.perf_counter()
    _map_tables(faster, kind, in_flight)
    measured = (time.perf_counter() - began) * speed
    return Live(kind, masters, exhibition.law_seconds(in_flight, masters), measured)


def check_speed(speed: float) -> None:
    if not 0 < speed < math.inf:
        raise PlanError(f"speed is {speed!r}: give a number above 0, so many times faster than real time")


def games_and_masters(exhibition: Exhibition, kind: Kind) -> tuple[int, int]:
    """Games in play and masters, by kind."""
    if kind == "inline":
        return 1, 1
    if kind == "process":
        processes = min(usable_cores(), exhibition.opponents)
        return processes, processes
    return exhibition.opponents, exhibition.masters


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
