"""One picture of a benchmark: in each workload, flatout's time over that of its best peer, on a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from bench.report import Comparison, geometric_mean

ROW, LEFT, MIDDLE, RIGHT, TOP = 22, 130, 480, 330, 78  # pixels
QUICKER, SLOWER, INK, FAINT = "#2a8f5b", "#d9822b", "#222222", "#cccccc"
WIDEST = 16.0  # a ratio beyond it, or below one over it, is drawn as wide as this
TICKS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8, 16)


def draw(comparisons: Sequence[Comparison], caption: str) -> str:
    """An SVG document."""
    width, height = LEFT + MIDDLE + RIGHT, TOP + ROW * len(comparisons) + 16
    body = "\n".join(_body(comparisons, caption, height))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="12" fill="{INK}">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )


def _body(comparisons: Sequence[Comparison], caption: str, height: int) -> Iterator[str]:
    mean = geometric_mean([one.to_peer for one in comparisons])
    yield _text(12, 20, f"flatout's time / the best peer's; geometric mean {mean:.2f}")
    yield _text(12, 38, caption)
    for tick in TICKS:
        x = _x(tick)
        colour = INK if tick == 1 else FAINT
        yield f'<line x1="{x:.1f}" y1="{TOP - 8}" x2="{x:.1f}" y2="{height - 10}" stroke="{colour}"/>'
        yield _text(x, TOP - 14, _fraction(tick), "middle")
    for row, one in enumerate(comparisons):
        yield from _row(one, TOP + ROW * row)


def _row(one: Comparison, top: int) -> Iterator[str]:
    start, end = sorted((_x(1), _x(one.to_peer)))
    colour = QUICKER if one.to_peer <= 1 else SLOWER
    yield _text(LEFT - 10, top + 13, one.workload, "end")
    yield f'<rect x="{start:.1f}" y="{top + 3}" width="{end - start:.1f}" height="{ROW - 8}" fill="{colour}"/>'
    yield _text(LEFT + MIDDLE + 10, top + 13, f"{one.to_peer:.2f} x {one.peer}")


def _x(ratio: float) -> float:
    bounded = min(max(ratio, 1 / WIDEST), WIDEST)
    return LEFT + MIDDLE * (0.5 + 0.5 * math.log(bounded) / math.log(WIDEST))


def _fraction(ratio: float) -> str:
    return f"{ratio:g}" if ratio >= 1 else f"1/{1 / ratio:g}"


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'
