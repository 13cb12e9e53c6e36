"""Modules that calls load while they are watched: that happens once, in whatever call comes first."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


class Imports:
    """Tells what calls load from what flatout itself loads beside them (`own_work`)."""

    def __init__(self) -> None:
        self.at_work = 0  # how many things of its own flatout is at
        self._before = self._seen = self._marked = 0  # how many modules there were

    def begin(self) -> None:
        """Calls begin."""
        self._before = self._seen = self._marked = len(sys.modules)

    def came(self) -> bool:
        """Whether calls have loaded any since that was asked last."""
        if self.at_work:
            return False
        before, self._seen = self._seen, len(sys.modules)
        return self._seen != before

    def mark(self) -> bool:
        """Whether calls have loaded any since this was asked last."""
        before, self._marked = self._marked, len(sys.modules)
        return self._marked != before

    def under_way(self) -> bool:
        """Whether a module that was not there before is still being loaded."""
        if len(sys.modules) <= self._before:
            return False
        specs = (getattr(module, "__spec__", None) for module in [*sys.modules.values()][self._before :])
        return any(getattr(spec, "_initializing", False) for spec in specs)

    @contextlib.contextmanager
    def own_work(self) -> Iterator[None]:
        """What is loaded meanwhile is none of the calls'."""
        before = len(sys.modules)
        self.at_work += 1
        try:
            yield
        finally:
            self._seen = len(sys.modules)
            self._marked += self._seen - before
            self.at_work -= 1
