"""Who works in a run, what each has in hand, and who is free."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator

from flatout._events import SEAT
from flatout._model import KINDS, Batch, Inside, Kind


class Hands:
    """The tasks that a worker has been sent and has not finished: what is left of batches, in spans.

    In an event loop there can be a thousand, which end in any order: so batches are not cut, and spans are sorted.
    """

    def __init__(self) -> None:
        self.count = 0
        self._spans: dict[int, tuple[int, Batch]] = {}  # first index -> the index behind the last, and its batch
        self._firsts: list[int] = []  # in order

    @property
    def batches(self) -> int:
        """How many batches, or what is left of them."""
        return len(self._firsts)

    def __iter__(self) -> Iterator[Batch]:
        return iter([_part(self._spans[first][1], first, self._spans[first][0]) for first in self._firsts])

    def __contains__(self, index: int) -> bool:
        return bool(self._among(index, index + 1))

    def add(self, batch: Batch) -> None:
        """Take a batch in hand."""
        self._put(batch.first, batch.end, batch)
        self.count += len(batch)

    def take(self, first: int, count: int) -> list[Batch]:
        """Put down those of the tasks first ... first + count - 1 that are in hand; return them, lowest first."""
        end = first + count
        return [self._cut(start, max(first, start), end) for start in self._among(first, end)]

    def _among(self, first: int, end: int) -> list[int]:
        """Where the spans begin that hold tasks first ... end - 1."""
        place = bisect_right(self._firsts, first)
        if place and self._spans[self._firsts[place - 1]][0] > first:
            place -= 1
        return self._firsts[place : bisect_left(self._firsts, end, place)]

    def _put(self, first: int, end: int, batch: Batch) -> None:
        self._spans[first] = end, batch
        insort(self._firsts, first)

    def _cut(self, first: int, start: int, end: int) -> Batch:
        """Take the tasks start ... end - 1 out of the span that begins with `first`, as far as it goes."""
        last, batch = self._spans.pop(first)
        del self._firsts[bisect_left(self._firsts, first)]
        if start > first:
            self._put(first, start, batch)
        if end < last:
            self._put(end, last, batch)
        end = min(end, last)
        self.count -= end - start
        return _part(batch, start, end)


def _part(batch: Batch, start: int, end: int) -> Batch:
    return batch if end - start == len(batch) else batch.part(start, end)


def split(spans: Iterable[Batch], indices: set[int]) -> tuple[list[Batch], list[Batch]]:
    """Those of the tasks that have these indices, one by one, and what lies between them; in the order of the spans."""
    among: list[Batch] = []
    between: list[Batch] = []
    for span in spans:
        for index in sorted(index for index in indices if span.first <= index < span.end):
            between.append(span.part(span.first, index))
            among.append(span.part(index, index + 1))
            span = span.part(index + 1, span.end)
        between.append(span)
    return among, [span for span in between if span]


class Worker:
    """What is known of one worker."""

    def __init__(self, number: int, kind: Kind, inside: Inside = "") -> None:
        self.number = number
        self.kind = kind
        self.inside = inside  # what runs its tasks
        self.wide = inside != ""  # it begins at once all that it is sent
        self.alone = False  # what it has in hand is to be alone there
        self.name = ""
        self.ready = False
        self.killed = False
        self.watched = False  # whether a deadline of its is in the heap
        self.hands = Hands()
        self.overdue: set[int] = set()  # tasks that are being cancelled, or that it is being killed for
        self.late = False  # it is on a task that takes long: nothing is to wait behind that
        self.silent_since: float | None = None  # when it was first seen to have tasks in hand and to be on none
        self.running = 0  # tasks that it may be on at this moment, as `Crew` has counted them


class Crew:
    """All workers of a run, and for each kind those that can take a batch.

    A worker that runs one task after another is idle when it has nothing in hand, and may be sent one batch ahead. A wide
    one (an event loop, threads that are one worker, a process of a mixture) runs many tasks at once and is never in these
    lists.

    Counted for each kind, to be read only: `active` workers, those that are starting included; `starting` ones, which have
    not reported for work yet; and tasks that may be `running` at this moment.
    """

    def __init__(self) -> None:
        self.workers: dict[int, Worker] = {}
        self.peak = 0
        self.last = SEAT  # the highest number given so far
        self._more = 0  # threads beyond the first of workers that are many
        self.active: dict[Kind, int] = dict.fromkeys(KINDS, 0)
        self.starting: dict[Kind, int] = dict.fromkeys(KINDS, 0)
        self.running: dict[Kind, int] = dict.fromkeys(KINDS, 0)
        self._idle: dict[Kind, dict[int, Worker]] = {kind: {} for kind in KINDS}
        self._busy: dict[Kind, dict[int, Worker]] = {kind: {} for kind in KINDS}

    def hire(self, kind: Kind, inside: Inside = "") -> Worker:
        """A new worker that is starting."""
        self.last += 1
        return self._add(Worker(self.last, kind, inside))

    def report(self, number: int, name: str) -> Worker | None:
        """A worker is ready for work; the seat, which nobody hires, joins by this."""
        worker = self.workers.get(number)
        if worker is None and number == SEAT:
            worker = self._add(Worker(SEAT, "inline"))
        if worker is not None and not worker.ready:
            worker.ready, worker.name = True, name
            self.starting[worker.kind] -= 1
        return worker

    def _add(self, worker: Worker) -> Worker:
        self.workers[worker.number] = worker
        self.active[worker.kind] += 1
        self.starting[worker.kind] += 1
        self.peak = max(self.peak, self.count)
        return worker

    @property
    def count(self) -> int:
        """Workers, the seat apart; each thread counts."""
        return len(self.workers) - (SEAT in self.workers) + self._more

    def remove(self, worker: Worker) -> None:
        """The worker is gone, or as good as gone."""
        del self.workers[worker.number]
        self._more -= _more(worker, worker.running)
        self.active[worker.kind] -= 1
        self.running[worker.kind] -= worker.running
        self.starting[worker.kind] -= not worker.ready
        self.lay_off(worker)

    def lay_off(self, worker: Worker) -> None:
        """The worker gets nothing more."""
        self._idle[worker.kind].pop(worker.number, None)
        self._busy[worker.kind].pop(worker.number, None)

    @property
    def joined(self) -> int:
        """Workers that are many threads, those that are starting included."""
        return sum(worker.kind == "thread" and worker.wide for worker in self.workers.values())

    def wide(self, kind: Kind) -> list[Worker]:
        """The wide workers of a kind that can take tasks, who has least in hand first."""
        workers = self.workers.values()
        ready = [w for w in workers if w.wide and w.kind == kind and w.ready and not (w.killed or w.alone)]
        return sorted(ready, key=lambda worker: worker.hands.count) if len(ready) > 1 else ready

    def running_in_all(self) -> int:
        """Tasks that workers of all kinds may be on at this moment."""
        return sum(self.running.values())

    def has_idle(self, kind: Kind) -> bool:
        """Whether a worker of a kind has nothing in hand."""
        return bool(self._idle[kind])

    def has_free(self, kind: Kind) -> bool:
        """Whether one has nothing in hand, or one batch."""
        return bool(self._idle[kind] or self._busy[kind])

    def take_idle(self, kind: Kind) -> Worker | None:
        """A worker with nothing in hand; it leaves the list."""
        listed = self._idle[kind]
        return listed.popitem()[1] if listed else None

    def take_busy(self, kind: Kind) -> Worker | None:
        """A worker with one batch in hand; it leaves the list."""
        listed = self._busy[kind]
        return listed.popitem()[1] if listed else None

    def note(self, worker: Worker) -> None:
        """Count a worker, and put it into the list it belongs to, after what it has in hand has changed."""
        batches, kind = worker.hands.batches, worker.kind
        running = worker.hands.count if worker.wide else min(batches, 1)
        self.running[kind] += running - worker.running
        if worker.wide:
            self._more += _more(worker, running) - _more(worker, worker.running)
            self.peak = max(self.peak, self.count)
            worker.alone = worker.alone and running > 0
        worker.running = running
        if worker.wide or not worker.ready or worker.killed:
            return
        self.lay_off(worker)
        if batches == 0:
            self._idle[kind][worker.number] = worker
        elif batches == 1 and not worker.late:
            self._busy[kind][worker.number] = worker


def _more(worker: Worker, running: int) -> int:
    """Threads beyond the first that a worker has with so many tasks under way."""
    return max(0, running - 1) if worker.wide and worker.kind == "thread" else 0
