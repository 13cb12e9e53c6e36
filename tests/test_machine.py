"""flatout.machine(): parsers on texts, readers on real trees, and this very machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import psutil
import pytest

from flatout import Machine, PlanError, machine
from flatout._machine import _cgroups
from flatout._machine import _machine as reader

MIB = 2**20
GIB = 2**30


class Tree:
    """A root folder with /proc and /sys of its own, as the readers would find them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.mounts: list[str] = []
        self.memberships: list[str] = []
        self.write("proc/meminfo", f"MemTotal: {16 * 2**20} kB\nMemFree: 1 kB\nMemAvailable:  {8 * 2**20} kB\n")

    def __str__(self) -> str:
        return str(self.root)

    def write(self, path: str, text: str | int) -> None:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")

    def group(self, directory: str, **files: str | int) -> None:
        """A cgroup with these files; the first underscore of a name stands for the dot."""
        for name, text in files.items():
            self.write(f"{directory}/{name.replace('_', '.', 1)}", text)

    def mount(self, kind: str, point: str, options: str = "rw", root: str = "/") -> None:
        self.mounts.append(f"36 35 0:28 {root} {point} rw,nosuid shared:9 master:1 - {kind} cgroup {options}")
        self.write("proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/root rw\n" + "\n".join(self.mounts))

    def member(self, line: str) -> None:
        self.memberships.append(line)
        self.write("proc/self/cgroup", "\n".join(self.memberships))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


@pytest.fixture
def v2(tree: Tree) -> Tree:
    """A process in /pod/box of a unified hierarchy."""
    tree.mount("cgroup2", "/sys/fs/cgroup")
    tree.member("0::/pod/box")
    return tree


@pytest.fixture
def v1(tree: Tree) -> Tree:
    """A process in /pod/box of two separate hierarchies."""
    tree.mount("cgroup", "/sys/fs/cgroup/cpu,cpuacct", "rw,cpu,cpuacct")
    tree.mount("cgroup", "/sys/fs/cgroup/memory", "rw,memory")
    tree.member("5:cpu,cpuacct:/pod/box")
    tree.member("4:memory:/pod/box")
    return tree


def test_without_cgroups_nothing_is_limited(tree: Tree) -> None:
    assert _cgroups.cpu_quota(str(tree)) is None
    assert reader.memory(str(tree)) == (16 * GIB, 8 * GIB, 8 * GIB)
    assert _cgroups.oom_group(str(tree)) is False


