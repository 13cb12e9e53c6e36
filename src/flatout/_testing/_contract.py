"""What every kind of worker promises, clause by clause. Public as `flatout.testing.WORKER_CONTRACT`.

A clause takes a `Filling`, tries one worker of it out on a `Stage`, and raises AssertionError where a promise is broken.
Functions that workers run stand at the head of the file, so that any process can import them.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from contextvars import Context, ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from flatout._model import Work
from flatout._testing._stage import Attempt, Filling, Stage

Clause = Callable[[Filling], None]

_marker: ContextVar[str] = ContextVar("flatout_contract_marker", default="unset")


class Refused(Exception):
    """An exception of the user's own, with a message and an attribute."""

    def __init__(self, item: object) -> None:
        super().__init__(f"{item!r} was refused")
        self.item = item

    def __reduce__(self) -> tuple[type[Refused], tuple[object]]:
        return Refused, (self.item,)


@dataclass(frozen=True)
class Gate:
    """A task that gets here waits until it is let through; in whatever process it runs."""

    folder: Path

    @property
    def reached(self) -> bool:
        """Whether a task is here."""
        return (self.folder / "reached").exists()

    def open(self) -> None:
        """Let it through."""
        (self.folder / "open").touch()

    async def passed(self) -> str:
        """Wait here."""
        (self.folder / "reached").touch()
        while not (self.folder / "open").exists():
            await asyncio.sleep(0.002)
        return "passed"


