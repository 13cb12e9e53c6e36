"""The soak as a program, and what looks after it: see `python -m soak --help`.

It runs in a process of its own, so that what that leaves behind when it has ended can be seen: processes, and files.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import os
import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from soak import leftovers
from soak.inside import PATIENCE, soak

GRACE = 5.0  # seconds in which all must be gone
DYING = 1.0  # seconds in which workers may go on when their zygote has been killed; guessed
_PR_SET_CHILD_SUBREAPER = 36


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m soak",
        description="Runs of every kind go on in several threads while their workers are killed. The exit status is 0 where "
        "every result is accounted for and nothing is left behind.",
    )
    parser.add_argument("--seconds", type=float, default=600.0, help="how long (600)")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30), help="of all that is random; printed")
    parser.add_argument("--kills", type=float, default=3.0, help="how many a second, about (3)")
    parser.add_argument("--inside", metavar="DIARY", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _supervised(arguments: argparse.Namespace) -> int:
    """The soak in a process of its own; its exit status, or 1 where it leaves something behind."""
    _adopt_orphans()
    named = leftovers.named_memory()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder, tempfile.NamedTemporaryFile("r") as diary:
        status = _run(arguments, folder, diary.name)
        left = [f"the file {path}" for path in Path(folder).rglob("*")]
        left += [f"shared memory {name}" for name in leftovers.named_memory() if name not in named]
        zygotes_killed = [float(line) + DYING for line in diary]
    processes = functools.partial(leftovers.commands, max(zygotes_killed, default=0.0))
    left += [f"the process {command}" for command in leftovers.settled(processes, [], GRACE)]
    leftovers.end_children()
    for what in left if status in (0, 1) else ():
        print(f"LEFT BEHIND {what}")
    return 1 if left and status == 0 else status


def _run(arguments: argparse.Namespace, folder: str, diary: str) -> int:
    command = [sys.executable, "-m", "soak", "--inside", diary, "--seconds", str(arguments.seconds)]
    command += ["--seed", str(arguments.seed), "--kills", str(arguments.kills)]
    with subprocess.Popen(command, env={**os.environ, "TMPDIR": folder}) as process:
        while True:
            try:
                return process.wait(arguments.seconds + 5 * PATIENCE)
            except KeyboardInterrupt:
                continue  # it has heard of it, too
            except subprocess.TimeoutExpired:
                print("HANG: the soak does not end")
                process.send_signal(signal.SIGABRT)  # it tells where every thread stands


def _adopt_orphans() -> None:
    """Have what outlives its parents become our children: so it can be seen."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def main() -> int:
    """Run it as the command line says."""
    arguments = _arguments()
    if arguments.inside:
        return soak(arguments.seed, arguments.seconds, arguments.kills, arguments.inside)
    print(f"soak for {arguments.seconds:g} s, seed {arguments.seed}", flush=True)
    status = _supervised(arguments)
    if status in (0, 1):
        print(
            "everything is accounted for" if status == 0 else f"NOT everything is accounted for: seed {arguments.seed}"
        )
    return status


if __name__ == "__main__":
    sys.exit(main())
