"""Says what did not hold: of the results, of the blame, of what ran again."""

from __future__ import annotations

import re
import reprlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flatout
from faults.model import Case, Complaint, Contender, Outcome

LONGEST = 80  # characters of a Failure's input


@dataclass
class Observed:
    """What a contender gave: an outcome for each input, until `ended` came."""

    outcomes: list[Outcome] = field(default_factory=list)
    ended: BaseException | None = None
    seconds: float = 0.0


def judge(case: Case, contender: Contender, seen: Observed) -> list[Complaint]:
    """Everything that did not hold, the worst first."""
    if case.ends is not None:
        return list(_ended_as_it_must(case, contender, seen))
    slots = _slots(case, contender)
    healthy = [(index, outcome) for index, outcome in slots_of(slots, seen) if index not in case.at]
    at_fault = [(index, outcome) for index, outcome in slots_of(slots, seen) if index in case.at]
    complaints = list(_results(case, healthy))
    if contender.style == "raise":
        complaints += _raised(case, seen)
    else:
        complaints += _ending(contender, seen)
        complaints += [one for index, outcome in at_fault if (one := _blame(case, contender, index, outcome, seen))]
    if len(seen.outcomes) > len(slots):
        complaints.append(Complaint("wrong", f"{len(seen.outcomes)} results where there should be {len(slots)}"))
    return complaints


def _slots(case: Case, contender: Contender) -> list[int]:
    """The indices of the tasks that have an outcome, in order."""
    if contender.style == "skip":
        return [index for index in range(case.count) if index not in case.at]
    return list(range(case.at[0] if contender.style == "raise" else case.count))


def slots_of(slots: list[int], seen: Observed) -> list[tuple[int, Outcome | None]]:
    given: list[Outcome | None] = [*seen.outcomes, *[None] * len(slots)]
    return list(zip(slots, given, strict=False))


def _results(case: Case, healthy: list[tuple[int, Outcome | None]]) -> Iterator[Complaint]:
    lost = [(index, outcome) for index, outcome in healthy if outcome is None or outcome.error is not None]
    wrong = [
        (index, outcome.value)
        for index, outcome in healthy
        if outcome is not None and outcome.error is None and not is_square(outcome.value, index)
    ]
    if wrong:
        yield Complaint(f"{len(wrong)} wrong", f"task {wrong[0][0]} gave {_said(wrong[0][1])}")
    if len(lost) > case.collateral:
        index, outcome = lost[0]
        yield Complaint(f"lost {len(lost)}", f"task {index}: {_said(outcome and outcome.error)}")


def is_square(value: object, index: int) -> bool:
    return type(value) is int and value == index * index


def _ending(contender: Contender, seen: Observed) -> Iterator[Complaint]:
    """What ended the run ends it at a task, of a peer's as the blame of that task; flatout's has no business here."""
    if seen.ended is not None and contender.kind is not None:
        yield Complaint("ends", _said(seen.ended))


def _blame(case: Case, contender: Contender, index: int, outcome: Outcome | None, seen: Observed) -> Complaint | None:
    if outcome is None:  # a peer that ends with the first exception has come as far as this task
        ended = seen.ended if index == len(seen.outcomes) else None
        outcome = Outcome(error=ended) if ended is not None else None
    if outcome is None:
        return Complaint("no blame", f"nothing is said of task {index}")
    if outcome.error is None:
        if (case.error is None or case.may_survive) and case.value(outcome.value):
            return None
        return Complaint("no blame" if case.error else "1 wrong", f"task {index} gave {_said(outcome.value)}")
    if case.error is None:
        return Complaint("fails", f"task {index}: {_said(outcome.error)}")
    lenient = contender.kind is None and case.error.ours
    if not lenient and not case.error.check(outcome.error):
        return Complaint("no blame", f"task {index}: {_said(outcome.error)}, not {case.error.words}")
    return _details(case, contender, index, outcome.failure)


def _details(case: Case, contender: Contender, index: int, failure: flatout.Failure | None) -> Complaint | None:
    """What a Failure says besides its error; a future's exception comes without."""
    if failure is None:
        return None if contender.kind in (None, "executor") else Complaint("no blame", f"task {index}: no Failure")
    if failure.index != index or not 1 <= failure.attempts <= 1 + (contender.kind == "mixture"):
        said = f"task {failure.index}, attempt {failure.attempts}"
        return Complaint("no blame", f"task {index} is said to be {said}")
    kind = "process" if contender.kind == "mixture" else contender.kind
    if kind not in (failure.kind, "auto"):
        return Complaint("no blame", f"task {index} is said to have run by {failure.kind}")
    if case.inputs is None and failure.input != reprlib.repr(index):
        return Complaint("no blame", f"the input of task {index} is said to be {failure.input}")
    if type(failure.input) is not str or len(failure.input) > LONGEST:
        return Complaint("no blame", f"the input of task {index} is given as {_said(failure.input)}")
    return None if failure.seconds >= 0 else Complaint("no blame", f"task {index} took {failure.seconds} s")


def _raised(case: Case, seen: Observed) -> Iterator[Complaint]:
    """Under "raise" the run ends with the exception itself, and a note that names the task."""
    assert case.error is not None
    error, index = seen.ended, case.at[0]
    if error is None or not case.error.check(error):
        yield Complaint("no blame", f"the run ended with {_said(error)}, not {case.error.words}")
    elif not any(re.search(rf"\btask {index}\b", text) for text in [*notes_of(error), _said(error)]) and takes_notes(
        error
    ):
        yield Complaint("no blame", f"{_said(error)} has no note that names task {index}")


def notes_of(error: BaseException) -> list[str]:
    notes = getattr(error, "__notes__", ())
    return [note for note in notes if isinstance(note, str)] if isinstance(notes, (list, tuple)) else []


def takes_notes(error: BaseException) -> bool:
    try:
        error.add_note("")
    except Exception:
        return False
    return True


def _ended_as_it_must(case: Case, contender: Contender, seen: Observed) -> Iterator[Complaint]:
    assert case.ends is not None
    yield from _results(case, slots_of(list(range(case.delivered)), seen))
    lenient = contender.kind is None and case.ends.ours
    errors = [seen.ended, *(outcome.error for outcome in seen.outcomes)] if contender.kind is None else [seen.ended]
    if not any(error is not None and (lenient or case.ends.check(error)) for error in errors):
        yield Complaint("no blame", f"the run ended with {_said(seen.ended)}, not {case.ends.words}")


def ran_again(contender: Contender, notes: Path) -> list[Complaint]:
    """Tasks that ran more often than they may: where they are sent one by one none may run twice."""
    if not contender.single:
        return []
    try:
        counts = Counter(map(int, notes.read_text().split()))
    except FileNotFoundError:
        return []
    again = sorted(index for index, times in counts.items() if times > 1)
    return [Complaint("runs again", f"tasks {again}")] if again else []


def _said(value: Any) -> str:
    """A few words for any value, however it behaves."""
    try:
        return (
            f"{type(value).__name__}: {str(value)[:200]!r}"
            if issubclass(type(value), BaseException)
            else reprlib.repr(value)
        )
    except BaseException:
        return f"<{type(value).__name__}>"
