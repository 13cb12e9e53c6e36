"""How a worker process ends that cannot go on: it says why on its page, since it may have no other way to speak."""

from __future__ import annotations

import os

from flatout._wire import _page

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import NoReturn

STATUS = 70  # of the process: EX_SOFTWARE
_exit = os._exit  # before a task can put something else in its place
_MOST = 500  # characters of the first line, so that there is room for some of the traceback


class DescriptorLost(OSError):
    """A descriptor of the worker's own was closed or put to another use."""


def give_up(slots: memoryview, error: BaseException) -> NoReturn:
    """End this process at once: its task has made that impossible on which all other tasks rely."""
    status = STATUS
    try:
        if isinstance(error, (EOFError, ConnectionError)):  # as where nobody is there any more who would read this
            status, error = 0, DescriptorLost("a task has shut down the socket of its worker process")
        _page.give_reason(slots, _say(error))
    finally:
        _exit(status)


def _say(error: BaseException) -> str:
    import traceback

    said = f"{type(error).__name__}: {error}"[:_MOST].replace("\n", " ")
    return f"{said}\n{''.join(traceback.format_tb(error.__traceback__))}"
