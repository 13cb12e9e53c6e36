"""The cases, as data: what a task does, in which kinds of worker that can be survived, and what must hold then.

For all of them every other result must be right and in its place, the task at fault must fail alone and be named, none may
run twice that must not, the next run must work, and no process, thread, descriptor or file may be left behind.
"""

from __future__ import annotations

import functools
import signal

from faults.expect import died, either, raised, described, not_picklable, timed_out
from faults.model import ISOLATED, TIMED, Case
from faults.tasks import deaths, exceptions, times, values

DEADLY = {"kinds": ISOLATED, "why": "it ends the process, whoever else runs in it"}
SLOW = {"timeout": 2.0, "kinds": TIMED, "why": "the plain loop cannot be interrupted"}


def kills_itself(number: signal.Signals) -> functools.partial[None]:
    return functools.partial(deaths.kill_itself, number)


SECTIONS: dict[str, list[Case]] = {
    "A process that dies": [
        Case("segmentation fault", "reads address 0", deaths.reads_address_0, died(signal.SIGSEGV), **DEADLY),
        Case("exit with status 0", "`os._exit(0)`", deaths.exits_0, died(0), **DEADLY),
        Case("exit with status 1", "`os._exit(1)`", deaths.exits_1, died(1), **DEADLY),
        Case("abort", "`os.abort()`", deaths.aborts, died(signal.SIGABRT), **DEADLY),
        Case("SIGKILL", "kills itself", kills_itself(signal.SIGKILL), died(signal.SIGKILL), **DEADLY),
        Case("SIGTERM", "kills itself more gently", kills_itself(signal.SIGTERM), died(signal.SIGTERM), **DEADLY),
        Case("process group", "kills its process group", deaths.kills_its_group, died(signal.SIGKILL), peers="theirs is the caller's", **DEADLY),
        Case(
            "killed from outside",
            "another process kills the worker",
            deaths.is_killed_from_outside,
            died(signal.SIGKILL),
            meanwhile=deaths.kill_who_says_so,
            **DEADLY,
        ),
    ],
    "An exception that is hard to bring home": [
        Case("sys.exit", "`sys.exit('enough')`", exceptions.calls_sys_exit, raised(SystemExit, "enough")),
        Case("KeyboardInterrupt", "raises it itself", exceptions.raises_keyboard_interrupt, raised(KeyboardInterrupt), kinds=("process", "thread", "async"), why="in the caller's own thread it is a Ctrl-C"),
        Case("endless recursion", "calls itself", exceptions.recurses_endlessly, raised(RecursionError)),
        Case("unpicklable exception", "it has a lock", exceptions.raises_locked, either(raised(exceptions.Locked), described("not to be opened"))),
        Case("exception of two arguments", "its `__init__` needs more than it hands on", exceptions.raises_two_arguments, raised(exceptions.TwoArguments)),
        Case("50 MB message", "in an exception", exceptions.raises_a_long_message, raised(ValueError, more=lambda e: len(e.args[0]) == exceptions.MESSAGE)),
    ],
    "A task that takes too long": [
        Case("endless loop", "`while True: pass`", times.loops_endlessly, timed_out(), **SLOW),
        Case("sleep", "for a day", times.sleeps, timed_out(), **SLOW),
        Case("SIGTERM ignored", "and an endless loop", times.ignores_sigterm, timed_out(), timeout=2.0, **DEADLY),
    ],
    "A value that is hard to move": [
        Case("lambda", "as a result", values.returns_a_lambda, not_picklable("result"), kinds=ISOLATED),
    ],
}

CASES: list[Case] = [case for cases in SECTIONS.values() for case in cases]


def case_named(name: str) -> Case:
    return next(case for case in CASES if case.name == name)
