"""CPython's own tests of executors pass on flatout's, and none is left out without a reason: see `cpython_executors`.

They sleep most of the time. So there is a pytest of its own for each kind of worker, and all of them run at once.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("test.test_concurrent_futures.util", reason="this Python came without the folder of these tests")

from cpython_executors import LEFT_OUT, PAGE, RUN, TYPES, all_tests

FILE = Path(__file__).with_name("cpython_executors.py")
LONGEST = 300.0  # seconds


@pytest.fixture(scope="module")
def under_way(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[subprocess.Popen[bytes], Path]]]:
    """By kind of worker: the process that runs its tests, and where it writes."""
    folder = tmp_path_factory.mktemp("cpython")
    started = {}
    for kind in TYPES:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", f"By{kind.title()}", str(FILE)]
        with open(folder / kind, "wb") as output:
            started[kind] = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT), folder / kind
    yield started
    for process, _ in started.values():
        process.kill()
        process.wait()


@pytest.mark.parametrize("kind", TYPES)
def test_they_pass(kind: str, under_way: dict[str, tuple[subprocess.Popen[bytes], Path]]) -> None:
    if kind == "process" and sys.version_info >= (3, 14):
        pytest.skip("which tests of 3.14's suite look at nothing but executors in general is not sorted out")
    process, written = under_way[kind]
    status = process.wait(LONGEST)
    output = written.read_text(errors="replace")
    assert status == 0, output
    counts = re.findall(r"(\d+) (?:passed|skipped)", output)
    assert sum(map(int, counts)) == sum(each == kind for _, each in RUN), output


def test_every_test_runs_or_stands_in_the_table() -> None:
    accounted = {test for test, _ in [*RUN, *LEFT_OUT]}
    assert all_tests() - accounted == set()


@pytest.mark.skipif(sys.version_info[:2] != (3, 13), reason="the table was made for 3.13, whose tests are these")
def test_the_table_names_what_there_is_and_counts_right() -> None:
    assert {test for test, _ in LEFT_OUT} - all_tests() == set()
    for kind in TYPES:
        run = sum(each == kind for _, each in RUN)
        left_out = sum(each == kind for _, each in LEFT_OUT)
        assert f"| {kind} | {run} | {left_out} |" in PAGE.read_text(encoding="utf-8")
