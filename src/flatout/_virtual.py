"""An event loop on a virtual clock. Public as `flatout.testing.virtual_run`.

Theory of operation. The loop is asyncio's own. Only two things are taken from it: the clock, and the selector in which
it blocks until the next timer is due. In place of the selector the loop itself sets the clock to that timer and goes on
at once.

Time is counted in whole nanoseconds. A timer is due at the whole nanosecond nearest to what was asked, and `time()` is
the float nearest to that. So sums do not drift: ten sleeps of 0.1 s end at 1.0 exactly, together with one of 1 s.
Holds up to 2**22 s (48 days); beyond, floats are too coarse for a nanosecond, and times are as exact as floats are.

Timers due at the same instant run in the order in which they were set. asyncio promises no order for them.

Nothing outside has virtual time. Where the loop would block without a timer, for a thread, a socket, a process or a
future that nobody sets, it raises `VirtualTimeError` instead; and it never opens such a thing to begin with, since
whether that came before or after the next timer would be chance.
"""

from __future__ import annotations

import asyncio
import itertools
import linecache
import math
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextvars import Context
from types import FrameType
from typing import Any, NoReturn, TypeVar, TypeVarTuple

from flatout._errors import RunError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_NANOSECONDS = 1_000_000_000  # in a second
_TASKS_SHOWN = 10  # of those that wait, in a message; guessed: what still fits a screen


class VirtualTimeError(RunError):
    """Code on a virtual clock would have to wait for the real world; the message names the tasks and the places."""


def virtual_run(coroutine: Coroutine[Any, Any, T], *, debug: bool | None = None) -> T:
    """Run a coroutine as `asyncio.run` does, on a virtual clock: sleeping costs no real time.

    `loop.time()` starts at 0.0 seconds and jumps to the next timer when nothing is ready. Times are whole nanoseconds,
    so they do not drift; timers due at the same instant run in the order in which they were set.

    Raises VirtualTimeError where the loop would wait for something that has no virtual time (threads, sockets,
    processes) or for nothing at all, RuntimeError inside a running event loop, and whatever the coroutine raises.

    >>> async def nap():
    ...     await asyncio.sleep(3600)
    ...     return asyncio.get_running_loop().time()
    >>> virtual_run(nap())
    3600.0
    """
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("virtual_run() cannot be called from a running event loop: await the coroutine there")
    with asyncio.Runner(debug=debug, loop_factory=VirtualLoop) as runner:
        return runner.run(coroutine)


class _Instant(float):
    """A time that sorts before an equal one that was made after it. Only `<` sees the difference: what heapq uses."""

    __slots__ = ("order",)
    order: int

    def __lt__(self, other: float) -> bool:
        if isinstance(other, _Instant) and self == other:
            return self.order < other.order
        return float.__lt__(self, other)


def nearest_nanosecond(seconds: float) -> float:
    """The float nearest to the whole nanosecond nearest to a time."""
    nanoseconds = seconds * _NANOSECONDS
    return round(nanoseconds) / _NANOSECONDS if math.isfinite(nanoseconds) else seconds


