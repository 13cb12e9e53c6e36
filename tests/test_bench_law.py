"""The benchmark of the law does its sums right, and its seat measures what it says."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import asdict
from xml.etree import ElementTree

import pytest
from builds import needs_gil

from bench.chair import Chair
from bench.law import picture, queue, report
from bench.law.__main__ import main
from bench.law.model import Chosen, Outcome, Turn, median_undisturbed, verdict
from bench.law.play import Play, Settings
from bench.law.seat import Way
from bench.model import Workload
from bench.seat import Order
from bench.workloads import family

CALM = 0.0


def outcome(name: str = "work", **by_hand: float) -> Outcome:
    """Predicted are 1 s for threads, 2 s for the plain loop and 4 s for processes; threads were chosen, and took 1.25 s."""
    predicted = {"inline": (2.0, 1), "thread": (1.0, 8), "process": (4.0, 2)}
    chosen = [Chosen("thread", 3, 97, predicted, Turn(1.25, CALM)), Chosen("thread", 3, 97, predicted, Turn(9.0, 0.5))]
    return Outcome(name, "of some sort", chosen, {kind: [Turn(seconds, CALM)] for kind, seconds in by_hand.items()})


def test_predicted_over_measured_is_told_of_the_chosen_kind() -> None:
    assert outcome().kind == "thread"
    assert outcome().ratio == pytest.approx(0.8), "the disturbed run does not count"


def test_each_prediction_is_compared_with_the_run_that_it_was_made_in() -> None:
    slow, slower = {"thread": (2.0, 8)}, {"thread": (4.0, 8)}
    runs = [Chosen("thread", 0, 1, slow, Turn(1.9, CALM)), Chosen("thread", 0, 1, slower, Turn(4.2, CALM))]
    quick = Chosen("thread", 0, 1, {"thread": (1.0, 8)}, Turn(1.0, CALM))
    assert Outcome("work", "", [*runs, quick]).ratio == 1.0


def test_pairs_count_where_the_kinds_are_apart() -> None:
    assert list(outcome(inline=2.0, thread=1.0, process=2.1).pairs()) == [
        ("thread", "inline", True),
        ("thread", "process", True),
    ]
    assert list(outcome(inline=5.0, process=2.0).pairs()) == [("process", "inline", False)]
    assert list(outcome(inline=5.0).pairs()) == []


def test_where_all_were_disturbed_the_less_disturbed_half_counts() -> None:
    assert median_undisturbed([Turn(1.0, 0.2), Turn(5.0, 0.9), Turn(2.0, 0.3), Turn(7.0, 0.8)]) == 1.5
    assert median_undisturbed([Turn(1.0, 0.2), Turn(5.0, 0.0), Turn(3.0, 0.1)]) == 4.0
    assert median_undisturbed([]) is None


def test_the_verdict_counts_both_ways_of_being_off() -> None:
    right, wrong = outcome(inline=2.0, thread=1.0), outcome(inline=1.0, thread=2.0)
    wrong.chosen = [Chosen("thread", 0, 1, right.chosen[0].predicted, Turn(0.5, CALM))]
    found = verdict([right, wrong, Outcome("none", "", note="over before")])
    assert found
    assert (found.workloads, found.pairs, found.ranked) == (2, 2, 0.5)
    assert found.median == pytest.approx((1.25 + 2.0) / 2)
    assert found.within == 0.0
    assert found.bias == pytest.approx((0.8 * 2.0) ** 0.5)
    assert verdict([]) is None


def test_tables_and_picture_show_every_kind() -> None:
    outcomes = [outcome("a<b", inline=2.0, thread=1.0, process=0.5), Outcome("none", "", note="over before")]
    assert report.kinds_table(outcomes).row_count == 1
    assert report.chosen_table(outcomes).row_count == 1
    assert "left out: over before" in report.progress_line(outcomes[1])
    assert any("33.3% are in the right order" in line for line in report.verdict_lines(outcomes))
    root = ElementTree.fromstring(picture.draw(outcomes, "predicted & measured", "here"))
    titles = [title.text or "" for title in root.iter("{http://www.w3.org/2000/svg}title")]
    assert len(titles) == 3
    assert any("a<b, process: 4 s predicted, 500 ms measured" in title for title in titles)
    assert ElementTree.fromstring(picture.draw([], "nothing", "here")) is not None


def test_a_point_lies_where_its_figures_say() -> None:
    scale = picture.Scale([0.01, 10.0])
    assert (scale.low, scale.high) == (-2, 1)
    assert scale.x(0.01) == picture.LEFT
    assert scale.x(10.0) == picture.LEFT + picture.SIZE
    assert scale.y(0.01) == picture.TOP + picture.SIZE
    assert scale.x(0.1) == pytest.approx(picture.LEFT + picture.SIZE / 3)


def test_the_seat_chooses_and_runs_by_hand() -> None:
    workload = family("tiny")["2ms"]
    chair = Chair(Order("tiny", workload.name, "law", 60, 2), module="bench.law.seat")
    try:
        chair.wait_ready()
        turns = (chair.turn(60, json.dumps(asdict(Way()))) for _ in range(20))
        chosen = next(
            turn for turn in turns if "skip" in turn
        )  # a busy machine may have it changed its mind on the way
        assert chosen["skip"] + chosen["left"] == 60
        assert {"inline", "thread", "process"} <= set(chosen["predicted"])
        assert chosen["seconds"] > 0.0
        by_hand = chair.turn(60, json.dumps(asdict(Way("inline", 10, 20, 1))))
        assert by_hand["seconds"] > 20 * 0.0005
    finally:
        chair.close()


@pytest.mark.parametrize(("kind", "name", "count"), [("tiny", "2ms", 30), ("coroutines", "async-sleep", 200)])
@needs_gil
def test_a_play_has_predictions_and_measurements_of_the_same_kinds(kind: str, name: str, count: int) -> None:
    workload: Workload = family(kind)[name]
    small = Workload(name=name, about="few of them", make=workload.make, count=count, kinds=workload.kinds)
    played = Play(kind, small, Settings(rounds=1, patience=0.0, cores=2)).play()
    assert not played.note
    assert len(played.chosen) == 1
    assert set(played.by_hand) == set(played.chosen[0].predicted) >= {"inline", "thread", "process"}
    assert played.ratio


def test_what_is_over_before_the_choice_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    small = Workload(name="noop", about="a few", make=family("tiny")["noop"].make, count=10)
    assert "before anything else could have started" in Play("tiny", small, Settings(1, 0.0, 2)).play().note
    main(["--only", "nothing of this name"])
    assert "Nothing was compared" in capsys.readouterr().out


def test_what_a_run_waited_for_other_programs_is_told_from_what_it_waited_for_itself() -> None:
    before = {"one": (1.0, 1.0)}
    alone = {"one": (2.0, 4.0), "idle": (0.0, 9.0)}
    assert queue.queued(before, alone, used=5.0) == pytest.approx(3.0), "one thread waits for others only"
    pair = {"one": (2.0, 2.0), "two": (1.0, 1.0)}
    assert queue.queued(before, pair, used=2.0) == 0.0, "nobody else was there"
    assert queue.queued(before, pair, used=4.0) == pytest.approx(2 / 3), "two others against one sibling"
    assert queue.queued({}, {}, used=1.0) == 0.0


def test_the_time_in_the_queue_for_a_core_is_read_of_every_thread() -> None:
    before = queue.times()
    assert str(threading.get_native_id()) in before
    began = time.thread_time()
    while time.thread_time() < began + 0.02:
        pass
    rose = queue.times()[str(threading.get_native_id())][0] - before[str(threading.get_native_id())][0]
    assert rose >= 0.01
