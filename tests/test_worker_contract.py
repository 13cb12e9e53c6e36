"""One contract for every kind of worker, the scripted fake included; and what processes promise beyond it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import pytest
from mutants import MUTANTS, Mutant

from flatout._events import SEAT, WorkerExited
from flatout._model import Batch, Work
from flatout._workers._base import Host, Worker
from flatout._workers._inline import Seat
from flatout._workers._loop import LoopWorker
from flatout._workers._process import ProcessWorker, Setup
from flatout._workers._thread import ThreadWorker
from flatout.testing import WORKER_CONTRACT, Clause, Filling, ScriptedWorker


class TakenSeat:
    """The seat, and in it somebody who does what a caller's thread does."""

    def __init__(self, work: Work, host: Host) -> None:
        self._host = host
        self._taken: SimpleQueue[Batch | None] = SimpleQueue()
        self._seat = Seat(work, host, lambda: self._taken.put(self._seat.take()))
        self._caller = threading.Thread(target=self._attend, name="caller", daemon=True)

    def start(self) -> None:
        self._caller.start()

    def send(self, batch: Batch) -> None:
        self._seat.send(batch)

    def running(self) -> Sequence[tuple[int, float]]:
        return self._seat.running()

    def cancel(self, index: int) -> None:
        self._seat.cancel(index)

    def stop(self) -> None:
        self._seat.stop()

    def kill(self) -> None:
        self._seat.kill()

    def close(self) -> None:
        self._seat.close()
        self._taken.put(None)
        self._caller.join()

    def _attend(self) -> None:
        try:
            self._seat.start()
        except Exception as error:  # the caller has it first-hand
            self._host.post(WorkerExited(SEAT, error, fatal=True))
        while (batch := self._taken.get()) is not None:
            self._host.post(self._seat.run(batch))
        self._seat.end()


def process_worker(number: int, work: Work, host: Host) -> Worker:
    return ProcessWorker(number, Setup(work), host, lambda stream, what: None, keep=1)


INLINE = Filling("inline", lambda number, work, host: TakenSeat(work, host), number=SEAT, killable=False)
THREAD = Filling("thread", ThreadWorker)
PROCESS = Filling("process", process_worker, apart=True)
LOOP = Filling(
    "async",
    lambda number, work, host: LoopWorker(number, work, host, {}),
    loop=True,
    concurrent=True,
    ends_tasks=True,
)
SCRIPTED = Filling("scripted", ScriptedWorker, loop=True)


@pytest.mark.parametrize("clause", WORKER_CONTRACT, ids=lambda clause: clause.__name__)
@pytest.mark.parametrize("filling", [INLINE, THREAD, PROCESS, LOOP, SCRIPTED], ids=str)
def test_every_kind_of_worker_keeps_the_contract(filling: Filling, clause: Clause) -> None:
    clause(filling)


# What the contract is worth: workers that break one promise each


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_the_contract_catches_a_broken_worker(mutant: type[Mutant]) -> None:
    honest = Filling(mutant.__name__, mutant)
    # Where it must be caught, silence is believed soon, and words that must not come are waited for.
    broken = honest.hurried(patience=0.5, grace=3.0)
    with ThreadPoolExecutor(len(WORKER_CONTRACT)) as executor:
        kept = executor.map(
            lambda clause: keeps(clause, broken if clause in mutant.caught_by else honest), WORKER_CONTRACT
        )
        caught_by = {clause.__name__ for clause, is_kept in zip(WORKER_CONTRACT, kept, strict=True) if not is_kept}
    assert caught_by == {clause.__name__ for clause in mutant.caught_by}


def keeps(clause: Clause, filling: Filling) -> bool:
    try:
        clause(filling)
    except AssertionError:
        return False
    return True


def test_every_clause_catches_a_mutant() -> None:
    assert set().union(*(mutant.caught_by for mutant in MUTANTS)) == set(WORKER_CONTRACT)


def test_every_mutant_is_caught() -> None:
    assert [mutant for mutant in MUTANTS if not mutant.caught_by] == [Mutant], "only the honest one keeps every clause"
