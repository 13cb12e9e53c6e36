"""What the code of a call would write to is read from its bytecode, also where looking on shows nothing."""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
import os
import re
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from flatout._plan._effects import Watch

seen: list[Any] = []
cache: dict[Any, Any] = {}
groups: dict[int, list[int]] = collections.defaultdict(list)
each = threading.local()
rows: list[list[int]] = [[0], [1]]
words = re.compile(r"\w+")
here = sys.modules[__name__]


class Tally:
    total = 0
    names: list[str] = []  # noqa: RUF012 - as beginners write it

    def __init__(self) -> None:
        self.last = 0
        self.parts: dict[int, int] = {}

    def note_in_class(self, x: int) -> None:
        Tally.total += x

    def note_in_own_class(self, x: int) -> None:
        type(self).total += x

    def note_in_class_by_name(self, x: int) -> None:
        kind = type(self)
        if x == 77:
            kind.total = x

    @classmethod
    def note_by_class(cls, x: int) -> None:
        cls.total += x

    def note_seldom(self, x: int) -> None:
        if x == 77:
            self.last = x

    def note_through_another(self, x: int) -> None:
        self.note_part(x)

    def note_part(self, x: int) -> None:
        self.parts[x] = x

    def read(self, x: int) -> int:
        return self.last + self.parts.get(x, 0)

    def make(self, x: int) -> Tally:
        made = Tally()
        made.last = x
        made.parts[x] = x
        return made


tally = Tally()


def append_seldom(x: int) -> None:
    if x == 77:
        seen.append(x)


def by_alias(x: int) -> None:
    mine = seen
    if x == 77:
        mine.append(x)


def fill(x: int) -> int:
    if x not in cache and x == 77:
        cache[x] = x * x
    return len(cache)


def forget(x: int) -> None:
    if x == 77:
        del cache[x]


def count(x: int) -> None:
    if x == 77:
        cache["n"] += 1


def group(x: int) -> None:
    if x == 77:
        groups[x].append(x)


def of_module(x: int) -> None:
    here.last = x  # type: ignore[attr-defined]


def of_function(x: int) -> None:
    of_function.last = x  # type: ignore[attr-defined]


def environment(x: int) -> None:
    os.environ["LAST"] = str(x)


def deep(x: int) -> None:
    if x == 77:
        tally.parts[x] = x


def by_method_of_global(x: int) -> None:
    if x == 77:
        tally.note_part(x)


def in_class_list(x: int) -> None:
    if x == 77:
        Tally.names.append(str(x))


def in_a_nested_one(x: int) -> None:
    def inner() -> None:
        if x == 77:
            seen.append(x)

    inner()


def closure() -> Callable[[int], None]:
    array = [0] * 10

    def put(x: int) -> None:
        if x == 77:
            array[x % 10] += x

    return put


def of_module_imported_within(x: int) -> None:
    import test_writes

    test_writes.last = x  # type: ignore[attr-defined]


def of_object_imported_within(x: int) -> None:
    from test_writes import tally

    tally.last += x


def to_list_imported_within(x: int) -> None:
    from test_writes import seen as found

    if x == 77:
        found.append(x)


def by_globals(x: int) -> None:
    globals()["last"] = x


def by_update_of_globals(x: int) -> None:
    globals().update(last=x)


def by_vars(x: int) -> None:
    vars(here)["last"] = x


def in_place(x: int) -> None:
    mine = seen
    if x == 77:
        mine += [x]


def row_by_row(x: int) -> None:
    for row in rows:
        if x == 77:
            row[0] = x


def through_an_iterator(x: int) -> None:
    row = next(iter(rows))
    for row in iter(rows):
        row[0] = x


def closure_named_like_a_builtin() -> Callable[[int], None]:
    iter: list[int] = []

    def put(x: int) -> None:
        if x == 77:
            iter.append(x)

    return put


GLOBAL = "the call may change the global {!r} of module " + __name__


