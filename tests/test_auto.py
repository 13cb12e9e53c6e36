"""What `auto` may not change: no input is run twice, no result is lost, and what comes after a long first call goes on."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import flatout
from flatout._machine._machine import gil_enabled


def compute(n: int) -> int:
    """Some 40 ns a step, all of them with the GIL held."""
    total = 0
    for i in range(n):
        total += i * i % 7
    return total


def noting(folder: Path, steps: int, i: int) -> tuple[int, int, int]:
    """Computes, and leaves a line for each call in a file: appended whole, by whichever process."""
    with open(folder / "calls", "ab", buffering=0) as file:
        file.write(f"{i}\n".encode())
    return i, compute(steps), os.getpid()


@pytest.mark.parametrize(("tasks", "steps"), [(2000, 200), (400, 20_000), (20, 1_000_000)])
def test_no_input_is_run_twice_and_no_result_is_lost(tasks: int, steps: int, tmp_path: Path) -> None:
    run = flatout.map(functools.partial(noting, tmp_path, steps), range(tasks))
    results = run.results()
    assert [i for i, _, _ in results] == list(range(tasks))
    calls = Counter(map(int, (tmp_path / "calls").read_text().split()))
    assert calls == Counter(range(tasks))


def test_the_first_tasks_run_in_the_callers_own_thread() -> None:
    here = threading.get_ident()
    threads = flatout.map(lambda x: threading.get_ident(), range(3)).results()
    assert threads == [here] * 3


def test_the_results_of_watched_calls_are_kept() -> None:
    run = flatout.map(functools.partial(noting_pid, 300_000), range(60))
    results = run.results()
    assert results[0][0] == os.getpid()
    assert [i for _, i in results] == list(range(60))


def noting_pid(steps: int, i: int) -> tuple[int, int]:
    compute(steps)
    return os.getpid(), i


# --- a decision in the middle of the first call


def test_others_start_in_threads_while_a_long_first_call_waits() -> None:
    """The first call waits for the fourth: in the plain loop it would do so for ever."""
    fourth = threading.Event()

    def call(i: int) -> int:
        if i == 0:
            assert fourth.wait(60)
        if i == 3:
            fourth.set()
        return i

    run = flatout.map(call, range(8))
    assert run.results() == list(range(8))
    assert run.plan.kind == "thread"


def wait_computing_for(folder: str, i: int) -> tuple[int, int]:
    """The first call computes until the fourth has left a file; so does each of the others for a moment."""
    done = os.path.join(folder, "fourth")
    deadline = time.monotonic() + 60
    while i == 0 and not os.path.exists(done):
        compute(50_000)
        assert time.monotonic() < deadline
    if i == 3:
        open(done, "x").close()
    return i, os.getpid()


def test_others_start_in_processes_while_a_long_first_call_computes(tmp_path: Path) -> None:
    run = flatout.map(functools.partial(wait_computing_for, str(tmp_path)), range(8))
    results = run.results()
    assert [i for i, _ in results] == list(range(8))
    assert results[0][1] == os.getpid()
    assert results[3][1] != os.getpid()
    assert run.plan.kind == "process"


def test_a_failure_of_the_long_first_call_is_told_as_any_other() -> None:
    second = threading.Event()

    def call(i: int) -> int:
        if i == 0:
            assert second.wait(60)
            raise ValueError("the first")
        second.set()
        return i

    values = flatout.map(call, range(4), on_error="return").results()
    assert isinstance(values[0], flatout.Failure)
    assert values[1:] == [1, 2, 3]


# --- effects on the caller's memory

seen: list[int] = []
counts: dict[int, int] = {}
number = 0


def append_at_the_end(i: int) -> int:
    total = compute(300_000 + i)
    seen.append(i)
    return total


def append_at_the_end_of_a_long_call(i: int) -> int:
    total = compute(2_500_000 + i)
    seen.append(i)
    return total


def count(i: int) -> None:
    global number
    compute(300_000)
    number += 1


class Account:
    def __init__(self) -> None:
        self.calls = 0
        self.lock = threading.Lock()

    def book(self, i: int) -> int:
        compute(300_000)
        with self.lock:
            self.calls += 1
        return i


def fill(box: dict[str, int]) -> None:
    box["result"] = compute(300_000)


def in_this_process(run: flatout.Run[Any]) -> bool:
    run.wait()
    assert "processes are ruled out" in str(run.plan)
    return run.plan.kind != "process"


@pytest.mark.parametrize("func", [append_at_the_end, append_at_the_end_of_a_long_call])
def test_what_is_appended_to_a_global_list_is_not_lost(func: Callable[[int], int]) -> None:
    seen.clear()
    assert in_this_process(flatout.map(func, range(12)))
    assert sorted(seen) == list(range(12))


def test_a_global_statement_keeps_the_work_here() -> None:
    before = number
    assert in_this_process(flatout.map(count, range(12)))
    assert number - before == 12


def test_a_closure_keeps_the_work_here() -> None:
    total = 0
    box: list[int] = []

    def add(i: int) -> None:
        nonlocal total
        compute(300_000)
        total += i

    def note(i: int) -> None:
        compute(300_000)
        box.append(i)

    assert in_this_process(flatout.map(add, range(12)))
    assert total == sum(range(12))
    assert in_this_process(flatout.map(note, range(12)))
    assert sorted(box) == list(range(12))


def test_a_method_that_changes_its_object_keeps_the_work_here() -> None:
    account = Account()
    assert in_this_process(flatout.map(account.book, range(12)))
    assert account.calls == 12


def test_a_changed_input_keeps_the_work_here() -> None:
    boxes: list[dict[str, int]] = [{} for _ in range(12)]
    assert in_this_process(flatout.map(fill, boxes))
    assert len({box["result"] for box in boxes}) == 1


# --- what cannot be sent


class Unsendable:
    def __init__(self, i: int) -> None:
        self.i = i
        self.lock = threading.Lock()


def open_up(thing: Unsendable) -> int:
    compute(300_000)
    return thing.i


def open_up_at_length(thing: Unsendable) -> int:
    compute(5_000_000)
    return thing.i


def close_up(i: int) -> Unsendable:
    compute(300_000)
    return Unsendable(i)


def test_an_input_that_cannot_be_sent_keeps_the_work_here() -> None:
    run = flatout.map(open_up, [Unsendable(i) for i in range(12)])
    assert run.results() == list(range(12))
    assert "lock" in str(run.plan)


@pytest.mark.skipif(not gil_enabled(), reason="there it falls by a duel, which wants to know how long a call takes")
def test_why_is_still_said_where_the_choice_fell_in_the_middle_of_the_first_call() -> None:
    run = flatout.map(open_up_at_length, [Unsendable(i) for i in range(3)])
    assert run.results() == list(range(3))
    assert "lock" in str(run.plan)


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first call is waited for as long as it takes on a machine as busy as may be."""
    monkeypatch.setattr("flatout._plan._chooser.PATIENCE", 60.0)


