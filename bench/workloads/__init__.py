"""What is run, by family. Functions stand at module level, so that every kind of worker process can import them."""

from __future__ import annotations

from importlib import import_module

from bench.model import Workload

FAMILIES = ("tiny", "skew", "changes", "gil_free", "data", "waits", "coroutines", "jobs")


def family(name: str) -> dict[str, Workload]:
    """The workloads of one module, by name."""
    workloads: list[Workload] = import_module(f"bench.workloads.{name}").WORKLOADS
    return {workload.name: workload for workload in workloads}


def all_workloads() -> list[tuple[str, Workload]]:
    """Every workload with its family, in the order of the report."""
    return [(name, workload) for name in FAMILIES for workload in family(name).values()]
