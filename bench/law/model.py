"""What was predicted and what was measured, and what follows from both."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations

KINDS = ("inline", "async", "thread", "process", "process of threads", "process of loops")  # ways, in flatout's words
APART = 1.2  # times: kinds that differ by less are as good as each other, so that their order counts for nothing
CLOSE = 1.2  # times: a prediction within it, either way, is a good one


@dataclass(frozen=True)
class Turn:
    """One run. seconds: of the tasks after the choice, or of all where a kind ran by hand. others: of the time that the cores
    had, the share that other programs took; where that is much, the seconds are without what it cost (see `queue`)."""

    seconds: float
    others: float


@dataclass(frozen=True)
class Chosen:
    """One run with no option. kind: that was chosen. skip: tasks before the choice, left: after it. predicted: seconds
    and calls in flight for each kind that is possible. measured: what that was reckoned from, seconds per call."""

    kind: str
    skip: int
    left: int
    predicted: dict[str, tuple[float, int]]
    turn: Turn
    measured: dict[str, float] = field(default_factory=dict)


@dataclass
class Outcome:
    """All rounds of one workload. note: why there is nothing to compare."""

    workload: str
    about: str
    chosen: list[Chosen] = field(default_factory=list)
    by_hand: dict[str, list[Turn]] = field(default_factory=dict)
    note: str = ""

    @property
    def kind(self) -> str:
        """The kind chosen most often, empty where nothing was chosen."""
        return Counter(one.kind for one in self.chosen).most_common(1)[0][0] if self.chosen else ""

    def predicted(self, kind: str) -> float | None:
        """Seconds, the median of all rounds."""
        found = [one.predicted[kind][0] for one in self.chosen if kind in one.predicted]
        return statistics.median(found) if found else None

    def measured(self, kind: str) -> float | None:
        """Seconds of a kind by hand, the median of the rounds that were not disturbed."""
        return median_undisturbed(self.by_hand.get(kind, []))

    @property
    def measured_choice(self) -> float | None:
        """Seconds of the tasks after the choice, in the runs that chose."""
        return median_undisturbed([one.turn for one in self.chosen if one.kind == self.kind])

    @property
    def ratio(self) -> float | None:
        """Predicted over measured for the chosen kind, the median of what it was in each run: a machine's speed drifts."""
        mine = [one for one in self.chosen if one.kind == self.kind and self.kind in one.predicted]
        ratios = [one.predicted[self.kind][0] / one.turn.seconds for one in mine]
        return median_undisturbed([one.turn for one in mine], ratios)

    def pairs(self) -> Iterator[tuple[str, str, bool]]:
        """Kinds of which the first was measured to be quicker by more than a little; whether that was predicted."""
        found = [(kind, p, m) for kind in KINDS if (p := self.predicted(kind)) and (m := self.measured(kind))]
        for first, second in combinations(found, 2):
            quicker, slower = sorted((first, second), key=lambda one: one[2])
            if slower[2] > APART * quicker[2]:
                yield quicker[0], slower[0], quicker[1] < slower[1]


def median_undisturbed(turns: Sequence[Turn], figures: Sequence[float] | None = None) -> float | None:
    """The median of those that had the cores to themselves; where none had, of the less disturbed half.

    figures: what counts of each, None: its seconds.
    """
    if not turns:
        return None
    ranked = sorted(zip([turn.others for turn in turns], figures or [turn.seconds for turn in turns], strict=True))
    calm = [figure for others, figure in ranked if others <= DISTURBED]
    return statistics.median(calm or [figure for _, figure in ranked[: (len(ranked) + 1) // 2]])


DISTURBED = 0.1  # of the cores' time


@dataclass(frozen=True)
class Verdict:
    """The goals of the law. median, within: of predicted over measured for the chosen kind, how far off the median workload
    is, and the share of workloads that are close. ranked: the share of pairs of kinds in the right order."""

    workloads: int
    median: float
    within: float
    bias: float
    pairs: int
    ranked: float


def verdict(outcomes: Sequence[Outcome]) -> Verdict | None:
    ratios = [outcome.ratio for outcome in outcomes if outcome.ratio]
    if not ratios:
        return None
    off = [max(ratio, 1 / ratio) for ratio in ratios]
    right = [right for outcome in outcomes for _, _, right in outcome.pairs()]
    return Verdict(
        workloads=len(ratios),
        median=statistics.median(off),
        within=sum(one <= CLOSE for one in off) / len(off),
        bias=statistics.geometric_mean(ratios),
        pairs=len(right),
        ranked=sum(right) / len(right) if right else 1.0,
    )
