"""`flatout demo`: computing, waiting, coroutines and hashing on this machine, each against the plain loop and the law.

The plain loop would take too long to sit through: it runs over a sample, once before and once after the run of all, and
is extrapolated. Its results must be those that flatout gave.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import flatout
from flatout._demo import _show, _tasks

NAMES = ("computing", "waiting", "coroutines", "hashing")


@dataclass(frozen=True, slots=True)
class Part:
    """One kind of work, and what there is to know about it beforehand.

    inputs: makes the inputs, which exist while its context does. sample: how many of them the plain loop gets. weight:
    how much work an input is, in any unit. alone: only one core can help, since every call needs the GIL.
    """

    title: str
    func: Callable[[Any], Any]
    inputs: Callable[[], AbstractContextManager[Sequence[Any]]]
    sample: int
    summary: Callable[[Sequence[Any]], str]
    weight: Callable[[Any], float] = lambda _: 1.0
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Loop:
    """What a plain loop took, in seconds: on the clock, of computing, and for its longest call."""

    seconds: float
    cpu_seconds: float
    longest: float
    results: list[Any]


@dataclass(frozen=True, slots=True)
class Shown:
    """What a part came to. The loop is extrapolated from the sample; `ideal_seconds` is what the law allows this machine
    when it is idle, `busy` says that it is not.
    """

    plan: flatout.Plan
    tasks: int
    sample: int
    loop_seconds: float
    seconds: float
    ideal_seconds: float
    ideal_reason: str
    busy: str
    summary: str


class WrongResults(Exception):
    """flatout and the plain loop disagree."""


def parts(files: int | None = None, pages: int = 300, blocks: int = 256, block_bytes: int = 8 << 20) -> dict[str, Part]:
    """The parts of the demo by name. `files`: only so many files of the standard library."""
    paths = _tasks.stdlib_files()[:files]
    urls = partial(_tasks.page_urls, pages)
    return {
        "computing": Part(
            f"Computing: parse {len(paths):,} files of Python's library and count the names they use",
            _tasks.count_names,
            lambda: nullcontext(paths),
            sample=240,
            summary=_names,
            weight=lambda path: Path(path).stat().st_size,
        ),
        "waiting": Part(
            f"Waiting: fetch {pages:,} pages, each after 20 to 60 ms, with a client that blocks",
            _tasks.fetch,
            urls,
            sample=24,
            summary=_pages,
            alone=True,
        ),
        "coroutines": Part(
            f"Waiting in coroutines: the same {pages:,} pages with an async def",
            _tasks.fetch_async,
            urls,
            sample=24,
            summary=_pages,
            alone=True,
        ),
        "hashing": Part(
            f"Computing without the GIL: sha256 of {blocks:,} blocks of {block_bytes / 2**20:.3g} MiB",
            _tasks.digest,
            partial(_tasks.stdlib_blocks, blocks, block_bytes),
            sample=48,
            summary=lambda digests: f"{len(set(digests)):,} different digests",
        ),
    }


def show(only: str | None = None) -> None:
    """Run the demo, or one part of it, and print what came of it. Raises WrongResults."""
    cores = flatout.machine().usable_cores
    print(f"flatout {flatout.__version__} on Python {sys.version.split()[0]}, {cores:g} usable cores")
    for name, part in parts().items():
        if only in (None, name):
            _show.show(part.title, rows(play(part)))


def play(part: Part) -> Shown:
    """Run one part: the sample in a plain loop, everything by flatout, the sample again. Raises WrongResults."""
    with part.inputs() as inputs:
        picked = _sample(inputs, part)
        sample = [inputs[index] for index in picked]
        before = plain_loop(part.func, sample)
        began = time.perf_counter()
        run = flatout.map(part.func, inputs, progress=sys.stderr.isatty())
        results = run.results()
        seconds = time.perf_counter() - began
        after = plain_loop(part.func, sample)
        scale = sum(map(part.weight, inputs)) / sum(map(part.weight, sample))
    if len(results) != len(inputs) or [results[index] for index in picked] != before.results:
        raise WrongResults(f"{part.title}: flatout's results differ from those of the plain loop")
    loops = (before, after)
    ideal_seconds, ideal_reason = _ideal(part, loops, scale, len(inputs), run.plan)
    return Shown(
        plan=run.plan,
        tasks=len(inputs),
        sample=len(sample),
        loop_seconds=scale * _mean(loop.seconds for loop in loops),
        seconds=seconds,
        ideal_seconds=ideal_seconds,
        ideal_reason=ideal_reason,
        busy="" if part.alone else _busy(loops),
        summary=part.summary(results),
    )


def plain_loop(func: Callable[[Any], Any], inputs: Sequence[Any]) -> Loop:
    """The loop that flatout replaces, timed."""
    return asyncio.run(_plain_loop(func, inputs))


async def _plain_loop(func: Callable[[Any], Any], inputs: Sequence[Any]) -> Loop:
    """One call after another; a coroutine is awaited before the next one begins."""
    results, longest = [], 0.0
    began, cpu_began = time.perf_counter(), time.process_time()
    for item in inputs:
        call_began = time.perf_counter()
        result = func(item)
        results.append(await result if inspect.isawaitable(result) else result)
        longest = max(longest, time.perf_counter() - call_began)
    return Loop(time.perf_counter() - began, time.process_time() - cpu_began, longest, results)


def rows(shown: Shown) -> Iterator[_show.Row]:
    """What there is to say about a part."""
    yield "measured", _measured(shown.plan)
    yield "chosen", str(shown.plan)
    sample = f"from {shown.sample:,} of {shown.tasks:,} tasks in a plain loop, before and after"
    yield "plain loop", f"{shown.loop_seconds:.2f} s, extrapolated {sample}"
    yield _show.FAST, f"{shown.seconds:.2f} s, {shown.loop_seconds / shown.seconds:.1f} times as fast"
    reached = f"{shown.ideal_seconds / shown.seconds:.0%} of that reached"
    yield "at best", f"{shown.ideal_seconds:.2f} s: {shown.ideal_reason}; {reached}"
    if shown.busy:
        yield "but", shown.busy
    yield "results", f"{shown.summary}; the plain loop's are the same"


def _sample(inputs: Sequence[Any], part: Part) -> list[int]:
    """Indices of a sample that is evenly spread from the lightest to the heaviest input."""
    by_weight = sorted(range(len(inputs)), key=lambda index: part.weight(inputs[index]))
    count = min(part.sample, len(inputs))
    return [by_weight[(2 * number + 1) * len(inputs) // (2 * count)] for number in range(count)]


def _ideal(part: Part, loops: Sequence[Loop], scale: float, tasks: int, plan: flatout.Plan) -> tuple[float, str]:
    """The exhibition law, T >= max(n*c/m, c + w), with c and w as the plain loop showed them.

    Where many coroutines share a loop, a call computes less than alone: what it has computed there counts, then.
    """
    computing = scale * _mean(loop.cpu_seconds for loop in loops)
    if plan.kind == "async" and plan.measured is not None:
        computing = min(computing, tasks * (plan.measured.gil + plan.measured.free))
    longest = max(loop.longest for loop in loops)
    if part.alone:
        each = f"{tasks:,} x {1000 * computing / tasks:.2f} ms of computing"
        return max(
            computing, longest
        ), f"{each} by one thread, nobody waiting for another (the longest call: {longest:.2f} s)"
    cores = flatout.machine().usable_cores
    return max(computing / cores, longest), f"{computing:.2f} s of computing on {cores:g} cores"


def _busy(loops: Sequence[Loop]) -> str:
    """What to say where a loop that only computes did not have its core to itself."""
    share = sum(loop.cpu_seconds for loop in loops) / sum(loop.seconds for loop in loops)
    return "" if share > 0.9 else f"the machine is busy with other work: the plain loop had {share:.0%} of a core"


def _mean(values: Iterator[float]) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers)


def _measured(plan: flatout.Plan) -> str:
    measured = plan.measured
    if measured is None:
        return "nothing"
    calls = (
        f"{measured.calls:,} call{'' if measured.calls == 1 else 's'}" if measured.calls else "the beginning of a call"
    )
    gil, free, wait = (f"{1000 * seconds:.2f} ms" for seconds in (measured.gil, measured.free, measured.wait))
    return f"{calls}: {gil} of computing with the GIL, {free} without it, {wait} of waiting"


def _names(results: Sequence[Counter[str] | None]) -> str:
    counts = [result for result in results if result is not None]
    total: Counter[str] = sum(counts, Counter())
    most = ", ".join(f"{name} {count:,}" for name, count in total.most_common(3))
    return f"{len(counts):,} files ({len(results) - len(counts)} cannot be parsed), most used: {most}"


def _pages(results: Sequence[str]) -> str:
    return f"{len(results):,} pages, {sum(map(len, results)):,} characters"
