"""The face of the package: what it exports, what importing it costs, and which flatout is under test."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path

import pytest

import flatout

HEAVY = ["asyncio", "click", "cloudpickle", "concurrent.futures", "multiprocessing", "psutil", "rich"]


def python(code: str) -> str:
    return subprocess.check_output([sys.executable, "-c", code], text=True)


def modules_loaded_by(module: str) -> list[str]:
    """What a fresh interpreter loads to import a module."""
    code = f"import sys; before = set(sys.modules); import {module}; print(*sorted(set(sys.modules) - before))"
    return python(code).split()


def test_exports_are_sorted_and_without_doubles() -> None:
    assert flatout.__all__ == sorted(set(flatout.__all__))
    assert dir(flatout) == flatout.__all__


def test_type_checkers_see_the_same_exports() -> None:
    tree = ast.parse(Path(flatout.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom) and node.module != "typing"]
    homes = {alias.asname or "": node.module for node in imports for alias in node.names}
    assert homes == {name: f"flatout.{home}" for name, home in flatout._HOME.items()}
    assert sorted([*homes, "__version__"]) == flatout.__all__


@pytest.mark.parametrize("name", flatout.__all__)
def test_every_export_resolves_and_says_what_it_is(name: str) -> None:
    value = getattr(flatout, name)
    assert value.__doc__
    assert not value.__doc__.startswith(f"{name}("), "a dataclass without a docstring of its own"


def test_star_import_gives_all() -> None:
    code = "from flatout import *; import flatout; print(set(flatout.__all__) <= globals().keys())"
    assert python(code) == "True\n"


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'flatout' has no attribute 'pam'"):
        _ = flatout.pam


def test_import_loads_nothing_heavy() -> None:
    loaded = modules_loaded_by("flatout")
    assert "flatout" in loaded
    assert [name for name in loaded if name in HEAVY] == []
    assert [name for name in loaded if name.startswith("flatout.")] == [], "public names are loaded on first use"


@pytest.mark.parametrize("module", ["flatout._child._zygote", "flatout._child._main"])
def test_child_starts_light(module: str) -> None:
    loaded = modules_loaded_by(module)
    assert module in loaded
    assert [name for name in loaded if name in HEAVY and name != "cloudpickle"] == []


@pytest.mark.skipif(os.environ.get("FLATOUT_TEST_WHEEL") != "1", reason="make test sets FLATOUT_TEST_WHEEL=1")
def test_it_is_the_installed_wheel_that_is_tested() -> None:
    site_packages = Path(sysconfig.get_path("purelib"))
    assert Path(flatout.__file__).is_relative_to(site_packages)
    assert (site_packages / "flatout" / "py.typed").exists()
    assert version("flatout") == flatout.__version__
