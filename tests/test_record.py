"""Records: what a frozen dataclass with slots can, they can."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from flatout._record import fresh, record, replace


@record
class Point:
    """Of the plane."""

    x: int
    y: int = 0

    @property
    def sum(self) -> int:
        return self.x + self.y


@record
class Bag:
    label: str
    items: list[int] = fresh(factory=list)

    def __repr__(self) -> str:
        return f"<{self.label}>"


@dataclasses.dataclass(frozen=True, slots=True)
class Model:
    """What `Point` is to be like."""

    x: int
    y: int = 0


def test_a_record_is_what_a_frozen_dataclass_would_be() -> None:
    point = Point(1, y=2)
    assert (point.x, point.y, point.sum) == (1, 2, 3)
    assert point == Point(1, 2) != Point(1, 3)
    assert point != Model(1, 2)  # type: ignore[comparison-overlap]
    assert hash(point) == hash(Point(1, 2))
    assert repr(point) == repr(Model(1, 2)).replace("Model", "Point")
    assert inspect.signature(Point) == inspect.signature(Model)
    assert (Point.__doc__, Point.__module__, Point.__match_args__) == ("Of the plane.", __name__, ("x", "y"))
    assert not hasattr(point, "__dict__")


def test_a_record_cannot_be_changed() -> None:
    point = Point(1)
    with pytest.raises(dataclasses.FrozenInstanceError, match="x"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError, match="x"):
        del point.x
    assert replace(point, x=2) == dataclasses.replace(point, x=2) == Point(2)
    assert point == Point(1)


def test_wrong_arguments_are_refused_by_name() -> None:
    with pytest.raises(TypeError, match=r"Point\.__init__\(\) missing 1 required positional argument: 'x'"):
        Point()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="z"):
        Point(1, z=2)  # type: ignore[call-arg]


def test_defaults_may_be_made_anew_and_methods_be_given() -> None:
    first, second = Bag("a"), Bag("b")
    first.items.append(1)
    assert (first.items, second.items, Bag("c", [2]).items) == ([1], [], [2])
    assert repr(first) == "<a>"


def test_who_asks_for_a_dataclass_finds_one() -> None:
    bag: Any = Bag("a", [1])
    kind: Any = Bag
    assert dataclasses.is_dataclass(kind)
    assert [field.name for field in dataclasses.fields(bag)] == ["label", "items"]
    assert dataclasses.asdict(bag) == {"label": "a", "items": [1]}


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_records_are_copied_and_pickled(again: Callable[[object], object]) -> None:
    assert again(Point(1, 2)) == Point(1, 2)
    assert again(Bag("a", [1])) == Bag("a", [1])
