"""Wherever it is called from: scripts, shells, notebooks, workers, threads, forks."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from builds import needs_gil

import flatout

COMPUTE = """
def compute(n):
    total = 0
    for i in range(n):
        total += i * i % 7
    return total
"""


def python(*arguments: str, text: str | None = None, folder: Path | None = None) -> str:
    """Run a Python of its own; what it prints. It must end well and leave nothing on stderr."""
    done = subprocess.run(
        [sys.executable, *arguments], input=text, capture_output=True, text=True, cwd=folder, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def script(folder: Path, code: str, *flags: str) -> str:
    file = folder / "script.py"
    file.write_text(code)
    return python(*flags, str(file), folder=folder)


# --- scripts

GUARDLESS = f"""
import os
import flatout
print("once")
{COMPUTE}
class Odd(Exception):
    pass

def call(n):
    compute(n)
    if n % 2:
        raise Odd(n)
    return os.getpid(), Odd

run = flatout.map(call, [300_000] * 30, via={{via!r}})
pids = {{{{pid for pid, kind in run if kind is Odd}}}}
print(run.plan.kind, len(pids - {{{{os.getpid()}}}}) > 0)
try:
    flatout.map(call, [1], via="process").results()
except Odd as error:
    print("caught", error)
"""


@pytest.mark.parametrize("via", [pytest.param("auto", marks=needs_gil), "process"])
def test_a_script_needs_no_main_guard(via: str, tmp_path: Path) -> None:
    """Functions, classes and errors of `__main__` are the same on both sides, and it is not run again."""
    assert script(tmp_path, GUARDLESS.format(via=via)).splitlines() == ["once", "process True", "caught 1"]


def test_it_is_silent_under_every_check_of_the_interpreter(tmp_path: Path) -> None:
    code = f"""
import asyncio
import time
import flatout
{COMPUTE}
async def nap(x):
    await asyncio.sleep(0.01)
    return x

async def main():
    return [x async for x in flatout.map(nap, range(10))], await flatout.gather(nap(1), lambda: 2)

print(len(flatout.map(compute, [300_000] * 30).results()))
print(len(flatout.map(time.sleep, [0.01] * 30).results()))
print(len(flatout.map(nap, range(30)).results()))
print(len(flatout.map(compute, range(30), via="thread").results()))
print(flatout.gather(nap(1), lambda: 2).results())
for x in flatout.map(compute, range(30), via="process"):
    break
print(asyncio.run(main()))
"""
    lines = script(tmp_path, code, "-X", "dev", "-W", "error").splitlines()
    assert lines == ["30", "30", "30", "30", "[1, 2]", "([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2])"]


def test_what_goes_by_value_heeds_that_bytes_and_strings_are_not_compared(tmp_path: Path) -> None:
    code = """
import flatout
class Shape:
    def area(self, x):
        return x + 1
def by_class(x):
    return Shape().area(x)
print(flatout.map(by_class, range(3), via="process").results())
print(flatout.map(lambda f: f(3), [lambda x: x] * 3, via="process").results())
"""
    assert script(tmp_path, code, "-bb").splitlines() == ["[1, 2, 3]", "[3, 3, 3]"]


def test_workers_see_what_the_script_has_changed(tmp_path: Path) -> None:
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra" / "added_later.py").write_text("def value(x):\n    return 'found', x\n")
    code = """
import os, sys
import flatout

def where(x):
    import added_later
    return os.getcwd(), os.environ.get("SET_LATER"), added_later.value(x), sys.argv[0]

flatout.map(abs, range(4), via="process").wait()  # the workers are warm
for name in ("first", "second"):
    os.makedirs(name, exist_ok=True)
    os.chdir(name)
    os.environ["SET_LATER"] = name
    extra = os.path.join(os.path.dirname(os.path.abspath(__file__)), "extra")
    if extra not in sys.path:
        sys.path.append(extra)
    for result in set(flatout.map(where, [1, 1], via="process")):
        assert result == (os.getcwd(), name, ("found", 1), sys.argv[0]), result
    import added_later
    print(flatout.map(added_later.value, [2], via="process").results())
