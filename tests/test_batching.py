"""How many tasks travel together, and the queue that cuts them."""

from __future__ import annotations

import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flatout._child import _results
from flatout._dispatch._batching import BATCH_BYTES, CHEAP, INLINE_TARGET, LEAST, MODEST, MOST, TARGET, Queue, Sizer
from flatout._model import Batch
from flatout._plan import _choose

PLENTY = 10**9
MIB = 1 << 20


def measured(*batches: tuple[int, float]) -> Sizer:
    """A sizer that has seen batches of (tasks, seconds of one)."""
    sizer = Sizer(None)
    for count, each in batches:
        sizer.finished(count, count * each)
    return sizer


# The size of a batch


def test_before_anything_is_measured_one_task_travels_alone() -> None:
    assert Sizer(None).size(PLENTY, 4) == 1
    assert Sizer(None).mean == math.inf
    assert measured((4, 0.5)).mean == 0.5


def test_a_fixed_size_is_kept_whatever_is_measured() -> None:
    sizer = Sizer(7)
    sizer.finished(7, 700.0)
    assert sizer.size(PLENTY, 4) == sizer.size(1, 4) == 7


seen = st.lists(st.tuples(st.integers(1, MOST), st.floats(0.0, 100.0)), min_size=1, max_size=20)


@given(seen=seen, left=st.integers(0, PLENTY), workers=st.integers(1, 1000))
def test_every_bound_is_kept_to(seen: list[tuple[int, float]], left: int, workers: int) -> None:
    size = measured(*seen).size(left, workers)
    last, _ = seen[-1]
    assert 1 <= size <= min(2 * last, MOST)
    assert size <= max(1, left)


@given(each=st.floats(1e-9, 10.0), left=st.integers(0, PLENTY), workers=st.integers(1, 1000))
def test_nobody_gets_more_than_a_share_of_what_is_left_unless_that_is_not_worth_sending(
    each: float, left: int, workers: int
) -> None:
    size = measured((MOST, each)).size(left, workers)
    assert size <= max(1, left / (2 * workers) + 1, LEAST / each * 1.001)


@given(each=st.floats(1e-7, 10.0), batches=st.integers(1, 40))
def test_steady_tasks_fill_the_target_and_no_more(each: float, batches: int) -> None:
    sizer, size = Sizer(None), 1
    for _ in range(batches):
        sizer.finished(size, size * each)
        size = sizer.size(PLENTY, 4)
        assert size * each <= max(TARGET, each) * 1.001
    if batches >= 16:
        assert size == MOST or (size + 2) * each > TARGET * 0.999


def test_sizes_at_most_double() -> None:
    sizer, sizes = Sizer(None), [1]
    for _ in range(12):
        sizer.finished(sizes[-1], sizes[-1] * 1e-7)
        sizes.append(sizer.size(PLENTY, 4))
    assert all(later == 2 * earlier for earlier, later in pairwise(sizes))


def test_batches_shrink_towards_the_end() -> None:
    each = LEAST / 10
    sizer, left, sizes = measured((1000, each)), 1000, []
    while left:
        sizes.append(sizer.size(left, 4))
        left -= sizes[-1]
        sizer.finished(sizes[-1], sizes[-1] * each)
    assert sizes[0] == 125
    assert 9 <= sizes[-2] <= 10, "less than that is not worth sending"
    assert all(later <= earlier for earlier, later in pairwise(sizes))


def test_a_batch_that_was_interrupted_leaves_the_next_ones_large() -> None:
    steady = [(2**n, 1e-7) for n in range(12)]
    interrupted = measured(*steady, (500, 4e-6))  # 2 ms instead of 50 us
    assert interrupted.size(PLENTY, 2) == 1000


def test_cheap_tasks_before_dear_ones_cost_one_batch_of_the_size_they_had() -> None:
    sizer = measured(*[(2**n, 1e-7) for n in range(10)])
    last = sizer.size(PLENTY, 4)
    assert last <= 2 * 2**9, "no leap beyond twice of what has been tried"
    sizer.finished(last, last * 1.0)
    assert sizer.size(PLENTY, 4) == 1
    assert sizer.mean > CHEAP


def test_a_worker_keeps_what_is_finished_as_long_as_a_good_batch_takes() -> None:
    assert _results.POSTMAN_SECONDS == TARGET


