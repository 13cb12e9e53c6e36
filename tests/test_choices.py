"""The choice table: what the probe has read of each function, judged again; `make choices` reads it anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from builds import needs_gil
from choices import chair, report
from choices.cases import CASES, SECTIONS
from choices.generated import BY_NAMES, GENERATED, best_kinds, recipe
from choices.model import Choice
from choices.readings import replayed

from flatout._model import KINDS

RECORDED: list[dict[str, Any]] = json.loads((Path(__file__).parent / "choices" / "recorded.json").read_text())


@pytest.mark.parametrize("choice", RECORDED, ids=lambda choice: f"{choice['case']}, {choice['load']} others")
def test_what_was_read_leads_to_the_right_kind(choice: dict[str, Any]) -> None:
    case = BY_NAMES[choice["case"]]
    plan = replayed(choice["readings"])
    assert plan.kind in case.kinds, f"{plan}; right is {' or '.join(case.kinds)}, since {case.why}"


def test_the_recordings_are_of_most_cases() -> None:
    """Not of those that are decided without a look (coroutines) or are over before there is one."""
    recorded = {choice["case"] for choice in RECORDED}
    assert len(recorded & {case.name for case in CASES}) >= 70
    assert len(recorded & {case.name for case in GENERATED}) >= 12


def test_the_table_is_sound() -> None:
    assert len(CASES) >= 40
    assert len({case.name for case in CASES}) == len(CASES)
    assert all(case.why and set(case.kinds) <= set(KINDS) for case in CASES)
    assert all(SECTIONS.values())


def test_generated_functions_are_always_the_same_and_of_all_sorts() -> None:
    assert recipe(7) == recipe(7)
    assert recipe(7) != recipe(8)
    assert {kind for case in GENERATED for kind in case.kinds} == {"inline", "thread", "process"}
    assert {what for number in range(50) for what, _ in recipe(number).parts} == {"gil", "free", "wait"}
    assert all(best_kinds(recipe(number)) for number in range(50))


@needs_gil
def test_a_fresh_process_chooses_and_its_recording_leads_to_the_same() -> None:
    choice = chair.choose(BY_NAMES["a global list appended to"], load=0, record=True)
    assert choice.kind == "inline", choice.plan
    assert "the call changed the global 'results'" in choice.plan
    assert replayed(choice.readings).kind == choice.kind


def test_misses_are_told_with_what_was_read() -> None:
    right = Choice("sleep, 20 ms", 0, "thread", "thread: because", 0.02, {"wait": 0.02})
    wrong = Choice("sleep, 20 ms", 2, "process", "process: because", 0.03, {"wait": 0.02})
    assert report.misses(BY_NAMES, [right, wrong]) == [wrong]
    assert "process: because [wait 20 ms]" in report.line(wrong)
    assert "alone 1 of 1 right (100.0%); beside 2 others 0 of 1 right" in report.headline(BY_NAMES, [right, wrong])
