"""Arguments checked once, before anything runs; every refusal says what to do instead."""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType

from flatout._errors import PlanError
from flatout._machine._machine import why_no_processes
from flatout._model import KINDS, Options, Plan, Retry

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any

VIAS = ("auto", *KINDS)
ON_ERRORS = ("raise", "return", "skip")

# Of code, as in `inspect`, which takes 6 ms to import
_GENERATOR, _COROUTINE, _ITERABLE_COROUTINE, _ASYNC_GENERATOR = 0x20, 0x80, 0x100, 0x200


def check_callable(func: Any, what: str = "func") -> None:
    """It must be callable, and not be a generator function by mistake."""
    if not callable(func):
        hint = ": did you call it already? pass the function itself" if isinstance(func, Awaitable) else ""
        raise PlanError(f"{what} must be callable, but it is {_a(func)}{hint}")
    flags = _flags(_underlying(func))
    if flags & _ASYNC_GENERATOR:
        raise PlanError(
            f"{what} {_name(func)} is an async generator function: a call of it yields many values and returns none. "
            "Write an `async def` that returns one value, a list perhaps"
        )
    if flags & _GENERATOR and not flags & _ITERABLE_COROUTINE:
        raise PlanError(
            f"{what} {_name(func)} is a generator function: calling it runs nothing and returns a generator. Where a "
            f"sequence is meant, map `lambda item: list({_name(func)}(item))`; where it is an old generator-based "
            "coroutine (asyncio.coroutine made those until Python 3.10), write it as `async def`"
        )


def check_iterables(iterables: tuple[Any, ...]) -> None:
    """There must be one at least, and all must be iterable."""
    if not iterables:
        raise PlanError("no inputs: pass at least one iterable after the function, as in flatout.map(func, items)")
    for position, iterable in enumerate(iterables, 1):
        if not isinstance(iterable, AsyncIterable) and not _iterable(iterable):
            import inspect

            hint = ": call it to get its iterator" if inspect.isroutine(iterable) else ""
            raise PlanError(f"iterable {position} is not iterable, it is {_a(iterable)}{hint}")


def check_options(
    func: Callable[..., Any],
    *,
    via: Any,
    max_concurrency: int | None,
    max_per_second: float | None,
    chunksize: int | None,
    buffersize: int | None,
    timeout: float | None,
    retry: int | Retry | None,
    on_error: str,
    initializer: Callable[[], Any] | None,
    progress: bool,
) -> Options:
    """The options of `map`, checked against each other and the function. Raises PlanError."""
    check_via(via, func)
    for name, value in (("max_concurrency", max_concurrency), ("chunksize", chunksize), ("buffersize", buffersize)):
        if value is not None and not _counts(value):
            raise PlanError(f"{name} must be a whole number from 1 on, or None for flatout to choose; it is {value!r}")
    if chunksize not in (None, 1) and (
        (via.kind if isinstance(via, Plan) else via) == "async" or (is_async(func) and via == "auto")
    ):
        raise PlanError(
            "chunksize has no meaning for coroutines: they are not sent anywhere, an event loop starts each by itself. "
            "Leave it out; max_concurrency bounds how many run at once"
        )
    check_rate(max_per_second)
    check_timeout(timeout, via, func)
    check_on_error(on_error)
    if initializer is not None:
        check_callable(initializer, "initializer")
    return Options(
        via=via,
        max_concurrency=max_concurrency,
        max_per_second=None if max_per_second is None else float(max_per_second),
        chunksize=chunksize,
        buffersize=buffersize,
        timeout=None if timeout is None else float(timeout),
        retry=check_retry(retry),
        on_error=on_error,  # type: ignore[arg-type]
        initializer=initializer,
        progress=bool(progress),
    )


