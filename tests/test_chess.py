"""The exhibition: exact by reckoning and on the clock, pictured, and played live."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flatout import PlanError
from flatout._chess import (
    Ends,
    Exhibition,
    bars,
    ends,
    ends_table_to_table,
    lines,
    picture,
    play_game_after_game,
    play_live,
    play_table_to_table,
)
from flatout._model import KINDS, Kind

pytestmark = pytest.mark.timeout(120)

small = st.builds(
    Exhibition,
    opponents=st.integers(1, 12),
    move=st.integers(0, 5000).map(lambda count: count / 1000),
    reply=st.integers(0, 60_000).map(lambda count: count / 1000),
    pairs=st.integers(1, 6),
    masters=st.integers(1, 5),
)


# --- the known numbers


def test_game_after_game_takes_twelve_hours() -> None:
    assert Exhibition().law_seconds(in_flight=1, masters=1) == 43_200.0
    assert ends(play_game_after_game(Exhibition())) == Ends(last_move=43_145.0, last_reply=43_200.0)


def test_table_to_table_takes_one_hour() -> None:
    assert Exhibition().law_seconds(in_flight=24, masters=1) == 3_600.0
    assert ends_table_to_table(Exhibition()) == Ends(last_move=3_600.0, last_reply=3_655.0)
    assert ends(play_table_to_table(Exhibition())) == Ends(last_move=3_600.0, last_reply=3_655.0)


def test_two_masters_take_half() -> None:
    two = Exhibition(masters=2)
    assert two.law_seconds(in_flight=24, masters=2) == 1_800.0
    assert ends(play_table_to_table(two)) == ends_table_to_table(two) == Ends(1_800.0, 1_855.0)
    assert ends(play_game_after_game(two)).last_reply == 21_600.0


def test_a_master_keeps_up_with_twelve_tables() -> None:
    assert Exhibition().tables_to_keep_up_with() == 12.0
    assert ends_table_to_table(Exhibition(opponents=12)) == Ends(30 * 12 * 5.0, 30 * 12 * 5.0 + 55)
    assert ends_table_to_table(Exhibition(opponents=13)).last_move == 30 * 13 * 5.0
    assert Exhibition(move=0).tables_to_keep_up_with() == math.inf


def test_with_few_tables_the_master_waits_for_replies() -> None:
    four = Exhibition(opponents=4)
    assert (
        ends(play_table_to_table(four)) == ends_table_to_table(four) == Ends(29 * 60.0 + 4 * 5, 29 * 60.0 + 4 * 5 + 55)
    )
    assert four.law_seconds(in_flight=4, masters=1) == 1_800.0


def test_tenths_of_seconds_are_as_exact_as_seconds() -> None:
    tenths = Exhibition(move=0.1, reply=0.7, opponents=11)
    assert ends(play_table_to_table(tenths)) == ends_table_to_table(tenths) == Ends(33.0, 33.7)
    assert ends(play_game_after_game(tenths)).last_reply == tenths.law_seconds(1, 1) == 264.0


# --- any exhibition


@given(small)
@settings(deadline=None, max_examples=200)
def test_reckoned_and_played_are_the_same_and_the_law_is_below(exhibition: Exhibition) -> None:
    played = ends(play_table_to_table(exhibition))
    assert played == ends_table_to_table(exhibition)
    assert exhibition.law_seconds(exhibition.opponents, exhibition.masters) <= played.last_reply * (1 + 1e-12)


@given(small)
@settings(deadline=None)
def test_walking_never_takes_longer_than_staying(exhibition: Exhibition) -> None:
    stayed = ends(play_game_after_game(exhibition)).last_reply
    rounds = math.ceil(exhibition.opponents / exhibition.masters)
    assert stayed == pytest.approx(rounds * exhibition.pairs * (exhibition.move + exhibition.reply))
    assert ends(play_table_to_table(exhibition)).last_reply <= stayed


@given(small)
@settings(deadline=None)
def test_no_master_is_at_two_tables_and_every_table_plays_all_its_pairs(exhibition: Exhibition) -> None:
    for spans in (play_table_to_table(exhibition), play_game_after_game(exhibition)):
        for table in range(exhibition.opponents):
            of_table = sorted((s for s in spans if s.table == table), key=lambda s: (s.start, s.end))
            assert [s.what for s in of_table].count("move") == [s.what for s in of_table].count("reply")
            assert len(of_table) == 2 * exhibition.pairs
            assert all(a.end <= b.start for a, b in pairwise(of_table))
        for master in range(exhibition.masters):
            of_master = sorted((s for s in spans if s.master == master), key=lambda s: (s.start, s.end))
            assert all(a.end <= b.start for a, b in pairwise(of_master))


@given(small, st.integers(1, 3))
@settings(deadline=None)
def test_more_masters_never_take_longer(exhibition: Exhibition, more: int) -> None:
    helped = replace(exhibition, masters=exhibition.masters + more)
    assert ends_table_to_table(helped).last_reply <= ends_table_to_table(exhibition).last_reply


@pytest.mark.parametrize(
    "wrong",
    [
        {"opponents": 0},
        {"pairs": -1},
        {"masters": 0},
        {"opponents": 2.5},
        {"opponents": True},
        {"move": -1.0},
        {"reply": float("nan")},
        {"reply": float("inf")},
        {"move": "5"},
    ],
)
def test_what_cannot_be_played_is_refused_with_advice(wrong: dict[str, object]) -> None:
    with pytest.raises(PlanError, match=f"{next(iter(wrong))} is .*: give "):
        Exhibition(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"opponents": 100_000}, {"pairs": 100_000_000}, {"opponents": 1000, "pairs": 101}])
def test_an_exhibition_without_an_end_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(PlanError, match=f"{next(iter(wrong))} is .*: give at most 100,000 moves"):
        Exhibition(**wrong)


def test_masters_without_a_table_take_no_memory() -> None:
    hall = Exhibition(opponents=2, pairs=2, masters=10**12)
    assert ends(play_table_to_table(hall)) == ends(play_table_to_table(replace(hall, masters=2)))
    assert ends(play_game_after_game(hall)) == ends(play_game_after_game(replace(hall, masters=2)))


# --- the picture


def test_the_picture_shows_the_staircase() -> None:
    spans = play_table_to_table(Exhibition(opponents=3, move=5, reply=15, pairs=3))
    assert picture(spans, width=21, seconds_per_column=5).splitlines() == [
        "         0:00",
        "table 1  █···█···█···",
        "table 2   █···█···█··",
        "table 3    █···█···█·",
        "master 1 ███ ███ ███",
    ]


def test_times_on_the_axis_stand_where_they_begin() -> None:
    axis, table, *_ = picture(play_table_to_table(Exhibition()), width=80, seconds_per_column=5).splitlines()
    assert axis.split() == ["0:00", "0:01", "0:02", "0:03", "0:04", "0:05"]
    margin = axis.index("0:00")
    assert [axis.index(f"0:0{minute}") - margin for minute in range(6)] == [0, 12, 24, 36, 48, 60]
    assert table[axis.index("0:02")] == "█"  # the master is back after 24 tables of 5 s


@given(st.floats(min_value=1e-8, max_value=1e7))
def test_the_axis_keeps_its_times_apart(seconds_per_column: float) -> None:
    spans = play_table_to_table(Exhibition(opponents=2, pairs=1))
    axis = picture(spans, width=80, seconds_per_column=seconds_per_column).splitlines()[0]
    assert len(axis) <= 80
    assert all(label.count(":") in (1, 2) for label in axis.split())


def test_a_short_move_is_still_seen_and_too_many_tables_are_counted() -> None:
    drawn = picture(play_table_to_table(Exhibition(opponents=100, masters=30)), width=60).splitlines()
    assert len(drawn) == 1 + 24 + 1 + 24 + 1
    assert any(line.startswith("+ 76 tables") for line in drawn)
    assert any(line.startswith("+ 6 masters") for line in drawn)
    assert all("█" in line for line in drawn if line.startswith("table"))


def test_the_bars_keep_the_proportions() -> None:
    drawn = bars([("slow", 25, 100), ("quick", 25, 50)], width=6 + 20 + 8)
    assert drawn.splitlines() == ["slow  █████··············· 0:01:40", "quick █████····· 0:00:50"]


@given(small, st.integers(62, 150))
@example(Exhibition(opponents=10, move=0.017, reply=45.602, pairs=4, masters=3), 62)  # a law with many decimals
@settings(deadline=None, max_examples=100)
def test_nothing_is_wider_than_the_terminal(exhibition: Exhibition, width: int) -> None:
    assert all(len(line) <= width for line in lines(exhibition, None, width))


def test_the_story_names_the_numbers() -> None:
    text = "\n".join(lines(Exhibition()))
    assert "12:00:00" in text
    assert "1:00:00" in text
    assert "1:00:55" in text
    assert "0:30:00" in text
    assert "keep up with 12 tables: (5 + 55) / 5" in text


def test_masters_without_a_table_do_not_help() -> None:
    told = next(line for line in lines(Exhibition(opponents=24, masters=30)) if line.startswith("game after game"))
    assert told.split()[3:] == ["0:30:00", "0:29:05", "0:30:00"]


# --- live


@pytest.mark.parametrize("kind", KINDS)
def test_live_it_takes_what_the_law_says_or_a_little_longer(kind: Kind) -> None:
    pytest.importorskip("flatout._api", exc_type=ImportError)
    exhibition = Exhibition(opponents=8, pairs=4)
    live = play_live(exhibition, kind, speed=500)
    masters = live.masters if kind == "process" else 1
    in_flight = {"inline": 1, "process": masters}.get(kind, 8)
    assert live.law_seconds == exhibition.law_seconds(in_flight, masters)
    assert live.ratio >= 1.0
    if (kind != "inline" and masters > 1) or kind in ("async", "thread"):
        assert live.measured_seconds < exhibition.law_seconds(1, 1)


def test_live_lines_tell_all_kinds() -> None:
    pytest.importorskip("flatout._api", exc_type=ImportError)
    text = "\n".join(lines(Exhibition(opponents=4, pairs=2), 1000.0, 80))
    assert all(f"\n{kind} " in text for kind in KINDS)
    assert "They multiply the masters" in " ".join(text.split())


@pytest.mark.parametrize("speed", [0, -1.0, float("nan"), float("inf")])
def test_a_speed_that_is_none_is_refused_before_anything_is_told(speed: float) -> None:
    with pytest.raises(PlanError, match=r"speed is .*: give a number above 0"):
        play_live(Exhibition(), "inline", speed)
    with pytest.raises(PlanError, match="speed is "):
        next(lines(Exhibition(), speed))


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(PlanError, match="give one of inline, async, thread, process"):
        play_live(Exhibition(), "fiber", 1000)  # type: ignore[arg-type]
