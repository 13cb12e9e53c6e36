"""What an exception must be, in the words of the page that lists the cases."""

from __future__ import annotations

import signal
from collections.abc import Callable

import flatout
from faults.model import Expected


def died(how: signal.Signals | int | None = None) -> Expected:
    """Its worker died: of a signal, with an exit status, or in any way."""
    if isinstance(how, signal.Signals):
        return Expected(f"`WorkerDied` by {how.name}", lambda error: _exit_code(error) == -how, ours=True)
    if how is not None:
        return Expected(f"`WorkerDied` with status {how}", lambda error: _exit_code(error) == how, ours=True)
    return Expected("`WorkerDied`", lambda error: isinstance(error, flatout.WorkerDied), ours=True)


def _exit_code(error: BaseException) -> int | None:
    return error.exitcode if isinstance(error, flatout.WorkerDied) else None


def timed_out() -> Expected:
    return Expected("`TaskTimeout`", lambda error: isinstance(error, flatout.TaskTimeout), ours=True)


def not_picklable(*words: str) -> Expected:
    def check(error: BaseException) -> bool:
        return isinstance(error, flatout.NotPicklable) and all(word in str(error) for word in words)

    return Expected("`NotPicklable`", check, ours=True)


def described(*words: str) -> Expected:
    """An exception that could not travel: said in words."""

    def check(error: BaseException) -> bool:
        return isinstance(error, flatout.RunError) and all(word in str(error) for word in words)

    return Expected("`RunError` that describes it", check, ours=True)


def raised(
    kind: type[BaseException], text: str = "", more: Callable[[BaseException], bool] = lambda error: True
) -> Expected:
    """The task's own exception, of that very type."""

    def check(error: BaseException) -> bool:
        return type(error) is kind and (not text or text in str(error)) and more(error)

    return Expected(f"its own `{kind.__name__}`", check)


def own(name: str) -> Expected:
    """The task's own exception, of a class that only its name can tell."""
    return Expected(f"its own `{name}`", lambda error: type(error).__name__ == name)


def carries(length: int) -> Callable[[BaseException], bool]:
    """Whether the message is all there."""
    return lambda error: len(error.args[0]) == length


def input_failed(cause: type[BaseException]) -> Expected:
    def check(error: BaseException) -> bool:
        return isinstance(error, flatout.InputError) and type(error.__cause__) is cause

    return Expected(f"`InputError` from `{cause.__name__}`", check, ours=True)


def either(*ones: Expected) -> Expected:
    words = " or ".join(one.words for one in ones)
    return Expected(words, lambda error: any(one.check(error) for one in ones), any(one.ours for one in ones))


def anything() -> Expected:
    return Expected("an error", lambda error: True)
