"""What a command says of failures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import flatout
from flatout._cli._output import complain, described, traceback_of
from flatout._cli._sources import BadLine

TASK_FAILED = 1  # exit status


class Ended(Exception):
    """The run ended early; the cause says why."""


class Failures:
    """Says on standard error what failed, and counts."""

    def __init__(self, traceback: bool, silent: bool = False) -> None:
        self._traceback = traceback
        self._silent = silent
        self.count = 0

    def error(self, error: BaseException, message: str) -> None:
        """A failure, and the error that made it one."""
        self.count += 1
        if not self._silent:
            complain(f"{message}\n{traceback_of(error)}" if self._traceback else message)

    def bad_line(self, error: BadLine) -> None:
        """An input that cannot be read; the others go on."""
        self.error(error, str(error))

    def ended(self, ended: Ended) -> None:
        """The error that ended the run: under "raise" that of a task, else that of the inputs."""
        error = ended.__cause__
        assert error is not None
        if isinstance(error, flatout.InputError):
            self.error(error, str(error.__cause__ if isinstance(error.__cause__, BadLine) else error))
        else:
            self.error(error, f"{ended} failed: {described(error)}")


def outcomes(run: Iterable[Any]) -> Iterator[tuple[int, Any]]:
    """The results with their numbers. Raises Ended where the run does not come to its end by itself."""
    index = 0
    try:
        for value in run:
            yield index, value
            index += 1
    except (KeyboardInterrupt, GeneratorExit, flatout.PlanError):
        raise
    except BaseException as error:  # a task may raise anything
        raise Ended(f"task {index}") from error
