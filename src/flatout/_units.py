"""Figures for people."""

from __future__ import annotations

import math


def duration(seconds: float) -> str:
    """For people: 12 us, 3.4 ms, 1.5 s, 2 min 5 s, 12 h 0 min."""
    if seconds == math.inf:
        return "for ever"
    for limit, unit, factor in ((1e-3, "us", 1e6), (1.0, "ms", 1e3), (100.0, "s", 1.0)):
        if seconds < 0.9995 * limit:  # what would be rounded up to the next unit is said in it
            return f"{seconds * factor:.3g} {unit}"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
