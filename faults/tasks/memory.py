"""The kernel's own out-of-memory kill, in a control group that is too small, where one can be made."""

from __future__ import annotations

import os

from faults.tasks import folder

TYPE_CHECKING = False  # see `faults.tasks`
if TYPE_CHECKING:
    from pathlib import Path

ROOM = 64 << 20  # bytes for all in the group
NOTE = "groups"  # the file in which the groups are noted, one a line


def runs_out() -> None:
    group = _made()
    with open(folder() / NOTE, "a") as file:
        file.write(f"{group}\n")
    with open(os.path.join(group, "cgroup.procs"), "w") as file:
        file.write(str(os.getpid()))
    bytearray(16 * ROOM)[:: 1 << 12] = b"x" * (16 * ROOM >> 12)  # a touch for every page


def _made() -> str:
    """The path of a new group; raises OSError where none can be made."""
    for root, limit in (("memory", "memory.limit_in_bytes"), ("", "memory.max")):
        group = os.path.join("/sys/fs/cgroup", root, f"flatout-faults-{os.getpid()}")
        try:
            os.mkdir(group)
        except OSError:
            continue
        try:
            with open(os.path.join(group, limit), "w") as file:
                file.write(str(ROOM))
            return group
        except OSError:
            os.rmdir(group)
    raise OSError("no control group can be made here")


def why_not() -> str:
    """Why it cannot be tried here; empty where it can."""
    import subprocess

    try:
        group = _made()
    except OSError as error:
        return str(error)
    joined = subprocess.run(["sh", "-c", f"echo 0 > {group}/cgroup.procs"], capture_output=True, check=False)
    _remove(group)
    return joined.stderr.decode()


def groups_removed(folder: Path) -> str:
    for group in (folder / NOTE).read_text().splitlines():
        _remove(group)
    return ""


def _remove(group: str) -> None:
    from faults.traces import wait_until

    def removed() -> bool:
        try:
            os.rmdir(group)
        except OSError:  # somebody is still in it
            return not os.path.exists(group)
        return True

    wait_until(removed)
