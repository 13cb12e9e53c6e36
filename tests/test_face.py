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

# Everything of the standard library that a start may load. What is not here and takes long is imported where it is used:
# typing 2-4 ms, inspect with dataclasses 6, re with enum 2, asyncio 30, cloudpickle 12.
BASIC = {
    *(("io",) if sys.version_info >= (3, 14) else ()),  # which earlier ones load by themselves
    "bisect",
    "collections",
    "contextlib",
    "contextvars",
    "errno",
    "functools",
    "heapq",
    "itertools",
    "keyword",
    "math",
    "opcode",
    "operator",
    "reprlib",
    "resource",
    "select",
    "selectors",
    "threading",
    "types",
    "warnings",
    "weakref",
    "importlib",
}
PICKLING = {"copyreg", "enum", "pickle", "re", "struct"}
OF_ZYGOTE = BASIC | PICKLING | {"array", "errno", "faulthandler", "gc", "mmap", "signal", "socket"}
OF_PROCESSES = OF_ZYGOTE | {"atexit", "fcntl", "locale", "subprocess"}


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


def loaded_by(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter loads to run this, private ones and flatout left out."""
    script = f"""
import sys
before = set(sys.modules)
{code}
print(*sorted({{name.partition(".")[0] for name in set(sys.modules) - before}}))
"""
    return {name for name in python(script).split() if not name.startswith("_") and name != "flatout"}


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("import flatout", set()),
        ("import flatout; flatout.map", BASIC),
        ("import flatout; flatout.map(lambda x: x, range(4)).results()", BASIC),
        ("import flatout; flatout.map(lambda x: x, range(4), via='thread').results()", BASIC | {"queue"}),
        ("import flatout; flatout.map(abs, range(4), via='process').results()", OF_PROCESSES),
        ("import flatout; flatout.map(lambda x: x, range(4), via='process').results()", OF_PROCESSES),
        ("from flatout._child import _zygote, _main", OF_ZYGOTE),
    ],
)
def test_a_start_loads_no_more_than_it_needs(code: str, allowed: set[str]) -> None:
    assert loaded_by(code) - allowed == set()


def test_a_start_without_processes_loads_nothing_of_theirs() -> None:
    loaded = modules_loaded_by("flatout; flatout.map(lambda x: x, range(4)).results()")
    assert [name for name in loaded if name in ("flatout._workers._pool", "flatout._child._zygote")] == []


def test_the_zygote_starts_before_what_carries_the_run_out_is_imported() -> None:
    code = """
import sys
def hook(event, args):
    if event == "subprocess.Popen":
        print(*(name for name in ("flatout._run._engine", "flatout._wire._functions", "pickle") if name in sys.modules))
sys.addaudithook(hook)
import flatout
flatout.map(lambda x: x, range(4), via="process").results()
"""
    assert python(code) == "\n"


def test_a_plain_function_of_a_script_needs_cloudpickle_nowhere() -> None:
    code = """
import flatout, sys
def is_loaded(name): return name in sys.modules
print(*flatout.map(is_loaded, ["cloudpickle", "flatout._child._main"], via="process"), is_loaded("cloudpickle"))
"""
    assert python(code) == "False True False\n"


@pytest.mark.skipif(os.environ.get("FLATOUT_TEST_WHEEL") != "1", reason="make test sets FLATOUT_TEST_WHEEL=1")
def test_it_is_the_installed_wheel_that_is_tested() -> None:
    site_packages = Path(sysconfig.get_path("purelib"))
    assert Path(flatout.__file__).is_relative_to(site_packages)
    assert (site_packages / "flatout" / "py.typed").exists()
    assert version("flatout") == flatout.__version__
