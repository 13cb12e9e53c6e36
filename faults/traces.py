"""What is left behind: processes found by a mark in their environment, whoever has adopted them, and files."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from faults.tasks import SLEEPER

MARK = "FAULTS_SEAT"  # the environment variable whose value all processes of one seat share
PATIENCE = 5.0  # seconds for what must go to be gone; the promise for orphans
SHARED_MEMORY = Path("/dev/shm")
OF_PEERS = ("joblib_memmapping_folder_*", "loky-*", "sem.loky-*")
PAUSE = 0.02  # seconds between two looks


def wait_until(holds: Callable[[], bool], patience: float = PATIENCE) -> bool:
    deadline = time.monotonic() + patience
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(PAUSE)
    return True


def marked(mark: str) -> dict[int, str]:
    """The processes with this mark, and their command lines. A zombie has no environment any more."""
    wanted = f"{MARK}={mark}".encode()
    found = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                if wanted in Path(entry.path, "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = (
                        Path(entry.path, "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                    )
            except OSError:  # it ended meanwhile, or belongs to somebody else
                continue
    return found


def end_workers() -> None:
    """Kill what the children of this process have started, workers that an earlier case has left in a bad state; wake the children."""
    own = os.getpid()
    for pid in marked(os.environ[MARK]):
        try:
            parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            if own != pid:
                os.kill(pid, signal.SIGCONT if parent == own else signal.SIGKILL)
        except OSError:
            continue


def started_by_tasks() -> list[str]:
    """The programs that tasks of this seat have started."""
    return [command for command in marked(os.environ[MARK]).values() if SLEEPER in command]


@contextlib.contextmanager
def swept() -> Iterator[None]:
    """Remove from shared memory what the peers have left there by the end."""
    before = _of_peers()
    try:
        yield
    finally:
        for path in _of_peers() - before:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _of_peers() -> set[Path]:
    return {path for pattern in OF_PEERS for path in SHARED_MEMORY.glob(pattern)}


def shared_memory(pid: int) -> list[Path]:
    """What a process has named after itself in /dev/shm, as joblib and loky do."""
    try:
        return [Path(entry.path) for entry in os.scandir(SHARED_MEMORY) if re.search(rf"\b{pid}\b", entry.name)]
    except OSError:
        return []
