"""The few shapes that the drawings are made of, as SVG text. Numbers have one decimal at most, so that a drawing made anew
is the same to the byte."""

from __future__ import annotations

from collections.abc import Iterable
from xml.sax.saxutils import escape

INK, FAINT = "#222222", "#cccccc"


def document(width: int, height: int, shapes: Iterable[str]) -> str:
    """A whole drawing on white, so that it can be read on a dark page, too."""
    body = "\n".join(shapes)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="12" fill="{INK}">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )


def text(x: float, y: float, words: str, *, anchor: str = "start", size: int = 12, colour: str = INK) -> str:
    """Words that begin at x, or end there, or have their middle there."""
    how = "" if anchor == "start" else f' text-anchor="{anchor}"'
    how += "" if size == 12 else f' font-size="{size}"'
    how += "" if colour == INK else f' fill="{colour}"'
    return f'<text x="{x:.1f}" y="{y:.1f}"{how}>{escape(words)}</text>'


def upright(x: float, y: float, words: str) -> str:
    """Words along a vertical axis."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" transform="rotate(-90 {x:.1f} {y:.1f})">{escape(words)}</text>'


def box(x: float, y: float, width: float, height: float, colour: str, opacity: float = 1.0) -> str:
    """A filled rectangle."""
    faint = "" if opacity == 1.0 else f' fill-opacity="{opacity:.2f}"'
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"{faint}/>'


def line(x1: float, y1: float, x2: float, y2: float, colour: str = FAINT) -> str:
    """A thin line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def curve(points: Iterable[tuple[float, float]], colour: str) -> str:
    """A line through points."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'


def dot(x: float, y: float, colour: str) -> str:
    """A small circle."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>'
