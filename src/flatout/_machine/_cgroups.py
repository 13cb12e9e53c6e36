"""The limits of the cgroups that this process is in.

A limit of a cgroup binds all that is below it, so of all the cgroups from ours up to the root the tightest counts. Version 1,
version 2 and both together (hybrid) are read; what is missing or unreadable limits nothing.

Parsing is kept apart from reading: `parse_*` get text, the readers get `root`, which is "/" except in tests.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable

from flatout._record import record

UNIFIED = ""  # cgroup v2 has one hierarchy for all controllers; /proc/self/cgroup leaves its name empty
SAME_CGROUP = 1.0  # seconds for which we are taken to be in the same cgroup; guessed: a process is hardly ever moved


def cpu_quota(root: str = "/") -> float | None:
    """CPUs worth of time by the tightest quota from our cgroup up to the root, None without one."""
    quotas = [_unified_quota(group) for group in _cgroups(root, UNIFIED)]
    quotas += [_cfs_quota(group) for group in _cgroups(root, "cpu")]
    return min((quota for quota in quotas if quota is not None), default=None)


def memory_room(root: str = "/") -> int | None:
    """Bytes of memory that our cgroup and all above it leave to this process; None without a limit."""
    rooms = [_unified_room(group) for group in _cgroups(root, UNIFIED)]
    rooms += [_room_v1(group) for group in _cgroups(root, "memory")]
    return min((room for room in rooms if room is not None), default=None)


def oom_group(root: str = "/") -> bool:
    """Whether the kernel, out of memory, kills all of our cgroup, or of one above it, at once."""
    return any(read(f"{group}/memory.oom.group").strip() == "1" for group in _cgroups(root, UNIFIED))


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
    path = parse_membership(read(f"{root}/proc/self/cgroup")).get(controller)
    mounts = [m for m in parse_mounts(read(f"{root}/proc/self/mountinfo")) if controller in m.controllers]
    if path is None or not mounts:
        return []
    # of several mounts, as of bind mounts in containers, the one that shows our cgroup with most of those above it
    best = min(mounts, key=lambda mount: (not _shows(mount, path), len(mount.root)))
    return [root.rstrip("/") + group for group in ancestors(path, best)]


def _unified_quota(group: str) -> float | None:
    quota, _, period = read(f"{group}/cpu.max").partition(" ")
    return parse_quota(quota, period)


def _cfs_quota(group: str) -> float | None:
    return parse_quota(read(f"{group}/cpu.cfs_quota_us"), read(f"{group}/cpu.cfs_period_us"))


def parse_quota(quota: str, period: str) -> float | None:
    """CPUs worth of time of a CPU quota and its period, both in microseconds; None for no limit."""
    us, period_us = integer(quota), integer(period)
    return us / period_us if us is not None and us > 0 and period_us else None


def _unified_room(group: str) -> int | None:
    # beyond memory.high the kernel throttles the cgroup: as good as a limit for work that should be quick
    limits = [read(f"{group}/memory.max"), read(f"{group}/memory.high")]
    return parse_room(limits, read(f"{group}/memory.current"), read(f"{group}/memory.stat"))


def _room_v1(group: str) -> int | None:
    limits = [read(f"{group}/memory.limit_in_bytes")]
    return parse_room(limits, read(f"{group}/memory.usage_in_bytes"), read(f"{group}/memory.stat"))


def parse_room(limits: Iterable[str], usage: str, stat: str) -> int | None:
    """Bytes that a cgroup may still take: its limit less its working set; None for no limit.

    The working set is the usage less the file cache that the kernel would drop first, as Kubernetes reckons it.
    """
    limit = min((number for number in map(integer, limits) if number is not None), default=None)
    if limit is None:
        return None
    counts = dict(line.split(" ", 1) for line in stat.splitlines() if " " in line)
    # v1 has both: "total" is with the cgroups below
    cache = counts.get("total_inactive_file") or counts.get("inactive_file", "")
    return max(0, limit - (integer(usage) or 0) + (integer(cache) or 0))


def integer(text: str) -> int | None:
    """The number; None where it is none."""
    try:
        return int(text)
    except ValueError:
        return None


def read(path: str) -> str:
    """The text of a file; empty where it cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, ValueError):
        return ""
