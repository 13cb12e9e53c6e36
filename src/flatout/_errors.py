"""Every error that flatout raises by itself, split by who has to act.

    FlatoutError
    ├── PlanError            asked for the impossible: change the call; nothing has run
    │   └── NotPicklable     cannot cross a process border; names the argument or closure variable at fault
    ├── RunError             happened while it ran
    │   ├── WorkerDied       the worker process ended in the middle of a task
    │   ├── TaskTimeout      a task ran over its time (also a TimeoutError)
    │   ├── InputError       the iterable of inputs itself failed
    │   ├── RunCancelled     results were asked of a run that had been cancelled
    │   └── VirtualTimeError (flatout.testing) a loop on a virtual clock would have waited for the outside world
    └── InternalError        a fault of flatout's own: please report it

Exceptions that the user's function raises are never wrapped: they arrive as they are, with a note that names the task.
"""

from __future__ import annotations


class FlatoutError(Exception):
    """Base of all errors that flatout raises by itself."""


class PlanError(FlatoutError):
    """What was asked for cannot be done; nothing has run."""


class NotPicklable(PlanError):
    """Something cannot be sent to a process; the message names the argument, attribute or closure variable at fault."""


class RunError(FlatoutError):
    """Something went wrong while the run was under way."""


class WorkerDied(RunError):
    """A worker process ended in the middle of a task.

    `exitcode` is the exit status of the process, negative for a signal as in `subprocess`, None where it is not known.
    `traceback` is what faulthandler wrote when the process crashed, else empty.
    """

    def __init__(self, message: str, exitcode: int | None = None, traceback: str = "") -> None:
        super().__init__(message, exitcode, traceback)
        self.exitcode = exitcode
        self.traceback = traceback

    def __str__(self) -> str:
        return f"{self.args[0]}\n{self.traceback}" if self.traceback else str(self.args[0])


class TaskTimeout(RunError, TimeoutError):
    """A task ran longer than `timeout` seconds."""


class InputError(RunError):
    """The iterable of inputs raised; its own exception is the cause."""


class RunCancelled(RunError):
    """The run was cancelled before all its results were there."""


class InternalError(FlatoutError):
    """A promise of flatout's own was broken. Please report it with the traceback."""

    @classmethod
    def caused_by(cls, cause: BaseException) -> InternalError:
        """What the run ends with where code of flatout's own has raised this."""
        name = cause.__class__.__name__  # a task may have taken `type` away
        error = cls(f"flatout itself failed: {name}: {cause}. Please report this.")
        error.__cause__ = cause
        return error


class RemoteTraceback(Exception):
    """The traceback of an exception in the worker where it was raised, as text; the cause of the exception here."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def trimmed(error: BaseException, file: str) -> BaseException:
    """The exception, its traceback without the leading frames that lie in `file` (flatout's own)."""
    trace = BaseException.__getattribute__(error, "__traceback__")  # its class may have ideas of its own
    while trace is not None and trace.tb_frame.f_code.co_filename == file:
        trace = trace.tb_next
    BaseException.with_traceback(error, trace)
    return error