"""
    assert script(tmp_path, code).splitlines() == ["[('found', 2)]"] * 2


def test_a_sentinel_is_the_same_on_both_sides(tmp_path: Path) -> None:
    """By value it would be another one wherever it arrives, and `is` false without a word."""
    (tmp_path / "beside.py").write_text("UNSET = object()\n")
    (tmp_path / "lazily.py").write_text("print('was loaded by a look at it')")
    (tmp_path / "by_path.py").write_text("LOST = object()\ndef is_lost(x):\n    return x is LOST\n")
    code = """
import importlib.util
import flatout, beside

spec = importlib.util.spec_from_file_location("not_on_the_path", "by_path.py")
module = importlib.util.module_from_spec(spec)
sys_modules = __import__("sys").modules
sys_modules["not_on_the_path"] = module
spec.loader.exec_module(module)

MISSING, LATER = object(), object()

class Reader:
    def read(self, value, default=MISSING):
        return value is MISSING, value is beside.UNSET, default is MISSING, MISSING, beside.UNSET

def read(value):
    return Reader().read(value)

def look(value):
    return value is MISSING, value is beside.UNSET, True, MISSING, beside.UNSET

for func in (read, look, lambda value: look(value)):
    for results in (
        flatout.map(func, [MISSING, beside.UNSET, object()], via="process").results(),
        [flatout.Executor(via="process").submit(func, value).result() for value in (MISSING, beside.UNSET, object())],
    ):
        assert [result[:3] for result in results] == [(True, False, True), (False, True, True), (False, False, True)]
        assert all(result[3] is MISSING and result[4] is beside.UNSET for result in results)

lazy = importlib.util.find_spec("lazily")
lazy.loader = importlib.util.LazyLoader(lazy.loader)
sys_modules["lazily"] = importlib.util.module_from_spec(lazy)
lazy.loader.exec_module(sys_modules["lazily"])

(back,) = flatout.map(lambda value: value, [LATER], via="process").results()
print(back is LATER, flatout.map(module.is_lost, [module.LOST, 1], via="process").results())
"""
    assert script(tmp_path, code) == "True [True, False]\n"


def test_a_name_may_be_given_to_another_object(tmp_path: Path) -> None:
    """Neither side may take what a name stands for now for what was sent under it."""
    code = """
import flatout
known = {}

def read(job):
    token, value = job
    if known.get("token") is not token:
        known.update(token=token, value=value)
    return known["value"]

def back(value):
    return value

for word in ("first", "second"):
    token = object()
    assert flatout.map(read, [(token, word)] * 3, via="process", max_concurrency=1).results() == [word] * 3

with flatout.Executor(1, via="process") as pool:
    for word in ("first", "second"):
        token = object()
        assert {pool.submit(read, (token, word)).result() for _ in range(3)} == {word}
    current = sent = object()
    future = pool.submit(back, current)
    current = 42
    assert future.result() is sent

names = [object() for _ in range(1100)]
for name in names:
    (result,) = flatout.map(back, [name], via="process").results()  # no more of them are known than there is memory for
    assert result is name
print("done")
"""
    assert script(tmp_path, code) == "done\n"


# --- shells

SESSION = """
import flatout, os
def compute(n):
    total = 0
    for i in range(n):
        total += i * i % 7
    return total, os.getpid()

run = flatout.map(compute, [300_000] * 30)
print(len({pid for _, pid in run}) > 1, run.plan.kind)
print(flatout.map(lambda x: 2 * x, [1, 2], via="process").results())
"""


@needs_gil
def test_in_a_shell_that_reads_stdin() -> None:
    assert python("-", text=SESSION).splitlines() == ["True process", "[2, 4]"]


@needs_gil
def test_in_an_interactive_shell() -> None:
    """Prompts go to stderr there."""
    done = subprocess.run([sys.executable, "-i", "-q"], input=SESSION, capture_output=True, text=True, timeout=100)
    assert done.stdout.splitlines() == ["True process", "[2, 4]"]
    assert "Error" not in done.stderr


@needs_gil
def test_in_a_command_line() -> None:
    assert python("-c", SESSION).splitlines() == ["True process", "[2, 4]"]


@pytest.mark.parametrize("left", ["", "os.chdir('/')"])
def test_beside_a_package_that_is_not_installed(left: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Workers get the flatout of the caller, which it found by the empty entry of `sys.path`."""
    (tmp_path / "flatout").symlink_to(Path(flatout.__file__).parent)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    code = f"""
import os, sys
assert sys.path[0] == ""
import flatout
{left}
print(*flatout.map(lambda i: flatout.__file__, range(2), via="process"))
"""
    assert python("-c", code, folder=tmp_path).split() == [str(tmp_path / "flatout" / "__init__.py")] * 2


