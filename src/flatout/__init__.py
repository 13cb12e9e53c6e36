"""flatout: run any callable over any inputs, as fast as the machine allows.

>>> import flatout
>>> list(flatout.map(abs, [-1, -2, -3]))
[1, 2, 3]

Public names are loaded on first use (PEP 562), so that `import flatout` costs next to nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any

    from flatout._api import explain as explain
    from flatout._api import gather as gather
    from flatout._api import map as map
    from flatout._errors import FlatoutError as FlatoutError
    from flatout._errors import InputError as InputError
    from flatout._errors import InternalError as InternalError
    from flatout._errors import NotPicklable as NotPicklable
    from flatout._errors import PlanError as PlanError
    from flatout._errors import RunCancelled as RunCancelled
    from flatout._errors import RunError as RunError
    from flatout._errors import TaskTimeout as TaskTimeout
    from flatout._errors import WorkerDied as WorkerDied
    from flatout._executor import Executor as Executor
    from flatout._explain import Explanation as Explanation
    from flatout._machine._machine import Machine as Machine
    from flatout._machine._machine import machine as machine
    from flatout._model import Done as Done
    from flatout._model import Failure as Failure
    from flatout._model import Plan as Plan
    from flatout._model import Retry as Retry
    from flatout._run._report import Report as Report
    from flatout._run._run import Run as Run

__version__ = "0.1.0"

_HOME = {
    "Done": "_model",
    "Executor": "_executor",
    "Explanation": "_explain",
    "Failure": "_model",
    "FlatoutError": "_errors",
    "InputError": "_errors",
    "InternalError": "_errors",
    "Machine": "_machine._machine",
    "NotPicklable": "_errors",
    "Plan": "_model",
    "PlanError": "_errors",
    "Report": "_run._report",
    "Retry": "_model",
    "Run": "_run._run",
    "RunCancelled": "_errors",
    "RunError": "_errors",
    "TaskTimeout": "_errors",
    "WorkerDied": "_errors",
    "explain": "_api",
    "gather": "_api",
    "machine": "_machine._machine",
    "map": "_api",
}

__all__ = sorted([*_HOME, "__version__"])  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'flatout' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"flatout.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
