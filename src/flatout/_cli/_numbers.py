"""Numbers as options: click calls those in a range "integer range" and "float range" where they are no numbers at all."""

from __future__ import annotations

import click


class Count(click.IntRange):
    """A whole number from 1 on."""

    name = "integer"

    def __init__(self) -> None:
        super().__init__(min=1)


class Number(click.FloatRange):
    """A number from 0 on, or above it."""

    name = "number"

    def __init__(self, *, above: bool = False) -> None:
        super().__init__(min=0, min_open=above)
