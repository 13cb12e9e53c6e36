"""The benchmark measures what it says: workloads have one right result, seats keep to it, and the arithmetic is right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

import flatout
from bench import limits, misled, picture, report
from bench.chair import Chair, Failed
from bench.contenders import all_contenders, contender_named
from bench.contenders.flatout import ENGINE, FLATOUT, LOOP, plain_loop
from bench.coordinator import Match, Settings
from bench.model import Cell, Hints, Limit, Result, Sample, Way, Workload
from bench.seat import Order, digest
from bench.service import service_for
from bench.watch import Watch
from bench.workloads import all_workloads, family

TINY = 3
MACHINE = limits.Machine(cores=2, memcpy=1e9, speedup=1.9)
SETTINGS = Settings(rounds=2, patience=60, cutoff=60, burn=0.0001, drawn=10, quick=True, cores=2)


@pytest.fixture(
    params=[pair for pair in all_workloads() if pair[1].name != "800MB-shared"], ids=lambda pair: pair[1].name
)
def workload(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workload]:
    monkeypatch.setenv("BENCH_SCRATCH", str(tmp_path))
    chosen: Workload = request.param[1]
    if chosen.missing:
        pytest.skip(f"{chosen.missing} is not installed")
    with service_for(chosen):
        yield chosen


def test_flatout_agrees_with_the_plain_loop(workload: Workload) -> None:
    func, items = workload.make(TINY)
    reference = plain_loop(func, items)
    assert len(reference) == TINY
    assert digest(list(flatout.map(func, items))) == digest(reference)
    if workload.instant:
        assert [workload.instant(item) for item in items] == reference


def test_names_are_unique() -> None:
    for names in ([one.name for one in all_contenders()], [workload.name for _, workload in all_workloads()]):
        assert len(set(names)) == len(names)


def test_the_digest_sees_content_and_order() -> None:
    results: list[list[object]] = [[1, 2], [2, 1], [1, 2, 3], [b"1", b"2"], [b"12"]]
    assert len({digest(result) for result in results}) == len(results)
    assert digest([1, 2]) == digest([1, 2])


@pytest.mark.parametrize("name", ["Pool, tuned", "ProcessPoolExecutor", "Pool, forked at the call", FLATOUT, ENGINE])
def test_a_seat_returns_the_right_results_each_time(name: str) -> None:
    chair = Chair(Order("tiny", "noop", name, 1_000, 2))
    try:
        chair.wait_ready()
        assert {chair.turn(60)["digest"] for _ in range(2)} == {digest(range(1_000))}
    finally:
        chair.close()


def test_a_seat_that_takes_too_long_is_cut_off() -> None:
    chair = Chair(Order("tiny", "100ms", LOOP, 1_000, 2))
    try:
        chair.wait_ready()
        with pytest.raises(Failed, match=r"> 0\.1 s"):
            chair.turn(0.1)
    finally:
        chair.close(patience=0)


def test_a_match_measures_every_contender_in_every_round() -> None:
    workload = replace(family("tiny")["noop"], quick=1_000)
    with service_for(workload) as service:
        match = Match("tiny", workload, SETTINGS, Watch(SETTINGS.burn), service)
        match.play([contender_named(LOOP), contender_named(FLATOUT), contender_named("Pool, tuned")])
    result = match.result(MACHINE)
    assert [len(cell.samples) for cell in result.cells] == [2, 2, 2]
    assert all(cell.first and cell.seconds for cell in result.cells)
    assert result.limit
    assert result.limit.term == "CPU / cores"


def test_a_tuned_contender_is_told_no_more_than_there_is() -> None:
    workload = replace(family("tiny")["noop"], threads=500, per_core=3)
    assert Hints.of(workload, 40, cores=2) == Hints(cores=2, processes=6, threads=40, concurrency=40, chunksize=10)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({}, Limit(5.0, "CPU / cores")),
        ({"longest": lambda items: 0.8}, Limit(8.0, "the longest call")),
        ({"wait": 2.0, "concurrency": 5}, Limit(40.0, "wait / concurrency")),
        ({"wait": 20.0}, Limit(20.0, "wait / concurrency")),
        ({"bytes_each": 10**8}, Limit(10.0, "bytes / memcpy")),
    ],
)
def test_the_limit_is_the_tightest_bound(known: dict[str, object], expected: Limit) -> None:
    workload = replace(family("tiny")["noop"], **known)  # type: ignore[arg-type]
    assert limits.limit(workload, 100, 10.0, MACHINE) == expected


def cell(name: str, way: Way, *seconds: float, slowness: float = 1.0) -> Cell:
    samples = [Sample(one, one, slowness) for one in seconds]
    return Cell(name, way, "process", kept=True, first=samples[0], samples=samples)


def result(*cells: Cell) -> Result:
    return Result("work", "of some sort", 10, Limit(0.5, "CPU / cores"), list(cells))


def test_disturbed_measurements_count_only_where_there_is_no_other() -> None:
    mixed = cell("one", "tuned", 1.0, 3.0, 2.0)
    mixed.samples.append(Sample(99.0, 99.0, slowness=1.7))
    assert mixed.seconds == 2.0
    assert cell("two", "tuned", 5.0, 7.0, slowness=1.7).seconds == 6.0
    assert Cell("three", "tuned", "process", kept=True).seconds is None


def test_flatout_is_compared_with_the_best_peer_and_the_limit() -> None:
    played = result(
        cell(LOOP, "reference", 1.0), cell("Pool", "newcomer", 4.0), cell("Pool, tuned", "tuned", 2.0),
        cell(FLATOUT, "flatout", 3.0), cell(ENGINE, "flatout", 1.0),
    )  # fmt: skip
    played.cells[0].kind = None
    whole, engine = report.compare(played), report.compare(played, ENGINE)
    assert whole
    assert (whole.peer, whole.to_peer, whole.to_limit) == (LOOP, 3.0, 6.0)
    assert engine
    assert (engine.peer, engine.to_peer, engine.to_limit) == ("Pool, tuned", 0.5, 2.0)


def test_the_summary_names_mean_and_worst() -> None:
    pairs = [
        report.compare(result(cell("Pool", "newcomer", peer), cell(FLATOUT, "flatout", ours)))
        for peer, ours in ((1.0, 2.0), (2.0, 1.0), (1.0, 8.0))
    ]
    lines = list(report.summary_lines([one for one in pairs if one]))
    assert lines[0].startswith("geometric mean over 3 workloads: 2.00 x the best peer; worst: 8.00 x")
    assert lines[1] == "to the limit: geometric mean 5.04 x, worst 16.00 x"


@pytest.mark.parametrize(("seconds", "text"), [(None, "-"), (61.5, "61.50 s"), (0.0204, "20.4 ms"), (0.00005, "50 us")])
def test_durations_are_written_for_people(seconds: float | None, text: str) -> None:
    assert report.duration(seconds) == text


def test_the_picture_has_a_bar_for_each_workload() -> None:
    comparisons = [report.Comparison(name, 2.0, "<Pool>", 1.0, None, "") for name in ("one", "two")]
    root = ElementTree.fromstring(picture.draw(comparisons, "a & b"))
    rects = root.findall("{http://www.w3.org/2000/svg}rect")
    assert len(rects) == 1 + len(comparisons)  # the background is one


def test_those_who_knew_have_plans_that_fit_their_workloads() -> None:
    by_name = {workload.name: workload for _, workload in all_workloads()}
    for name, plans in misled.KNEW.items():
        assert {flatout.Plan(**plan).kind for plan in plans} <= set(by_name[name].kinds)


def test_a_program_that_changes_its_mind_is_measured_beside_one_that_knew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(misled, "KNEW", {"turns-slow": misled.KNEW["turns-slow"]})
    [found] = misled.measure(rounds=1)
    assert min(found.found_out, found.knew) > 0.045, "a nap of 5 ms and one of 40 ms, one after the other"
