"""Several tasks in flight in one worker process: what runs them comes with the set-up, and their outcomes go home by here."""

from __future__ import annotations

import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence

from flatout._child._end import give_up
from flatout._child._results import Channel, Outcomes
from flatout._forks import leave
from flatout._wire import _frames, _page

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Inside(Protocol):
        """Runs tasks, many at once, and brings their outcomes to a `Flight`."""

        def start(self) -> None:
            """Make ready; raises what the initializer raised."""

        def send(self, tasks: Sequence[tuple[int, Any]]) -> None:
            """Begin these tasks, as (index, input)."""

        def cancel(self, index: int) -> None:
            """End one task, if that can be."""

        def end(self) -> None:
            """Nothing more comes."""

        def let_go(self) -> None:
            """This is a child that a task has forked: begin no other task here."""


# Seconds after which a thread that computes gives the GIL away: 5 ms, CPython's own, pass three times from the end of one
# task to the start of the next (sending, reading, starting), for which a thread that ought to wait already waits for the GIL.
# But at each interval all threads wake that wait for it: where nine of ten compute, 0.5 ms cost 4-8 % (measured).
BRISK = 0.002


class Flight:
    """The tasks in flight, and their way home. `forked`: this process is a child that a task has forked."""

    def __init__(self, channel: Channel, slots: memoryview, flush: Callable[[], None]) -> None:
        self._channel = channel
        self._slots = slots
        self._flush = flush
        self.forked = False
        self._received = 0  # tasks, and of those that have not begun which they are in the order of coming
        self._waiting: deque[int] = deque()
        self._inside: Inside
        self._landed: deque[Outcomes] = deque()
        self._sending = threading.Lock()

    def begin(self, inside: Inside) -> None:
        """Have it run the tasks. Raises what its initializer raises."""
        self._inside = inside
        self._slots[_page.BEGUN] = 0
        self._interval = sys.getswitchinterval()
        sys.setswitchinterval(BRISK)
        self._on_interrupt = signal.signal(signal.SIGINT, signal.SIG_DFL)  # it would strike the main thread, not a task
        inside.start()

    def send(self, first: int, inputs: Sequence[Any], unloadable: Sequence[tuple[int, BaseException]]) -> None:
        """Begin tasks; those whose inputs could not be loaded have failed."""
        failed = dict(unloadable)
        for position, error in failed.items():
            self.land(Outcomes(first + position, [None], [(0, error)], 0.0, 0.0))
        loaded = [n for n in range(len(inputs)) if n not in failed]
        self._waiting.extend([self._received + n + 1 for n in loaded])
        self._received += len(inputs)
        self._inside.send([(first + n, inputs[n]) for n in loaded])

    def note_begun(self) -> None:
        """The next one begins: if this process dies, those behind it may be run again."""
        self._slots[_page.BEGUN] = self._waiting.popleft()

    def give_up(self, error: BaseException) -> None:
        """A task has changed what all of them rely on: end this process."""
        give_up(self._slots, error)

    def cancel(self, index: int) -> None:
        """End one task, if that can be."""
        self._inside.cancel(index)

    def end(self) -> None:
        """The run is over."""
        self._inside.end()
        sys.setswitchinterval(self._interval)
        signal.signal(signal.SIGINT, self._on_interrupt)

    def let_go(self) -> None:
        """In a child that a task has forked: end with that task."""
        self.forked = True
        self._inside.let_go()

    def land(self, outcomes: Outcomes) -> None:
        """Take outcomes home, from any thread: what ends while others are being sent follows together."""
        if self.forked:
            leave(outcomes.errors[0][1] if outcomes.errors else None)
        self._landed.append(outcomes)
        while self._landed and self._sending.acquire(blocking=False):
            try:
                self._send_all()
            except BaseException as error:  # what was taken would never come home
                self.give_up(error)
            finally:
                self._sending.release()

    def idle(self) -> None:
        """All tasks have begun, and all wait."""
        if self.forked:
            leave(None)
        self._channel.send(_frames.IDLE, None)

    def _send_all(self) -> None:
        landed = []
        while self._landed:  # others may add to it
            landed.append(self._landed.popleft())
        if landed:
            self._flush()
            self._channel.send_results(landed[0] if len(landed) == 1 else _together(landed), self._slots)


def _together(landed: list[Outcomes]) -> Outcomes:
    """In the order of their indices."""
    each = [
        (index, value, errors.get(position))
        for outcomes in landed
        for errors in [dict(outcomes.errors)]
        for position, (index, value) in enumerate(zip(_indices(outcomes), outcomes.values, strict=True))
    ]
    each.sort(key=lambda entry: entry[0])
    indices = [index for index, _, _ in each]
    errors = [(position, error) for position, (_, _, error) in enumerate(each) if error is not None]
    seconds, cpu = sum(one.seconds for one in landed), sum(one.cpu for one in landed)
    queued = sum(one.queued for one in landed)
    return Outcomes(indices[0], [value for _, value, _ in each], errors, seconds, cpu, indices, queued)


def _indices(outcomes: Outcomes) -> Sequence[int]:
    return outcomes.indices or range(outcomes.first, outcomes.first + len(outcomes.values))
