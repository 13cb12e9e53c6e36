"""Who runs the workloads. Each peer as its documentation calls it, and as an expert would tune it.

A peer's own modules are imported inside the functions: a seat loads its own contender only, and a peer may be missing.
"""

from __future__ import annotations

from importlib import import_module

from bench.model import Contender

MODULES = ("flatout", "processes", "threads", "coroutines", "clusters")


def all_contenders() -> list[Contender]:
    """Every contender, in the order of the report."""
    return [contender for name in MODULES for contender in import_module(f"bench.contenders.{name}").CONTENDERS]


def contender_named(name: str) -> Contender:
    return next(contender for contender in all_contenders() if contender.name == name)
