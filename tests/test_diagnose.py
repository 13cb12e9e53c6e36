"""What cannot be pickled is found at its very place."""

import contextlib
import functools
import sqlite3
import threading
import time
from dataclasses import dataclass

import pytest

from flatout._errors import NotPicklable
from flatout._wire._diagnose import blame, culprit, not_picklable

LOCK = "cannot pickle '_thread.lock' object"


def lock() -> object:
    return threading.Lock()


def defaulting(value: object = threading.Lock()) -> object:
    return value


defaulting.__module__ = "__main__"  # so that it goes by value


class Client:
    def __init__(self, conn: object, other: object = None) -> None:
        self.other = other
        self.conn = conn

    def get(self) -> None: ...


class Slotted:
    __slots__ = ("handle",)

    def __init__(self, handle: object) -> None:
        self.handle = handle


class Careful(Client):
    def __getstate__(self) -> object:
        return {"kept": self.other}


@dataclass
class Job:
    name: str
    done: object


def closure_over(value: object, also: object = 1) -> object:
    def f() -> object:
        return also, value

    return f


def test_the_path_leads_from_outside_to_inside() -> None:
    f = closure_over(lock())
    name = "function closure_over.<locals>.f"
    assert culprit(f, name) == f"closure variable 'value' of {name}: {LOCK}"
    assert culprit(f, "the function") == f"the function -> closure variable 'value' of {name}: {LOCK}"
    nested = [1, {"db": (Client(lock()),)}]
    assert culprit(nested, "argument 0") == (
        "argument 0 -> element 1 of list -> value for key 'db' of dict -> element 0 of tuple -> "
        f"attribute 'conn' of Client: {LOCK}"
    )


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (functools.partial(print, 1, db=lock()), "keyword 'db' of partial"),
        (functools.partial(print, 1, lock()), "argument 1 of partial"),
        (functools.partial(defaulting), "function 'func' of partial -> default argument 0 of function defaulting"),
        ([0, 0, 0, lock(), 0], "element 3 of list"),
        ({"x": lock()}, "value for key 'x' of dict"),
        (frozenset([lock()]), "element 0 of frozenset"),
        (Client(lock()).get, "object of bound method 'get' of Client object -> attribute 'conn' of Client"),
        (Slotted(lock()), "attribute 'handle' of Slotted"),
        (Job("a", lock()), "attribute 'done' of Job"),
        (Careful(lock(), other=[lock()]), "attribute 'kept' of Careful -> element 0 of list"),
        (ValueError("text", lock()), "constructor argument 1 of ValueError"),
        (type("Local", (), {"shared": lock()}), "attribute 'shared' of class Local"),
        (closure_over(1, also=closure_over(lock())), "closure variable 'also' of function closure_over.<locals>.f -> "),
    ],
    ids=lambda value: str(value)[:20],
)
def test_every_kind_of_place(value: object, where: str) -> None:
    said = culprit(value, "it")
    assert said.startswith(f"it -> {where}"), said
    assert said.endswith(LOCK)


def test_a_global_that_a_function_uses() -> None:
    namespace = {"__name__": "__main__", "session": lock()}
    exec("def f(): return session", namespace)
    assert culprit(namespace["f"], "it") == f"it -> global 'session' of function f: {LOCK}"


def test_the_value_itself() -> None:
    assert culprit(lock(), "argument 0") == f"argument 0: {LOCK}"
    assert culprit((i for i in "ab"), "argument 0") == "argument 0: cannot pickle 'generator' object"


def test_cycles_end_and_do_not_mislead() -> None:
    first, second = Client(None), Client(None)
    first.other, second.other = second, [first]
    first.conn = lock()
    assert culprit(first, "it") == f"it -> attribute 'conn' of Client: {LOCK}"
    loop: list[object] = []
    loop += [loop, lock()]
    assert culprit(loop, "it") == f"it -> element 1 of list: {LOCK}"


def test_an_object_that_refuses_by_itself() -> None:
    class Refuses:
        def __reduce__(self) -> str:
            raise RuntimeError("not  me,\n ever")

    assert culprit([Refuses()], "it") == "it -> element 0 of list: not me, ever"


def test_it_takes_little_time_with_much_data() -> None:
    began = time.monotonic()
    assert "element 99999 of list" in culprit([*range(99_999), lock()], "it")
    assert "element 0 of list" in culprit([lock() for _ in range(10_000)], "it")
    deep: list[object] = [lock()]
    for _ in range(100_000):
        deep = [deep]
    assert culprit(deep, "it").startswith("it: Could not pickle object as excessively deep recursion")
    assert time.monotonic() - began < 10


def test_the_error_says_what_to_do() -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        error = not_picklable({"db": connection}, "argument 0")
    assert isinstance(error, NotPicklable)
    assert "argument 0 -> value for key 'db' of dict: cannot pickle 'sqlite3.Connection' object" in str(error)
    assert "initializer=" in str(error)
    assert 'via="thread"' in str(error)


def test_of_several_the_guilty_one_is_named() -> None:
    error = blame((len, closure_over(lock()), closure_over(1)))
    assert f"closure variable 'value' of function closure_over.<locals>.f: {LOCK}" in str(error)
