"""Deaths of workers: which tasks one has died of, and when so many have died of none that the run is given up."""

from __future__ import annotations

from flatout._dispatch._crew import Worker
from flatout._errors import WorkerDied
from flatout._events import SEAT, WorkerExited

BARREN_DEATHS = 5  # times in a row that workers may die with no task to blame, and
BARREN_SECONDS = 1.0  # how long that may go on where they do so quickly; then we give up (Erlang's rule; guessed)
PAUSE = 0.05  # seconds until it is tried again where twice in a row none could be started; guessed


class BarrenDeaths:
    """Counts deaths with no task to blame, in a row; one blow that ends many workers is counted once."""

    def __init__(self) -> None:
        self._barren: list[float] = []  # when, since the run last got on
        self._stillborn: list[float] = []  # the same of workers that were not ready yet, since one last was
        self.hire_at: float | None = None  # when the next may be hired, of whatever kind, where not at once
        self._since = SEAT  # workers up to this number have had their share in it

    def one_is_ready(self) -> None:
        """A worker has reported for work."""
        self._stillborn.clear()
        self.hire_at = None

    def may_hire(self, now: float) -> bool:
        """Whether it makes sense to hire another now."""
        if self.hire_at is not None and now >= self.hire_at:
            self.hire_at = None
        return self.hire_at is None

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
        if len(deaths) > BARREN_DEATHS and now >= deaths[0] + BARREN_SECONDS:
            return _given_up(len(deaths), error, worker)
        if len(deaths) > 1 and could_not_start(worker, error):
            self.hire_at = now + PAUSE
        return None


def guilty_and_suspects(event: WorkerExited, worker: Worker) -> tuple[set[int], set[int]]:
    """The tasks that a worker has died of, and those of which any may be the one.

    One that we killed is guilty of what we killed it for, and of nothing that it may have begun since.
    """
    guilty = {index for index in worker.overdue if index in worker.hands}
    if event.error is None or worker.killed:
        return guilty, set()
    suspects = {index for index in event.suspects if index in worker.hands} - guilty
    return (guilty | suspects, set()) if len(suspects) == 1 else (guilty, suspects)


def could_not_start(worker: Worker, error: BaseException | None) -> bool:
    """Whether there never was such a worker, for want of descriptors, memory, threads, ..."""
    return not worker.ready and isinstance(error, (OSError, RuntimeError))


def _given_up(deaths: int, error: BaseException, worker: Worker) -> WorkerDied:
    what = "workers died one after the other with no task to blame"
    if could_not_start(worker, error):
        what = "times in a row no worker could be started"
    given_up = WorkerDied(
        f"{deaths} {what}, and so the run was given up; the last: {error}", getattr(error, "exitcode", None)
    )
    given_up.__cause__ = error
    return given_up
