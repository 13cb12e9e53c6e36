"""Libraries with threads of their own (BLAS, OpenMP, Rayon): in a worker they take its share of the cores, not all of them.

Else each of eight workers on eight cores would compute by eight threads. The libraries read environment variables when they
are loaded, or first used. Where they were loaded with another share, for an earlier run, threadpoolctl can tell them, if it
is there; without it a new process has to take the worker's place.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping

# For each variable those that the library heeds too: who has set one of them has said what it is to do.
_VARIABLES = {
    "OMP_NUM_THREADS": (),
    "OPENBLAS_NUM_THREADS": ("GOTO_NUM_THREADS", "OMP_NUM_THREADS"),
    "MKL_NUM_THREADS": ("OMP_NUM_THREADS",),
    "BLIS_NUM_THREADS": ("OMP_NUM_THREADS",),
    "VECLIB_MAXIMUM_THREADS": (),
    "NUMEXPR_NUM_THREADS": ("OMP_NUM_THREADS",),
    "NUMBA_NUM_THREADS": (),
    "RAYON_NUM_THREADS": (),
    "POLARS_MAX_THREADS": (),
}

_ours: dict[str, str] = {}  # what was set here, and not by the user
_last: dict[str, str] | None = None  # the values of all variables when this process was last set up


def users(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without what was set here: for the workers of a worker."""
    return {name: value for name, value in environ.items() if _ours.get(name) != value}


def share_out(environ: dict[str, str], cores: int) -> bool:
    """Add to a worker's environment how many threads libraries may use: `cores`, where the user has not said it.

    Returns whether the libraries that are loaded can follow.
    """
    global _ours, _last
    _ours = {
        name: str(cores)
        for name, others in _VARIABLES.items()
        if name not in environ and not any(other in environ for other in others)
    }
    environ.update(_ours)
    before, _last = _last, {name: environ[name] for name in _VARIABLES if name in environ}
    if before is None or before == _last or not _any_loaded():
        return True
    return len(_ours) == len(_VARIABLES) and _tell(cores)


def _any_loaded() -> bool:
    """Whether any extension module is there but Python's own: they bring such libraries."""
    files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    return any(isinstance(file, str) and file.endswith((".so", ".pyd")) and "lib-dynload" not in file for file in files)


def _tell(cores: int) -> bool:
    """Have the libraries that are loaded use so many threads."""
    with contextlib.suppress(Exception):
        import threadpoolctl

        threadpoolctl.threadpool_limits(limits=cores)  # for good: it would be undone as a context
        return True
    return False
