"""What a program has set in its interpreter holds for tasks in worker processes: warnings, limits, decimal numbers."""

from __future__ import annotations

import decimal
import importlib
import os
import subprocess
import sys
import textwrap
import time
import warnings
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from builds import needs_gil

import flatout
from flatout import Plan

KINDS = {
    "process": Plan("process", 1),
    "threads": Plan("process", 4, processes=1, inside="thread"),
    "loop": Plan("process", 4, processes=1, inside="async"),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def in_a_process(func: Callable[[int], Any], kind: str, count: int = 8, **options: Any) -> list[Any]:
    return flatout.map(Awaited(func) if kind == "loop" else func, range(count), via=KINDS[kind], **options).results()


class Awaited:
    def __init__(self, func: Callable[[int], Any]) -> None:
        self.func = func

    async def __call__(self, item: int) -> Any:
        return self.func(item)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    recursion, digits = sys.getrecursionlimit(), sys.get_int_max_str_digits()
    with warnings.catch_warnings(), decimal.localcontext():
        yield
    sys.setrecursionlimit(recursion)
    sys.set_int_max_str_digits(digits)


# Warnings


class Odd(UserWarning):
    """A category of one's own."""


def warns(x: int) -> str:
    try:
        warnings.warn(f"a warning of {x}", Odd, stacklevel=1)
    except Warning as warning:
        return type(warning).__name__
    return "went on"


@every_kind
@pytest.mark.parametrize("category", [Warning, Odd, (DeprecationWarning, Odd)])
def test_a_warning_that_is_an_error_is_one_in_a_process(kind: str, category: Any) -> None:
    warnings.simplefilter("ignore")
    assert in_a_process(warns, kind) == ["went on"] * 8
    warnings.simplefilter("error", category)
    assert in_a_process(warns, kind) == ["Odd"] * 8
    warnings.simplefilter("ignore")
    assert in_a_process(warns, kind) == ["went on"] * 8, "a warm worker that kept the filters of the run before"


def test_filters_by_message_and_by_module_hold_too() -> None:
    warnings.simplefilter("ignore")
    warnings.filterwarnings("error", message=".*of 3", module=__name__)
    assert in_a_process(warns, "process", 5) == ["went on"] * 3 + ["Odd", "went on"]


def test_what_is_not_to_be_shown_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    warnings.simplefilter("always")
    in_a_process(warns, "process", 1)
    assert "Odd: a warning of 0" in capsys.readouterr().err
    warnings.simplefilter("ignore", Odd)
    in_a_process(warns, "process", 1)
    assert capsys.readouterr().err == ""


def is_loaded(name: str) -> bool:
    return name in sys.modules


def test_no_module_is_imported_for_the_category_of_a_filter() -> None:
    """Some take seconds, and a module that the user's has imported may have set the filter."""
    import wave

    category = type("Loud", (UserWarning,), {"__module__": wave.__name__})
    warnings.simplefilter("error", category)
    assert flatout.map(is_loaded, ["wave"], via="process").results() == [False]


OLD = """
import warnings
warnings.warn("this module is old", DeprecationWarning)
class Value:
    def __reduce__(self):
        return Value, ()
def task(_):
    warnings.warn("and so is its function", UserWarning)
"""


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module that warns when it is imported, which it has been before that became an error."""
    (tmp_path / "flatout_old.py").write_text(OLD)
    monkeypatch.syspath_prepend(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield importlib.import_module("flatout_old")
    del sys.modules["flatout_old"]


def test_what_a_worker_imports_to_load_a_function_does_not_warn_again(old: Any) -> None:
    warnings.simplefilter("error")
    with pytest.raises(UserWarning, match="its function"):
        flatout.map(old.task, [1], via="process").results()


def test_nor_what_it_imports_to_load_an_input(old: Any) -> None:
    warnings.simplefilter("error")
    assert flatout.map(callable, [old.Value], via="process").results() == [True]
    with flatout.Executor(via="process") as executor, pytest.raises(UserWarning, match="its function"):
        executor.submit(old.task, 1).result()


def forks(_: int) -> int:
    pid = os.fork()
    if pid == 0:
        os._exit(3)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_that_a_worker_has_threads_is_no_warning_to_a_task_that_forks() -> None:
    warnings.simplefilter("error")
    assert in_a_process(forks, "process", 1) == [3]


# Limits


def limits(_: int) -> tuple[int, int]:
    return sys.getrecursionlimit(), sys.get_int_max_str_digits()


@every_kind
def test_limits_hold_in_a_process_and_a_warm_one_follows(kind: str) -> None:
    for n in (0, 1, 2):
        sys.setrecursionlimit(2000 + n)
        sys.set_int_max_str_digits(1000 + n)
        assert in_a_process(limits, kind) == [(2000 + n, 1000 + n)] * 8


def recurses(depth: int) -> int:
    return depth and 1 + recurses(depth - 1)


def test_a_task_may_go_as_deep_as_in_the_plain_loop() -> None:
    sys.setrecursionlimit(5000)
    assert flatout.map(recurses, [4000], via="process").results() == [4000]
    sys.setrecursionlimit(1000)
    with pytest.raises(RecursionError):
        flatout.map(recurses, [4000], via="process").results()


# Decimal numbers


def third(_: int) -> str:
    return str(1 / Decimal(3))


@every_kind
def test_decimal_numbers_are_as_precise_as_in_the_plain_loop(kind: str) -> None:
    with decimal.localcontext() as context:
        context.prec = 6
        assert in_a_process(third, kind) == ["0.333333"] * 8
        context.prec = 4
        assert in_a_process(third, kind) == ["0.3333"] * 8
    exact = "0.3333333333333333333333333333"
    assert in_a_process(third, kind) == [exact] * 8, "a warm worker that kept the context of the run before"


def context_of_a_task(_: int) -> str:
    return repr(decimal.getcontext())


@every_kind
def test_the_whole_context_goes_along(kind: str) -> None:
    with decimal.localcontext(decimal.Context(9, decimal.ROUND_UP, -99, 99, 0, 1, [], [decimal.Inexact])) as context:
        assert in_a_process(context_of_a_task, kind) == [repr(context)] * 8


@every_kind
def test_a_task_that_changes_the_context_changes_that_of_no_other(kind: str) -> None:
    with decimal.localcontext() as context:
        context.prec = 6
        assert set(in_a_process(spoils_the_context, kind)) == {6}


def spoils_the_context(_: int) -> int:
    before = decimal.getcontext().prec
    decimal.getcontext().prec = 2
    return before


def test_calls_of_an_executor_have_the_context_in_which_the_first_was_made() -> None:
    with decimal.localcontext() as context:
        context.prec = 6
        with flatout.Executor(via="process") as executor:
            assert executor.submit(third, 0).result() == "0.333333"


def computes_elsewhere(home: int, seconds: float) -> str | None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
    return third(0) if os.getpid() != home else None


@pytest.mark.parametrize("seconds", [0.02, 0.3])  # judged when it has ended, and by who watches it
@needs_gil
def test_an_executor_that_chooses_gives_it_to_the_processes_too(seconds: float) -> None:
    with decimal.localcontext() as context:
        context.prec = 6
        for _ in range(3):  # a machine that is busy with other work may mislead the measurement
            with flatout.Executor(2) as executor:
                futures = [executor.submit(computes_elsewhere, os.getpid(), seconds) for _ in range(6)]
                found = {future.result() for future in futures}
            if found != {None}:
                break
    assert found - {None} == {"0.333333"}


def test_who_has_set_nothing_is_known_for_that() -> None:
    """Else each worker would have to load `decimal`."""
    code = """
        import contextvars, decimal
        from flatout._child import _settings
        context = contextvars.copy_context()
        print(_settings.settings(context)["decimal"] == _settings._EXACT, len(context))
        """
    path = os.pathsep.join(filter(None, sys.path))
    command, env = [sys.executable, "-c", textwrap.dedent(code)], {**os.environ, "PYTHONPATH": path}
    assert subprocess.check_output(command, text=True, timeout=60, env=env) == "True 0\n"


# What an initializer has set


def sets_its_own() -> None:
    warnings.simplefilter("error", Odd)
    sys.setrecursionlimit(3210)
    sys.set_int_max_str_digits(4321)
    decimal.DefaultContext.prec = 5


def seen(x: int) -> tuple[str, int, int, str, int]:
    return warns(x), *limits(x), third(x), os.getpid()


def test_an_initializer_may_set_its_own_for_as_long_as_its_worker_is_used() -> None:
    warnings.simplefilter("ignore")
    runs = [flatout.map(seen, range(4), initializer=sets_its_own, via=KINDS["process"]).results() for _ in range(2)]
    assert runs[0] == runs[1] == [("Odd", 3210, 4321, "0.33333", runs[0][0][-1])] * 4
    *others, pid = flatout.map(seen, [0], via=KINDS["process"]).results()[0]
    exact = "0.3333333333333333333333333333"
    assert others == ["went on", sys.getrecursionlimit(), sys.get_int_max_str_digits(), exact]
    assert pid == runs[0][0][-1], "it was to be the same worker"
