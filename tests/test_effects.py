"""A call that changes the caller's memory is noticed; one that does not raises no alarm."""

import collections
import dis
import functools
import importlib
import itertools
import json
import logging
import math
import os
import queue
import random
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import choice
from types import CodeType, FunctionType
from typing import Any

import pytest

import flatout
from flatout._plan._effects import Watch, _assigned_here, _stores
from flatout._wire._code import codes

seen: list[object] = []
table: dict[str, int] = {}
work: queue.Queue[object] = queue.Queue()
counter = 0
settings = {"depth": [1, 2, 3]}
words = re.compile(r"\w+")
log = logging.getLogger(__name__)
dice = random.Random(7)
numbers = itertools.count()


class Tally:
    def __init__(self) -> None:
        self.counts: collections.Counter[object] = collections.Counter()
        self.lock = threading.Lock()

    def add(self, x: object) -> None:
        with self.lock:
            self.counts[x] += 1

    def read(self, x: object) -> int:
        return self.counts[x]

    def __call__(self, x: object) -> None:
        self.add(x)


tally = Tally()


def after(func: Callable[..., Any], item: Any, star: bool = False) -> str:
    watch = Watch(func, item, star)
    assert "changed" not in watch.changed()
    func(*item) if star else func(item)
    return watch.changed()


def note(x: object) -> None:
    seen.append(x)


def note_through_others(x: object) -> None:
    note_again(x)


def note_again(x: object) -> None:
    note(x)


def count(x: object) -> None:
    global counter
    counter += 1


def count_through_another(x: object) -> None:
    count(x)


def count_in_a_nested_one(x: object) -> None:
    def nested() -> None:
        global counter
        counter += 1

    nested()


def enter(x: str) -> None:
    table[x] = 1


def put(x: object) -> None:
    work.put(x)


def tell(x: object) -> None:
    tally.add(x)


def roll(x: object) -> int:
    return dice.randint(1, 6)


def number(x: object) -> int:
    return next(numbers)


def collect(x: object, into: list[object] = []) -> None:  # noqa: B006
    into.append(x)


def keyword(x: object, *, into: list[object] = []) -> None:  # noqa: B006
    into.append(x)


def sort(x: list[int]) -> None:
    x.sort()


def sum_up(x: Iterator[int]) -> int:
    return sum(x)


def closures() -> dict[str, Callable[[Any], Any]]:
    results: list[object] = []
    total = 0

    def append(x: object) -> None:
        results.append(x)

    def add(x: int) -> None:
        nonlocal total
        total += x

    def deep(x: int) -> None:
        def inner() -> None:
            nonlocal total
            total += x

        inner()

    def by_a_friend(x: int) -> None:
        add(x)

    emit = results.append

    def by_a_method(x: int) -> None:
        emit(x)

    return {f.__name__: f for f in (append, add, deep, by_a_friend, by_a_method)}


