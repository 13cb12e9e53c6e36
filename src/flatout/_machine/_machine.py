"""What this machine can give to this process: cores, memory, the GIL, open files.

That is less than the machine has where the process is bound to some CPUs (affinity) or lives in a cgroup with limits,
as in every container. What is missing or unreadable limits nothing. `root` is "/" except in tests.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterable

from flatout import _child
from flatout._errors import PlanError
from flatout._machine import _cgroups
from flatout._machine._cgroups import integer, read
from flatout._record import record

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Literal

GIB = 2**30

_cores_of: dict[tuple[str, frozenset[int]], int] = {}  # root and CPUs -> physical cores
ending = False  # the interpreter is about to end, and no process is started any more


@record
class Machine:
    """What this machine can give to this process.

    cores: CPUs worth of computing, the smaller of affinity and quota, or what FLATOUT_CORES says.
    affinity: CPUs that the process may run on. physical_cores: of how many cores these are.
    quota: CPUs worth of time that cgroups grant, None without a limit.
    memory_total_bytes, memory_free_bytes: of the whole machine. memory_allowed_bytes: what this process may still take.
    gil: whether the GIL is "on" or "off". processes: why worker processes cannot be used, empty where they can.
    open_files, open_files_hard: the limits, soft and hard; None where there is none or it is not known.
    oom_group: whether the kernel, out of memory, kills the whole cgroup rather than one process.
    python, implementation: as in "3.13.0", "CPython".
    """

    cores: float
    affinity: int
    physical_cores: int
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
        threads = f" on {self.physical_cores} physical cores" if self.physical_cores < self.affinity else ""
        yield "cores", f"{self.usable_cores} usable (affinity {self.affinity}{threads}, {quota}{self._overridden()})"
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
        physical_cores=physical_cores(),
        quota=_cgroups.cpu_quota(),
        memory_total_bytes=total,
        memory_free_bytes=free,
        memory_allowed_bytes=allowed,
        gil="on" if gil_enabled() else "off",
        processes=why_no_processes(),
        open_files=soft,
        open_files_hard=hard,
        oom_group=_cgroups.oom_group(),
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


def physical_cores(root: str = "/") -> int:
    """Of how many cores the CPUs are that this process may run on: those that are hardware threads of one share it.

    Where the system does not tell (Linux does, and virtual machines need not) each CPU is taken for a core.
    """
    if not hasattr(os, "sched_getaffinity"):
        return affinity()
    cpus, folder = frozenset(os.sched_getaffinity(0)), f"{root}/sys/devices/system/cpu"
    if (root, cpus) not in _cores_of:  # to read a file for each takes a while
        shared = read(f"{folder}/smt/active").strip() == "1"
        siblings = {read(f"{folder}/cpu{cpu}/topology/thread_siblings_list") or cpu for cpu in cpus if shared}
        _cores_of[root, cpus] = len(siblings or cpus)
    return _cores_of[root, cpus]


def memory(root: str = "/") -> tuple[int, int, int]:
    """Bytes of memory: of the machine, free on the machine, allowed to this process."""
    total, free = parse_meminfo(read(f"{root}/proc/meminfo")) or _memory_off_linux()
    room = _cgroups.memory_room(root)
    return total, free, free if room is None else min(free, room)


def process_memory(pid: int | str = "self") -> dict[str, int]:
    """Bytes of memory of a process: VmRSS now and VmHWM at its peak, and of now RssAnon, RssFile and RssShmem.

    Empty where it is gone, and elsewhere than on Linux.
    """
    lines = (line.partition(":") for line in read(f"/proc/{pid}/status").splitlines())
    sizes = {name: integer(rest.removesuffix("kB")) for name, _, rest in lines if name.startswith(("Vm", "Rss"))}
    return {name: 1024 * size for name, size in sizes.items() if size is not None}


def oom_kills(root: str = "/") -> int:
    """How many processes the kernel has killed for want of memory, on all of the machine; 0 where it does not say."""
    lines = (line.partition(" ") for line in read(f"{root}/proc/vmstat").splitlines())
    return next((integer(count) or 0 for name, _, count in lines if name == "oom_kill"), 0)


def why_no_processes() -> str:
    """Why worker processes cannot be used here; empty where they can."""
    if not hasattr(os, "fork"):
        return f"{sys.platform} has no os.fork"
    if getattr(sys, "frozen", False):
        return "the program is frozen (sys.frozen), so it holds no Python interpreter to start"
    if ending:
        return "the interpreter is ending"
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


def parse_meminfo(text: str) -> tuple[int, int] | None:
    """The text of /proc/meminfo: bytes of memory in all and available; None where it does not say."""
    lines = (line.partition(":") for line in text.splitlines())
    kib = {name: integer(rest.removesuffix("kB")) for name, _, rest in lines}
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
    cores = float(cores) if cores is not None else _least(affinity(thread), _cgroups.cpu_quota())
    return min(cores, _child.cores) if _child.inside else cores


def _cores_from_environment() -> int | None:
    text = os.environ.get("FLATOUT_CORES", "")
    if not text:
        return None
    cores = integer(text)
    if cores is None or cores < 1:
        raise PlanError(f"FLATOUT_CORES is {text!r}: set it to the number of cores to use, 1 or more, or unset it")
    return cores


def _least(affinity: int, quota: float | None) -> float:
    return float(affinity) if quota is None else min(float(affinity), quota)


def _number(limit: int | None) -> str:
    return "unlimited" if limit is None else str(limit)
