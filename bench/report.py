"""Says what came of it: a table for each workload, then the summary. All comparisons are ratios of medians."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

from bench.contenders.flatout import ENGINE, FLATOUT
from bench.model import Cell, Result


@dataclass(frozen=True)
class Comparison:
    """flatout in one workload. to_peer, to_limit: its time over theirs; below 1 it is quicker."""

    workload: str
    seconds: float
    peer: str
    peer_seconds: float
    limit: float | None
    term: str

    @property
    def to_peer(self) -> float:
        return self.seconds / self.peer_seconds

    @property
    def to_limit(self) -> float | None:
        return self.seconds / self.limit if self.limit else None


def compare(result: Result, ours: str = FLATOUT) -> Comparison | None:
    """`ours` against its best peer: for flatout as such the plain loop is one, for its engine only processes are."""
    own = next((cell.seconds for cell in result.cells if cell.contender == ours), None)
    peers = [(cell.seconds, cell.contender) for cell in result.cells if cell.seconds is not None and _is_peer(cell, ours)]
    if own is None or not peers:
        return None
    seconds, peer = min(peers)
    limit = result.limit
    return Comparison(
        result.workload, own, peer, seconds, limit.seconds if limit else None, limit.term if limit else ""
    )


def _is_peer(cell: Cell, ours: str) -> bool:
    if ours == ENGINE:
        return cell.kind == "process" and cell.way != "flatout"
    return cell.way != "flatout"


def geometric_mean(ratios: Sequence[float]) -> float:
    return statistics.geometric_mean(ratios)


def workload_table(result: Result) -> Table:
    limit = result.limit
    bound = f"limit {duration(limit.seconds)} ({limit.term})" if limit else "limit not known"
    table = Table(title=f"{result.workload}: {result.count:,} x {result.about}; {bound}", box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("contender")
    table.add_column("way")
    for heading in ("first call", "median", "quickest", "slowest", "x limit", "x flatout"):
        table.add_column(heading, justify="right")
    table.add_column("remark")
    own = next((cell.seconds for cell in result.cells if cell.contender == FLATOUT), None)
    for cell in sorted(result.cells, key=lambda cell: cell.seconds or float("inf")):
        table.add_row(*_row(cell, limit.seconds if limit else None, own), style="bold" if cell.way == "flatout" else None)
    return table


def _row(cell: Cell, limit: float | None, own: float | None) -> list[str]:
    times = [sample.seconds for sample in cell.counted]
    way = cell.way if cell.way == "reference" else f"{cell.way}, {'warm' if cell.kept else 'cold'}"
    return [
        cell.contender,
        way,
        duration(cell.first and cell.first.seconds),
        duration(cell.seconds),
        duration(min(times, default=None)),
        duration(max(times, default=None)),
        ratio(cell.seconds, limit),
        ratio(cell.seconds, own),
        cell.note,
    ]


def summary_table(comparisons: Sequence[Comparison], title: str) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("workload")
    table.add_column("limit", justify="right")
    table.add_column("which is")
    table.add_column("best peer")
    for heading in ("its time", "flatout", "/ best peer", "/ limit"):
        table.add_column(heading, justify="right")
    for one in comparisons:
        table.add_row(
            one.workload,
            duration(one.limit),
            one.term,
            one.peer,
            duration(one.peer_seconds),
            duration(one.seconds),
            f"{one.to_peer:.2f}",
            ratio(one.seconds, one.limit),
        )
    return table


def summary_lines(comparisons: Sequence[Comparison]) -> Iterable[str]:
    worst = max(comparisons, key=lambda one: one.to_peer)
    ratios = [one.to_peer for one in comparisons]
    yield (
        f"geometric mean over {len(ratios)} workloads: {geometric_mean(ratios):.2f} x the best peer; "
        f"worst: {worst.to_peer:.2f} x ({worst.workload}, {worst.peer})"
    )
    to_limit = [one.to_limit for one in comparisons if one.to_limit]
    if to_limit:
        yield f"to the limit: geometric mean {geometric_mean(to_limit):.2f} x, worst {max(to_limit):.2f} x"


def print_summary(console: Console, results: Sequence[Result]) -> None:
    for ours, title in ((FLATOUT, "list(flatout.map(func, items))"), (ENGINE, 'list(flatout.map(func, items, via="process"))')):
        comparisons = [one for result in results if (one := compare(result, ours))]
        if comparisons:
            console.print(summary_table(comparisons, f"{title} against the best peer of each workload"))
            for line in summary_lines(comparisons):
                console.print(line)


def ratio(part: float | None, whole: float | None) -> str:
    return f"{part / whole:.2f}" if part is not None and whole else "-"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds >= 1:
        return f"{seconds:.2f} s"
    if seconds >= 0.001:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds * 1e6:.3g} us"
