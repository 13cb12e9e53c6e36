"""The front door: arguments are checked here, once, and made into a Run.

What carries a run out is imported when it begins: behind the start of the zygote, which takes longer and goes on meanwhile.
"""

from __future__ import annotations

import contextvars
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from contextlib import suppress

from flatout._machine._machine import gil_enabled, usable_cores, why_not_chosen
from flatout._model import Kind, Options, Plan, Retry, Work
from flatout._options import check_callable, check_iterables, check_options, is_async, need_processes
from flatout._plan._choose import MOST_THREADS, START, async_plan
from flatout._record import replace
from flatout._run._run import Run, Watcher
from flatout._threads._interrupts import put_off
from flatout._workers import idle_workers, zygote_age

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any, Literal, TypeVar, overload

    from flatout._explain import Explanation
    from flatout._plan._chooser import Chooser
    from flatout._run._engine import Engine

    R = TypeVar("R")

PROCESSES_FOR_WAITING = 16  # per core, to which a run may grow whose tasks must be processes though they wait; guessed

if TYPE_CHECKING:

    @overload
    def map(
        func: Callable[..., Awaitable[R]],
        *iterables: Iterable[Any] | AsyncIterable[Any],
        via: Kind | Literal["auto"] | Plan = ...,
        max_concurrency: int | None = ...,
        max_per_second: float | None = ...,
        chunksize: int | None = ...,
        buffersize: int | None = ...,
        timeout: float | None = ...,
        retry: int | Retry | None = ...,
        on_error: Literal["raise", "return", "skip"] = ...,
        initializer: Callable[[], Any] | None = ...,
        progress: bool = ...,
    ) -> Run[R]: ...

    @overload
    def map(
        func: Callable[..., R],
        *iterables: Iterable[Any] | AsyncIterable[Any],
        via: Kind | Literal["auto"] | Plan = ...,
        max_concurrency: int | None = ...,
        max_per_second: float | None = ...,
        chunksize: int | None = ...,
        buffersize: int | None = ...,
        timeout: float | None = ...,
        retry: int | Retry | None = ...,
        on_error: Literal["raise", "return", "skip"] = ...,
        initializer: Callable[[], Any] | None = ...,
        progress: bool = ...,
    ) -> Run[R]: ...


def map(
    func: Callable[..., Any],
    *iterables: Iterable[Any] | AsyncIterable[Any],
    via: Kind | Literal["auto"] | Plan = "auto",
    max_concurrency: int | None = None,
    max_per_second: float | None = None,
    chunksize: int | None = None,
    buffersize: int | None = None,
    timeout: float | None = None,
    retry: int | Retry | None = None,
    on_error: Literal["raise", "return", "skip"] = "raise",
    initializer: Callable[[], Any] | None = None,
    progress: bool = False,
) -> Run[Any]:
    """Call `func` with every input, by the kind of worker that suits it; like the builtin `map`, but at once.

    func: any callable: plain, `async def`, a lambda, a bound method. iterables: the inputs, sync or async; with several,
    `func` gets one of each, until the shortest ends. Returns a lazy `Run`: nothing is called before it is consumed.

    via: "auto" measures the first calls and chooses; or "inline", "thread", "process", "async", or a `Plan`.
    max_concurrency: most tasks at once. max_per_second: most task starts a second. chunksize: tasks sent to a worker together. buffersize: most inputs and results
    held. None: chosen. timeout: seconds for one task; past it, it fails: a process is killed, a coroutine cancelled, a
    thread left behind. Under "auto" a timeout means processes for plain functions. retry: attempts in all, or a `Retry`.
    on_error: "raise" the task's own exception, "return" a `Failure` in place of its value, or "skip" it. initializer:
    called once in every worker. progress: show a live display on stderr.

    Raises PlanError for arguments that cannot work, before anything runs.
    """
    check_callable(func)
    check_iterables(iterables)
    options = check_options(
        func,
        via=via,
        max_concurrency=max_concurrency,
        max_per_second=max_per_second,
        chunksize=chunksize,
        buffersize=buffersize,
        timeout=timeout,
        retry=retry,
        on_error=on_error,
        initializer=initializer,
        progress=progress,
    )
    work = Work(func, len(iterables) > 1, initializer, contextvars.copy_context(), timeout is not None)
    plan = plan_for(func, options)

    def start(**how: Any) -> Engine:
        with put_off():  # not in the middle of a start or an import
            if plan is not None and plan.kind == "process":
                _boot_ahead()
            from flatout._run._engine import Engine

            chooser = _chooser(work, options, not gil_enabled(), known=True) if plan is None else None
        return Engine(work, iterables, options, plan, chooser=chooser, **how)

    return Run(start, options.on_error, _observers(options), plan)


