"""Deaths of workers: which tasks one has died of, and when so many have died of none that the run is given up."""

from __future__ import annotations

from flatout._dispatch._crew import Worker
from flatout._errors import WorkerDied
from flatout._events import SEAT, WorkerExited

BARREN_DEATHS = 5  # times in a row that workers may die with no task to blame, and
BARREN_SECONDS = 1.0  # how long that may go on where they do so quickly; then we give up (Erlang's rule; guessed)


class BarrenDeaths:
    """Counts deaths with no task to blame, in a row; one blow that ends many workers is counted once."""

    def __init__(self) -> None:
        self._barren: list[float] = []  # when, since the run last got on
        self._stillborn: list[float] = []  # the same of workers that were not ready yet, since one last was
        self._since = SEAT  # workers up to this number have had their share in it

    def one_is_ready(self) -> None:
        """A worker has reported for work."""
        self._stillborn.clear()

    def got_on(self) -> None:
        """Tasks have ended, be it with their worker."""
        self._barren.clear()

    def died(self, worker: Worker, latest: int, error: BaseException, now: float) -> WorkerDied | None:
        """Another one; `latest` is the number of the worker that was hired last. What to end the run with, if that is enough."""
        deaths = self._barren if worker.ready else self._stillborn
        if worker.number <= self._since:
            return None
        deaths.append(now)
        self._since = latest
        if len(deaths) <= BARREN_DEATHS or now < deaths[0] + BARREN_SECONDS:
            return None
        return _given_up(len(deaths), error)


def guilty_and_suspects(event: WorkerExited, worker: Worker) -> tuple[set[int], set[int]]:
    """The tasks that a worker has died of, and those of which any may be the one.

    One that we killed is guilty of what we killed it for, and of nothing that it may have begun since.
    """
    guilty = {index for index in worker.overdue if index in worker.hands}
    if event.error is None or worker.killed:
        return guilty, set()
    suspects = {index for index in event.suspects if index in worker.hands} - guilty
    return (guilty | suspects, set()) if len(suspects) == 1 else (guilty, suspects)


def _given_up(deaths: int, error: BaseException) -> WorkerDied:
    given_up = WorkerDied(
        f"{deaths} workers died one after the other with no task to blame, and so the run was given up; "
        f"the last: {error}",
        getattr(error, "exitcode", None),
    )
    given_up.__cause__ = error
    return given_up