@pytest.mark.usefixtures("patience")
def test_a_result_that_cannot_be_sent_keeps_the_work_here() -> None:
    run = flatout.map(close_up, range(12))
    assert [thing.i for thing in run.results()] == list(range(12))
    assert "processes are ruled out" in str(run.plan)
    assert "lock" in str(run.plan)


def test_a_function_that_cannot_be_sent_keeps_the_work_here() -> None:
    lock = threading.Lock()

    def guarded(i: int) -> int:
        with lock:
            return compute(300_000 + i)

    run = flatout.map(guarded, range(12))
    assert len(run.results()) == 12
    assert "processes are ruled out" in str(run.plan)
    assert "lock" in str(run.plan)


def test_an_iterator_of_inputs_is_no_input() -> None:
    """Only what it gives must be sent, not the generator itself."""

    def numbers() -> Iterator[int]:
        for _ in range(40):
            yield 400_000

    run = flatout.map(compute, numbers())
    assert len(run.results()) == 40
    assert run.plan.kind == "process"


# --- what is known beforehand


def test_a_timeout_means_processes_for_a_plain_function() -> None:
    run = flatout.map(noting_here, range(4), timeout=60)
    assert os.getpid() not in run.results()
    assert run.plan.kind == "process"
    assert "only a process can be ended" in str(run.plan)