def gather(*calls: Any, on_error: Literal["raise", "return", "skip"] = "raise") -> Run[Any]:
    """Run unlike calls at once, each where it belongs: coroutines on an event loop, the rest in threads or processes.

    calls: coroutine objects (anything awaitable) and callables without arguments, such as `functools.partial` objects. A plain
    one that returns an awaitable (`lambda: ask(x)`) has it awaited where it runs, on another event loop than yours.
    Returns a `Run`: unpack it (`a, b = flatout.gather(...)`) or, inside a running loop, await it. Results come in the
    order of the calls. on_error: as in `map`.
    """
    from flatout._gather import gather_run

    return gather_run(calls, on_error)


def explain(func: Callable[..., Any], *iterables: Iterable[Any]) -> Explanation:
    """Say what `map` would do with these arguments, and why.

    The first few calls are made for it, in this thread, until they have taken some 30 ms; nothing more is run, and their
    results are dropped. An exception of theirs is raised.
    """
    from flatout._explain import measure

    check_callable(func)
    check_iterables(iterables)
    work = Work(func, len(iterables) > 1, None, contextvars.copy_context())
    return measure(work, iterables, _chooser(work, Options()), is_async(func))


def plan_for(func: Callable[..., Any], options: Options) -> Plan | None:
    """The plan where no measurement is needed for it, else None."""
    via, most = options.via, options.max_concurrency
    if isinstance(via, Plan):
        if via.kind == "process":
            need_processes()
        if via.inside and via.processes is None:
            return replace(via, processes=min(usable_cores(), via.concurrency))
        return via
    if via == "process":
        return _process_plan('via="process" was asked for', most)
    if via == "async":
        return async_plan('via="async" was asked for', most)
    if via == "thread":
        return Plan("thread", most or START, most or MOST_THREADS, reason='via="thread" was asked for')
    if via == "inline":
        return Plan("inline", reason='via="inline" was asked for')
    if is_async(func):
        return async_plan("the function is a coroutine function", most)
    if options.timeout is None:
        return None
    if reason := why_not_chosen():
        why = f"{reason}, so a task that is over its time can only be left behind in its thread"
        return Plan("thread", most or START, most or MOST_THREADS, reason=why)
    plan = _process_plan("only a process can be ended when its task is over its time", most)
    return replace(plan, ceiling=most or PROCESSES_FOR_WAITING * usable_cores())


def _process_plan(why: str, most: int | None) -> Plan:
    need_processes()
    count = usable_cores() if most is None else most
    return Plan("process", count, reason=f"{why}: {count} process{'es' * (count != 1)}")


def _chooser(work: Work, options: Options, duels: bool = False, known: bool = False) -> Chooser:
    """known: it may go by what an earlier run has seen."""
    from flatout._plan._chooser import Chooser
    from flatout._plan._remembered import recall

    machine = usable_cores(), why_not_chosen(), zygote_age, _boot, idle_workers
    return Chooser(work, options, *machine, duels=duels, known=recall(work.func) if known else None)


def _boot() -> None:
    with put_off():
        from flatout._workers import _pool

        _pool.pool()


def _boot_ahead() -> None:
    with suppress(OSError):  # whoever needs a worker tells what keeps it from being had
        _boot()


def _observers(options: Options) -> list[Watcher]:
    if not options.progress:
        return []
    from flatout._observe._progress import Progress

    return [Progress()]
