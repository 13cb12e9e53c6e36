"""Libraries with threads of their own, in workers: each worker has its share of the cores."""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import flatout
from flatout._machine._machine import usable_cores
from flatout._model import Plan

NAMES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS")
no_threadpoolctl = pytest.mark.skipif(
    importlib.util.find_spec("threadpoolctl") is not None, reason="threadpoolctl is there"
)


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the user has said nothing, on a machine with eight cores."""
    for name in (*NAMES, "GOTO_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FLATOUT_CORES", "8")


def told(_: int) -> dict[str, str]:
    return {name: os.environ[name] for name in NAMES if name in os.environ}


def in_processes(func: Callable[[Any], Any], workers: int) -> list[Any]:
    """What two calls return, each worker having its share of eight cores."""
    return flatout.map(func, range(workers), via=Plan("process", workers)).results()


@pytest.mark.parametrize(("workers", "share"), [(2, "4"), (4, "2"), (8, "1")])
def test_a_worker_has_its_share(workers: int, share: str) -> None:
    assert in_processes(told, workers) == [dict.fromkeys(NAMES, share)] * workers
    assert told(0) == {}  # nothing is changed in this process


def test_for_few_inputs_there_are_few_workers() -> None:
    assert flatout.map(told, [0], via="process").results() == [dict.fromkeys(NAMES, "8")]


@pytest.mark.parametrize(
    ("name", "untouched"),
    [
        ("OMP_NUM_THREADS", {"OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"}),
        ("GOTO_NUM_THREADS", {"OPENBLAS_NUM_THREADS"}),
        ("MKL_NUM_THREADS", set()),
        ("NUMBA_NUM_THREADS", set()),
    ],
)
def test_what_the_user_has_set_stays(name: str, untouched: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "3")
    ours = {other: "2" for other in NAMES if other != name and other not in untouched}
    (*_, seen) = in_processes(told, 4)
    assert seen == ours | ({name: "3"} if name in NAMES else {})


def nested(_: int) -> Any:
    return flatout.map(told, [0, 1], via=Plan("process", 2)).results()[0]


def test_a_worker_of_a_worker_has_a_share_of_the_share() -> None:
    assert in_processes(nested, 2) == [dict.fromkeys(NAMES, "2")] * 2


def loads(name: str, _: int) -> tuple[int, dict[str, str]]:
    """Imports a module; tells its process."""
    if name:
        __import__(name)
    return os.getpid(), told(0)


@no_threadpoolctl
def test_a_worker_whose_libraries_cannot_follow_another_share_is_replaced() -> None:
    """psutil stands for a library that has read the variables: all that counts is that it is no part of Python."""
    with_library = functools.partial(loads, "psutil")
    ((first, _),) = in_processes(with_library, 1)
    ((same, _),) = in_processes(with_library, 1)
    assert same == first
    others = in_processes(with_library, 2)
    assert first not in [pid for pid, _ in others]
    assert [names for _, names in others] == [dict.fromkeys(NAMES, "4")] * 2


def test_a_worker_without_such_libraries_takes_any_share() -> None:
    script = (
        "import flatout, os\n"
        "from flatout import Plan\n"
        "def told(_): return os.getpid(), os.environ['OMP_NUM_THREADS']\n"
        "(one,) = flatout.map(told, [0], via=Plan('process', 1)).results()\n"
        "two = flatout.map(told, [0, 1], via=Plan('process', 2), chunksize=1).results()\n"
        "assert one[1] == '8' and {share for _, share in two} == {'4'}, (one, two)\n"
        "assert one[0] in [pid for pid, _ in two], (one, two)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


# Where NumPy is there, of its BLAS


def blas_threads(_: int) -> int:
    import numpy  # noqa: F401
    import threadpoolctl

    return max(int(pool["num_threads"]) for pool in threadpoolctl.threadpool_info())


def test_blas_follows_the_share_of_each_run(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numpy")
    pytest.importorskip("threadpoolctl")
    monkeypatch.delenv("FLATOUT_CORES")
    if usable_cores() < 2:
        pytest.skip("on one core all shares are one")
    half = [usable_cores() // 2] * 2
    for _ in range(2):
        assert in_processes(blas_threads, 2) == half
        assert in_processes(blas_threads, 1) == [usable_cores()]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert in_processes(blas_threads, 1) == [1]