@pytest.mark.parametrize(
    ("active", "siblings", "cores"),
    [("1", {}, 4), ("1", {0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"}, 2), ("0", {0: "0-3"}, 4), ("", {0: "0-3"}, 4)],
    ids=["each by itself", "two each", "switched off", "not told"],
)
def test_hardware_threads_of_one_core_are_told_apart_from_cores(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, active: str, siblings: dict[int, str], cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    if active:
        tree.write("sys/devices/system/cpu/smt/active", f"{active}\n")
    for cpu, those in siblings.items():
        tree.write(f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", f"{those}\n")
    assert reader.physical_cores(str(tree)) == cores


def test_without_proc_memory_comes_from_psutil(tmp_path: Path) -> None:
    total, free, allowed = reader.memory(str(tmp_path / "nowhere"))
    assert total == psutil.virtual_memory().total
    assert 0 < allowed == free <= total


class TestUnified:
    @pytest.mark.parametrize(
        ("own", "parent", "quota"),
        [
            ("150000 100000", "max 100000", 1.5),
            ("max 100000", "50000 100000", 0.5),
            ("400000 100000", "200000 100000", 2.0),
            ("100000 50000", "400000 100000", 2.0),
            ("max 100000", "max 100000", None),
            ("", "nonsense", None),
            ("100000 0", "-1 100000", None),
        ],
    )
    def test_tightest_quota_counts(self, v2: Tree, own: str, parent: str, quota: float | None) -> None:
        v2.group("/sys/fs/cgroup/pod/box", cpu_max=own)
        v2.group("/sys/fs/cgroup/pod", cpu_max=parent)
        assert _cgroups.cpu_quota(str(v2)) == quota

    def test_quota_of_root_of_container(self, tree: Tree) -> None:
        tree.mount("cgroup2", "/sys/fs/cgroup")
        tree.member("0::/")
        tree.group("/sys/fs/cgroup", cpu_max="250000 100000")
        assert _cgroups.cpu_quota(str(tree)) == 2.5

    def test_files_that_are_missing_limit_nothing(self, v2: Tree) -> None:
        assert _cgroups.cpu_quota(str(v2)) is None
        assert reader.memory(str(v2))[2] == 8 * GIB

    def test_memory_is_limit_less_working_set(self, v2: Tree) -> None:
        stat = f"anon 5\nfile 7\ninactive_file {100 * MIB}\nactive_file 1"
        v2.group("/sys/fs/cgroup/pod/box", memory_max="max", memory_high="max", memory_current=GIB)
        v2.group("/sys/fs/cgroup/pod", memory_max=GIB, memory_current=300 * MIB, memory_stat=stat)
        assert reader.memory(str(v2)) == (16 * GIB, 8 * GIB, GIB - 200 * MIB)

    def test_memory_high_counts_as_limit(self, v2: Tree) -> None:
        v2.group("/sys/fs/cgroup/pod/box", memory_max=4 * GIB, memory_high=2 * GIB, memory_current=GIB, memory_stat="")
        assert reader.memory(str(v2))[2] == GIB

    def test_memory_of_group_over_its_limit_is_zero(self, v2: Tree) -> None:
        v2.group("/sys/fs/cgroup/pod/box", memory_max="max", memory_high=GIB, memory_current=2 * GIB)
        assert reader.memory(str(v2))[2] == 0

    def test_memory_never_exceeds_what_is_free(self, v2: Tree) -> None:
        v2.group("/sys/fs/cgroup/pod/box", memory_max=64 * GIB, memory_current=0)
        assert reader.memory(str(v2))[2] == 8 * GIB

    @pytest.mark.parametrize(("own", "parent", "kills"), [(1, 0, True), (0, 1, True), (0, 0, False)])
    def test_oom_group(self, v2: Tree, own: int, parent: int, kills: bool) -> None:
        v2.write("/sys/fs/cgroup/pod/box/memory.oom.group", own)
        v2.write("/sys/fs/cgroup/pod/memory.oom.group", parent)
        assert _cgroups.oom_group(str(v2)) is kills


class TestSeparateHierarchies:
    @pytest.mark.parametrize(("own", "parent", "quota"), [(-1, 300000, 3.0), (50000, 100000, 0.5), (-1, -1, None)])
    def test_tightest_quota_counts(self, v1: Tree, own: int, parent: int, quota: float | None) -> None:
        v1.group("/sys/fs/cgroup/cpu,cpuacct/pod/box", cpu_cfs_quota_us=own, cpu_cfs_period_us=100000)
        v1.group("/sys/fs/cgroup/cpu,cpuacct/pod", cpu_cfs_quota_us=parent, cpu_cfs_period_us=100000)
        assert _cgroups.cpu_quota(str(v1)) == quota

    def test_quota_without_period_limits_nothing(self, v1: Tree) -> None:
        v1.group("/sys/fs/cgroup/cpu,cpuacct/pod", cpu_cfs_quota_us=100000)
        assert _cgroups.cpu_quota(str(v1)) is None

    def test_memory_counts_cache_of_children_too(self, v1: Tree) -> None:
        unlimited = 9223372036854771712  # what the kernel shows for "no limit"
        stat = f"inactive_file 5\ntotal_inactive_file {50 * MIB}"
        v1.group("/sys/fs/cgroup/memory/pod/box", memory_limit_in_bytes=unlimited, memory_usage_in_bytes=GIB)
        v1.group(
            "/sys/fs/cgroup/memory/pod",
            memory_limit_in_bytes=GIB,
            memory_usage_in_bytes=150 * MIB,
            memory_stat=stat,
        )
        assert reader.memory(str(v1)) == (16 * GIB, 8 * GIB, GIB - 100 * MIB)

    def test_mount_that_begins_at_container(self, tree: Tree) -> None:
        tree.mount("cgroup", "/sys/fs/cgroup/cpu", "rw,cpu", root="/docker/abc")
        tree.member("5:cpu:/docker/abc/inner")
        tree.group("/sys/fs/cgroup/cpu/inner", cpu_cfs_quota_us=-1, cpu_cfs_period_us=100000)
        tree.group("/sys/fs/cgroup/cpu", cpu_cfs_quota_us=150000, cpu_cfs_period_us=100000)
        assert _cgroups.cpu_quota(str(tree)) == 1.5


def test_hybrid_takes_the_tightest_of_both(v1: Tree) -> None:
    v1.mount("cgroup2", "/sys/fs/cgroup/unified")
    v1.member("0::/pod/box")
    v1.group("/sys/fs/cgroup/cpu,cpuacct/pod", cpu_cfs_quota_us=300000, cpu_cfs_period_us=100000)
    v1.group("/sys/fs/cgroup/unified/pod", cpu_max="200000 100000")
    assert _cgroups.cpu_quota(str(v1)) == 2.0
    v1.group("/sys/fs/cgroup/cpu,cpuacct/pod/box", cpu_cfs_quota_us=100000, cpu_cfs_period_us=100000)
    assert _cgroups.cpu_quota(str(v1)) == 1.0


def test_group_outside_of_mount_falls_back_to_its_top() -> None:
    mount = _cgroups.Mount(("cpu",), "/docker/abc", "/sys/fs/cgroup/cpu")
    assert _cgroups.ancestors("/docker/abcd", mount) == ["/sys/fs/cgroup/cpu"]
    assert _cgroups.ancestors("/../other", replace(mount, root="/")) == ["/sys/fs/cgroup/cpu"]


def test_of_two_mounts_the_one_that_shows_more_is_read(tree: Tree) -> None:
    tree.mount("cgroup2", "/bound", root="/pod/box")
    tree.mount("cgroup2", "/sys/fs/cgroup")
    tree.mount("cgroup2", "/elsewhere", root="/other")
    tree.member("0::/pod/box")
    tree.group("/sys/fs/cgroup/pod", cpu_max="100000 100000")
    assert _cgroups.cpu_quota(str(tree)) == 1.0


def test_mount_point_with_a_space(tree: Tree) -> None:
    tree.mount("cgroup2", r"/my\040groups")
    tree.member("0::/a:b")
    tree.group("/my groups/a:b", cpu_max="100000 100000")
    assert _cgroups.cpu_quota(str(tree)) == 1.0


def python(code: str) -> str:
    return subprocess.check_output([sys.executable, "-c", code], text=True).strip()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_affinity_binds_a_real_process() -> None:
    code = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from flatout._machine._machine import machine, usable_cores
print(usable_cores(), machine().affinity, machine().cores <= 1)
"""
    assert python(code) == "1 1 True"


def test_cores_of_the_environment_override(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLATOUT_CORES", "7")
    assert (reader.usable_cores(), machine().cores, machine().usable_cores) == (7, 7.0, 7)
    if machine().affinity != 7:
        assert "set by FLATOUT_CORES" in str(machine())
    monkeypatch.setenv("FLATOUT_CORES", "")
    assert reader.usable_cores() == machine().usable_cores <= machine().affinity


@pytest.mark.parametrize("text", ["0", "-2", "many", "1.5"])
def test_cores_of_the_environment_must_make_sense(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLATOUT_CORES", text)
    for measure in (reader.usable_cores, machine):
        with pytest.raises(PlanError, match=f"FLATOUT_CORES is '{text}': set it to the number of cores"):
            measure()


def test_cores_alone_load_nothing_heavy() -> None:
    code = (
        "import sys; from flatout._machine._machine import usable_cores; usable_cores(); print('psutil' in sys.modules)"
    )
    assert python(code) == "False"


def test_worker_processes_need_fork_an_interpreter_and_no_freezer(monkeypatch: pytest.MonkeyPatch) -> None:
    assert reader.why_no_processes() == ""
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", None)
        assert "sys.executable" in reader.why_no_processes()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "frozen", True, raising=False)
        assert "sys.frozen" in machine().processes
    with monkeypatch.context() as patch:
        patch.delattr(os, "fork")
        assert "no os.fork" in reader.why_no_processes()


def test_this_machine() -> None:
    this = machine()
    assert 1 <= this.usable_cores == reader.usable_cores() <= this.affinity <= (os.cpu_count() or 1)
    assert 1 <= this.physical_cores <= this.affinity
    assert this.cores == min(this.affinity, this.quota or this.affinity)
    assert 0 < this.memory_allowed_bytes <= this.memory_free_bytes <= this.memory_total_bytes
    assert abs(this.memory_total_bytes - psutil.virtual_memory().total) < MIB
    assert this.python == sys.version.split()[0].rstrip("+")
    assert this.gil == ("on" if getattr(sys, "_is_gil_enabled", lambda: True)() else "off")


@pytest.fixture
def fewer_files() -> Iterator[int]:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    yield 200
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_limit_of_open_files(fewer_files: int) -> None:
    assert machine().open_files == fewer_files


def test_is_a_frozen_value() -> None:
    with pytest.raises(FrozenInstanceError):
        machine().cores = 99.0  # type: ignore[misc]


BOX = Machine(
    cores=2.5,
    affinity=8,
    physical_cores=8,
    quota=2.5,
    memory_total_bytes=64 * GIB,
    memory_free_bytes=32 * GIB,
    memory_allowed_bytes=3 * GIB,
    gil="on",
    processes="",
    open_files=1024,
    open_files_hard=None,
    oom_group=False,
    python="3.12.1",
    implementation="CPython",
)


def test_prints_as_a_table() -> None:
    table = """\
cores             2 usable (affinity 8, CPU quota 2.5)
memory            3.0 GiB allowed (32.0 GiB free of 64.0 GiB)
GIL               on
worker processes  yes, forked from a zygote
open files        1024 (hard limit unlimited)
out of memory     kills one process
Python            CPython 3.12.1"""
    assert str(BOX) == table
    other = replace(BOX, cores=4.0, quota=None, processes="no os.fork", oom_group=True)
    assert "4 usable (affinity 8, no CPU quota; set by FLATOUT_CORES)" in str(other)
    assert "2 usable (affinity 8 on 4 physical cores, CPU quota 2.5)" in str(replace(BOX, physical_cores=4))
    assert "worker processes  no: no os.fork" in str(other)
    assert "kills the whole cgroup" in str(other)


@pytest.mark.parametrize(("cores", "usable"), [(0.25, 1), (1.0, 1), (1.9, 1), (2.0, 2)])
def test_usable_cores_are_whole_and_at_least_one(cores: float, usable: int) -> None:
    assert replace(BOX, cores=cores).usable_cores == usable
