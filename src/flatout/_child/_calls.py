"""The innermost loop of a worker process: call after call, each in a context of its own, noted on the page."""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable

from flatout._awaitable import awaited, is_awaitable
from flatout._child._results import Results
from flatout._errors import trimmed
from flatout._forks import leave
from flatout._wire import _page

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any

    from flatout._child._results import Tasks


class Unloadable:
    """Stands for an input that could not be loaded."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def fail(self) -> Any:
        """Raise what loading it raised."""
        raise self._error


class Caller:
    """Calls the function of a run. `func`, `star` and `timed` are set with each run.

    With `timed` it is noted of each task when it began. `forked`: this process is a child that a task has forked.
    """

    def __init__(self, slots: memoryview) -> None:
        self.func: Callable[..., Any] = _not_set_up
        self.star = False
        self.timed = False
        self.forked = False
        self._slots = slots
        self._plain: type | None = None  # the type of the last result, if that was not to be awaited
        self._runner: Any = None

    def run(self, tasks: Tasks, out: Results) -> None:
        """Run tasks until none is left; another thread may take from the end."""
        call, over = self._one_argument(), False
        while not over:
            context, error = contextvars.Context(), None
            try:
                over = context.run(self._calls, call, tasks, out.values.append, context)
            except BaseException as raised:
                error = trimmed(raised, __file__)
            if self.forked:
                leave(error)
            if error is not None:
                out.fail(error)

    def begins(self, index: int) -> None:
        """This task is to blame for what comes now: code of the user's is run to load its input."""
        self._slots[_page.BEGAN] = time.monotonic_ns()
        self._slots[_page.CURRENT] = index + 1

    def _one_argument(self) -> Callable[[Any], Any]:
        func = self.func
        return (lambda item: func(*item)) if self.star else func

    def _calls(
        self, call: Callable[[Any], Any], tasks: Tasks, append: Callable[[Any], None], context: contextvars.Context
    ) -> bool:
        """Call until a call has changed its context, and the next needs another; returns True when all are made.

        What this loop adds to a call is most of what tiny tasks cost in a process.
        """
        timed, slots, take = self.timed, self._slots, tasks.popleft
        while True:
            try:
                number, item = take()
            except IndexError:
                return True
            if timed:
                slots[_page.BEGAN] = time.monotonic_ns()
            slots[_page.CURRENT] = number
            value = call(item) if type(item) is not Unloadable else item.fail()
            if type(value) is not self._plain:
                value = self.finished(value)
            append(value)
            if context or self.forked:
                return False

    def finished(self, value: Any) -> Any:
        """The value itself, or what awaiting it gives, on an event loop that this worker keeps."""
        if not is_awaitable(value):
            self._plain = type(value)
            return value
        import asyncio

        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(awaited(value), context=contextvars.copy_context())


def _not_set_up(*_: Any) -> Any:
    raise AssertionError("a batch came before the set-up")
