"""The quick part of the fault suite, for flatout alone; and the suite itself: its data are sound, its judge sees what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import flatout
from faults import chair, choice, report, traces
from faults.cases import CASES, SECTIONS, case_named
from faults.chair import Pair, examine
from faults.contenders import FLATOUT, PEERS, contender_named
from faults.judge import Observed, judge, ran_again
from faults.model import EVERYWHERE, Case, Complaint, Outcome, Verdict

SEATS = 24  # processes that share the quick part; each takes some seconds
AT_ONCE = 4  # of them; half of the time they wait
GUARD = 600  # seconds that a test may take: it waits for a seat, which has limits of its own

QUICK: dict[str, list[Pair]] = {group[0][0].name: group for group in choice.groups(contenders="^flatout", quick=True)}

Ask = Callable[[str], list[Verdict]]


@pytest.fixture(scope="module")
def verdicts(request: pytest.FixtureRequest) -> Iterator[Ask]:
    """Tells the verdicts on a case. All those whose tests were chosen are tried beside each other."""
    names = [item.callspec.params["name"] for item in request.session.items if _is_case(item)]  # type: ignore[attr-defined]
    shares = [names[start::SEATS] for start in range(min(SEATS, len(names)))]
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        tried = {name: future for share in shares for future in [_submitted(pool, share)] for name in share}
        yield lambda name: [one for one in tried[name].result() if one.case == name]
    finally:
        chair.stopping.set()
        pool.shutdown(cancel_futures=True)
        chair.stopping.clear()


def _is_case(item: pytest.Item) -> bool:
    return getattr(item, "originalname", "") == test_a_fault_is_the_task_s_own.__name__


def _submitted(pool: ThreadPoolExecutor, names: list[str]) -> Future[list[Verdict]]:
    return pool.submit(examine, [pair for name in names for pair in QUICK[name]])


@pytest.mark.timeout(GUARD)
@pytest.mark.parametrize("name", QUICK)
def test_a_fault_is_the_task_s_own(name: str, verdicts: Ask) -> None:
    found = verdicts(name)
    assert [one.contender for one in found] == [contender.name for _, contender in QUICK[name]]
    assert report.misses(found) == []


# The data


def test_names_are_unique() -> None:
    for names in ([case.name for case in CASES], [one.name for one in [*FLATOUT, *PEERS]]):
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_says_what_must_hold(case: Case) -> None:
    assert case.about
    assert set(case.kinds) <= set(EVERYWHERE)
    assert case.kinds
    assert bool(case.why) == (set(case.kinds) != set(EVERYWHERE))
    assert all(0 <= index < case.count for index in case.at)
    assert case.at or case.ends or case.inputs
    assert not (case.error and not case.at)
    assert not (case.may_survive and case.error is None)
    assert not (case.timeout and "inline" in case.kinds)
    assert set(case.limits) <= {*case.kinds, "executor"}
    assert all(case.limits.values())


def test_every_case_is_tried_and_every_section_has_some() -> None:
    assert all(any(one.suits(case) for one in FLATOUT) for case in CASES)
    assert all(SECTIONS.values())
    assert {case.name for case in CASES if case.quick} == set(QUICK)


# The judge

DIES, ITS_OWN = case_named("exit with status 1"), case_named("exception of two arguments")
PROCESS, THREAD, POOL = map(contender_named, ("flatout process", "flatout thread", "multiprocessing.Pool"))


def failed(task: int, error: BaseException, **told: Any) -> Outcome:
    fields = {"index": task, "input": str(task), "kind": "process", "attempts": 1, "seconds": 0.1, **told}
    return Outcome(error=error, failure=flatout.Failure(error=error, **fields))


def seen(at_fault: Outcome, **others: Outcome) -> Observed:
    """What ten tasks gave, of which the fourth is at fault."""
    outcomes = [at_fault if x == 3 else others.get(f"task_{x}", Outcome(x * x)) for x in range(10)]
    return Observed(outcomes)


DEAD = flatout.WorkerDied("it exited", 1)


def words(case: Case, observed: Observed, contender: Any = PROCESS) -> list[str]:
    return [complaint.word for complaint in judge(case, contender, observed)]


def test_the_judge_has_no_complaint_where_all_is_well() -> None:
    assert words(DIES, seen(failed(3, DEAD))) == []
    assert words(DIES, seen(Outcome(error=RuntimeError("of whatever kind"))), POOL) == []
    assert words(replace(DIES, collateral=1), seen(failed(3, DEAD), task_4=failed(4, DEAD))) == []


@pytest.mark.parametrize(
    ("observed", "expected"),
    [
        (seen(failed(3, DEAD), task_5=Outcome(24)), ["1 wrong"]),
        (seen(failed(3, DEAD), task_5=Outcome(25.0)), ["1 wrong"]),
        (seen(failed(3, DEAD), task_5=failed(5, DEAD), task_6=failed(6, DEAD)), ["lost 2"]),
        (Observed(seen(failed(3, DEAD)).outcomes[:7]), ["lost 3"]),
        (Observed(seen(failed(3, DEAD)).outcomes, OSError("at the end")), ["ends"]),
        (Observed([*seen(failed(3, DEAD)).outcomes, Outcome(100)]), ["wrong"]),
        (seen(Outcome(9)), ["no blame"]),
        (seen(failed(3, flatout.WorkerDied("otherwise", 2))), ["no blame"]),
        (seen(Outcome(error=DEAD)), ["no blame"]),
        (seen(failed(3, DEAD, index=4)), ["no blame"]),
        (seen(failed(3, DEAD, input="4")), ["no blame"]),
        (seen(failed(3, DEAD, kind="thread")), ["no blame"]),
        (seen(failed(3, DEAD, attempts=2)), ["no blame"]),
        (seen(failed(3, DEAD, seconds=-1.0)), ["no blame"]),
    ],
)
def test_the_judge_sees_what_is_wrong(observed: Observed, expected: list[str]) -> None:
    assert words(DIES, observed) == expected


def test_of_peers_the_judge_asks_for_the_user_s_own_exceptions_only() -> None:
    assert words(ITS_OWN, seen(Outcome(error=TypeError("something else"))), POOL) == ["no blame"]
    ended = Observed(seen(Outcome()).outcomes[:3], RuntimeError("broken"))
    assert words(DIES, ended, POOL) == ["lost 6"]


def test_under_raise_the_results_before_it_must_come_first() -> None:
    contender = contender_named("flatout process, raise")
    named = flatout.WorkerDied("it exited", 1)
    named.add_note("flatout: raised by task 3, input 3")
    outcomes = [Outcome(x * x) for x in range(3)]
    assert words(DIES, Observed(outcomes, named), contender) == []
    assert words(DIES, Observed(outcomes, flatout.WorkerDied("unnamed", 1)), contender) == ["no blame"]
    assert words(DIES, Observed(outcomes[:2], named), contender) == ["lost 1"]


def test_what_runs_again_is_told_where_none_may(tmp_path: Path) -> None:
    notes = tmp_path / "ran"
    notes.write_text("1\n2\n3\n2\n")
    assert ran_again(contender_named("flatout process, one by one"), notes) == [Complaint("runs again", "tasks [2]")]
    assert ran_again(PROCESS, notes) == []
    assert ran_again(POOL, tmp_path / "nothing") == []


# The chair


def test_a_caller_that_dies_is_told_and_those_behind_it_are_heard() -> None:
    inline = contender_named("flatout inline")
    found = examine([(DIES, inline), (ITS_OWN, inline)])
    assert [one.word for one in found] == ["breaks", "ok"]
    assert "ended with 1" in found[0].complaints[0].detail


def test_a_caller_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chair, "START", 0.0)
    (found,) = examine([(replace(ITS_OWN, within=0.01), contender_named("flatout inline"))])
    assert found.word == "hangs"  # it has not even begun


def test_what_peers_leave_in_shared_memory_is_removed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "SHARED_MEMORY", tmp_path)
    before = tmp_path / "loky-1-before"
    before.touch()
    with traces.swept():
        (tmp_path / "joblib_memmapping_folder_1_a_b" / "c").mkdir(parents=True)
        (tmp_path / "sem.loky-1-a").touch()
        (tmp_path / "somebody's").touch()
    assert {path.name for path in tmp_path.iterdir()} == {before.name, "somebody's"}


def test_a_limit_that_is_known_is_no_miss() -> None:
    inline = contender_named("flatout inline")
    (found,) = examine([(replace(DIES, limits={"inline": "it is the caller's"}), inline)])
    assert (found.word, found.known) == ("breaks", "it is the caller's")
    assert report.misses([found]) == []


# The report


def test_a_column_shows_the_worst_of_its_contenders() -> None:
    found = [
        Verdict("abort", "flatout process", 0.1),
        Verdict("abort", "flatout process, in batches", 0.1, [Complaint("lost 1", "task 4")]),
        Verdict("abort", "loky", 0.1, [Complaint("hangs")]),
    ]
    assert [verdict.word for verdict in report.cells(found).values()] == ["lost 1", "hangs"]
    assert report.misses(found) == ["abort / flatout process, in batches: lost 1: task 4"]
    assert "| abort: `os.abort()` | lost 1 | hangs |" in report.markdown(found)


def test_tables_are_put_between_their_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}old\n{report.END}after\n")
    page.write_text(report.inserted("new", page))
    assert page.read_text() == f"before\n{report.BEGIN}\nnew\n{report.END}after\n"
    assert report.inserted("new", tmp_path / "nothing") == "new"