@pytest.mark.parametrize(
    ("func", "said"),
    [
        (append_seldom, GLOBAL.format("seen")),
        (by_alias, GLOBAL.format("seen")),
        (fill, GLOBAL.format("cache")),
        (forget, GLOBAL.format("cache")),
        (count, GLOBAL.format("cache")),
        (group, GLOBAL.format("groups")),
        (of_module, GLOBAL.format("here")),
        (of_function, GLOBAL.format("of_function")),
        (environment, "the call may change os.environ"),
        (deep, GLOBAL.format("tally")),
        (by_method_of_global, GLOBAL.format("tally")),
        (in_class_list, GLOBAL.format("Tally")),
        (in_a_nested_one, GLOBAL.format("seen")),
        (partial(append_seldom), GLOBAL.format("seen")),
        (lambda x: append_seldom(x), GLOBAL.format("seen")),
        (closure(), "the call may change closure variable 'array'"),
        (Tally().note_in_class, GLOBAL.format("Tally")),
        (Tally.note_by_class, "the call may change the Tally whose method it is"),
        (Tally().note_seldom, "the call may change the Tally whose method it is"),
        (Tally().note_through_another, "the call may change the Tally whose method it is"),
        (Tally().note_in_own_class, "the call may change the class of the Tally whose method it is"),
        (Tally().note_in_class_by_name, "the call may change the class of the Tally whose method it is"),
        (of_module_imported_within, "the call may change the module test_writes"),
        (of_object_imported_within, "the call may change test_writes.tally"),
        (to_list_imported_within, "the call may change test_writes.seen"),
        (by_globals, "the call may change a global"),
        (by_update_of_globals, "the call may change a global"),
        (by_vars, GLOBAL.format("here")),
        (closure_named_like_a_builtin(), "the call may change closure variable 'iter'"),
        (in_place, GLOBAL.format("seen")),
        (row_by_row, GLOBAL.format("rows")),
        (through_an_iterator, GLOBAL.format("rows")),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_what_may_be_written_to_is_named(func: Callable[[int], Any], said: str) -> None:
    assert Watch(func, 1).possible() == said


class Page:
    def __init__(self) -> None:
        self.number = 0
        self.words: list[str] = []

    def parse(self) -> None:
        if self.number > 5:
            self.words.append("x")


def flag(page: Page) -> None:
    if page.number > 5:
        page.number = -1


def fill_in(row: dict[str, int]) -> None:
    if row.get("x", 0) > 5:
        row["y"] = 1


def keep(kept: list[int], x: int) -> None:
    if x > 5:
        kept.append(x)


def keep_by_default(x: int, kept: list[int] = []) -> None:  # noqa: B006 - as beginners write it
    if x > 5:
        kept.append(x)


def set_by_name(page: Page) -> None:
    if page.number > 5:
        setattr(page, "number", 0)  # noqa: B010 - by a name, as where that is computed


numbers = iter(range(1_000_000))


def draw(x: int) -> int:
    return next(numbers) if x > 5 else x


@pytest.mark.parametrize(
    ("func", "item", "said"),
    [
        (flag, Page(), "its argument 'page'"),
        (Page.parse, Page(), "its argument 'self'"),
        (lambda one: one.parse(), Page(), "its argument 'one'"),
        (fill_in, {}, "its argument 'row'"),
        (partial(keep, []), 1, "its argument 'kept'"),
        (partial(keep, x=1), [], "its argument 'kept'"),
        (partial(keep_by_default, kept=[]), 1, "its argument 'kept'"),
        (keep_by_default, 1, "its argument 'kept'"),
        (set_by_name, Page(), "its argument 'page'"),
        (draw, 1, f"the global 'numbers' of module {__name__}"),
    ],
)
def test_what_it_may_write_to_may_be_what_it_is_called_with(
    func: Callable[[Any], Any], item: object, said: str
) -> None:
    assert Watch(func, item).possible() == f"the call may change {said}"


def test_of_several_arguments_the_one_that_may_be_written_to_is_named() -> None:
    assert Watch(keep, ([], 1), star=True).possible() == "the call may change its argument 'kept'"


class Job:
    made = 0
    ids = itertools.count()
    kept: list[Any] = []  # noqa: RUF012 - as beginners write it

    def __init__(self, how: str) -> None:
        self.how = how
        self.parts: list[str] = []
        self.parts.append(how)
        if how == "by name":
            Job.made += 1
        elif how == "next":
            self.id = next(Job.ids)


class Later(Job):
    def __init__(self, how: str) -> None:
        super().__init__(how)
        if how == "class":
            self.__class__.made += 1
        elif how == "list":
            self.kept.append(self)

    def note(self) -> None:
        Later.made += 1

    @property
    def length(self) -> int:
        Job.made += 1
        return 1

    @functools.cached_property
    def width(self) -> int:
        Job.made += 1
        return 1


class Bumped:
    times = 0

    @classmethod
    def bump(cls) -> None:
        cls.times += 1


class Counted:
    made = 0

    def __new__(cls, *_: int) -> Counted:
        cls.made += 1
        return super().__new__(cls)


class Lookup(dict[str, int]):
    hits = 0

    def __getitem__(self, key: str) -> int:
        Lookup.hits += 1
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        Lookup.hits += 1
        return super().__contains__(key)


@dataclasses.dataclass
class Record:
    x: int

    def __post_init__(self) -> None:
        Job.kept.append(self.x)


class Square:
    sides = (1, 1)
    names = {1: "one"}  # noqa: RUF012 - as beginners write it

    def __init__(self, x: int) -> None:
        self.x = x
        self.rows: dict[int, int] = {}
        self.rows[x] = self.sides[0]
        self.area = x * x
        self.area += 1
        setattr(self, "name", self.names.get(x))  # noqa: B010

    @property
    def half(self) -> float:
        return self.area / 2


class Series:
    values: list[int] = []  # noqa: RUF012 - as beginners write it
    options = {"a": 1}  # noqa: RUF012 - as beginners write it
    rows: dict[int, int] = {}  # noqa: RUF012 - as beginners write it

    def __init__(self, x: int) -> None:
        self.values = [x]
        self.options = {**self.options, "x": x}
        self.reset()

    def reset(self) -> None:
        self.rows = {}

    def add(self, x: int) -> None:
        self.values.append(x)
        self.options["y"] = self.rows[x] = x


class Registered:
    def __init__(self) -> None:
        Job.kept.append(self)


class NotRegistered(Registered):
    def __init__(self) -> None:
        self.x = 1


class Lazy:
    def __init__(self) -> None:
        self.loaded: int | None = None
        self.found: dict[int, int] = {}

    @property
    def image(self) -> int:
        if self.loaded is None:
            self.loaded = 1
        return self.loaded

    def __getitem__(self, x: int) -> int:
        self.found[x] = x
        return x

    def __iter__(self) -> Lazy:
        self.at = 0
        return self

    def __next__(self) -> int:
        raise StopIteration


later, lookup, lazy = Later("-"), Lookup(a=1), Lazy()


def makes(x: int) -> str:
    return Job("by name").how if x else ""


def measures(x: int) -> int:
    return x * later.length


def makes_two(x: int) -> tuple[Job, int]:
    return Job(how="by name"), x


@pytest.mark.parametrize(
    ("func", "said"),
    [
        (makes, "the global 'Job'"),
        (makes_two, "the global 'Job'"),
        (lambda x: makes(x), "the global 'Job'"),
        (lambda x: Job(*(["by name"] * x)), "the global 'Job'"),
        (lambda x: Later(str(x)), "the class Later"),
        (lambda x: Later(str(x)).note(), "the class Later"),
        (lambda x: Counted(x), "the class Counted"),
        (lambda x: (x, Bumped().bump()), "the class Bumped"),
        (lambda x: Record(x), "the global 'Job'"),
        (measures, "the global 'Job'"),
        (lambda x: later.width * x, "the global 'Job'"),
        (lambda x: lookup["a"] * x, "the global 'Lookup'"),
        (lambda x: str(x) in lookup, "the global 'Lookup'"),
    ],
)
def test_constructors_and_what_else_is_called_unnamed_are_read(func: Callable[[Any], Any], said: str) -> None:
    module = f" of module {__name__}" if "global" in said else ""
    assert Watch(func, 1).possible() == f"the call may change {said}{module}"


@pytest.mark.parametrize("how", ["class", "list"])
def test_a_new_object_is_the_call_s_own_but_not_its_class(how: str) -> None:
    kept = Later.kept

    class Alone(Later):
        def __init__(self, x: int) -> None:
            if how == "class":
                self.__class__.made += x
            else:
                self.kept.append(x)

    assert Watch(lambda x: Alone(x), 1).possible() == "the call may change the class Alone"
    assert kept is Later.kept


@pytest.mark.parametrize(
    "func",
    [
        lambda x: Square(x).half,
        lambda x: isinstance(x, Job),
        lambda x: Square.sides[x],
        lambda x: Series(x).add(x),
        lambda x: (NotRegistered(), x),
    ],
)
def test_what_it_makes_may_be_filled(func: Callable[[Any], Any]) -> None:
    assert not Watch(func, 1).possible()


@pytest.mark.parametrize("func", [lambda x: lazy.image + x, lambda x: lazy[x], lambda x: [*lazy, x]])
def test_what_is_asked_for_something_may_keep_it(func: Callable[[Any], Any]) -> None:
    assert not Watch(func, 1).possible()
    assert not Watch(lambda it: it.image, Lazy()).possible()


def test_a_default_of_a_dataclass_that_counts_is_seen() -> None:
    """By what came of the first call: its constructor is not to be read so far."""

    def make(x: int) -> Numbered:
        return Numbered(x)

    watch = Watch(make, 1)
    make(1)
    assert watch.changed().startswith("the call changed closure variable")


@dataclasses.dataclass
class Numbered:
    x: int
    number: int = dataclasses.field(default_factory=itertools.count().__next__)


def own_copy(row: dict[str, int]) -> dict[str, int]:
    row = dict(row)
    row["y"] = 1
    row.update(x=2)
    return row


def own_number(x: int) -> int:
    x += 1
    return x


def own_words(text: str) -> str:
    text = text.strip()
    text += "."
    return text


def own_rows(rows: list[int]) -> tuple[list[int], int, int | None]:
    kept = []
    for row in rows:
        kept.append(row)
    return kept, next(iter(rows)), next((row for row in rows if row), None)


def own_variable(x: int, **rest: Any) -> int:
    for n in range(x):
        if n:
            found.append(n)  # noqa: F821 - of the turn before
        found: list[int] = []  # noqa: F841
    return len(rest)


@pytest.mark.parametrize(
    ("func", "item"),
    [(partial(own_variable, found=[]), 1), (own_copy, {}), (own_number, 1), (own_words, "a"), (own_rows, [1])],
)
def test_what_it_makes_of_its_arguments_is_its_own(func: Callable[[Any], Any], item: object) -> None:
    assert not Watch(func, item).possible()


def local_work(x: int) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    found.setdefault(x, []).append(x)
    found[x][0] += 1
    rows = [[0] * 3 for _ in range(x)]
    for row in rows:
        row[0] = x
    copy = sorted(seen)
    copy.append(x)
    return found


def own_connection(x: int) -> int:
    if not hasattr(each, "connection"):
        each.connection = object()
    return x


def reads_only(x: int) -> int:
    return len(seen) + len(cache.get(x, ())) + len(words.findall("a b")) + tally.read(x)


def makes_one(x: int) -> Tally:
    made = Tally()
    made.last = x
    return made


def gives_away(x: int) -> list[int]:
    part = seen[:3].copy()
    part.append(x)
    return part


def own_sums(x: int) -> list[Any]:
    from test_writes import rows as given

    total, found = len(seen), list(seen)
    total += x
    found += [x]
    for row in given:
        total += len(row)
        found.append(row)
    kind = type(found)
    made = kind(found)
    made.append(kind)
    made += reversed(found)
    own = vars(Tally()).copy()
    own["last"] = x
    return [*made, total, iter(found)]


def own_names_of_builtins(x: int) -> list[int]:
    vars: dict[str, int] = {}
    vars["k"] = x
    type = [x]
    type.append(x)
    return sorted(type, key=lambda i: vars["k"] * i)


def calls_what_it_imports(x: int) -> None:
    import os.path

    if x == 77:
        import not_there as other  # type: ignore[import-not-found]

        other.add(x)
    os.path.join("a", "b")


OTHERS = [Tally().read, Tally().make, len, str.split, Tally]


@pytest.mark.parametrize(
    "func",
    [
        local_work,
        own_sums,
        own_names_of_builtins,
        calls_what_it_imports,
        own_connection,
        reads_only,
        makes_one,
        gives_away,
        partial(reads_only),
        *OTHERS,
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_what_is_the_calls_own_raises_no_alarm(func: Callable[[Any], Any]) -> None:
    assert Watch(func, 1).possible() == ""


def test_what_is_appended_to_a_list_too_long_to_be_looked_at_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "seen", [*range(10**6)])
    watch = Watch(append_seldom, 77)
    append_seldom(77)
    assert watch.changed() == ""
    assert watch.possible() == GLOBAL.format("seen")


@pytest.mark.parametrize(
    "module", ["json.encoder", "textwrap", "statistics", "difflib", "fractions", "colorsys", "csv"]
)
def test_the_standard_library_can_be_walked_through(module: str) -> None:
    """Whatever its code looks like; nothing of what these modules define for others writes to a global."""
    import importlib
    from types import FunctionType

    functions = [value for value in vars(importlib.import_module(module)).values() if isinstance(value, FunctionType)]
    assert [f.__name__ for f in functions if f.__module__ == module and Watch(f, 1).possible()] == []
