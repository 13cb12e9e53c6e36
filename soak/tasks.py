"""What a soak runs: jobs, each with the one value or fault that must come of it.

A job is a tuple (what, n, ...), plain data, so that many travel as one pickle; those with a `Block` do not.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import pickle
import random
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from typing import Any

import flatout
from flatout import _child

Job = tuple[Any, ...]


class Boom(Exception):
    """Raised by tasks. Takes other arguments than it keeps."""

    def __init__(self, n: int, why: str) -> None:
        super().__init__(f"{n}: {why}")
        self.n = n


class Block:
    """As an array does, it pickles its data as a buffer."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Block, (pickle.PickleBuffer(self.data),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Block) and memoryview(self.data) == memoryview(other.data)

    def __repr__(self) -> str:
        return f"<Block of {len(memoryview(self.data))} bytes, crc32 {zlib.crc32(self.data):08x}>"


def pattern(n: int, size: int) -> bytearray:
    """Bytes that tell which job they belong to, and where among them they stand."""
    piece = b"%d:" % n + bytes(n + i & 255 for i in range(251))
    return bytearray((piece * (size // len(piece) + 1))[:size])


# What ends in a value


def _square(n: int) -> int:
    return n * n


def _sleep(n: int, seconds: float) -> int:
    time.sleep(seconds)
    return n


def _burn(n: int, turns: int) -> int:
    value = n
    for i in range(turns):
        value = (value * 31 + i) % 1_000_003
    return value


def _print(n: int) -> int:
    print(f"soak: line {n}")
    return n


def _text(n: int, size: int) -> str:
    return f"{n} " * size


def _gives(n: int, size: int) -> Block:
    return Block(pattern(n, size))


def _takes(n: int, block: Block) -> int:
    return n + zlib.crc32(block.data)


def _turns(n: int, block: Block) -> Block:
    block.data[:8] = bytes(8)  # it is the task's own
    return Block(bytes(block.data))


def _breeds(n: int) -> int:
    """In a worker process, leave something running that must not outlive it."""
    if not _child.inside:
        return n
    child = subprocess.Popen(["sleep", "1000"], start_new_session=bool(n % 2))
    child.returncode = 0  # nobody waits for it
    return n


VALUES: dict[str, Callable[..., Any]] = {
    "square": _square,
    "sleep": _sleep,
    "burn": _burn,
    "print": _print,
    "text": _text,
    "gives": _gives,
    "takes": _takes,
    "turns": _turns,
    "breeds": _breeds,
}


# What fails


def _raise(n: int) -> None:
    raise Boom(n, "as it should")


def _exit(n: int) -> None:
    sys.exit(n)


def _interrupt(n: int) -> None:
    raise KeyboardInterrupt(n)


def _lambda(n: int) -> Any:
    return lambda: n


def _die(n: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _leave(n: int) -> None:
    os._exit(n % 256)


def _abort(n: int) -> None:
    os.abort()


def _crash(n: int) -> None:
    ctypes.string_at(0)


def _hang(n: int) -> None:
    if n % 2:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(100)


def _spoil(n: int) -> None:
    """Close what the worker speaks by."""
    os.closerange(3, 4096)


def _scribble(n: int) -> None:
    """Write to what the worker speaks by."""
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"):
                os.write(int(fd), random.randbytes(n % 50 + 1))


FAULTS: dict[str, tuple[Callable[[int], Any], Callable[[int, Any], bool]]] = {
    "raise": (_raise, lambda n, error: type(error) is Boom and error.n == n),
    "exit": (_exit, lambda n, error: type(error) is SystemExit and error.code == n),
    "interrupt": (_interrupt, lambda n, error: type(error) is KeyboardInterrupt and error.args == (n,)),
    "lambda": (_lambda, lambda n, error: isinstance(error, flatout.NotPicklable)),
    "die": (_die, lambda n, error: _died(error, -signal.SIGKILL)),
    "leave": (_leave, lambda n, error: _died(error, n % 256)),
    "abort": (_abort, lambda n, error: _died(error, -signal.SIGABRT)),
    "crash": (_crash, lambda n, error: _died(error, -signal.SIGSEGV)),
    "hang": (_hang, lambda n, error: isinstance(error, flatout.TaskTimeout)),
    "spoil": (_spoil, lambda n, error: isinstance(error, flatout.WorkerDied)),
    "scribble": (_scribble, lambda n, error: isinstance(error, flatout.WorkerDied)),
}
ANYWHERE = ("raise", "exit")  # faults that threads and loops bear
IN_PROCESSES = tuple(name for name in FAULTS if name != "hang")  # which needs a timeout


def _died(error: Any, code: int) -> bool:
    return isinstance(error, flatout.WorkerDied) and error.exitcode == code


def perform(job: Job) -> Any:
    """Do a job."""
    what, n, *rest = job
    return VALUES[what](n, *rest) if what in VALUES else FAULTS[what][0](n)


async def perform_in_loop(job: Job) -> Any:
    """Do a job in an event loop, where some of it waits."""
    if job[0] == "sleep":
        await asyncio.sleep(job[2])
        return job[1]
    if job[0] == "hang":
        await asyncio.sleep(1000)
    if job[1] % 3 == 0:
        await asyncio.sleep(0)
    return perform(job)


def perform_noted(path: str, job: Job) -> Any:
    """Do a job, and note first that it was begun."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.write(fd, b"%d\n" % job[1])
    os.close(fd)
    return perform(job)


def value_of(job: Job) -> Any:
    """What the plain loop makes of a job that has a value."""
    what, n, *rest = job
    if what == "turns":
        return Block(bytes(8) + bytes(rest[0].data[8:]))
    return n if what in ("print", "sleep", "breeds") else VALUES[what](n, *rest)


# Drawing jobs


def prepare() -> None:
    """Do what an initializer does."""
    os.environ["SOAK_PREPARED"] = str(os.getpid())


def draw(rng: random.Random, count: int, faults: tuple[str, ...], often: float, large: bool) -> list[Job]:
    """Jobs at random: so often one of the faults; `large`: blocks that travel by shared memory, too."""
    return [_one(rng, n, faults, often, large) for n in range(count)]


def _one(rng: random.Random, n: int, faults: tuple[str, ...], often: float, large: bool) -> Job:
    if faults and rng.random() < often:
        return rng.choice(faults), n
    roll = rng.random()
    if large and roll < 0.1:
        size = int(2 ** rng.uniform(10, 21))
        return rng.choice(
            [("gives", n, size), ("takes", n, Block(pattern(n, size))), ("turns", n, Block(pattern(n, size)))]
        )
    if roll < 0.7:
        return "square", n
    if roll < 0.85:
        return "burn", n, int(2 ** rng.uniform(0, 15))
    if roll < 0.95:
        return "sleep", n, rng.random() * 0.01
    if roll < 0.951:
        return "breeds", n
    return rng.choice([("print", n), ("text", n, rng.randrange(5000))])
