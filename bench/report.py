"""Says what came of it: a table for each workload, then the summary. All comparisons are ratios of medians."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

from bench.contenders.flatout import ENGINE, FLATOUT
from bench.first import First
from bench.latency import Latency
from bench.memory import Peak
from bench.misled import Misled
from bench.model import Cell, Result
from bench.startup import Start


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
    peers = [(seconds, cell.contender) for cell in result.cells if _is_peer(cell, ours) and (seconds := cell.seconds)]
    if own is None or not peers:
        return None
    seconds, peer = min(peers)
    limit = result.limit
    return Comparison(
        result.workload, own, peer, seconds, limit.seconds if limit else None, limit.term if limit else ""
    )


def _is_peer(cell: Cell, ours: str) -> bool:
    if ours == ENGINE:
        return cell.kind == "process" and cell.is_peer
    return cell.way != "flatout"


def geometric_mean(ratios: Sequence[float]) -> float:
    return statistics.geometric_mean(ratios)


def table_of(title: str, words: Sequence[str], numbers: Sequence[str]) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for heading in words:
        table.add_column(heading)
    for heading in numbers:
        table.add_column(heading, justify="right")
    return table


def workload_table(result: Result) -> Table:
    limit = result.limit
    bound = f"limit {duration(limit.seconds)} ({limit.term})" if limit else "limit not known"
    numbers = ("first call", "median", "quickest", "slowest", "calls", "x limit", "x flatout")
    table = table_of(f"{result.workload}: {result.count:,} x {result.about}; {bound}", ("contender", "way"), numbers)
    table.add_column("remark")
    own = next((cell.seconds for cell in result.cells if cell.contender == FLATOUT), None)
    for cell in sorted(result.cells, key=lambda cell: cell.seconds or float("inf")):
        style = "bold" if cell.way == "flatout" else None
        table.add_row(*_row(cell, limit.seconds if limit else None, own), style=style)
    return table


def _row(cell: Cell, limit: float | None, own: float | None) -> list[str]:
    times = [sample.seconds for sample in cell.counted]
    way = cell.way if cell.way == "reference" else f"{cell.way}, {'warm' if cell.kept else 'cold'}"
    return [
        cell.contender,
        way,
        duration(cell.first.seconds if cell.first else None),
        duration(cell.seconds),
        duration(min(times, default=None)),
        duration(max(times, default=None)),
        str(len(times)),
        ratio(cell.seconds, limit),
        ratio(cell.seconds, own),
        cell.note,
    ]


def summary_table(comparisons: Sequence[Comparison], title: str) -> Table:
    numbers = ("limit", "best peer's time", "flatout's", "/ best peer", "/ limit")
    table = table_of(title, ("workload", "limited by", "best peer"), numbers)
    for one in comparisons:
        table.add_row(
            one.workload,
            one.term,
            one.peer,
            duration(one.limit),
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


def comparisons_of(results: Sequence[Result], ours: str) -> list[Comparison]:
    return [one for result in results if (one := compare(result, ours))]


def print_summary(console: Console, results: Sequence[Result]) -> None:
    calls = {FLATOUT: "list(flatout.map(func, items))", ENGINE: 'list(flatout.map(func, items, via="process"))'}
    for ours, call in calls.items():
        if comparisons := comparisons_of(results, ours):
            console.print(summary_table(comparisons, f"{call} against the best peer of each workload"))
            for line in summary_lines(comparisons):
                console.print(line)


def start_table(starts: Sequence[Start]) -> Table:
    table = table_of("Cold start: a whole program with four no-ops over processes", ("program",), ("results", "end"))
    for one in sorted(starts, key=lambda one: one.results):
        table.add_row(one.name, duration(one.results), duration(one.end))
    return table


def latency_table(latencies: Sequence[Latency]) -> Table:
    table = table_of("Latency of a warm submit(...).result()", ("executor",), ("p50", "p99"))
    for one in sorted(latencies, key=lambda one: one.p50):
        table.add_row(one.name, duration(one.p50), duration(one.p99))
    return table


def memory_table(peaks: Sequence[Peak], count: int) -> Table:
    title = f"Peak memory (PSS, MiB) for {count:,} items from a generator with a slow consumer"
    table = table_of(title, ("way",), ("parent", "all processes", "took"))
    for one in sorted(peaks, key=lambda one: one.all):
        took = ("cut off after " if one.cut_off else "") + duration(one.seconds)
        table.add_row(one.name, f"{one.parent / 2**20:,.0f}", f"{one.all / 2**20:,.0f}", took)
    return table


def first_table(firsts: Sequence[First]) -> Table:
    title = "A first call that waits for ten seconds: how long the others take beside it"
    names = "each of the others", "beside it", "without it"
    return _ratios(title, names, ((one.name, one.beside, one.alone) for one in firsts))


def misled_table(misleds: Sequence[Misled]) -> Table:
    title = "Changing one's mind: the first run of a program, beside one that knew from the start how to run its calls"
    names = "workload", "found out", "knew"
    return _ratios(title, names, ((one.name, one.found_out, one.knew) for one in misleds))


def _ratios(title: str, names: tuple[str, str, str], rows: Iterable[tuple[str, float, float]]) -> Table:
    table = table_of(title, names[:1], (*names[1:], "ratio"))
    for name, one, other in rows:
        table.add_row(name, duration(one), duration(other), ratio(one, other))
    return table


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
