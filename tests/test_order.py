"""From the order of finishing to the order of the inputs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flatout._dispatch._order import Order
from flatout._model import Settled


@st.composite
def spans(draw: st.DrawFn) -> list[Settled]:
    """Outcomes of all tasks 0 ... n - 1, cut and shuffled."""
    settled, first = [], 0
    for count in draw(st.lists(st.integers(1, 5), max_size=30)):
        settled.append(Settled(first, list(range(first, first + count))))
        first += count
    return draw(st.permutations(settled))


@given(spans())
def test_in_order_each_once_and_as_early_as_can_be(finished: list[Settled]) -> None:
    order = Order(ordered=True)
    given_on: list[int] = []
    seen: set[int] = set()
    for settled in finished:
        seen.update(settled.values)
        given_on += [value for due in order.add(settled) for value in due.values]
        assert given_on == list(range(len(given_on)))
        assert len(given_on) not in seen, "what could be given on has been"
    assert set(given_on) == seen


@given(spans())
def test_without_order_everything_goes_on_at_once(finished: list[Settled]) -> None:
    order = Order(ordered=False)
    assert [order.add(settled) for settled in finished] == [[settled] for settled in finished]
