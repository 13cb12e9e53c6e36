"""A run against a service drawn as SVG: what may be in flight above, successes a second below, and what the service bears."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from bench.services.cases import SHOWN, Case
from bench.services.play import Played, Sample

WIDTH, LEFT, TOP, PANEL, GAP, BOTTOM = 640, 64, 44, 120, 34, 34  # pixels
STEP = 0.25  # seconds between two points of a line
OURS, THEIRS, INK, FAINT = "#2a6fb5", "#d9822b", "#222222", "#dddddd"
DECADES = (1, 10, 100, 1000)


def draw(case: Case, played: Played) -> str:
    """An SVG document."""
    height = TOP + 2 * PANEL + GAP + BOTTOM
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="sans-serif" font-size="12" fill="{INK}">\n'
        '<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(_body(case, played)) + "\n</svg>\n"
    )


def _body(case: Case, played: Played) -> Iterator[str]:
    times = [STEP * i for i in range(1, int(SHOWN / STEP) + 1)]
    samples = [_at(played.samples, time) for time in (0.0, *times)]
    calls = f"{played.service.calls} calls, {played.service.refused} of them refused"
    yield _text(LEFT, 18, f"{case.title} ({calls})")
    yield from _flights(times, samples, played)
    yield from _throughputs(times, samples, case)
    for second in range(0, int(SHOWN) + 1, 5):
        yield _text(_x(second), TOP + 2 * PANEL + GAP + 16, f"{second} s", "middle")


def _flights(times: Sequence[float], samples: Sequence[Sample], played: Played) -> Iterator[str]:
    """The limit, on a logarithmic scale, and the capacity."""

    def y(value: float) -> float:
        return TOP + PANEL * (1 - math.log10(min(max(value, 1), 1000)) / 3)

    yield _text(LEFT, TOP - 8, "may be in flight", colour=OURS)
    yield from (_rule(y(decade), str(decade)) for decade in DECADES)
    capacities = [(time, played.service.capacity(time - STEP)) for time in times]
    if all(0 < capacity < math.inf for _, capacity in capacities):
        yield _text(LEFT + 110, TOP - 8, "what it works on at once", colour=THEIRS)
        yield _line([(_x(time), y(capacity)) for time, capacity in capacities], THEIRS)
    yield _line([(_x(time), y(one.limit)) for time, one in zip(times, samples[1:], strict=True)], OURS)


def _throughputs(times: Sequence[float], samples: Sequence[Sample], case: Case) -> Iterator[str]:
    """Successes a second, and as many as there could be."""
    top, most = TOP + PANEL + GAP, 1.25 * max(case.best(time) for time in times)

    def y(value: float) -> float:
        return top + PANEL * (1 - min(value / most, 1))

    yield _text(LEFT, top - 8, "successes a second", colour=OURS)
    yield _text(LEFT + 130, top - 8, "the most that can be had", colour=THEIRS)
    yield from (_rule(y(most * part / 1.25), f"{most * part / 1.25:.0f}") for part in (0, 0.5, 1))
    yield _line([(_x(time), y(case.best(time - STEP))) for time in times], THEIRS)
    done = [(b.succeeded - a.succeeded) / STEP for a, b in itertools.pairwise(samples)]
    yield _line([(_x(time), y(value)) for time, value in zip(times, done, strict=True)], OURS)


def _at(samples: Sequence[Sample], time: float) -> Sample:
    """The last that was taken by then."""
    low, high = 0, len(samples)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if samples[middle].at <= time else (low, middle)
    return samples[max(0, low - 1)]


def _x(seconds: float) -> float:
    return LEFT + (WIDTH - LEFT - 20) * seconds / SHOWN


def _rule(y: float, label: str) -> str:
    line = f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - 20}" y2="{y:.1f}" stroke="{FAINT}"/>'
    return line + _text(LEFT - 6, y + 4, label, "end")


def _line(points: Sequence[tuple[float, float]], colour: str) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'


def _text(x: float, y: float, text: str, anchor: str = "start", colour: str = INK) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