def wrapped(func: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(func)
    def inner(*args: Any) -> Any:
        return func(*args)

    return inner


GLOBAL_COUNTER = "the call writes the global 'counter' (global statement)"


@pytest.mark.parametrize(
    ("func", "item", "said"),
    [
        (note, 1, f"the call changed the global 'seen' of module {__name__}"),
        (note_through_others, 1, f"the call changed the global 'seen' of module {__name__}"),
        (wrapped(note), 1, f"the call changed the global 'seen' of module {__name__}"),
        (lambda x: note(x), 1, f"the call changed the global 'seen' of module {__name__}"),
        (enter, "a", f"the call changed the global 'table' of module {__name__}"),
        (put, 1, f"the call changed the global 'work' of module {__name__}"),
        (tell, 1, f"the call changed the global 'tally' of module {__name__}"),
        (roll, 1, f"the call changed the global 'dice' of module {__name__}"),
        (number, 1, f"the call changed the global 'numbers' of module {__name__}"),
        (count, 1, GLOBAL_COUNTER),
        (count_through_another, 1, GLOBAL_COUNTER),
        (count_in_a_nested_one, 1, GLOBAL_COUNTER),
        (wrapped(count), 1, GLOBAL_COUNTER),
        (functools.partial(count), 1, GLOBAL_COUNTER),
        (functools.lru_cache(count), 1, GLOBAL_COUNTER),
        (collect, 1, "the call changed default argument 'into'"),
        (keyword, 1, "the call changed default argument 'into'"),
        (sort, [2, 1], "the call changed its input"),
        (sum_up, iter([1, 2]), "the call changed its input"),
        ([].append, 1, "the call changed the list whose method it is"),
        (Tally().add, 1, "the call changed the Tally whose method it is"),
        (Tally(), 1, "the call changed the Tally that is called"),
        (functools.partial(list.append, []), 1, "the call changed argument 0 of its partial"),
        (functools.partial(collect, into=[]), 1, "the call changed keyword 'into' of its partial"),
        (closures()["append"], 1, "the call changed closure variable 'results'"),
        (closures()["by_a_method"], 1, "the call changed closure variable 'emit'"),
        (closures()["add"], 1, "the call writes the closure variable 'total' (nonlocal statement)"),
        (closures()["deep"], 1, "the call writes the closure variable 'total' (nonlocal statement)"),
        (closures()["by_a_friend"], 1, "the call writes the closure variable 'total' (nonlocal statement)"),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_effects_are_named(func: Callable[..., Any], item: object, said: str) -> None:
    assert after(func, item) == said


class Retrying:
    def __init__(self, func: Callable[..., Any]) -> None:
        self.func = func

    def run(self, x: object) -> object:
        return self.func(x)


def handed(func: Callable[..., Any], x: object) -> object:
    return func(x)


def adds_to_seen(x: object) -> None:
    seen.append(x)


def test_effects_of_a_function_that_is_handed_to_the_one_that_is_called() -> None:
    said = "the call changed the global 'seen' of module test_effects"
    assert after(functools.partial(handed, adds_to_seen), 1) == said
    assert after(handed, (adds_to_seen, 1), star=True) == said
    assert after(Retrying(adds_to_seen).run, 1) == said
    assert after(functools.partial(handed, squared), 3) == ""


def test_an_effect_on_one_of_several_arguments() -> None:
    assert after(lambda a, b: b.append(a), (1, []), star=True) == "the call changed its input"


def draw(x: object) -> float:
    random.shuffle([1, 2, 3])
    return random.random() + choice([1, 2]) + time.time() + os.getpid()


def say(x: str) -> list[str]:
    log.info("%s", x)
    sys.stdout.write(x)
    return words.findall(json.dumps(settings) + x)


@functools.lru_cache
def squared(x: int) -> int:
    return x * x


def use_the_cache(x: int) -> int:
    return squared(x)


def local_changes(x: list[int]) -> list[int]:
    total = 0
    copy = sorted(x)

    def add(y: int) -> None:
        nonlocal total
        total += y

    for y in x:
        add(y)
    copy.append(total)
    return [total for _ in copy if (total := total + 1)]


def read_a_closure(x: list[int]) -> Callable[[Any], Any]:
    def f(y: int) -> int:
        return x[0] + y

    return f


@pytest.mark.parametrize(
    ("func", "item"),
    [
        (math.sqrt, 4.0),
        (len, [1, 2]),
        (random.gauss, 1.0),
        (draw, 1),
        (say, "a"),
        (squared, 3),
        (use_the_cache, 3),
        (local_changes, [1, 2]),
        (read_a_closure([1]), 2),
        (Tally().read, 2),
        (json.JSONEncoder().encode, {"a": [1]}),
        (collections.Counter, "abc"),
        (functools.partial(json.dumps, indent=1), {"a": [1, {2: None}]}),
        (str.split, "a b"),
        (sum_up, (i for i in range(3))),
        (sum, {1, 2, 3}),
        (lambda path: (path.exists(), path.parts, str(path), hash(path), path.parent), Path("/tmp/a/b/a")),
        (lambda error: (str(error), error.with_traceback(None)), ValueError("x", [1])),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_no_false_alarm(func: Callable[..., Any], item: object) -> None:
    if func is random.gauss:
        func, item = functools.partial(func, 0.0), 1.0
    assert after(func, item) == ""


def test_too_big_to_tell_counts_as_unchanged() -> None:
    assert after(list.pop, list(range(10**6))) == ""


def test_growing_past_the_cap_is_a_change() -> None:
    assert after(lambda x: x.extend(range(10**6)), [1]) == "the call changed its input"


def test_it_can_be_asked_while_the_call_is_on() -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow(x: list[int]) -> None:
        x.append(1)
        entered.set()
        leave.wait(30)

    item: list[int] = []
    watch = Watch(slow, item)
    caller = threading.Thread(target=slow, args=(item,))
    caller.start()
    assert entered.wait(30)
    assert watch.changed() == "the call changed its input"
    leave.set()
    caller.join()


def test_a_change_in_the_middle_of_a_look_is_a_change() -> None:
    class Grows:
        """Stands for another thread that changes the container just while it is read."""

        armed = False

        def __reduce__(self) -> Any:
            if self.armed:
                item[len(item)] = 1
            return Grows, ()

    item: dict[Any, Any] = {}
    item.update(enumerate([Grows(), 2, 3]))
    watch = Watch(len, item)
    Grows.armed = True
    assert watch.changed() == "the call changed its input"


def test_what_changes_by_itself_before_the_call_is_unknown() -> None:
    class Grows:
        armed = True

        def __reduce__(self) -> Any:
            if self.armed:
                item[len(item)] = 1
            return Grows, ()

    item: dict[Any, Any] = {}
    item.update(enumerate([Grows(), 2, 3]))
    watch = Watch(len, item)
    Grows.armed = False
    assert watch.changed() == ""


def test_pickling_warns_of_nothing(recwarn: pytest.WarningsRecorder) -> None:
    assert after(number, 1)
    assert not recwarn.list


def codes_of(module: str) -> Iterator[CodeType]:
    for value in vars(importlib.import_module(module)).values():
        functions = [value, *vars(value).values()] if isinstance(value, type) else [value]
        for function in functions:
            if isinstance(function, FunctionType):
                yield from codes(function.__code__)


def assigned_by_dis(code: CodeType, outer: frozenset[str]) -> bool:
    return any(
        i.opname in ("STORE_GLOBAL", "DELETE_GLOBAL")
        or (i.opname in ("STORE_DEREF", "DELETE_DEREF") and i.argval in outer)
        for i in dis.get_instructions(code)
    )


@pytest.mark.parametrize(
    "module", ["random", "logging", "threading", "functools", "re", "tempfile", "inspect", "locale"]
)
def test_the_quick_scan_agrees_with_dis_on_the_standard_library(module: str) -> None:
    for code in codes_of(module):
        outer = frozenset(code.co_freevars)
        assert bool(_assigned_here(code, outer)) == assigned_by_dis(code, outer), code


def test_the_scan_reads_specialised_and_instrumented_code() -> None:
    def busy(n: int) -> int:
        global counter
        total = 0
        for i in range(n):
            total += len(str(i)) + math.floor(i / 2)
            counter = total
        return total

    def harmless(n: int) -> int:
        total = 0
        for i in range(n):
            total += len(str(i)) + math.floor(i / 2) + settings["depth"][0]
        return total

    sys.settrace(lambda *_: None)
    try:
        for func in (busy, harmless):
            func(2000)
            assert bool(_stores().intersection(func.__code__.co_code[::2])) == (func is busy)
    finally:
        sys.settrace(None)
    assert Watch(busy, 1).changed() == GLOBAL_COUNTER
    assert Watch(harmless, 1).changed() == ""


def test_an_open_file_is_no_thing_to_copy(tmp_path: Path) -> None:
    """A worker would read, or write, in a copy of its own."""
    (tmp_path / "lines").write_text("1\n2\n")
    with open(tmp_path / "lines") as lines, open(tmp_path / "log", "wb") as log:

        def read(x: int) -> int:
            return int(lines.readline()) + x

        assert Watch(read, 1).possible() == "the call may read or write the open file in closure variable 'lines'"
        said = "the call may read or write the open file in keyword 'file' of its partial"
        assert Watch(functools.partial(print, file=log), 1).possible() == said
        assert Watch(functools.partial(print, file=sys.stderr), 1).possible() == ""
        with pytest.raises(flatout.NotPicklable, match="lines"):
            flatout.map(read, [1, 2], via="process").results()
        assert flatout.map(lambda x: print(x, file=sys.stdout), [1], via="process").results() == [None]