class Promise:
    """Something to await that is no coroutine."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __await__(self) -> Generator[Any, None, object]:
        yield from asyncio.sleep(0).__await__()
        return self._value


def double(item: int) -> int:
    return 2 * item


def picky(item: int) -> int:
    if item < 0:
        raise Refused(item)
    return 2 * item


def ask_to_leave(item: str) -> str:
    leaving: dict[str, BaseException] = {
        "exit": SystemExit("leaving"),
        "cancelled": asyncio.CancelledError("leaving"),
        "generator": GeneratorExit("leaving"),
    }
    if item in leaving:
        raise leaving[item]
    return item


async def await_double(item: int) -> int:
    await asyncio.sleep(0)
    return picky(item)


def promise(item: int) -> Promise:
    return Promise(2 * item)


def subtract(minuend: int, subtrahend: int) -> int:
    return minuend - subtrahend


async def pass_gates(item: object) -> object:
    return await item.passed() if isinstance(item, Gate) else item


def mark(item: str) -> str:
    before = _marker.get()
    _marker.set(item)
    return before


async def await_mark(item: str) -> str:
    await asyncio.sleep(0)
    return mark(item)


def write_line(file: Path) -> None:
    with file.open("a") as stream:
        stream.write("initialized\n")


async def await_write_line(file: Path) -> None:
    await asyncio.sleep(0)
    write_line(file)


def count_lines(file: Path) -> int:
    return len(file.read_text().splitlines()) if file.exists() else 0


def refuse_to_start() -> None:
    raise Refused("the start")


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="flatout-contract-") as name:
        yield Path(name)


@contextlib.contextmanager
def _gate() -> Iterator[Gate]:
    """A gate that is open in the end, so that no thread is left standing at it."""
    with _folder() as folder:
        gate = Gate(folder)
        try:
            yield gate
        finally:
            gate.open()


def _gave(attempts: list[Attempt], values: list[Any]) -> None:
    found = [attempt.value if attempt.error is None else attempt.error for attempt in attempts]
    assert found == values, f"the tasks gave {found} instead of {values}"


# The clauses


def reports_for_work_once(filling: Filling) -> None:
    """After the start comes WorkerReady, once, before anything else."""
    with Stage(filling, Work(double)) as stage:
        stage.ready()


def reports_every_task_once(filling: Filling) -> None:
    """Every task of a batch is reported once, its own value in its place."""
    with Stage(filling, Work(double)) as stage:
        stage.ready()
        indices = stage.send(5, range(10))
        _gave(stage.ended(*indices), [2 * item for item in range(10)])


def takes_batch_after_batch(filling: Filling) -> None:
    """Batches may come one ahead, in any order of indices; what was sent first is done first."""
    with Stage(filling, Work(double)) as stage:
        stage.ready()
        sent = [*stage.send(40, [1, 2, 3]), *stage.send(10, [4]), *stage.send(20, [5, 6])]
        _gave(stage.ended(*sent), [2, 4, 6, 8, 10, 12])
        assert filling.concurrent or list(stage.attempts()) == sent, f"not in the order of sending: {stage.events}"
        _gave(stage.ended(*stage.send(50, [7])), [14])


def fails_tasks_alone(filling: Filling) -> None:
    """A task that raises fails alone: its neighbours in the batch are run, and every error is at its own place."""
    with Stage(filling, Work(picky)) as stage:
        stage.ready()
        items = [1, -2, 3, -4, -5, 6]
        attempts = stage.ended(*stage.send(3, items))
        for item, attempt in zip(items, attempts, strict=True):
            if item < 0:
                assert isinstance(attempt.error, Refused), f"{item} should have been refused, but: {attempt}"
                assert attempt.error.item == item, f"the error of {attempt.error.item} stands in the place of {item}"
            else:
                _gave([attempt], [2 * item])


def gives_the_exception_itself(filling: Filling) -> None:
    """An exception comes back as what it was, its message and attributes unchanged, and shows where it was raised."""
    with Stage(filling, Work(picky)) as stage:
        stage.ready()
        (attempt,) = stage.ended(*stage.send(0, [-1]))
        error = attempt.error
        assert type(error) is Refused, f"it came back as {error!r}"
        assert str(error) == "-1 was refused", f"its message has become {error}"
        assert error.item == -1, f"its attribute has become {error.item!r}"
        assert "in picky" in "".join(traceback.format_exception(error)), "the traceback does not lead to the function"


def survives_what_ends_others(filling: Filling) -> None:
    """SystemExit and the like end only the task that raises them."""
    with Stage(filling, Work(ask_to_leave)) as stage:
        stage.ready()
        items = ["stay", "exit", "cancelled", "generator", "stay"]
        attempts = stage.ended(*stage.send(0, items))
        found = [attempt.value if attempt.error is None else type(attempt.error) for attempt in attempts]
        assert found == ["stay", SystemExit, asyncio.CancelledError, GeneratorExit, "stay"], f"it found {found}"
        _gave(stage.ended(*stage.send(5, ["stay"])), ["stay"])


def awaits_coroutines(filling: Filling) -> None:
    """What the function returns is awaited where it can be."""
    with Stage(filling, Work(await_double)) as stage:
        stage.ready()
        good, bad, later = stage.ended(*stage.send(0, [1, -1, 2]))
        _gave([good, later], [2, 4])
        assert isinstance(bad.error, Refused), f"its error is {bad}"


def awaits_any_awaitable(filling: Filling) -> None:
    """So is what is no coroutine."""
    with Stage(filling, Work(promise)) as stage:
        stage.ready()
        _gave(stage.ended(*stage.send(0, [1, 2])), [2, 4])


def spreads_tuples(filling: Filling) -> None:
    """With `star` an input is a tuple of arguments."""
    with Stage(filling, Work(subtract, star=True)) as stage:
        stage.ready()
        _gave(stage.ended(*stage.send(0, [(7, 2), (1, 3)])), [5, -2])


def initializes_once(filling: Filling) -> None:
    """The initializer runs once, before WorkerReady and every task; it may have to be awaited."""
    for initializer in (write_line, await_write_line):
        with _folder() as folder:
            file = folder / "lines"
            with Stage(filling, Work(count_lines, initializer=partial(initializer, file))) as stage:
                stage.ready()
                assert count_lines(file) == 1, f"{count_lines(file)} calls of the initializer before it was ready"
                attempts = stage.ended(*stage.send(0, [file, file]), *stage.send(2, [file]))
                _gave(attempts, [1, 1, 1])


def reports_a_failed_initializer(filling: Filling) -> None:
    """Where the initializer raises, the worker is never ready: WorkerExited tells the error, and that it is fatal."""
    with Stage(filling, Work(double, initializer=refuse_to_start)) as stage:
        exited = stage.exited()
        assert len(stage.events) == 1, f"before that there came {stage.events}"
        assert type(exited.error) is Refused, f"the error has become {exited.error!r}"
        assert exited.fatal, "another worker would fare no better, but it does not say so"


def tells_what_it_is_on(filling: Filling) -> None:
    """While it works, `running` names the task and when it began; when it is idle, nothing."""
    with Stage(filling, Work(pass_gates, timed=True)) as stage, _gate() as gate:
        stage.ready()
        assert stage.running() == [], "it is on something before anything was sent"
        earliest = time.monotonic()
        indices = stage.send(11, ["before", gate])
        stage.until("begin the task", lambda: gate.reached)
        running, latest = dict(stage.running()), time.monotonic()
        assert 12 in running, f"it is on task 12, and says {running}"
        assert filling.concurrent or len(running) == 1, f"it does one task at a time, and says {running}"
        assert earliest <= running[12] <= latest, f"task 12 began between {earliest} and {latest}: {running}"
        gate.open()
        _gave(stage.ended(*indices), ["before", "passed"])
        stage.until("be on nothing when idle", lambda: stage.running() == [])


def goes_when_stopped(filling: Filling) -> None:
    """A worker that is idle goes without a word."""
    with Stage(filling, Work(double)) as stage:
        stage.ready()
        stage.ended(*stage.send(0, [1, 2]))
        stage.stop()


def dies_when_killed(filling: Filling) -> None:
    """Killed in the middle of a task, it reports its end, once, and nothing after, not even when the call ends."""
    if not filling.killable:
        return
    with Stage(filling, Work(pass_gates)) as stage, _gate() as gate:
        stage.ready()
        stage.send(0, ["before"])
        stage.ended(0)
        stage.send(1, [gate, "behind"])
        stage.until("begin the task", lambda: gate.reached)
        stage.kill()
        gate.open()
        stage.listen("after it was killed")
        assert 1 not in stage.attempts(), f"the task it was killed in was reported: {stage.events}"


def cancels_one_task_or_none(filling: Filling) -> None:
    """`cancel` ends the one task, or, where that cannot be, nothing at all; every task is reported all the same."""
    with Stage(filling, Work(pass_gates)) as stage, _gate() as gate:
        stage.ready()
        indices = stage.send(0, [gate, "behind"])
        stage.until("begin the task", lambda: gate.reached)
        stage.cancel(0)
        if not filling.ends_tasks:
            gate.open()
        ended, behind = stage.ended(*indices)
        assert behind.value == "behind", f"another task was harmed: {behind}"
        if filling.ends_tasks:
            assert isinstance(ended.error, asyncio.CancelledError), f"it was to be cancelled: {ended}"
        else:
            assert ended.value == "passed", f"it cannot be cancelled, but: {ended}"


def keeps_contexts_apart(filling: Filling) -> None:
    """Each task runs in its own copy of the run's context (apart from us: in a fresh one)."""
    context = Context()
    context.run(_marker.set, "the run's")
    expected = "unset" if filling.apart else "the run's"
    for func in (mark, await_mark):
        with Stage(filling, Work(func, context=context)) as stage:
            stage.ready()
            attempts = stage.ended(*stage.send(0, ["first", "second"]), *stage.send(2, ["third"]))
            _gave(attempts, [expected] * 3)
    assert context[_marker] == "the run's", "a task has changed the run's own context"


WORKER_CONTRACT: tuple[Clause, ...] = (
    reports_for_work_once,
    reports_every_task_once,
    takes_batch_after_batch,
    fails_tasks_alone,
    gives_the_exception_itself,
    survives_what_ends_others,
    awaits_coroutines,
    awaits_any_awaitable,
    spreads_tuples,
    initializes_once,
    reports_a_failed_initializer,
    tells_what_it_is_on,
    goes_when_stopped,
    dies_when_killed,
    cancels_one_task_or_none,
    keeps_contexts_apart,
)
