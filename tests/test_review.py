"""A choice looked at again: numbers in, another plan out, or none. All clocks are numbers here."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest

from flatout._model import Measurement, Plan, Prediction, Statistics
from flatout._plan._choose import Situation
from flatout._plan._review import AWAITED, Review, Window
from flatout._record import replace

THREADS = Plan("thread", 100, 100, measured=Measurement(0.0, 0.0, 0.02))
PROCESSES = Plan(
    "process",
    4,
    measured=Measurement(0.004, 0.0, 0.0),
    predictions=(
        Prediction("inline", 1, 4.0),
        Prediction("async", 0, math.inf, "no"),
        Prediction("thread", 4, 4.0),
        Prediction("process", 4, 1.0),
    ),
)
LOOP = Plan("async", 100, 1000)


@dataclass
class Course:
    """A run of which only the counts exist. `left` goes down with each call."""

    plan: Plan
    left: int | None = 1000
    cores: int = 4
    no_process: str = ""
    gil: bool = True
    begun: int = 0
    quickest: float = 0.0
    there: int = AWAITED  # workers
    busy: int = 0  # of these on a task
    now: float = 100.0
    cpu: float = 0.0
    prepared: list[float] = field(default_factory=list)  # for calls that compute so many seconds

    def __post_init__(self) -> None:
        self.counts = Statistics(workers=self.there)
        self.review = Review(self.situation, self.prepared.append)
        self.adopt(self.plan)

    def situation(self) -> Situation:
        known = self.cores, self.left, self.no_process, True, self.gil
        return Situation(*known, begun=self.begun, quickest=self.quickest)

    def adopt(self, plan: Plan) -> None:
        self.plan = plan
        self.review.adopted(plan, self.counts, self.cpu, self.now)
        for _ in range(AWAITED):
            self.review.ready()
        assert self.review.look(self.counts, self.cpu, self.now) is None  # from here on it counts
        if plan.kind == "async":
            self.passes(0.001, calls=1, each=0.0, compute=0.0)  # or from here on

    def passes(self, seconds: float, calls: int, each: float, compute: float, queued: float = 0.0) -> Plan | None:
        """So many calls end in so many seconds, each of which took so long, and of that computed and queued so long."""
        c = self.counts
        self.now += seconds
        self.cpu += calls * compute
        self.left = None if self.left is None else max(0, self.left - calls)
        self.counts = Statistics(
            succeeded=c.succeeded + calls,
            busy_seconds=c.busy_seconds + calls * each,
            cpu_seconds=c.cpu_seconds + calls * compute,
            queued_seconds=c.queued_seconds + calls * queued,
            running=self.busy,
            workers=self.there,
        )
        return self.review.look(self.counts, self.cpu, self.now) if self.now >= self.review.due else None


# Threads


def test_threads_that_wait_stay() -> None:
    course = Course(THREADS)
    assert course.passes(0.2, 100, each=0.02, compute=0.0001) is None


def test_a_full_garbage_collection_is_not_taken_for_what_threads_compute() -> None:
    course = Course(THREADS, left=2000)
    course.now, course.cpu = course.now + 0.2, course.cpu + 0.19  # it took nearly all of that
    course.review.collected(0.19, 0.19)
    assert course.passes(0.0, 10, each=0.1, compute=0.0001) is None
    assert course.passes(0.06, 60, each=0.1, compute=0.0001) is None
    assert course.passes(0.06, 30, each=0.1, compute=0.002) is not None, "what comes after it counts as ever"


def test_a_full_garbage_collection_is_not_taken_for_what_coroutines_compute() -> None:
    course = Course(LOOP, left=2000, busy=100)
    course.review.collected(0.19, 0.19)
    assert course.passes(0.2, 10, each=0.1, compute=0.019) is None
    assert course.passes(0.2, 100, each=0.1, compute=0.002) is not None, "what comes after it counts as ever"


def test_threads_that_keep_one_core_full_go_to_processes_of_threads() -> None:
    course = Course(THREADS, left=2000)
    plan = course.passes(0.2, 100, each=0.1, compute=0.002)
    assert plan is not None
    assert (plan.way, plan.processes) == ("process of threads", 4)
    assert "begun by thread, looked at again: threads keep one core full and no more" in plan.reason


@pytest.mark.parametrize(
    "course",
    [
        Course(THREADS, cores=1),
        Course(THREADS, no_process="it writes a global"),
        Course(THREADS, gil=False),
        Course(THREADS, left=101),  # over before a process could start
    ],
)
def test_not_where_processes_are_out_of_the_question_or_come_too_late(course: Course) -> None:
    assert course.passes(0.2, 100, each=0.1, compute=0.002) is None


def test_what_this_process_has_computed_before_does_not_count() -> None:
    course = Course(THREADS, left=2000, cpu=50.0)
    assert course.passes(0.2, 100, each=0.1, compute=0.0001) is None


def test_threads_that_let_go_of_the_gil_fill_more_than_one_core_and_stay() -> None:
    course = Course(THREADS)
    assert course.passes(0.2, 100, each=0.1, compute=0.008) is None


def test_a_core_full_of_threads_that_come_and_go_is_no_work_of_the_calls() -> None:
    course = Course(THREADS, left=100_000)
    assert course.passes(0.2, 2000, each=0.02, compute=0.0001) is None


def test_while_threads_are_added_a_full_core_tells_nothing() -> None:
    course = Course(replace(THREADS, measured=Measurement(0.002, 0.0, 0.02)), left=10_000)
    for _ in range(4):
        course.there += 1
        assert course.passes(0.2, 100, each=0.1, compute=0.002) is None
    assert course.passes(0.2, 100, each=0.1, compute=0.002) is not None


def test_nothing_is_judged_before_most_threads_are_there() -> None:
    course = Course(THREADS, left=10_000, there=AWAITED - 1)
    assert course.passes(0.2, 100, each=0.1, compute=0.05) is None
    course.there += 1
    assert course.passes(0.2, 100, each=0.1, compute=0.05) is None  # from here on
    assert course.passes(0.2, 100, each=0.1, compute=0.002) is not None


def test_unless_calls_have_come_to_compute_much_more_than_was_known_and_than_the_threads_starts() -> None:
    course = Course(THREADS, left=10_000)
    course.there += 1200  # of 0.18 ms each
    assert course.passes(0.2, 100, each=0.1, compute=0.002) is None
    course.there += 1
    assert course.passes(0.2, 100, each=0.1, compute=0.002) is not None


def test_processes_are_made_ready_once_as_soon_as_half_of_what_fills_a_core_is_new() -> None:
    course = Course(THREADS, left=160)
    assert course.passes(0.06, 60, each=0.1, compute=0.00095) is None  # not yet worth it
    assert course.prepared == [pytest.approx(0.00095)]
    assert course.passes(0.06, 10, each=0.1, compute=0.0057) is not None
    assert len(course.prepared) == 1


@pytest.mark.parametrize(
    "course",
    [
        Course(replace(THREADS, measured=Measurement(0.0009, 0.0, 0.02))),  # as was known
        Course(replace(THREADS, measured=None)),  # as nothing was known
        Course(THREADS, cores=1),
        Course(THREADS, no_process="it writes a global"),
        Course(THREADS, gil=False),
        Course(THREADS, there=1200),  # which have just started, and that computes, too
    ],
)
def test_but_not_where_they_cannot_come_to_be_wanted(course: Course) -> None:
    course.there += 200
    course.passes(0.06, 60, each=0.1, compute=0.00095)
    assert not course.prepared


def test_threads_that_are_all_in_calls_count_though_the_few_that_ended_were_quick() -> None:
    """Calls that waited were followed by calls that compute, of which none has ended."""
    course = Course(THREADS, left=1000, there=80, busy=80)
    assert course.passes(0.2, 8, each=0.005, compute=0.025) is not None


def test_calls_that_have_come_to_compute_and_hardly_wait_go_to_one_process_a_core() -> None:
    course = Course(THREADS, left=1000, there=80, busy=80)  # 79 of which wait for their turn
    plan = course.passes(0.2, 20, each=0.0115, compute=0.01)
    assert plan is not None
    assert (plan.way, plan.concurrency) == ("process", 4)


def test_threads_in_processes_are_as_many_as_the_waits_of_the_calls_ask_for() -> None:
    unknown = replace(THREADS, measured=None)
    course = Course(unknown, left=10_000, cores=2)
    plan = course.passes(0.2, 200, each=0.061, compute=0.001)  # 61 in flight: none waits longer than 61 ms for the GIL
    assert plan is not None
    assert (plan.way, plan.concurrency, plan.ceiling) == ("process of threads", 16, 61)
    course = Course(unknown, left=10_000, cores=2)
    plan = course.passes(0.2, 200, each=0.061, compute=0.0009)
    assert plan is not None
    assert plan.concurrency == 2 * math.ceil(1 + (0.061 - 61 * 0.0009) / 0.0009)
    course = Course(THREADS, left=10_000, cores=2)
    plan = course.passes(0.2, 200, each=0.061, compute=0.001)
    assert plan is not None
    assert plan.concurrency == 2 * (1 + 20)  # for 20 ms each waits, as was measured


def test_what_calls_waited_that_computed_next_to_nothing_is_not_taken_for_those_that_compute() -> None:
    """With 80 of those in each of two processes 8 ms of computing took half as long again as with one."""
    for computed, useful in ((0.0001, 2), (0.001, 22)):
        course = Course(replace(THREADS, measured=Measurement(computed, 0.0, 0.02)), left=10_000, cores=2)
        plan = course.passes(0.2, 100, each=0.04, compute=0.002)
        assert plan is not None
        assert plan.predicted is not None
        assert (plan.way, plan.predicted.useful) == ("process of threads", useful)


# Processes


def test_processes_whose_calls_have_come_to_wait_go_where_more_can_wait() -> None:
    course = Course(PROCESSES)
    assert course.passes(0.2, 200, each=0.004, compute=0.004) is None
    plan = course.passes(0.2, 27, each=0.03, compute=0.0)
    assert plan is not None
    assert plan.kind == "thread"
    assert plan.concurrency > 100
    assert "the calls have come to wait" in plan.reason


def test_processes_that_wait_for_a_core_on_a_busy_machine_do_not_wait() -> None:
    course = Course(PROCESSES)
    assert course.passes(0.4, 40, each=0.04, compute=0.004, queued=0.036) is None


def test_processes_much_slower_than_predicted_for_no_reason_in_the_calls_give_way_to_threads_once() -> None:
    course = Course(PROCESSES, left=10_000)
    plan = course.passes(2.0, 100, each=0.004, compute=0.004)  # 20 ms apart, though the law said 0.1
    assert plan is not None
    assert plan.kind == "thread"
    assert "calls end 20 ms apart, 100 us were predicted" in plan.reason


def test_a_moment_in_which_processes_are_slow_does_not_decide() -> None:
    """On a busy machine it was what the dispatcher waited for a core, of which no call can tell."""
    course = Course(PROCESSES, left=100_000)
    assert course.passes(1.9, 19_000, each=0.0004, compute=0.0004) is None
    for _ in range(8):
        assert course.passes(0.2, 20, each=0.0004, compute=0.0004) is None
        assert course.passes(0.9, 9_000, each=0.0004, compute=0.0004) is None


def test_processes_that_are_slow_as_the_machine_is_busy_stay() -> None:
    course = Course(PROCESSES, left=10_000)
    assert course.passes(2.0, 100, each=0.08, compute=0.004, queued=0.076) is None


def test_nor_do_they_give_way_where_a_busy_machine_keeps_them_from_being_fed() -> None:
    """Readings of two workers and the dispatcher beside six busy programs: the workers had nothing to do half of the time."""
    course = Course(PROCESSES, left=10_000)
    assert course.passes(2.0, 720, each=0.00229, compute=0.00084, queued=0.00143) is None


# Loops


def test_a_loop_whose_core_is_full_is_spread_over_processes_as_soon_as_that_is_seen() -> None:
    course = Course(LOOP)
    plan = course.passes(0.007, 3, each=0.02, compute=0.0022)
    assert plan is not None
    assert (plan.way, plan.processes) == ("process of loops", 4)


def test_what_the_loop_has_under_way_is_reckoned_with() -> None:
    """It stays there, and takes a core for as long as it computes."""
    each = 0.0022
    for begun, least in ((100, 1100 * each / 4), (900, 900 * each)):
        plan = Course(LOOP, begun=begun).passes(0.007, 3, each=0.02, compute=each)
        assert plan is not None
        assert plan.predictions[0].seconds == pytest.approx(least, rel=0.15)
    assert Course(LOOP, left=100, begun=3000).passes(0.007, 3, each=0.02, compute=each) is None


def test_the_less_a_loop_has_shown_the_more_it_must_save_to_be_spread() -> None:
    course = Course(LOOP, left=70)
    assert course.passes(0.0065, 3, each=0.02, compute=0.0021) is None
    plan = course.passes(0.0065, 3, each=0.02, compute=0.0021)
    assert plan is not None
    assert plan.way == "process of loops"


@pytest.mark.parametrize(("quickest", "spread"), [(0.0, True), (0.01, False)])
def test_a_loop_is_not_spread_where_its_calls_could_not_end_much_sooner(quickest: float, spread: bool) -> None:
    """20,000 calls that wait for 10 ms take 200 ms, a thousand at a time."""
    course = Course(LOOP, left=20_000, quickest=quickest)
    assert (course.passes(0.021, 1750, each=0.0115, compute=12e-6) is not None) == spread


def test_what_a_loop_has_computed_before_it_was_looked_at_does_not_count() -> None:
    """It reports that with what ended afterwards."""
    assert Course(LOOP, left=20_000).passes(0.002, 100, each=0.016, compute=68e-6) is None


def test_calls_that_have_begun_have_computed_half_of_what_they_will() -> None:
    review = Review(lambda: Situation(4, 10_000, "", True))
    review.adopted(LOOP, Statistics(), 0.0, 0.0)
    first = Statistics(succeeded=1, running=100)
    assert review.look(first, 0.0, 1.0) is None  # from here on it counts
    seen = Statistics(succeeded=101, running=300, busy_seconds=2.0, cpu_seconds=0.2)
    plan = review.look(seen, 0.0, 1.2)
    assert plan is not None
    assert plan.predictions[0].seconds == pytest.approx(10_000 * 0.001 / 4, rel=0.15)


@pytest.mark.parametrize("compute", [0.0, 0.0001, 0.001])
def test_a_loop_that_has_time_left_is_not(compute: float) -> None:
    course = Course(LOOP)
    assert course.passes(0.02, 10, each=0.02, compute=compute) is None


def test_nor_one_whose_coroutines_are_tied_to_it() -> None:
    course = Course(LOOP, no_process="the global 'session' belongs to this event loop")
    assert course.passes(0.007, 3, each=0.02, compute=0.0022) is None


def test_what_a_loop_computed_before_any_call_ended_tells_nothing() -> None:
    """It has begun a hundred of them."""
    review = Review(lambda: Situation(4, 1000))
    review.adopted(LOOP, Statistics(), 0.0, 0.0)
    assert review.look(Statistics(succeeded=2, busy_seconds=0.04, cpu_seconds=0.02), 0.0, 0.02) is None
    assert review.look(Statistics(succeeded=9, busy_seconds=0.2, cpu_seconds=0.0201), 0.0, 0.04) is None


# After a change


def test_a_change_that_makes_things_worse_is_taken_back_and_not_tried_again() -> None:
    course = Course(THREADS, left=10_000)
    plan = course.passes(0.2, 100, each=0.1, compute=0.002)
    assert plan is not None
    course.adopt(plan)
    back = course.passes(0.5, 100, each=0.1, compute=0.001)
    assert back is not None
    assert back.kind == "thread"
    assert "process of threads was tried, and was slower (5 ms a call, 2 ms before)" in back.reason
    course.adopt(back)
    for _ in range(5):
        assert course.passes(0.2, 100, each=0.1, compute=0.002) is None


def test_a_change_after_which_calls_are_dearer_and_more_is_computed_stands() -> None:
    course = Course(THREADS, left=10_000)
    plan = course.passes(0.2, 400, each=0.05, compute=0.0005)
    assert plan is not None
    course.adopt(plan)
    assert course.passes(0.2, 80, each=0.04, compute=0.01) is None


def test_what_was_tried_may_be_tried_again_when_calls_have_become_much_dearer() -> None:
    course = Course(THREADS, left=100_000)
    plan = course.passes(0.2, 400, each=0.05, compute=0.0005)
    assert plan is not None
    course.adopt(plan)
    back = course.passes(0.5, 100, each=0.1, compute=0.001)
    assert back is not None
    course.adopt(back)
    again = course.passes(0.2, 50, each=0.1, compute=0.004)
    assert again is not None
    assert again.way == "process of threads"


def test_nothing_is_judged_while_workers_start() -> None:
    review = Review(lambda: Situation(4, 1000))
    review.adopted(PROCESSES, Statistics(), 0.0, 0.0)
    waits = Statistics(succeeded=50, busy_seconds=1.5)
    assert review.look(waits, 0.0, 0.5) is None
    for _ in range(4):
        review.ready()
    assert review.look(waits, 0.0, 0.6) is None  # from here on
    assert review.look(Statistics(succeeded=100, busy_seconds=3.0), 0.0, 0.9) is not None


def test_a_window_of_few_calls_is_left_open() -> None:
    course = Course(THREADS, left=5000)
    assert course.passes(0.2, 3, each=0.1, compute=0.06) is None
    assert course.passes(0.2, 100, each=0.1, compute=0.002) is not None


def test_a_window_has_what_the_law_needs() -> None:
    window = Window(seconds=2.0, calls=4, busy=6.0, cpu=2.0, queued=1.0)
    assert (window.pace, window.compute, window.cores) == (0.5, 0.5, 1.5)
    assert window.measurement(0.1) == Measurement(0.5, 0.0, 0.75, 0.1, calls=4)