# --- inside a running loop


async def adouble(x: int) -> int:
    await asyncio.sleep(0)
    return 2 * x


def compute(n: int) -> int:
    total = 0
    for i in range(n):
        total += i * i % 7
    return total


def test_a_notebook_cell_may_use_the_plain_face() -> None:
    """A loop is running in this thread; coroutines run on another one."""

    async def cell() -> list[list[int]]:
        return [
            list(flatout.map(adouble, range(5))),
            flatout.map(lambda x: adouble(x), range(5)).results(),
            list(flatout.map(adouble, range(5), via="inline")),
            flatout.map(abs, range(5)).results(),
            flatout.map(abs, range(5), via="process").results(),
        ]

    doubles, numbers = [0, 2, 4, 6, 8], [0, 1, 2, 3, 4]
    assert asyncio.run(cell()) == [doubles, doubles, doubles, numbers, numbers]


def test_the_async_face_uses_the_running_loop() -> None:
    async def main() -> set[bool]:
        here = asyncio.get_running_loop()

        async def which(x: int) -> bool:
            return asyncio.get_running_loop() is here

        found = {same async for same in flatout.map(which, range(5))}
        return found | set(await flatout.map(which, range(5)))

    assert asyncio.run(main()) == {True}


@pytest.mark.parametrize("via", ["auto", "inline", "thread", "process"])
def test_the_async_face_for_plain_functions(via: Any) -> None:
    async def main() -> list[list[int]]:
        collected = [value async for value in flatout.map(abs, range(50), via=via)]
        return [collected, await flatout.map(abs, range(50), via=via)]

    assert asyncio.run(main()) == [list(range(50))] * 2


@needs_gil
def test_the_async_face_for_computing_that_is_moved_to_processes() -> None:
    async def main() -> str:
        run = flatout.map(compute, [300_000] * 40)
        assert len(await run) == 40
        print(run.plan, run.plan.measured)
        return run.plan.kind

    assert asyncio.run(main()) == "process"


# --- inside workers


def nested(via: str) -> list[int]:
    return flatout.map(abs, range(-5, 0), via=via).results()  # type: ignore[call-overload, no-any-return]


async def anested(via: str) -> list[int]:
    return [value async for value in flatout.map(abs, range(-5, 0), via=via)]  # type: ignore[call-overload]


@pytest.mark.parametrize("outer", ["inline", "thread", "process"])
def test_a_map_in_a_task_of_a_map(outer: Any) -> None:
    inner = ["auto", "inline", "thread", "process"]
    assert flatout.map(nested, inner, via=outer, max_concurrency=2).results() == [[5, 4, 3, 2, 1]] * 4


def test_a_map_in_a_coroutine_of_a_map() -> None:
    inner = ["auto", "inline", "thread", "process"]
    assert flatout.map(anested, inner).results() == [[5, 4, 3, 2, 1]] * 4


# --- in other threads and forks


@pytest.mark.parametrize("via", ["auto", "inline", "thread", "process"])
def test_in_a_thread_that_is_not_the_main_one(via: Any) -> None:
    results: list[list[int]] = []
    thread = threading.Thread(target=lambda: results.append(flatout.map(compute, [20_000] * 40, via=via).results()))
    thread.start()
    thread.join(60)
    assert results == [[compute(20_000)] * 40]


