"""The nouns: a function with its inputs, the kinds that are right for it, what was chosen."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

Kind = Literal["inline", "thread", "process", "async"]
Job = tuple[Callable[..., Any], Iterable[Any]]

PORT = "CHOICES_PORT"  # the environment variable that tells where the server is


class Place:
    """What a case may need around it: a folder of its own, and a server that answers after 20 ms."""

    def __init__(self) -> None:
        self.stack = ExitStack()

    def folder(self) -> Path:
        return Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="choices-")))

    @property
    def port(self) -> int:
        return int(os.environ[PORT])


@dataclass(frozen=True)
class Case:
    """A function with its inputs, and what an expert would make of it on a machine of two cores or more.

    make: from the place, the function and its inputs. kinds: those that are right; why: in a phrase. needs: modules that
    must be there. service: it needs the server. gap: why flatout is known to choose otherwise now and then, else empty.
    """

    name: str
    about: str
    make: Callable[[Place], Job]
    kinds: tuple[Kind, ...]
    why: str
    needs: tuple[str, ...] = ()
    service: bool = False
    gap: str = ""

    @property
    def missing(self) -> str:
        """The first module that it needs and that is not installed, else empty."""
        return next((name for name in self.needs if find_spec(name) is None), "")


@dataclass(frozen=True)
class Choice:
    """What was chosen in one fresh process.

    plan: the sentence. measured: the fields of the measurement. seconds: until the choice. readings: see `readings`.
    """

    case: str
    load: int
    kind: str
    plan: str
    seconds: float
    measured: dict[str, Any] = field(default_factory=dict)
    readings: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)
