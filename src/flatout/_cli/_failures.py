"""What a command says of failures."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import flatout
from flatout._cli._output import complain, described, traceback_of
from flatout._cli._sources import BadLine

TASK_FAILED = 1  # exit status


class Ended(Exception):
    """The run ended by `error` before it gave the outcome of task `index`."""

    def __init__(self, error: BaseException, index: int) -> None:
        super().__init__(error, index)
        self.error = error
        self.index = index


class Failures:
    """Says on standard error what failed, as `on_error` wants it, and counts."""

    def __init__(self, on_error: str, traceback: bool) -> None:
        self._on_error = on_error
        self._traceback = traceback
        self.count = 0
        self.bad_lines: deque[BadLine] = deque()  # of which the output is still to tell, in its order

    @property
    def skipped(self) -> bool:
        """Whether nothing is to be heard of a task that fails."""
        return self._on_error == "skip"

    def task(self, failure: flatout.Failure) -> None:
        """A task failed and the run goes on."""
        self._add(failure.error, str(failure).partition("\n")[0], self.skipped)

    def bad_line(self, error: BadLine) -> None:
        """An input cannot be read; under "raise" that ends the inputs."""
        if self._on_error == "raise":
            raise error
        self._add(error, str(error), self.skipped)
        self.bad_lines.append(error)

    def result(self, index: int, error: Exception) -> None:
        """A result is there and cannot be written."""
        self._add(error, f"the result of task {index} cannot be written: {described(error)}")

    def ended(self, error: BaseException, index: int | None = None) -> None:
        """The run ended early, before the outcome of task `index`: under "raise" by that task's own error."""
        if isinstance(error, flatout.InputError):
            self._add(error, str(error.__cause__ if isinstance(error.__cause__, BadLine) else error))
        elif self._on_error == "raise" and index is not None:
            self._add(error, f"{_named(error, index)} failed: {described(error)}")
        else:
            self._add(error, described(error))

    def _add(self, error: BaseException, message: str, silently: bool = False) -> None:
        self.count += 1
        if not silently:
            complain(f"{message}\n{traceback_of(error)}" if self._traceback else message)


def _named(error: BaseException, index: int) -> str:
    """The task with its input, which the note that the run has left on the error tells."""
    note = re.compile(
        rf"flatout: raised by task {index}, input (.*?)(, in the plain loop|, in an? [\w ]+?)(, in the last of \d+ attempts)?"
    )
    for found in filter(None, map(note.fullmatch, getattr(error, "__notes__", ()))):
        return f"task {index} (input {found[1]})"
    return f"task {index}"


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
        raise Ended(error, index) from error