def check_via(via: Any, func: Callable[..., Any]) -> None:
    """It must be a kind of worker that can run the function, "auto" or a Plan."""
    if isinstance(via, Plan):
        check_plan(via)
        via = via.kind
    elif via not in VIAS:
        raise PlanError(f"via must be one of {_list(VIAS)} or a Plan{_nearest(via, VIAS)}; it is {via!r}")
    if via == "async" and not is_async(func) and _surely_plain(func):
        raise PlanError(
            f'via="async" needs a function whose result can be awaited, and {_name(func)} is a plain one: it would block '
            'the event loop. Use via="thread" for one that waits, via="process" for one that computes, or leave it to '
            'via="auto"; or write it as `async def`'
        )


def check_executor_via(via: Any) -> None:
    """It must be a kind of worker that is not the caller, or "auto"."""
    choices = tuple(name for name in VIAS if name != "inline")
    if via not in choices:
        raise PlanError(f"via must be one of {_list(choices)}{_nearest(via, choices)}; it is {via!r}")


def check_plan(plan: Plan) -> None:
    """One that was written by hand must be one that can be carried out."""
    if plan.kind not in KINDS:
        raise PlanError(f"a Plan needs one of the kinds {_list(KINDS)}{_nearest(plan.kind, KINDS)}; this is {plan!r}")
    if not _counts(plan.concurrency):
        raise PlanError(f"a Plan needs a concurrency that is a whole number from 1 on; it is {plan.concurrency!r}")
    if plan.inside not in ("", "thread", "async") or (plan.inside and plan.kind != "process"):
        raise PlanError(
            'the inside of a Plan is "thread" or "async" where its kind is "process", and empty elsewhere; '
            f"it is {plan.inside!r}, and the kind {plan.kind!r}"
        )
    if plan.processes not in (None, plan.concurrency) and not plan.inside:
        raise PlanError(
            "the processes of a Plan are those that have several calls in flight each, as its inside says; without one it has "
            f"as many workers as its concurrency says: write Plan({plan.kind!r}, {plan.processes!r}), or say what is inside"
        )
    for name in ("ceiling", "chunksize", "buffersize", "processes"):
        value = getattr(plan, name)
        if value is not None and not _counts(value):
            raise PlanError(f"the {name} of a Plan must be a whole number from 1 on, or None; it is {value!r}")


def check_rate(max_per_second: float | None) -> None:
    """It must be positive and finite."""
    if max_per_second is not None and not _positive(max_per_second):
        raise PlanError(
            "max_per_second must be a positive number of task starts a second, or None for no limit of that sort; it is "
            f"{max_per_second!r}"
        )


def check_timeout(timeout: float | None, via: Any, func: Callable[..., Any]) -> None:
    """It must be positive and finite, and the kind of worker must be able to keep it."""
    if timeout is None:
        return
    if not _positive(timeout):
        raise PlanError(f"timeout must be a positive number of seconds, or None for no limit; it is {timeout!r}")
    kind = via.kind if isinstance(via, Plan) else via
    if kind == "inline":
        raise PlanError(
            'timeout cannot be kept with via="inline": nothing can end a call in the caller\'s own thread. '
            'Use via="process", where a task that is over its time is really ended'
        )


def need_processes() -> None:
    """They must be there to be had."""
    if reason := why_no_processes():
        raise PlanError(f'worker processes cannot be had: {reason}. Use via="thread"')


def check_on_error(on_error: Any) -> None:
    """It must be one of three words."""
    if on_error not in ON_ERRORS:
        raise PlanError(
            f"on_error must be one of {_list(ON_ERRORS)}{_nearest(on_error, ON_ERRORS)}; it is {on_error!r}"
        )


