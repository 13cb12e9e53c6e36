"""What this machine can give to this process: cores, memory, the GIL, open files.

That is less than the machine has where the process is bound to some CPUs (affinity) or lives in a cgroup with limits,
as in every container. A limit of a cgroup binds all that is below it, so of all the cgroups from ours up to the root
the tightest counts. Version 1, version 2 and both together (hybrid) are read; what is missing or unreadable limits
nothing.

Parsing is kept apart from reading: `parse_*` get text, the readers get `root`, which is "/" except in tests.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import threading
import time
from collections.abc import Iterable

from flatout import _child
from flatout._errors import PlanError
from flatout._record import record

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Literal

UNIFIED = ""  # cgroup v2 has one hierarchy for all controllers; /proc/self/cgroup leaves its name empty
GIB = 2**30
SAME_CGROUP = 1.0  # seconds for which we are taken to be in the same cgroup; guessed: a process is hardly ever moved


@record
class Machine:
    """What this machine can give to this process.

    cores: CPUs worth of computing, the smaller of affinity and quota, or what FLATOUT_CORES says.
    affinity: CPUs that the process may run on. quota: CPUs worth of time that cgroups grant, None without a limit.
    memory_total_bytes, memory_free_bytes: of the whole machine. memory_allowed_bytes: what this process may still take.
    gil: whether the GIL is "on" or "off". processes: why worker processes cannot be used, empty where they can.
    open_files, open_files_hard: the limits, soft and hard; None where there is none or it is not known.
    oom_group: whether the kernel, out of memory, kills the whole cgroup rather than one process.
    python, implementation: as in "3.13.0", "CPython".
    """

    cores: float
    affinity: int
    quota: float | None
    memory_total_bytes: int
    memory_free_bytes: int
    memory_allowed_bytes: int
    gil: Literal["on", "off"]
    processes: str
    open_files: int | None
    open_files_hard: int | None
    oom_group: bool
    python: str
    implementation: str

    @property
    def usable_cores(self) -> int:
        """How many calls can compute at once: `cores` rounded down, at least 1."""
        return max(1, int(self.cores))

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        rows = list(self._rows())
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {text}" for name, text in rows)

    def _rows(self) -> Iterable[tuple[str, str]]:
        quota = "no CPU quota" if self.quota is None else f"CPU quota {self.quota:g}"
        total, free, allowed = self.memory_total_bytes, self.memory_free_bytes, self.memory_allowed_bytes
        yield "cores", f"{self.usable_cores} usable (affinity {self.affinity}, {quota}{self._overridden()})"
        yield "memory", f"{allowed / GIB:.1f} GiB allowed ({free / GIB:.1f} GiB free of {total / GIB:.1f} GiB)"
        yield "GIL", self.gil
        yield "worker processes", f"no: {self.processes}" if self.processes else "yes, forked from a zygote"
        yield "open files", f"{_number(self.open_files)} (hard limit {_number(self.open_files_hard)})"
        yield "out of memory", "kills the whole cgroup" if self.oom_group else "kills one process"
        yield "Python", f"{self.implementation} {self.python}"

    def _overridden(self) -> str:
        if self.cores == _least(self.affinity, self.quota):
            return ""
        return "; the share of a worker process" if _child.inside else "; set by FLATOUT_CORES"


def machine() -> Machine:
    """Measure what this machine can give to this process now.

    Raises PlanError where the environment variable FLATOUT_CORES is not a positive whole number.
    """
    import platform

    total, free, allowed = memory()
    soft, hard = _open_files()
    return Machine(
        cores=_cores(),
        affinity=affinity(),
        quota=cpu_quota(),
        memory_total_bytes=total,
        memory_free_bytes=free,
        memory_allowed_bytes=allowed,
        gil="on" if gil_enabled() else "off",
        processes=why_no_processes(),
        open_files=soft,
        open_files_hard=hard,
        oom_group=oom_group(),
        python=platform.python_version(),
        implementation=platform.python_implementation(),
    )


def gil_enabled() -> bool:
    """Whether threads of this process compute one at a time."""
    enabled = getattr(sys, "_is_gil_enabled", None)  # new in 3.13
    return enabled is None or bool(enabled())


def usable_cores(thread: int = 0) -> int:
    """How many calls can compute at once in this process, at least 1. Cheap: well below a millisecond.

    thread: the native id of that whose affinity counts, as `affinity` has it.

    In a worker process that is its share of the cores, so that workers of workers are no more than there are cores.

    Raises PlanError where the environment variable FLATOUT_CORES is not a positive whole number.
    """
    return max(1, int(_cores(thread)))


def affinity(thread: int = 0) -> int:
    """CPUs that a thread of this process may run on, by default the calling one; each may be bound to others."""
    count = getattr(os, "process_cpu_count", None)  # new in 3.13: heeds PYTHON_CPU_COUNT too
    if not hasattr(os, "sched_getaffinity"):
        return (os.cpu_count() if count is None else count()) or 1
    here = len(os.sched_getaffinity(0))
    if count is not None and count() != here:
        return count() or 1
    with contextlib.suppress(ProcessLookupError):  # it has ended
        return len(os.sched_getaffinity(thread))
    return here


def cpu_quota(root: str = "/") -> float | None:
    """CPUs worth of time by the tightest quota from our cgroup up to the root, None without one."""
    quotas = [_unified_quota(group) for group in _cgroups(root, UNIFIED)]
    quotas += [_cfs_quota(group) for group in _cgroups(root, "cpu")]
    return min((quota for quota in quotas if quota is not None), default=None)


def memory(root: str = "/") -> tuple[int, int, int]:
    """Bytes of memory: of the machine, free on the machine, allowed to this process."""
    total, free = parse_meminfo(_read(f"{root}/proc/meminfo")) or _memory_off_linux()
    rooms = [_unified_room(group) for group in _cgroups(root, UNIFIED)]
    rooms += [_room_v1(group) for group in _cgroups(root, "memory")]
    return total, free, min([free, *(room for room in rooms if room is not None)])


def process_memory(pid: int | str = "self") -> dict[str, int]:
    """Bytes of memory of a process: VmRSS now and VmHWM at its peak, and of now RssAnon, RssFile and RssShmem.

    Empty where it is gone, and elsewhere than on Linux.
    """
    lines = (line.partition(":") for line in _read(f"/proc/{pid}/status").splitlines())
    sizes = {name: _integer(rest.removesuffix("kB")) for name, _, rest in lines if name.startswith(("Vm", "Rss"))}
    return {name: 1024 * size for name, size in sizes.items() if size is not None}


def oom_group(root: str = "/") -> bool:
    """Whether the kernel, out of memory, kills all of our cgroup, or of one above it, at once."""
    return any(_read(f"{group}/memory.oom.group").strip() == "1" for group in _cgroups(root, UNIFIED))


def oom_kills(root: str = "/") -> int:
    """How many processes the kernel has killed for want of memory, on all of the machine; 0 where it does not say."""
    lines = (line.partition(" ") for line in _read(f"{root}/proc/vmstat").splitlines())
    return next((_integer(count) or 0 for name, _, count in lines if name == "oom_kill"), 0)


def why_no_processes() -> str:
    """Why worker processes cannot be used here; empty where they can."""
    if not hasattr(os, "fork"):
        return f"{sys.platform} has no os.fork"
    if getattr(sys, "frozen", False):
        return "the program is frozen (sys.frozen), so it holds no Python interpreter to start"
    if not sys.executable:
        return "Python does not know where its own executable is (sys.executable is empty)"
    if _child.loading == threading.get_ident():  # the next would import it as well, and so on
        return (
            "this is a worker process, which imports the module that asks for them to load what it is to call; "
            "no module that tasks need may start processes when it is imported, but only in a function that others call"
        )
    return ""


def why_not_chosen() -> str:
    """Why worker processes are not to be chosen here unless they are asked for; empty where they may be."""
    return why_no_processes() or ("this is itself a worker process of flatout" if _child.inside else "")


@record
class Mount:
    """Where a cgroup hierarchy is mounted: directory `point` shows the cgroup `root` and all below it."""

    controllers: tuple[str, ...]
    root: str
    point: str


def parse_membership(text: str) -> dict[str, str]:
    """The text of /proc/self/cgroup: the path of our cgroup, by controller."""
    lines = (line.split(":", 2) for line in text.splitlines() if line.count(":") >= 2)
    return {controller: path for _, controllers, path in lines for controller in controllers.split(",")}


def parse_mounts(text: str) -> list[Mount]:
    """The text of /proc/self/mountinfo: its mounts of cgroup hierarchies."""
    return [_parse_mount(line) for line in text.splitlines() if " - cgroup" in line]


def _parse_mount(line: str) -> Mount:
    # 36 35 98:0 ROOT POINT options, then any number of tags, then " - KIND SOURCE OPTIONS"
    here, _, there = line.partition(" - ")
    root, point = here.split(" ")[3:5]
    kind, _, options = there.split(" ", 2)
    return Mount((UNIFIED,) if kind == "cgroup2" else tuple(options.split(",")), _unescape(root), _unescape(point))


def _unescape(path: str) -> str:
    for octal, character in ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")):
        path = path.replace(octal, character)
    return path


def ancestors(path: str, mount: Mount) -> list[str]:
    """The directories of the cgroup `path` and of those above it, as far as `mount` shows them."""
    if not _shows(mount, path):
        return [mount.point]
    names = path[len(mount.root.rstrip("/")) :].strip("/")
    parts = names.split("/") if names else []
    return ["/".join([mount.point.rstrip("/"), *parts[:depth]]) for depth in range(len(parts), -1, -1)]


def _shows(mount: Mount, path: str) -> bool:
    # ".." leads out of our cgroup namespace: the process was moved after the namespace had been made
    return f"{path}/".startswith(mount.root.rstrip("/") + "/") and ".." not in path.split("/")


_seen: dict[
    tuple[str, str], tuple[float, list[str]]
] = {}  # by root and controller: when, and what `_cgroups` has found


def _cgroups(root: str, controller: str) -> list[str]:
    """The directories of our cgroup and all above it in the hierarchy that has this controller, ours first.

    Looked up once in a while: this is most of what `usable_cores` takes, with twelve waits for a GIL that others want.
    """
    now = time.monotonic()
    when, groups = _seen.get((root, controller), (-math.inf, []))
    if now > when + SAME_CGROUP:
        groups = _find_cgroups(root, controller)
        _seen[root, controller] = now, groups
    return groups


def _find_cgroups(root: str, controller: str) -> list[str]:
    path = parse_membership(_read(f"{root}/proc/self/cgroup")).get(controller)
    mounts = [m for m in parse_mounts(_read(f"{root}/proc/self/mountinfo")) if controller in m.controllers]
    if path is None or not mounts:
        return []
    # of several mounts, as of bind mounts in containers, the one that shows our cgroup with most of those above it
    best = min(mounts, key=lambda mount: (not _shows(mount, path), len(mount.root)))
    return [root.rstrip("/") + group for group in ancestors(path, best)]


def _unified_quota(group: str) -> float | None:
    quota, _, period = _read(f"{group}/cpu.max").partition(" ")
    return parse_quota(quota, period)


def _cfs_quota(group: str) -> float | None:
    return parse_quota(_read(f"{group}/cpu.cfs_quota_us"), _read(f"{group}/cpu.cfs_period_us"))


def parse_quota(quota: str, period: str) -> float | None:
    """CPUs worth of time of a CPU quota and its period, both in microseconds; None for no limit."""
    us, period_us = _integer(quota), _integer(period)
    return us / period_us if us is not None and us > 0 and period_us else None


def _unified_room(group: str) -> int | None:
    # beyond memory.high the kernel throttles the cgroup: as good as a limit for work that should be quick
    limits = [_read(f"{group}/memory.max"), _read(f"{group}/memory.high")]
    return parse_room(limits, _read(f"{group}/memory.current"), _read(f"{group}/memory.stat"))


def _room_v1(group: str) -> int | None:
    limits = [_read(f"{group}/memory.limit_in_bytes")]
    return parse_room(limits, _read(f"{group}/memory.usage_in_bytes"), _read(f"{group}/memory.stat"))


def parse_room(limits: Iterable[str], usage: str, stat: str) -> int | None:
    """Bytes that a cgroup may still take: its limit less its working set; None for no limit.

    The working set is the usage less the file cache that the kernel would drop first, as Kubernetes reckons it.
    """
    limit = min((number for number in map(_integer, limits) if number is not None), default=None)
    if limit is None:
        return None
    counts = dict(line.split(" ", 1) for line in stat.splitlines() if " " in line)
    # v1 has both: "total" is with the cgroups below
    cache = counts.get("total_inactive_file") or counts.get("inactive_file", "")
    return max(0, limit - (_integer(usage) or 0) + (_integer(cache) or 0))


def parse_meminfo(text: str) -> tuple[int, int] | None:
    """The text of /proc/meminfo: bytes of memory in all and available; None where it does not say."""
    lines = (line.partition(":") for line in text.splitlines())
    kib = {name: _integer(rest.removesuffix("kB")) for name, _, rest in lines}
    total, available = kib.get("MemTotal"), kib.get("MemAvailable")
    return None if total is None or available is None else (total * 1024, available * 1024)


def _memory_off_linux() -> tuple[int, int]:
    import psutil

    now = psutil.virtual_memory()
    return now.total, now.available


def _open_files() -> tuple[int | None, int | None]:
    try:
        import resource
    except ImportError:  # Windows
        return None, None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _limited(soft, resource.RLIM_INFINITY), _limited(hard, resource.RLIM_INFINITY)


def open_files_left(enough: int = 1 << 30) -> int | None:
    """How many more files this process may open, by the soft limit; None: no limit, or not known, or more than enough.

    enough: nobody asks beyond it; where twice as many may be open they are not counted.
    """
    try:
        soft = os.sysconf("SC_OPEN_MAX")  # the soft limit, as `resource` has it, which is not loaded for this
    except (AttributeError, OSError, ValueError):
        return None
    if soft < 0 or soft >= 2 * enough:
        return None
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            return max(0, soft - len(os.listdir(folder)))
        except OSError:
            pass
    return None


def _limited(limit: int, infinity: int) -> int | None:
    return None if limit == infinity else limit


def _cores(thread: int = 0) -> float:
    cores: float | None = _cores_from_environment()
    cores = float(cores) if cores is not None else _least(affinity(thread), cpu_quota())
    return min(cores, _child.cores) if _child.inside else cores


def _cores_from_environment() -> int | None:
    text = os.environ.get("FLATOUT_CORES", "")
    if not text:
        return None
    cores = _integer(text)
    if cores is None or cores < 1:
        raise PlanError(f"FLATOUT_CORES is {text!r}: set it to the number of cores to use, 1 or more, or unset it")
    return cores


def _least(affinity: int, quota: float | None) -> float:
    return float(affinity) if quota is None else min(float(affinity), quota)


def _integer(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _number(limit: int | None) -> str:
    return "unlimited" if limit is None else str(limit)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, ValueError):
        return ""