def test_in_several_threads_at_once() -> None:
    def one(i: int) -> list[int]:
        return flatout.map(compute, [100 + i] * 200, via="process").results()

    results = flatout.map(one, range(4), via="thread", max_concurrency=4).results()
    assert results == [[compute(100 + i)] * 200 for i in range(4)]


def test_in_the_child_of_a_fork(tmp_path: Path) -> None:
    """The child has a zygote of its own, and the parent's goes on."""
    code = f"""
import os, warnings
import flatout
{COMPUTE}
print(sum(flatout.map(compute, range(10), via="process")), flush=True)
warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads: the user's own business
pid = os.fork()
if pid == 0:
    print(sum(flatout.map(compute, range(10), via="process")), flush=True)
    print(sum(flatout.map(compute, range(10), via="thread")), flush=True)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
print(sum(flatout.map(compute, range(10), via="process")))
"""
    assert len(set(script(tmp_path, code).splitlines())) == 1


# --- where no process can be had


@pytest.mark.parametrize("line", ["sys.executable = ''", "sys.frozen = True"])
def test_threads_do_where_processes_cannot_be_had(line: str, tmp_path: Path) -> None:
    code = f"""
import sys, time
{line}
import flatout
{COMPUTE}
run = flatout.map(compute, [300_000] * 12)
run.results()
assert run.plan.kind != "process"
assert "processes are ruled out" in str(run.plan), run.plan
run = flatout.map(time.sleep, [0.02] * 30)
run.results()
print(run.plan.kind)
for via in ("process", flatout.Plan("process")):
    try:
        flatout.map(compute, [1], via=via)
    except flatout.PlanError as error:
        print('Use via="thread"' in str(error))
"""
    assert script(tmp_path, code).splitlines() == ["thread", "True", "True"]


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_in_a_process_that_multiprocessing_has_started(method: str, tmp_path: Path) -> None:
    """There `__main__` goes by the name of `__mp_main__`."""
    code = f"""
import multiprocessing
import flatout

class Point:
    def __init__(self, x):
        self.x = x

def get(point):
    return point.x

def child():
    print(flatout.map(get, [Point(1), Point(2)], via="process").results())
    with flatout.Executor(via="process") as pool:
        print(pool.submit(get, Point(3)).result(), type(pool.submit(Point, 3).result()) is Point, flush=True)

if __name__ == "__main__":
    process = multiprocessing.get_context({method!r}).Process(target=child)
    process.start()
    process.join()
"""
    assert script(tmp_path, code).splitlines() == ["[1, 2]", "3 True"]


def test_at_the_very_end_of_a_program_without_processes(tmp_path: Path) -> None:
    """What was registered before flatout was imported is called when its workers have been ended."""
    code = f"""
import atexit
{COMPUTE}
@atexit.register
def last():
    print(len(flatout.map(compute, [300_000] * 30).results()))
    try:
        flatout.map(compute, [1], via="process").wait()
    except flatout.PlanError as error:
        print(error)

import flatout
flatout.map(compute, [300_000] * 30).wait()
"""
    many, refused = script(tmp_path, code).splitlines()
    assert many == "30"
    assert "the interpreter is ending" in refused


TOLD = "no module that tasks need may start processes when it is imported"


def test_a_module_that_starts_processes_as_it_is_imported_is_told_so_and_starts_no_more(tmp_path: Path) -> None:
    """Each worker imports it to find the function: it would start workers of its own, and so on."""
    (tmp_path / "tables.py").write_text(
        """
import flatout
def entry(n):
    return n
TABLE = flatout.map(entry, range(4), via="process").results()
"""
    )
    code = f"""
try:
    import tables
except Exception as error:
    print(type(error).__name__, {TOLD!r} in str(error))
"""
    assert script(tmp_path, code).split() == ["PlanError", "True"]


def test_nor_may_one_that_has_the_class_of_an_input(tmp_path: Path) -> None:
    (tmp_path / "kinds.py").write_text(
        """
import flatout
class Kind:
    pass
flatout.map(abs, range(4), via="process").wait()
"""
    )
    code = f"""
import flatout, kinds
failure, = flatout.map(str, [kinds.Kind()], via="process", on_error="return")
print(type(failure.error).__name__, {TOLD!r} in str(failure.error))
"""
    assert script(tmp_path, code).split() == ["PlanError", "True"]