def test_tasks_that_vary_travel_in_smaller_batches_than_steady_ones_of_the_same_mean() -> None:
    steady = measured(*[(240, 1e-4)] * 20)
    varied = measured(*[(240, 0.2e-4), (240, 1.8e-4)] * 10)
    assert varied.size(PLENTY, 4) < steady.size(PLENTY, 4)


def test_the_seat_has_smaller_batches() -> None:
    sizer = measured(*[(100, 1e-4)] * 5)
    assert sizer.size(PLENTY, 1, INLINE_TARGET) == 20 < sizer.size(PLENTY, 1) == 200


def test_no_more_travels_together_than_can_be_moved_at_once() -> None:
    sizer = Sizer(None)
    for _ in range(20):
        sizer.finished(1000, 1000 * 1e-7, 1000 * MIB)
    assert sizer.size(PLENTY, 2) == BATCH_BYTES // MIB


def test_the_law_knows_what_the_caller_does_while_processes_start() -> None:
    assert MODEST == _choose.MODEST


def test_tasks_that_take_no_time_at_all_are_no_trouble() -> None:
    assert measured((MOST, 0.0)).size(PLENTY, 1) == MOST


# The queue


class AnyQueue(RuleBasedStateMachine):
    """The queue against a plain list of (index, attempt)."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = Queue()
        self.model: list[tuple[int, int]] = []
        self.alone: list[tuple[int, int]] = []  # these come first, one by one
        self.next = 0
        self.taken: list[Batch] = []

    @rule(count=st.integers(1, 9))
    def push(self, count: int) -> None:
        self.queue.push(Batch(self.next, range(self.next, self.next + count)))
        self.model += [(i, 1) for i in range(self.next, self.next + count)]
        self.next += count

    @precondition(lambda self: self.model or self.alone)
    @rule(most=st.integers(1, 12))
    def take(self, most: int) -> None:
        batch = self.queue.take(most)
        assert 1 <= len(batch) <= most
        assert list(batch.inputs) == list(range(batch.first, batch.end))
        self.taken.append(batch)
        if self.alone:
            assert [(i, batch.attempt) for i in batch.inputs] == [self.alone.pop(0)]
            return
        expected, self.model = self.model[: len(batch)], self.model[len(batch) :]
        assert [(i, batch.attempt) for i in batch.inputs] == expected
        following = (batch.end, batch.attempt)
        assert len(batch) == most or self.model[:1] != [following], "what fits is not left behind"

    @precondition(lambda self: self.taken)
    @rule(again=st.booleans(), alone=st.booleans(), data=st.data())
    def put_back(self, again: bool, alone: bool, data: st.DataObject) -> None:
        batch = self.taken.pop(data.draw(st.integers(0, len(self.taken) - 1)))
        part = batch.part(data.draw(st.integers(batch.first, batch.end - 1)), batch.end)
        part = Batch(part.first, part.inputs, part.attempt + again)
        tasks = [(i, part.attempt) for i in part.inputs]
        if alone:
            for index in range(part.first, part.end):
                self.queue.push_alone(part.part(index, index + 1))
            self.alone = sorted(self.alone + tasks)
        else:
            self.queue.push_front(part)
            self.model[:0] = tasks

    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, self.next))
        before = len(self.model) + len(self.alone)
        self.model = [(i, attempt) for i, attempt in self.model if i < index]
        self.alone = [(i, attempt) for i, attempt in self.alone if i < index]
        assert self.queue.drop_from(index) == before - len(self.model) - len(self.alone)

    @invariant()
    def same_length(self) -> None:
        assert self.queue.count == len(self.model) + len(self.alone)


TestAnyQueue = AnyQueue.TestCase


def test_a_whole_span_is_handed_on_without_a_copy() -> None:
    queue, inputs = Queue(), [1, 2, 3]
    queue.push(Batch(0, inputs))
    assert queue.take(3).inputs is inputs


def test_neighbours_are_joined_but_not_different_attempts() -> None:
    queue = Queue()
    queue.push(Batch(0, ["a"]))
    queue.push(Batch(1, ["b"]))
    queue.push(Batch(2, ["c"], attempt=2))
    queue.push(Batch(9, ["j"], attempt=2))
    assert queue.take(5) == Batch(0, ["a", "b"])
    assert queue.take(5) == Batch(2, ["c"], attempt=2)
    assert queue.take(5) == Batch(9, ["j"], attempt=2)


def test_the_route_stays_with_the_tasks() -> None:
    queue = Queue()
    queue.push(Batch(0, [0, 1, 2], route="thread"))
    assert [queue.take(2).route, queue.take(2).route] == ["thread", "thread"]