class VirtualLoop(asyncio.BaseEventLoop):
    """asyncio's event loop with a clock that jumps. Belongs to the thread that makes it."""

    _scheduled: list[asyncio.TimerHandle]  # asyncio's heap of timers; those in front are never cancelled in select()

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()
        self._order = itertools.count()
        self._set_time(0.0)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def _set_time(self, now: float) -> None:
        self._now = now
        # asyncio runs timers due before now + resolution: with the smallest step a float can take, those due by now.
        self._clock_resolution = math.ulp(now)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call back at a virtual time, after all that was set earlier for the same nanosecond."""
        instant = _Instant(nearest_nanosecond(when))
        instant.order = next(self._order)
        return super().call_at(instant, callback, *args, context=context)

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """As in asyncio from the loop's own thread, signal handlers included; refused from any other."""
        if threading.get_ident() != self._thread:
            raise VirtualTimeError(
                f"thread {threading.current_thread().name!r} calls into an event loop on a virtual clock,"
                " which cannot wait for threads: use asyncio.run for this test, or a coroutine in place of the thread"
            )
        return super().call_soon_threadsafe(callback, *args, context=context)

    @property
    def _selector(self) -> VirtualLoop:
        return self

    def select(self, timeout: float | None) -> list[Any]:
        """What asyncio calls in order to block until a timer is due: go there at once. Nothing else can happen."""
        if timeout is None or (timeout > 0 and math.isinf(self._scheduled[0].when())):
            raise VirtualTimeError(_standstill(self))
        if timeout > 0:
            self._set_time(float(self._scheduled[0].when()))
        return []

    def _process_events(self, event_list: list[Any]) -> None:
        """There are no events but timers."""

    def _write_to_self(self) -> None:
        """Nobody needs to be woken: the loop never blocks."""


def _refusal(name: str) -> Callable[..., NoReturn]:
    def refuse(self: VirtualLoop, *args: Any, **kwargs: Any) -> NoReturn:
        task = asyncio.current_task(self)
        raise VirtualTimeError(
            f"{task.get_name() if task else 'a callback'} uses {name}(), on a virtual clock:"
            " threads, sockets, processes and signals have no virtual time. Use asyncio.run for this test, or put a"
            " coroutine that sleeps in their place"
        )

    refuse.__name__ = name
    return refuse


# All by which a loop reaches the outside; asyncio.to_thread, streams, getaddrinfo and subprocesses come through here.
for _name in (
    *("run_in_executor", "add_signal_handler", "subprocess_exec", "subprocess_shell"),
    *("add_reader", "add_writer", "connect_read_pipe", "connect_write_pipe"),
    *("create_connection", "create_datagram_endpoint", "create_server", "connect_accepted_socket"),
    *("create_unix_connection", "create_unix_server", "sendfile", "start_tls"),
    *("sock_accept", "sock_connect", "sock_recv", "sock_recv_into", "sock_recvfrom", "sock_recvfrom_into"),
    *("sock_sendall", "sock_sendfile", "sock_sendto"),
):
    setattr(VirtualLoop, _name, _refusal(_name))


def _standstill(loop: VirtualLoop) -> str:
    """Say that nothing can happen any more, and who waits where."""
    tasks = sorted(asyncio.all_tasks(loop), key=lambda task: (len(task.get_name()), task.get_name()))
    lines = [f"the virtual clock stands still at {loop.time()} s: nothing is ready and no timer is set."]
    lines.append(f"{len(tasks)} task(s) wait for each other, for nothing, or for the world outside:")
    for task in tasks[:_TASKS_SHOWN]:
        lines.append(f"  {task.get_name()}")
        lines.extend(f"    {_place(frame)}" for frame in _frames(task.get_coro()))
    if len(tasks) > _TASKS_SHOWN:
        lines.append(f"  and {len(tasks) - _TASKS_SHOWN} more")
    return "\n".join(lines)


def _frames(awaited: Any) -> Iterator[FrameType]:
    """The frames in which a suspended coroutine waits, outermost first. (`Task.get_stack` gives the outermost alone.)"""
    while awaited is not None:
        kind = next((kind for kind in ("cr", "gi", "ag") if hasattr(awaited, f"{kind}_frame")), None)
        frame = kind and getattr(awaited, f"{kind}_frame")
        if not frame:
            return
        yield frame
        awaited = getattr(awaited, "gi_yieldfrom" if kind == "gi" else f"{kind}_await")


def _place(frame: FrameType) -> str:
    code = frame.f_code
    line = linecache.getline(code.co_filename, frame.f_lineno, frame.f_globals).strip()
    return f"{os.path.basename(code.co_filename)}:{frame.f_lineno} in {code.co_qualname}: {line}"
