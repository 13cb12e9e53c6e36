"""From `module:function` or `file.py:function` to the function.

Worker processes get a function by the name of its module wherever they can import it, which costs nothing and keeps
its classes the same on both sides; else by value. So a file is imported under its own name, as `python file.py` would
let its neighbours do: its folder goes to the head of `sys.path`. Where that name belongs to another module already
(`test.py`, `queue.py`), the file is loaded under a name that nobody can import and its functions travel by value: its
folder goes to the end of `sys.path`, so that it hides nothing.
"""

from __future__ import annotations

import builtins
import difflib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any


class TargetError(Exception):
    """There is no such function; the cause is what its module raised while it was imported."""


def load(target: str) -> Callable[..., Any]:
    """The callable that `target` names. Raises TargetError."""
    where, colon, name = target.rpartition(":")
    if not (colon and where and _is_dotted_name(name)) or where.startswith("lambda "):
        hint = f" Did you mean 'builtins:{target}'?" if hasattr(builtins, target) else ""
        raise TargetError(f"{target!r} is not of the form module:function or file.py:function.{hint}")
    value: Any = _imported(where)
    for attribute in name.split("."):
        value = _attribute(value, attribute, where)
    if not callable(value):
        raise TargetError(f"{target!r} cannot be called: it is of type {type(value).__name__}.")
    return value  # type: ignore[no-any-return]


def _is_dotted_name(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def _imported(where: str) -> ModuleType:
    is_file = where.endswith(".py") or os.sep in where
    if is_file and not os.path.isfile(where):
        raise TargetError(f"there is no file {where!r}.")
    try:
        return _from_file(Path(where).resolve()) if is_file else _from_name(where)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a module can raise anything, SystemExit included
        raise TargetError(f"cannot import {where!r}: {type(error).__name__}: {error}") from error


def _from_name(module: str) -> ModuleType:
    folder = os.getcwd()
    if folder not in sys.path and "" not in sys.path:
        sys.path.insert(0, folder)
    return importlib.import_module(module)


def _from_file(path: Path) -> ModuleType:
    folder = str(path.parent)
    if _is_taken(path):
        sys.path.append(folder)
        return _loaded(path)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return importlib.import_module(path.stem)


def _is_taken(path: Path) -> bool:
    """Whether the name of this file is no name for an import, or that of another module."""
    if "." in path.stem:
        return True
    try:
        spec = importlib.util.find_spec(path.stem)
    except ValueError:  # a module without a spec, such as __main__
        return True
    return spec is not None and (spec.origin is None or Path(spec.origin).resolve() != path)


def _loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"<{path.stem}>", path)
    if spec is None or spec.loader is None:
        raise ImportError("not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _attribute(value: Any, name: str, where: str) -> Any:
    try:
        return getattr(value, name)
    except AttributeError:
        near = difflib.get_close_matches(name, dir(value), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise TargetError(f"{where!r} has no {name!r}.{hint}") from None
