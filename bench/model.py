"""The nouns: what is run, who runs it, what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal

Kind = Literal["process", "thread", "async"]
Way = Literal["newcomer", "tuned", "reference", "flatout"]
Function = Callable[..., Any]
Call = Callable[[Function, Sequence[Any]], list[Any]]

UNDISTURBED = 1.25  # times the quickest burn of the watch; a core at 0.6 of its speed reads 1.7


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A function and its inputs, what an expert knows about them, and what bounds them.

    make: from a number of inputs, the function and the inputs, the same each time. count, quick: how many inputs, in the
    quick run too (0: left out there). kinds: the kinds of worker that an expert would try. chunksize, threads, concurrency,
    per_core (processes per core): what an expert would choose (threads None: as many as cores; concurrency None: no bound). wait: seconds that one call waits.
    bytes_each: what one task must move to another process and back. longest: share of the longest call in all the work, from
    the inputs (None: all alike). instant: what a call returns, without its waiting; then the plain loop runs `loop`
    inputs only, and its time is scaled up. needs: modules that must be there. service: it needs the HTTP server.
    """

    name: str
    about: str
    make: Callable[[int], tuple[Function, Sequence[Any]]]
    count: int
    quick: int = 0
    kinds: tuple[Kind, ...] = ("process",)
    chunksize: int = 1
    per_core: int = 1
    threads: int | None = None
    concurrency: int | None = None
    wait: float = 0.0
    bytes_each: int = 0
    longest: Callable[[Sequence[Any]], float] | None = None
    instant: Function | None = None
    loop: int | None = None
    needs: tuple[str, ...] = ()
    service: bool = False

    @property
    def missing(self) -> str:
        """The first module that it needs and that is not installed, else empty."""
        return next((name for name in self.needs if find_spec(name) is None), "")


@dataclass(frozen=True)
class Hints:
    """What an expert tells a tuned contender about the workload at hand."""

    cores: int
    processes: int
    threads: int
    concurrency: int
    chunksize: int

    @classmethod
    def of(cls, workload: Workload, count: int, cores: int) -> Hints:
        return cls(
            cores=cores,
            processes=workload.per_core * cores,
            threads=min(workload.threads or cores, count),
            concurrency=min(workload.concurrency or count, count),
            chunksize=max(1, min(workload.chunksize, count // (2 * cores))),
        )


@dataclass(frozen=True)
class Contender:
    """One way to run a map.

    open: makes what is kept between calls and yields the call. kept: whether anything is, so that calls after the first
    are warm; else each pays for its own start. needs: the module that must be there. quick: part of the quick run.
    cluster: it keeps servers busy, and so has the machine to itself, after the others. fresh: each call is made in a new
    process.
    """

    name: str
    kind: Kind | None  # None: it suits every kind of work
    way: Way
    open: Callable[[Hints], AbstractContextManager[Call]]
    kept: bool
    needs: str = ""
    quick: bool = False
    cluster: bool = False
    fresh: bool = False

    @property
    def installed(self) -> bool:
        return not self.needs or find_spec(self.needs) is not None


@dataclass(frozen=True)
class Sample:
    """One measured call. seconds: wall time. cpu: CPU seconds of all its processes, and of the service. slowness: of the machine, 1 at its best."""

    seconds: float
    cpu: float
    slowness: float

    @property
    def disturbed(self) -> bool:
        return self.slowness > UNDISTURBED


@dataclass
class Cell:
    """What one contender did with one workload.

    first: its first call in a fresh process. out: it is not measured any more. note: why, or what else there is to say.
    """

    contender: str
    way: Way
    kind: Kind | None
    kept: bool
    first: Sample | None = None
    samples: list[Sample] = field(default_factory=list)
    out: bool = False
    note: str = ""

    @property
    def is_peer(self) -> bool:
        return self.way in ("newcomer", "tuned")

    @property
    def counted(self) -> list[Sample]:
        """The undisturbed samples, or all where there are none."""
        return [sample for sample in self.samples if not sample.disturbed] or self.samples

    @property
    def seconds(self) -> float | None:
        return statistics.median(sample.seconds for sample in self.counted) if self.samples else None

    @property
    def cpu(self) -> float | None:
        return statistics.median(sample.cpu for sample in self.counted) if self.samples else None


@dataclass(frozen=True)
class Limit:
    """What the machine allows at best. term: which bound it is."""

    seconds: float
    term: str


@dataclass
class Result:
    """All that came of one workload."""

    workload: str
    about: str
    count: int
    limit: Limit | None
    cells: list[Cell]