# --- other systems, as far as can be told on this one

ELSEWHERE = f"""
import asyncio, os, time
import flatout
{COMPUTE}
def nap(x):
    time.sleep(0.02)
    return x

def long_nap(x):
    time.sleep(0.4)
    return x

async def later(x):
    await asyncio.sleep(0.02)
    return x

def count(x):
    return compute(200_000) + x

async def main():
    return [x async for x in flatout.map(nap, range(20))]

def share_of_a_core():
    began, cpu = time.perf_counter(), time.process_time()
    list(map(count, range(20)))
    return (time.process_time() - cpu) / (time.perf_counter() - began)

def exits(x):
    if x == 7:
        os._exit(3)
    return x

def hangs(x):
    time.sleep(0 if x != 7 else 600)
    return x

numbers = list(range(50))
counted = list(map(count, numbers))
computing = ["inline", "process", *["thread"] * (flatout.machine().gil == "off")]
deadline = time.monotonic() + 40
for func, results, ways in (
    (nap, numbers, ["thread"]), (long_nap, numbers[:12], ["thread"]), (later, numbers, ["async"]),
    (count, counted, computing),
):
    while True:  # nothing there tells whether a call waits for a core, beside other programs
        while ways is computing and share_of_a_core() < 0.9 and time.monotonic() < deadline:
            pass
        run = flatout.map(func, numbers[:len(results)])
        assert run.results() == results
        if run.plan.kind in ways or time.monotonic() > deadline:
            break
    assert run.plan.kind in ways or (ways is computing and share_of_a_core() < 0.9), run.plan
    measured = run.plan.measured
    assert measured.seconds < 10, run.plan
    assert ways is computing or measured.wait > measured.seconds / 2, run.plan
    assert run.plan.concurrency > 8 or func is not long_nap, run.plan
assert flatout.map(later, numbers, timeout=60).results() == numbers
assert asyncio.run(main()) == numbers[:20]
for via in ("thread", "auto", "async"):
    with flatout.Executor(via=via) as pool:
        assert list(pool.map(later if via == "async" else nap, numbers)) == numbers
assert flatout.explain(nap, numbers).plan.kind == "thread"
assert flatout.machine().memory_total_bytes > 0
"""


def elsewhere(folder: Path, system: str, code: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run that as if on another system, which the processes that it starts find, too."""
    (folder / "sitecustomize.py").write_text(f"import systems\nsystems.be_{system}()\n")
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    return script(folder, ELSEWHERE + code)


def test_where_there_is_as_little_as_on_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
assert "no os.fork" in flatout.machine().processes
try:
    flatout.map(nap, numbers, via="process")
except flatout.PlanError as error:
    print(error)
"""
    assert "has no os.fork. Use via=" in elsewhere(tmp_path, "windows", code, monkeypatch)


def test_where_there_is_as_little_as_on_macos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
assert flatout.map(count, numbers, via="process").results() == counted
big = flatout.map(bytes, [3_000_000] * 4, via="process").results()
assert [len(each) for each in big] == [3_000_000] * 4
for fault, error in ((exits, flatout.WorkerDied), (hangs, flatout.TaskTimeout)):
    results = flatout.map(fault, numbers, via="process", on_error="return", timeout=1).results()
    assert results[:7] + results[8:] == numbers[:7] + numbers[8:]
    assert type(results[7].error) is error, results[7]
with flatout.Executor(via="process") as pool:
    assert list(pool.map(count, numbers)) == counted
print("well")
"""
    assert elsewhere(tmp_path, "macos", code, monkeypatch) == "well\n"


def test_the_environment_of_this_test_is_as_it_was() -> None:
    """Nothing of flatout's own is left in what child processes of the user's inherit."""
    before = dict(os.environ)
    flatout.map(abs, range(4), via="process").wait()
    assert dict(os.environ) == before
