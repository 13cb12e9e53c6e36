"""How many tasks travel together, and the queue that cuts them.

Guided self-scheduling (Polychronopoulos & Kuck 1987): a batch is a share of what is left, so that batches shrink towards
the end; bounded by the measured time of a task with its spread, so that one batch never holds a worker for long, and
not smaller than is worth sending.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Sequence

from flatout._model import Batch

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any

# Seconds in a batch. A batch costs this process 0.4-0.7 ms: of calls of 2-6 ms it took 1.3-1.7 times as much CPU time with 20 ms, and
# with 80 hardly less (measured).
TARGET = 0.040
INLINE_TARGET = 0.002  # seconds that a result may wait for its neighbours in the caller's own thread
CHEAP = 0.010  # seconds: tasks shorter than this are sent one batch ahead, so that a worker never waits for the next
# Seconds: tasks shorter than this the caller makes while processes start. (First runs of 12-25 ms: 0.975 of what they took with 10.)
MODEST = 0.030
SHORT = 0.0003  # seconds: tasks that wait for less share a thread: to wake one for each takes longer (measured with 0.05-5 ms)
LEAST = 0.0002  # seconds to which batches shrink towards the end: four times what it costs to move one (measured)
MOST = 20_000  # tasks in a batch: beyond it nothing more is gained (measured), and a crash would cost more
BATCH_BYTES = 1 << 24  # in a batch: several fit into a cache or a socket's buffer; guessed
PARTS = 8  # of a tuple that are weighed; guessed
WEIGHT = 0.3  # of the newest batch in the running mean; guessed

_STRINGS = frozenset((str, bytes, bytearray))


class Sizer:
    """Learns how long tasks take and says how many to send together. mean: seconds that one takes, infinite while none has ended."""

    def __init__(self, fixed: int | None) -> None:
        self.fixed = fixed
        self.mean = math.inf
        self._variance = 0.0
        self._last = 1
        self.moved = 0.0  # bytes that a task takes to move
        self._kept = 0.0  # that it takes here at least, input and result, where they are not shared with others

    @property
    def bytes(self) -> float:
        """That a task is known to take as long as it is held."""
        return max(self.moved, self._kept)

    def finished(self, count: int, seconds: float, size: int = 0, kept: int = 0) -> None:
        """So many tasks took so many seconds together, and so many bytes to move; and one of them takes so many here."""
        self._last = count
        mean = seconds / count
        if self.mean == math.inf:
            self.mean, self.moved, self._kept = mean, size / count, kept
            return
        self.moved += WEIGHT * (size / count - self.moved)
        self._kept += WEIGHT * (kept - self._kept)
        deviation = mean - self.mean
        self.mean += WEIGHT * deviation
        # The mean of `count` tasks varies count times less than a task does.
        self._variance = (1 - WEIGHT) * (self._variance + WEIGHT * count * deviation * deviation)

    def size(self, left: int, workers: int, target: float = TARGET) -> int:
        """Tasks in the next batch, of `left` known to be left for so many workers."""
        if self.fixed is not None:
            return self.fixed
        if self.mean == math.inf:
            return 1
        worth_sending = min(left, self._last, int(LEAST / max(self.mean, 1e-9)))
        share = max(-(-left // (2 * workers)), worth_sending)
        return max(1, min(2 * self._last, self._fitting(target), share, MOST))

    def _fitting(self, target: float) -> int:
        """The largest n with n * mean + 2 * sigma * sqrt(n) <= target: tasks that vary by themselves make up for each other.

        No more than can be moved at once, either.
        """
        sigma, mean = math.sqrt(self._variance), max(self.mean, 1e-9)
        in_time = ((math.sqrt(sigma * sigma + mean * target) - sigma) / mean) ** 2
        return int(min(in_time, BATCH_BYTES / max(1.0, self.moved)))


def kept_bytes(values: Sequence[Any]) -> int:
    """Bytes that the last of them takes at least; 0 where it is the first as well, which then takes them for all.

    Of strings and NumPy's arrays, and of those first in a tuple: what else there is would have to be asked for it.
    """
    last = values[-1]
    if len(values) > 1 and values[0] is last:
        return 0
    return sum(map(_bytes_of, last[:PARTS])) if type(last) is tuple else _bytes_of(last)


def _bytes_of(value: Any) -> int:
    kind = type(value)
    if kind in _STRINGS:
        return len(value)
    return int(value.nbytes) if kind.__module__ == "numpy" and kind.__name__ == "ndarray" else 0


class Queue:
    """Tasks that wait for a worker, `count` of them, cut and joined into batches. Lowest index first, as far as retries allow."""

    def __init__(self) -> None:
        self._spans: deque[Batch] = deque()
        self._offset = 0  # how much of the first span is gone already: cutting must not copy what stays
        self.count = 0  # to be read only
        self._alone: list[tuple[int, Batch]] = []  # a heap of single tasks that are not to be joined with others

    @property
    def first_alone(self) -> int | None:
        """The index of the single task that is taken next, if it is one that was to be left single."""
        return self._alone[0][0] if self._alone else None

    def push(self, batch: Batch) -> None:
        """Add at the end."""
        self._spans.append(batch)
        self.count += len(batch)

    def push_front(self, batch: Batch) -> None:
        """Add at the head: for tasks that have waited before."""
        if self._offset:
            head = self._spans[0]
            self._spans[0] = head.part(head.first + self._offset, head.end)
            self._offset = 0
        self._spans.appendleft(batch)
        self.count += len(batch)

    def push_alone(self, task: Batch) -> None:
        """Add a single task before all that came by the others, and leave it single."""
        heapq.heappush(self._alone, (task.first, task))
        self.count += 1

    def take(self, most: int) -> Batch:
        """Cut a batch of up to `most` tasks off the head: consecutive, of one attempt."""
        if self._alone:
            self.count -= 1
            return heapq.heappop(self._alone)[1]
        head = self._spans[0]
        first = head.first + self._offset
        inputs = self._cut(head, most)
        if len(inputs) < most and self._continues(head, first + len(inputs)):
            inputs = list(inputs)
            while len(inputs) < most and self._continues(head, first + len(inputs)):
                inputs.extend(self._cut(self._spans[0], most - len(inputs)))
        return Batch(first, inputs, head.attempt, head.route)

    def _continues(self, head: Batch, index: int) -> bool:
        return bool(self._spans) and self._spans[0].first == index and self._spans[0].attempt == head.attempt

    def _cut(self, span: Batch, most: int) -> Sequence[Any]:
        start, end = self._offset, min(self._offset + most, len(span))
        if end == len(span):
            self._spans.popleft()
            self._offset = 0
        else:
            self._offset = end
        self.count -= end - start
        return span.inputs if end - start == len(span) else span.inputs[start:end]

    def drop_from(self, index: int) -> int:
        """Forget the tasks with this index and above; return how many those were."""
        before = self.count
        alone, spans = self._alone, []
        self._alone = []
        while self._spans:
            spans.append(self.take(len(self._spans[0]) - self._offset))
        self.count = 0
        for span in spans:
            if span.first < index:
                self.push(span.part(span.first, min(span.end, index)))
        for first, task in alone:
            if first < index:
                self.push_alone(task)
        return before - self.count
