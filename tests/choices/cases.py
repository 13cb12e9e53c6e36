"""The cases, as data: what is called with what, which kinds of worker are right for it, and why.

`python -m choices --truth` runs each with every kind, and says how long that takes: the table was made with it.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import threading
from collections.abc import Iterable
from typing import Any

from choices.model import Case, Job, Kind, Place
from choices.tasks import computing, coroutines, effects, gil_free, shapes, waiting
from choices.tasks.computing import PER_MS

NUMPY = ("numpy",)
PILLOW = ("PIL",)
HTTPX = ("httpx",)
SERVED: dict[str, Any] = {"service": True}

PROCESS: dict[str, Any] = {"kinds": ("process",), "why": "it computes with the GIL held"}
THREAD: dict[str, Any] = {"kinds": ("thread",), "why": "it lets go of the GIL: threads need no start and move nothing"}
WAITS: dict[str, Any] = {"kinds": ("thread",), "why": "it waits: the more at once, the better"}
HALF_HELD: dict[str, Any] = {
    "kinds": ("process", "thread"),
    "why": "about half of it holds the GIL: by the law the two come out even",
}
STAYS: dict[str, Any] = {"kinds": ("inline",), "why": "it is over before anything else could have started"}
LOST: dict[str, Any] = {"kinds": ("inline", "thread"), "why": "in a process its effect would be lost"}
LOOP: dict[str, Any] = {"kinds": ("async",), "why": "it is to be awaited"}
LOOPS: dict[str, Any] = {
    "kinds": ("async", "process"),
    "why": "it is to be awaited, in several loops where one is full",
}


def right(*kinds: Kind, why: str) -> dict[str, Any]:
    return {"kinds": kinds, "why": why}


def warm(milliseconds: float, wait: float, nap: float) -> Any:
    """A function whose first call takes so long, and whose others nap and compute."""
    return functools.partial(shapes.warms_up, int(milliseconds * PER_MS), wait, nap)


def job(func: Any, inputs: Iterable[Any]) -> Any:
    """A case that needs nothing around it."""
    return lambda place: (func, inputs)


def burns(milliseconds: float, times: int) -> list[int]:
    """Inputs for `burn` and all that call it."""
    return [int(milliseconds * PER_MS) + i % 7 for i in range(times)]


def both(seconds: float, milliseconds: float, times: int) -> list[tuple[float, int]]:
    """Inputs for what waits and computes."""
    return [(seconds, n) for n in burns(milliseconds, times)]


COMPUTING = [
    Case("python loop, 10 ms", "a plain loop", job(computing.burn, burns(10, 200)), **PROCESS),
    Case("python loop, 0.3 ms", "many short ones", job(computing.burn, burns(0.3, 5000)), **PROCESS),
    Case("python loop, 300 ms", "few long ones", job(computing.burn, burns(300, 12)), **PROCESS),
    Case("json, dumps", "from a global", job(computing.dump, range(600)), **PROCESS),
    Case("json, loads", "of the input", lambda _: (computing.load, [computing.text()] * 600), **PROCESS),
    Case("regex, backtracking", "`(a+)+b`", job(computing.backtrack, [19] * 100), **PROCESS),
    Case("regex, findall", "in a long text", job(computing.find_words, range(200)), **PROCESS),
    Case("sum of a range", "one C call of 15 ms", job(computing.sum_range, [1_000_000] * 100), **PROCESS),
    Case("sorted", "one C call of some ms", job(computing.sort, range(300)), **PROCESS),
    Case("power of big integers", "a C call of 20 ms", job(computing.big_power, [400_000] * 60), **PROCESS),
    Case("big integers as strings", "many C calls", job(computing.digits, [150] * 150), **PROCESS),
    Case("factorial", "one C call", job(computing.factorial, [8_000] * 200), **PROCESS),
    Case("compile", "Python source", job(computing.compile_code, range(100)), **PROCESS),
    Case(
        "NumPy, arrays of objects",
        "Python in the loop",
        job(computing.object_array, range(400)),
        needs=NUMPY,
        **PROCESS,
    ),
    Case(
        "NumPy, arrays of eight",
        "calls, not figures",
        job(computing.small_arrays, [3000] * 200),
        needs=NUMPY,
        **PROCESS,
    ),
    Case("lambda", "sent by value", job(lambda n: computing.burn(n), burns(10, 200)), **PROCESS),
    Case("partial", "of a function", job(functools.partial(computing.scaled, 3), burns(10, 200)), **PROCESS),
    Case("closure over data", "read only", job(computing.with_data([*range(1000)]), burns(10, 200)), **PROCESS),
    Case("bound method", "changes nothing", job(computing.Model([1, 2]).predict, burns(10, 200)), **PROCESS),
    Case("callable object", "changes nothing", job(computing.Model([1, 2]), burns(10, 200)), **PROCESS),
]

LETTING_GO = [
    Case("sha256", "of 2 MB in the process", job(gil_free.sha256, [2_000_000] * 400), **THREAD),
    Case("sha256 of the input", "1 MB each", lambda _: (gil_free.sha256_of, [gil_free.noise(1 << 20)] * 400), **THREAD),
    Case("pbkdf2", "20 ms", job(gil_free.stretch, [40_000] * 80), **THREAD),
    Case("zlib", "of 500 KB", job(gil_free.compress_zlib, [500_000] * 100), **THREAD),
    Case("bz2", "of 300 KB", job(gil_free.compress_bz2, [300_000] * 60), **THREAD),
    Case("lzma", "of 200 KB", job(gil_free.compress_lzma, [200_000] * 60), **THREAD),
    Case("NumPy, sort", "300,000 floats", job(gil_free.sort_array, [300_000] * 200), needs=NUMPY, **THREAD),
    Case("NumPy, sine", "500,000 floats", job(gil_free.sine, [500_000] * 200), needs=NUMPY, **THREAD),
    Case("NumPy, dot", "BLAS has threads of its own", job(gil_free.dot, [700] * 100), needs=NUMPY,
         **right("inline", "thread", why="BLAS uses all cores already; processes would only move and start")),
    Case("Pillow, blur", "a large picture", job(gil_free.blur, [4] * 60), needs=PILLOW, **THREAD),
    Case("Pillow, thumbnail", "JPEG decoded and resized", job(gil_free.thumbnail, range(200)), needs=PILLOW, **THREAD),
    Case("sqlite3, one aggregate", "in memory", job(gil_free.aggregate, [100_000] * 60), **THREAD),
]  # fmt: skip

WAITING = [
    Case("sleep, 20 ms", "", job(waiting.nap, [0.02] * 500), **WAITS),
    Case("sleep, 1 ms", "", job(waiting.nap, [0.001] * 3000), **WAITS),
    Case("sleep, 300 ms", "", job(waiting.nap, [0.3] * 20), **WAITS),
    Case("select", "with a timeout", job(waiting.poll, [0.01] * 500), **WAITS),
    Case("socket", "to a server that thinks for 20 ms", job(waiting.ask_by_socket, range(500)), **SERVED, **WAITS),
    Case("urllib", "the same", job(waiting.get_by_urllib, range(500)), **SERVED, **WAITS),
    Case("http.client", "the same", job(waiting.get_by_http_client, range(500)), **SERVED, **WAITS),
    Case("httpx", "the same; the first call imports it", job(waiting.get_by_httpx, range(300)), needs=HTTPX, **SERVED, **WAITS),
    Case("subprocess, waiting", "`sleep 0.05`", job(waiting.wait_for_child, [0.05] * 60), **WAITS),
    Case("subprocess, computing", "Python in the child", job(waiting.compute_in_child, [int(80 * PER_MS)] * 40),
         **right("thread", why="the children compute, whoever waits for them")),
    Case("lock", "held while it sleeps", job(waiting.nap_under_lock, [0.01] * 100),
         **right("inline", "thread", why="one at a time whatever is done, and a process has a lock of its own")),
    Case("event", "waited for with a timeout", job(waiting.wait_for_event, [0.01] * 500), **WAITS),
    Case("condition", "waited on with a timeout", job(waiting.wait_on_condition, [0.01] * 500), **WAITS),
    Case("queue", "another thread fills it", job(waiting.hand_through_queue, [0.01] * 300), **WAITS),
    Case("an event of the caller's", "in a closure", job(shapes.waits_for(threading.Event()), [0.01] * 500), **WAITS),
]  # fmt: skip

MIXED = [
    Case("wait 5 ms, compute 5 ms", "", job(waiting.wait_then_compute, both(0.005, 5, 300)),
         **right("process", why="the GIL would be held all the time")),
    Case("compute 5 ms, wait 5 ms", "", job(waiting.compute_then_wait, both(0.005, 5, 300)),
         **right("process", why="the GIL would be held all the time")),
    Case("wait 18 ms, compute 2 ms", "", job(waiting.wait_then_compute, both(0.018, 2, 400)),
         **right("thread", "process", why="threads fill one core, processes with threads two")),
    Case("wait 2 ms, compute 18 ms", "", job(waiting.wait_then_compute, both(0.002, 18, 150)),
         **right("process", why="the GIL would be held all the time")),
    Case("wait 20 ms, compute 0.1 ms", "", job(waiting.wait_then_compute, both(0.02, 0.1, 500)),
         **right("thread", why="it mostly waits")),
    Case("in turns, 10 ms each", "ten times a millisecond each", job(waiting.in_turns, both(0.01, 10, 100)),
         **right("process", why="the GIL would be held all the time")),
    Case("wait 5 ms, pbkdf2 5 ms", "", job(waiting.wait_then_stretch, [(0.005, 10_000)] * 300),
         **right("thread", why="it waits or has let go of the GIL")),
    Case("wait 30 ms, then compute 60 ms", "a call that misleads at first", job(waiting.wait_then_compute, both(0.03, 60, 40)),
         **right("process", "thread", why="to wait is all it has shown when it is judged; the rest is for the second look")),
    Case("bimodal, waits and computes", "10 ms each", job(shapes.unlike, [("wait", 0.01, 0), ("", 0, 10 * PER_MS)] * 150),
         **right("process", "thread", why="which it is, the first calls do not tell")),
]  # fmt: skip


def files(count: int, size: int) -> Any:
    def make(place: Place) -> list[str]:
        folder = place.folder()
        for i in range(count):
            (folder / str(i)).write_bytes(gil_free.noise(size))
        return [str(folder / str(i)) for i in range(count)]

    return make


def of_files(func: Any, count: int, size: int, times: int = 1) -> Any:
    return lambda place: (func, files(count, size)(place) * times)


def of_lines(place: Place) -> Job:
    path = place.folder() / "table.csv"
    path.write_text("1,2,three,4.5\n" * 8000)
    return waiting.parse_file, [str(path)] * 400


def of_database(func: Any, rows: int, times: int) -> Any:
    def make(place: Place) -> Job:
        path = str(place.folder() / "numbers.db")
        waiting.make_database(path, rows)
        return func, [path] * times

    return make


def new_files(place: Place) -> Job:
    folder = place.folder()
    return waiting.write_durably, [str(folder / str(i)) for i in range(200)]


FILES = [
    Case("files, cached", "1 MB each", of_files(waiting.read_cached, 10, 1 << 20, 20),
         **right("inline", "thread", why="memory is copied with the GIL let go; to move it costs as much again")),
    Case("files, cold", "1 MB each", of_files(waiting.read_cold, 40, 1 << 20, 4),
         **right("inline", "thread", why="it waits for the disk, or copies memory with the GIL let go")),
    Case("files, hashed", "1 MB each", of_files(waiting.hash_file, 10, 1 << 20, 40), **THREAD),
    Case("files, parsed", "8000 lines of CSV", of_lines, **PROCESS),
    Case("files, made durable", "4 KB and fsync", new_files,
         **right("thread", "inline", why="it waits for the disk, if that is one that lets itself be waited for")),
    Case("sqlite3, many rows", "on disk", of_database(waiting.read_rows, 20_000, 100), **HALF_HELD),
    Case("sqlite3, a scan", "on disk", of_database(waiting.find_rows, 100_000, 100), **THREAD),
    Case("sqlite3, small statements", "in memory", job(waiting.in_memory, [2000] * 200), **HALF_HELD),
]  # fmt: skip

SHAPES = [
    Case("tiny", "`x + 1`", job(shapes.increment, range(20_000)), **STAYS),
    Case("tiny, a built-in", "abs", job(abs, range(50_000)), **STAYS),
    Case("one task", "200 ms", job(computing.burn, burns(200, 1)), **right("inline", why="nothing is left to be shared")),
    Case("two short tasks", "10 ms", job(computing.burn, burns(10, 2)), **STAYS),
    Case("no task", "", job(computing.burn, []), **STAYS),
    Case("a handful", "2 ms", job(computing.burn, burns(2, 8)), **STAYS),
    Case("a few that sleep", "1 ms", job(waiting.nap, [0.0005] * 4), **STAYS),
    Case("two that sleep", "200 ms", job(waiting.nap, [0.2] * 3), **WAITS),
    Case("from a generator", "of a length that nobody knows", lambda _: (computing.burn, (n for n in burns(5, 600))), **PROCESS),
    Case("without end", "a generator of naps", job(waiting.nap, itertools.repeat(0.01)), **WAITS),
    Case("large inputs", "4 MB, of which little is read", lambda _: (shapes.measure_length, [bytes(4_000_000)] * 500), **STAYS),
    Case("large results", "1 MB of zeros", job(shapes.make_bytes, [1_000_000] * 1000),
         **right("inline", "thread", why="to move a result costs more than to make it")),
    Case("large lists as results", "100,000 numbers", job(shapes.make_list, [100_000] * 300),
         **right("inline", why="to move a result costs more than to make it")),
    Case("inputs that cannot be pickled", "generators", lambda _: (shapes.consume, [iter(burns(1, 8)) for _ in range(100)]),
         **right("inline", "thread", why="they cannot be sent")),
    Case("results that cannot be pickled", "lambdas", job(shapes.gives_lambda, burns(10, 100)),
         **right("inline", why="they cannot come home, and the GIL is held")),
    Case("results that cannot be pickled, late", "generators, of 300 ms", job(shapes.gives_generator, burns(300, 8)),
         **right("inline", "process", why="judged before there is a result, it looks fit to be sent")),
    Case("a closure over a lock", "computes", lambda _: (shapes.keeps_lock(), burns(10, 100)),
         **right("inline", why="it cannot be sent, and the GIL is held")),
    Case("first call imports", "the rest is short", job(shapes.import_first, burns(0.02, 1500)), **STAYS),
    Case("first call warms up", "for 70 ms; the rest is short", job(warm(70, 0, 0), burns(0.02, 1500)), **STAYS),
    Case("first call warms up, then naps", "for 70 ms; the rest sleeps 5 ms", job(warm(70, 0, 0.005), [0] * 500),
         **right("thread", "process", why="it waits; what it computes between fills a core with hundreds at once")),
    Case("first call connects", "waits for 60 ms; the rest computes", job(warm(0, 0.06, 0), burns(8, 200)),
         **right("process", "thread", why="to wait is all it has shown when it is judged; the rest is for the second look")),
    Case("first call twice as long", "and all compute", job(warm(10, 0, 0), burns(10, 200)), **PROCESS),
    Case("bimodal", "one in ten takes 30 times as long", job(computing.burn, ([20_000] * 9 + [600_000]) * 40), **PROCESS),
    Case("growing", "each computes a little longer", job(computing.burn, [1000 * i for i in range(600)]), **PROCESS),
    Case("shrinking", "each computes a little less", job(computing.burn, [1000 * i for i in range(600, 0, -1)]), **PROCESS),
    Case("no-ops first, then dear ones", "", job(computing.burn, [0] * 2000 + burns(10, 100)), **PROCESS),
]  # fmt: skip

COROUTINES = [
    Case("coroutine, sleeps", "10 ms", job(coroutines.nap, [0.01] * 500), **LOOP),
    Case("coroutine, does nothing", "", job(coroutines.nothing, range(2000)), **LOOP),
    Case("coroutine, computes", "10 ms", job(coroutines.compute, burns(10, 100)), **LOOPS),
    Case("coroutine, both", "10 ms and 2 ms", job(coroutines.nap_and_compute, both(0.01, 2, 200)), **LOOPS),
    Case("coroutine, blocks", "time.sleep", job(coroutines.block, [0.01] * 100), **LOOPS),
    Case("coroutine, asks", "by asyncio's streams", job(coroutines.ask, range(300)), **SERVED, **LOOP),
    Case("coroutine, httpx", "the first call imports it", job(coroutines.get_by_httpx, range(200)), needs=HTTPX, **SERVED, **LOOP),
    Case("returns an awaitable", "a plain function", job(coroutines.returns_awaitable, [0.01] * 300), **LOOP),
    Case("lambda of a coroutine", "asyncio.sleep", job(lambda s: asyncio.sleep(s), [0.01] * 300), **LOOP),
]  # fmt: skip

B5 = burns(5, 150)


def long_list(place: Place) -> Job:
    effects.fill_long(300_000)
    return effects.append_to_long, B5


def array(place: Place) -> Job:
    import numpy as np

    return effects.into_array(np.zeros(500_000)), B5


EFFECTS = [
    Case("a global list appended to", "", job(effects.append, B5), **LOST),
    Case("the same by another name", "", job(effects.append_by_alias, B5), **LOST),
    Case("a long list appended to", "too long to be looked at", long_list, **LOST),
    Case("a global counter", "", job(effects.add, B5), **LOST),
    Case("a global counter under a lock", "", job(effects.add_under_lock, B5), **LOST),
    Case("a dict cache filled", "", job(effects.enter, B5), **LOST),
    Case(
        "a dict cache filled now and then",
        "not by the first calls",
        job(effects.enter_seldom, [10 * n for n in B5]),
        **LOST,
    ),
    Case("a Counter", "", job(effects.count, B5), **LOST),
    Case("an attribute of a module", "", job(effects.configure, B5), **LOST),
    Case("os.environ", "", job(effects.set_environment, B5), **LOST),
    Case("a bound method that adds up", "", lambda _: (effects.Tally().add, B5), **LOST),
    Case("a bound method that appends", "", lambda _: (effects.Tally().add_deep, B5), **LOST),
    Case("an attribute of a class", "by a method", lambda _: (effects.Tally().add_to_class, B5), **LOST),
    Case("an attribute of a class, by cls", "", lambda _: (effects.Tally.add_by_class, B5), **LOST),
    Case("a global object", "", job(effects.tell, B5), **LOST),
    Case("an argument appended to", "", lambda _: (effects.mutate, [[n] for n in B5]), **LOST),
    Case("an argument's attribute", "", lambda _: (effects.mutate_object, [effects.Tally() for _ in B5]), **LOST),
    Case("a closure's list", "", job(effects.closure_append(), B5), **LOST),
    Case("a closure's counter", "nonlocal", job(effects.closure_cell(), B5), **LOST),
    Case("an attribute of the function", "", job(effects.function_attribute, B5), **LOST),
    Case("a default argument", "", job(effects.by_default, B5), **LOST),
    Case("a large array written to", "too big to be looked at", array, needs=NUMPY, **LOST),
]

SECTIONS: dict[str, list[Case]] = {
    "Computing with the GIL": COMPUTING,
    "Computing without it": LETTING_GO,
    "Waiting": WAITING,
    "Both": MIXED,
    "Files and databases": FILES,
    "Out of the ordinary": SHAPES,
    "Coroutines": COROUTINES,
    "Effects on the caller's objects": EFFECTS,
}
CASES = [case for cases in SECTIONS.values() for case in cases]
BY_NAME = {case.name: case for case in CASES}
