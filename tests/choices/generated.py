"""Placeholder."""

from __future__ import annotations

from choices.cases import BY_NAME
from choices.model import Case


def case_named(name: str) -> Case:
    return BY_NAME[name]
