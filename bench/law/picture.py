"""One picture of the law: predicted against measured, each workload and kind a point, both scales logarithmic."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from bench.law.model import CLOSE, KINDS, Outcome
from flatout._units import duration

SIZE, LEFT, TOP, RIGHT, BOTTOM = 640, 80, 64, 180, 56  # pixels; the square within which points lie, and what is around
INK, FAINT, BAND = "#222222", "#dddddd", "#eaf4ee"
COLOURS = {
    "inline": "#666666",
    "async": "#8a4fbf",
    "thread": "#d9822b",
    "process": "#2a6fbf",
    "process of threads": "#2a8f5b",
    "process of loops": "#c23b63",
}
FAR = 1.35  # times off from which a point has its workload's name beside it
LINE = 12  # pixels that names keep from each other


@dataclass(frozen=True)
class Point:
    workload: str
    kind: str
    predicted: float
    measured: float
    chosen: bool

    @property
    def off(self) -> float:
        return max(self.predicted / self.measured, self.measured / self.predicted)


def points(outcomes: Sequence[Outcome]) -> list[Point]:
    """Every kind by hand, and the chosen kind as it was measured in the run that chose."""
    found: list[Point] = []
    for one in outcomes:
        for kind in KINDS if one.chosen else ():
            predicted = one.predicted(kind)
            chosen = kind == one.kind
            measured = one.measured_choice if chosen else one.measured(kind)
            if predicted and measured:
                found.append(Point(one.workload, kind, predicted, measured, chosen))
    return found


class Scale:
    """From seconds to pixels, whole decades."""

    def __init__(self, seconds: Sequence[float]) -> None:
        self.low = math.floor(math.log10(min(seconds)))
        self.high = max(self.low + 1, math.ceil(math.log10(max(seconds))))

    def part(self, seconds: float) -> float:
        return (math.log10(seconds) - self.low) / (self.high - self.low)

    def x(self, seconds: float) -> float:
        return LEFT + SIZE * self.part(seconds)

    def y(self, seconds: float) -> float:
        return TOP + SIZE * (1 - self.part(seconds))

    def ticks(self) -> Iterator[tuple[float, bool]]:
        """Seconds at which there is a line; whether it is a decade."""
        for power in range(self.low, self.high + 1):
            yield 10.0**power, True
            if power < self.high:
                yield from ((digit * 10.0**power, False) for digit in (2, 5))


def draw(outcomes: Sequence[Outcome], title: str, caption: str) -> str:
    """An SVG document."""
    drawn = points(outcomes)
    scale = Scale([value for point in drawn for value in (point.predicted, point.measured)] or [0.1, 1.0])
    width, height = LEFT + SIZE + RIGHT, TOP + SIZE + BOTTOM
    body = "\n".join([*_frame(scale, title, caption), *_legend(drawn), *_dots(drawn, scale), *_names(drawn, scale)])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="12" fill="{INK}">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )


def _frame(scale: Scale, title: str, caption: str) -> Iterator[str]:
    yield _text(12, 22, title, size=14)
    yield _text(12, 42, caption)
    yield _band(scale)
    low, high = 10.0**scale.low, 10.0**scale.high
    for seconds, decade in scale.ticks():
        x, y, colour = scale.x(seconds), scale.y(seconds), "#bbbbbb" if decade else FAINT
        yield _line(x, TOP, x, TOP + SIZE, colour)
        yield _line(LEFT, y, LEFT + SIZE, y, colour)
        if decade:
            label = duration(seconds) if seconds < 1 else f"{seconds:g} s"
            yield _text(x, TOP + SIZE + 18, label, "middle")
            yield _text(LEFT - 8, y + 4, label, "end")
    yield _line(scale.x(low), scale.y(low), scale.x(high), scale.y(high), INK)
    yield _text(LEFT + SIZE / 2, TOP + SIZE + 42, "predicted", "middle")
    x, y = 20, TOP + SIZE / 2
    yield f'<text x="{x}" y="{y}" text-anchor="middle" transform="rotate(-90 {x} {y})">measured</text>'


def _band(scale: Scale) -> str:
    """Where the prediction is close."""
    low, high = 10.0**scale.low, 10.0**scale.high
    corners = [
        (low, low), (low, low * CLOSE), (high / CLOSE, high), (high, high), (high, high / CLOSE), (low * CLOSE, low),
    ]  # fmt: skip
    path = " ".join(f"{scale.x(predicted):.1f},{scale.y(measured):.1f}" for predicted, measured in corners)
    return f'<polygon points="{path}" fill="{BAND}"/>'


def _legend(drawn: Sequence[Point]) -> Iterator[str]:
    x, y = LEFT + SIZE + 24, TOP + 14
    for kind in KINDS:
        if any(point.kind == kind for point in drawn):
            yield _dot(x, y, COLOURS[kind], filled=True)
            yield _text(x + 12, y + 4, kind)
            y += 20
    y += 12
    yield _dot(x, y, INK, filled=True)
    yield _text(x + 12, y + 4, "the chosen kind")
    yield _dot(x, y + 20, INK, filled=False)
    yield _text(x + 12, y + 24, "another, by hand")
    yield f'<rect x="{x - 5}" y="{y + 35}" width="10" height="10" fill="{BAND}" stroke="#bbbbbb"/>'
    yield _text(x + 12, y + 44, f"within {CLOSE - 1:.0%}")
    yield _text(x - 5, y + 74, "above the line: it took")
    yield _text(x - 5, y + 89, "longer than predicted")


def _dots(drawn: Sequence[Point], scale: Scale) -> Iterator[str]:
    for point in sorted(drawn, key=lambda point: point.chosen):
        what = f"{point.workload}, {point.kind}: {duration(point.predicted)} predicted, {duration(point.measured)} measured"
        yield _dot(scale.x(point.predicted), scale.y(point.measured), COLOURS[point.kind], point.chosen, what)


def _names(drawn: Sequence[Point], scale: Scale) -> Iterator[str]:
    """Of the points far off, and of all that were chosen, as far as there is room."""
    taken: list[tuple[float, float, float]] = []
    for point in sorted(drawn, key=lambda point: (not point.chosen, -point.off)):
        if not point.chosen and point.off < FAR:
            continue
        x, y, width = scale.x(point.predicted) + 7, scale.y(point.measured) + 4, 6.5 * len(point.workload)
        if all(abs(y - other) >= LINE or x + width < left or x > right for left, right, other in taken):
            taken.append((x, x + width, y))
            yield _text(x, y, point.workload, size=10)


def _dot(x: float, y: float, colour: str, filled: bool, what: str = "") -> str:
    fill = f'fill="{colour}"' if filled else f'fill="white" stroke="{colour}" stroke-width="1.5"'
    title = f"<title>{escape(what)}</title>" if what else ""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" {fill}>{title}</circle>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start", size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'