def noting_here(i: int) -> int:
    return os.getpid()


def test_a_timeout_leaves_a_coroutine_function_on_its_loop() -> None:
    async def work(i: int) -> int:
        await asyncio.sleep(0)
        return os.getpid()

    run = flatout.map(work, range(4), timeout=60)
    assert set(run.results()) == {os.getpid()}
    assert run.plan.kind == "async"


# --- contextvars

language: contextvars.ContextVar[str] = contextvars.ContextVar("language", default="none")


def speak(i: int) -> str:
    before = language.get()
    language.set(f"changed by {i}")
    return before


async def aspeak(i: int) -> str:
    before = speak(i)
    await asyncio.sleep(0)
    assert language.get() == f"changed by {i}"
    return before


@pytest.mark.parametrize(
    ("func", "via"), [(speak, "auto"), (speak, "inline"), (speak, "thread"), (aspeak, "auto"), (aspeak, "thread")]
)
def test_each_task_has_its_own_copy_of_the_callers_context(func: Callable[[int], Any], via: Any) -> None:
    token = language.set("French")
    run = flatout.map(func, range(20), via=via)
    language.set("German")
    try:
        assert set(run.results()) == {"French"}
        assert language.get() == "German"
    finally:
        language.reset(token)


def close_up_after_long(i: int) -> Unsendable:
    compute(2_000_000)
    return Unsendable(i)


@pytest.mark.usefixtures("patience")
def test_what_a_first_call_returns_is_waited_for_a_while() -> None:
    """It is clear after 30 ms that the call computes, and only later that its result cannot be sent."""
    run = flatout.map(close_up_after_long, range(6))
    assert [thing.i for thing in run.results()] == list(range(6))


def until_others_have_ended(task: tuple[str, int, int]) -> int:
    """In the process of that number it goes on until there is a note, which a call in another process leaves."""
    note, here, least = task
    until = time.monotonic() + 0.1
    while time.monotonic() < until or (os.getpid() == here and least and not os.path.exists(note)):
        assert time.monotonic() < until + 60, "nobody else has begun"
        compute(10_000)
    if os.getpid() != here:
        with open(note, "w"):
            pass
    return os.getpid()


@pytest.mark.skipif(not gil_enabled(), reason="there it falls by a duel, which wants to know how long a call takes")
@pytest.mark.usefixtures("patience")
def test_what_results_such_calls_have_is_known_where_they_were_in_processes_before(tmp_path: Path) -> None:
    here, note = os.getpid(), tmp_path / "note"
    deadline = time.monotonic() + 60
    while True:  # until no other program is in the way
        first = flatout.map(until_others_have_ended, [(str(note), here, 0)] * 8)
        assert first.results()[0] == here
        assert first.plan.kind == "process"
        note.unlink()
        again = flatout.map(until_others_have_ended, [(str(note), here, 1)] * 8)
        assert again.results()[0] == here
        if "judged by an earlier run" in str(again.plan):
            break
        assert time.monotonic() < deadline


@pytest.mark.parametrize("options", [{"chunksize": 50}, {"buffersize": 1}, {"chunksize": 25, "max_concurrency": 1}])
def test_where_the_options_let_one_call_be_under_way_at_a_time_nothing_is_started_for_more(options: Any) -> None:
    run = flatout.map(time.sleep, [0.002] * 50, **options)
    run.wait()
    assert run.plan.kind == "inline", run.plan