def check_retry(retry: int | Retry | None) -> Retry:
    """A number of attempts becomes a Retry."""
    if retry is None:
        return Retry(attempts=1)
    if isinstance(retry, int) and not isinstance(retry, bool):
        retry = Retry(attempts=retry)
    if not isinstance(retry, Retry):
        raise PlanError(f"retry must be a number of attempts or a flatout.Retry; it is {retry!r}")
    if not _counts(retry.attempts):
        raise PlanError(f"retry counts attempts, the first one included: 1 or more; it is {retry.attempts!r}")
    if not callable(retry.backoff) and not (isinstance(retry.backoff, (int, float)) and 0 <= retry.backoff < math.inf):
        raise PlanError(f"the backoff of a Retry must be seconds >= 0 or a function; it is {retry.backoff!r}")
    classes = retry.on if isinstance(retry.on, tuple) else (retry.on,)
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in classes):
        raise PlanError(f"a Retry needs an exception class, or a tuple of them, to retry on; it is {retry.on!r}")
    return retry


def is_async(func: Any) -> bool:
    """Whether calling it gives a coroutine, as far as can be told without calling it."""
    plain = _underlying(func)
    return bool(_flags(plain) & (_COROUTINE | _ITERABLE_COROUTINE)) or _is_marked(plain)


def _underlying(func: Any) -> Any:
    """The function that a call ends up in: through partials, and the `__call__` of objects."""
    while isinstance(func, functools.partial):
        func = func.func
    if isinstance(func, (FunctionType, MethodType, BuiltinFunctionType, type)):
        return func
    call = getattr(type(func), "__call__", None)  # noqa: B004 - not whether, but what
    return call if isinstance(call, FunctionType) else func


def _flags(func: Any) -> int:
    """The flags of its code, as types.coroutine too leaves them; 0 where it has none in Python."""
    code = getattr(func, "__code__", None)
    return code.co_flags if isinstance(code, CodeType) else 0


def _is_marked(func: Any) -> bool:
    """Whether inspect.markcoroutinefunction (new in 3.12) has been called for it."""
    inspect = sys.modules.get("inspect")
    return inspect is not None and inspect.iscoroutinefunction(func)


def _surely_plain(func: Any) -> bool:
    """Whether it returns no awaitable for certain: only of builtins can that be said, and of functions that await nothing.

    A plain Python function may return a coroutine that it got elsewhere, so it is given the benefit of the doubt only
    where its annotation, its being a lambda or what it wraps (`functools.wraps`) speaks for it.
    """
    plain = _underlying(func)
    if isinstance(plain, (FunctionType, MethodType)):
        if (wrapped := getattr(plain, "__wrapped__", None)) is not None:
            return not is_async(wrapped) and _surely_plain(wrapped)
        returns = getattr(plain, "__annotations__", {}).get("return")
        return plain.__name__ != "<lambda>" and "Awaitable" not in str(returns) and "Coroutine" not in str(returns)
    return not isinstance(plain, type)


def _counts(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _positive(value: Any) -> bool:
    """Whether it is a number above 0, and finite."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and 0 < value <= sys.float_info.max


def _iterable(value: Any) -> bool:
    return isinstance(value, Iterable) or hasattr(type(value), "__getitem__")


def _name(func: Any) -> str:
    return getattr(func, "__qualname__", None) or repr(func)


def _a(value: Any) -> str:
    return f"{type(value).__name__} {value!r:.60}" if value is not None else "None"


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _nearest(name: Any, names: tuple[str, ...]) -> str:
    if not isinstance(name, str):
        return ""
    import difflib

    others = [alias for alias, meant in _ALIASES.items() if meant in names]
    near = difflib.get_close_matches(name.lower(), [*names, *others], 1, cutoff=0.5)
    return f' (did you mean "{_ALIASES.get(near[0], near[0])}"?)' if near else ""


_ALIASES = {
    "threads": "thread",
    "threading": "thread",
    "processes": "process",
    "multiprocessing": "process",
    "asyncio": "async",
    "coroutine": "async",
    "serial": "inline",
    "sequential": "inline",
    "sync": "inline",
    "ignore": "skip",
    "continue": "return",
    "collect": "return",
}
