"""The cases, as data: what a task does, in which kinds of worker that can be survived, and what must hold then.

For all of them every other result must be right and in its place, the task at fault must fail alone and be named, none may
run twice that must not, the next run must work, and no process, thread, descriptor or file may be left behind.
"""

from __future__ import annotations

import asyncio
import functools
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any

import flatout
from faults.expect import (
    anything,
    carries,
    described,
    died,
    either,
    input_failed,
    not_picklable,
    own,
    raised,
    timed_out,
)
from faults.model import ISOLATED, Case, Kind
from faults.tasks import SLEEPER, deaths, exceptions, memory, offspring, printing, surroundings, times, values
from faults.tasks.values import GIB, MIB, Described, Loaded, Loading, Reducing

part = functools.partial

# What several cases share: where they can be survived, and why not elsewhere

DEADLY: dict[str, Any] = {"kinds": ISOLATED, "why": "it ends the process, whoever else runs in it"}
LATER: dict[str, Any] = {**DEADLY, "collateral": 1, "count": 40}  # a run that is not over when it happens
SPOILING: dict[str, Any] = {
    "kinds": ISOLATED,
    "why": "it spoils the process for all, the caller's own program included",
}
SLOW: dict[str, Any] = {
    "timeout": 2.0,
    "kinds": ("process", "thread", "auto"),
    "why": "a loop is blocked",
    "left": ("thread",),
}
KILLED: dict[str, Any] = {"timeout": 2.0, "kinds": ISOLATED, "why": "only a process can be ended"}
MOVED: dict[str, Any] = {"kinds": ISOLATED, "why": "nothing is moved there"}
AWAITED: dict[str, Any] = {"timeout": 2.0, "kinds": ("async",), "why": "it is a coroutine"}
UNMIXED: dict[str, Any] = {"unmixed": ("thread", "async")}  # it needs the main thread
LOOPS: tuple[Kind, ...] = ("process", "thread", "async")
FORKING: dict[str, Any] = {
    "kinds": (*ISOLATED, "thread", "async"),
    "why": "the child goes on with a copy of the caller's program",
}
INTERRUPT: dict[str, Any] = {"kinds": LOOPS, "why": "in the caller's own thread it is what Ctrl-C is"}


def kills_itself(number: signal.Signals) -> Callable[[], None]:
    return part(deaths.kill_itself, number)


def raises(kind: type[BaseException], *args: Any) -> Callable[[], None]:
    return part(exceptions.raises, kind, *args)


def bad_input(make: Callable[..., Any], *args: Any) -> dict[str, Any]:
    """Options of a case with an input that is made so."""
    return {"inputs": part(values.with_a_bad_one, part(make, *args))}


def result(make: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    return part(make, *args)


DEATHS = [
    Case("segmentation fault", "reads address 0", deaths.reads_address_0, died(signal.SIGSEGV), **DEADLY),
    Case("exit with status 0", "`os._exit(0)`", part(deaths.exits, 0), died(0), **DEADLY),
    Case("exit with status 1", "`os._exit(1)`", part(deaths.exits, 1), died(1), **DEADLY),
    Case("abort", "`os.abort()`", deaths.aborts, died(signal.SIGABRT), **DEADLY),
    Case("SIGKILL", "kills itself", kills_itself(signal.SIGKILL), died(signal.SIGKILL), **DEADLY),
    Case("SIGTERM", "kills itself more gently", kills_itself(signal.SIGTERM), died(signal.SIGTERM), **DEADLY),
    Case(
        "SIGINT",
        "interrupts itself",
        deaths.interrupts_itself,
        either(raised(KeyboardInterrupt), died(signal.SIGINT)),
        may_survive=True,
        kinds=ISOLATED,
        why="it is a Ctrl-C for the caller",
    ),
    Case(
        "killed from outside",
        "something else kills the worker",
        deaths.is_killed_from_outside,
        died(signal.SIGKILL),
        meanwhile=deaths.kill_who_says_so,
        **DEADLY,
    ),
    Case(
        "process group",
        "kills its process group",
        deaths.kills_its_group,
        died(signal.SIGKILL),
        peers="there it is the caller's group too",
        **DEADLY,
    ),
    Case(
        "parent killed",
        "kills the process that forked its worker",
        deaths.kills_its_parent,
        died(),
        collateral=1,
        peers="there it is the caller",
        **DEADLY,
    ),
    Case(
        "parent stopped",
        "stops the process that forked its worker",
        deaths.stops_its_parent,
        peers="there it is the caller",
        **DEADLY,
    ),
    Case("heap corruption", "frees what it must not", deaths.frees_what_is_not_its_own, died(signal.SIGABRT), **DEADLY),
    Case(
        "bus error",
        "reads behind the end of a file",
        deaths.reads_behind_the_end_of_a_file,
        died(signal.SIGBUS),
        **DEADLY,
    ),
    Case(
        "stack overflow",
        "recursion in C, with no limit",
        deaths.overflows_the_stack,
        either(died(), raised(RecursionError), raised(MemoryError)),
        **DEADLY,
    ),
    Case("CPU limit", "`RLIMIT_CPU`: SIGXCPU", deaths.computes_past_its_limit, died(signal.SIGXCPU), **DEADLY),
    Case(
        "out of memory",
        "the kernel kills it, in a control group that is too small",
        memory.runs_out,
        died(signal.SIGKILL),
        after=memory.groups_removed,
        quick=False,
        needs=memory.why_not,
        **DEADLY,
    ),
    Case("exec", "becomes another program, which ends", part(deaths.becomes, "true"), died(0), **DEADLY),
    Case(
        "exec and stay",
        "becomes another program, which stays",
        part(deaths.becomes, "sleep", SLEEPER),
        timed_out(),
        gone=True,
        **KILLED,
    ),
    Case("exit in a thread", "`os._exit(7)` by a thread of the task", deaths.exits_in_a_thread, died(7), **DEADLY),
    Case("half a line", "exits in the middle of a line", deaths.exits_in_half_a_line, died(3), **DEADLY),
    Case("only task", "the only one dies", part(deaths.exits, 1), died(1), count=1, at=(0,), **DEADLY),
    Case("first task", "the first dies", part(deaths.exits, 1), died(1), at=(0,), **DEADLY),
    Case("last task", "the last dies", part(deaths.exits, 1), died(1), at=(9,), **DEADLY),
    Case("two neighbours", "two in a row die", part(deaths.exits, 1), died(1), at=(3, 4), **DEADLY),
    Case("every second task", "dies", part(deaths.exits, 1), died(1), count=20, at=tuple(range(0, 20, 2)), **DEADLY),
    Case("every task", "dies", part(deaths.exits, 1), died(1), count=20, at=tuple(range(20)), **DEADLY),
    Case(
        "300 deaths",
        "each of many tasks dies",
        part(deaths.exits, 1),
        died(1),
        count=300,
        at=tuple(range(300)),
        quick=False,
        within=180.0,  # seconds, but each has to wait its turn three times where the machine is busy
        **DEADLY,
    ),
]

AFTERMATHS = [
    Case("timer", "sets one that kills the worker", deaths.is_killed_later_by_a_timer, **LATER),
    Case(
        "thread that exits",
        "starts one that kills the worker",
        deaths.is_killed_later_by_a_thread,
        **LATER,
    ),
    Case("faulthandler's timer", "sets it, `exit=True`", deaths.is_killed_later_by_faulthandler, **LATER),
    Case("deadly garbage", "its `__del__` exits", deaths.is_killed_by_garbage, died(6), **DEADLY),
]

ERRORS = [
    Case("sys.exit", "`sys.exit('enough')`", raises(SystemExit, "enough"), raised(SystemExit, "enough")),
    Case("sys.exit with an object", "a lock", exceptions.exits_with_an_object, either(raised(SystemExit), described())),
    Case(
        "KeyboardInterrupt",
        "raises it",
        raises(KeyboardInterrupt, "mine"),
        raised(KeyboardInterrupt, "mine"),
        **INTERRUPT,
    ),
    Case("BaseException", "raises it", raises(BaseException, "bare"), raised(BaseException, "bare")),
    Case("GeneratorExit", "raises it", raises(GeneratorExit, "mine"), raised(GeneratorExit, "mine")),
    Case(
        "StopIteration",
        "raises it",
        raises(StopIteration, 3),
        either(raised(StopIteration), raised(RuntimeError, "StopIteration")),
    ),
    Case(
        "StopAsyncIteration",
        "raises it",
        raises(StopAsyncIteration, 3),
        either(raised(StopAsyncIteration), raised(RuntimeError)),
    ),
    Case(
        "CancelledError",
        "asyncio's, raised by the task itself",
        exceptions.cancels_itself,
        raised(asyncio.CancelledError),
    ),
    Case("TimeoutError", "its own", raises(TimeoutError, "mine"), raised(TimeoutError, "mine")),
    Case("EOFError", "raises it", raises(EOFError, "mine"), raised(EOFError, "mine")),
    Case("BrokenPipeError", "of a socket of its own", exceptions.loses_a_connection, raised(BrokenPipeError)),
    Case("flatout's own", "raises `RunCancelled`", exceptions.raises_flatouts_own, raised(flatout.RunCancelled)),
    Case("endless recursion", "calls itself", exceptions.recurses_endlessly, raised(RecursionError)),
    Case("MemoryError", "asks for too much", exceptions.asks_for_too_much_memory, raised(MemoryError)),
    Case(
        "MemoryError under a limit",
        "`RLIMIT_AS`",
        surroundings.asks_for_more_than_its_limit,
        raised(MemoryError),
        **SPOILING,
    ),
    Case(
        "unpicklable exception",
        "it has a lock",
        exceptions.raises_locked,
        either(raised(exceptions.Locked), described("Locked", "not to be opened")),
    ),
    Case(
        "exception of a local class",
        "it cannot be found from outside",
        exceptions.raises_a_local_class,
        either(described("Local", "from in here"), own("Local")),
    ),
    Case(
        "exception of a lost class",
        "its module has it no more",
        exceptions.raises_what_cannot_be_found,
        either(described("Gone", "nowhere to be found"), own("Gone")),
    ),
    Case(
        "exception of two arguments",
        "it keeps one",
        exceptions.raises_two_arguments,
        raised(exceptions.TwoArguments, "disk gave 3"),
    ),
    Case("exception of keywords", "it takes no others", exceptions.raises_keyword_only, raised(exceptions.KeywordOnly)),
    Case(
        "exception with slots",
        "its attributes are not in `__dict__`",
        exceptions.raises_slotted,
        either(raised(exceptions.Slotted), described("code 3")),
    ),
    Case(
        "str raises",
        "an exception's `__str__` raises",
        raises(exceptions.NoStr),
        either(raised(exceptions.NoStr), described()),
    ),
    Case(
        "str exits",
        "an exception's `__str__` raises SystemExit",
        raises(exceptions.ExitingStr),
        either(raised(exceptions.ExitingStr), described()),
    ),
    Case(
        "str gives a number",
        "an exception's `__str__` does",
        raises(exceptions.NotAStr),
        either(raised(exceptions.NotAStr), described()),
    ),
    Case(
        "reduce raises",
        "an exception's `__reduce__` raises",
        raises(exceptions.NoReduce),
        either(raised(exceptions.NoReduce), described("NoReduce")),
    ),
    Case(
        "reduce exits",
        "an exception's `__reduce__` raises SystemExit",
        raises(exceptions.ExitingReduce),
        either(raised(exceptions.ExitingReduce), described()),
    ),
    Case(
        "reduce interrupts",
        "an exception's `__reduce__` raises KeyboardInterrupt",
        raises(exceptions.InterruptingReduce),
        either(raised(exceptions.InterruptingReduce), described()),
    ),
    Case(
        "reduce dies",
        "an exception's `__reduce__` ends the process",
        raises(exceptions.DeadlyReduce),
        died(9),
        **DEADLY,
    ),
    Case(
        "not an exception any more",
        "when loaded",
        raises(exceptions.SomethingElse),
        either(raised(exceptions.SomethingElse), described("SomethingElse")),
    ),
    Case(
        "exits when loaded",
        "an exception",
        raises(exceptions.ExitsWhenLoaded),
        either(raised(exceptions.ExitsWhenLoaded), described()),
    ),
    Case(
        "interrupts when loaded",
        "an exception, in the caller only",
        raises(exceptions.InterruptsElsewhere),
        either(raised(exceptions.InterruptsElsewhere), described()),
    ),
    Case(
        "class raises",
        "an exception's `__class__` raises",
        raises(exceptions.NoClass),
        either(raised(exceptions.NoClass), described()),
    ),
    Case(
        "equality raises",
        "an exception that cannot be compared or hashed",
        raises(exceptions.NoEquality),
        raised(exceptions.NoEquality),
    ),
    Case(
        "truth raises",
        "an exception that is neither true nor false",
        raises(exceptions.NoTruth),
        raised(exceptions.NoTruth),
        limits={"executor": "`Future.result` of the standard library asks an exception whether it is true"},
    ),
    Case(
        "attributes raise",
        "an exception without any attribute",
        raises(exceptions.NoAttributes),
        either(raised(exceptions.NoAttributes), described()),
    ),
    Case("no notes", "an exception that takes none", raises(exceptions.NoNotes, "x"), raised(exceptions.NoNotes, "x")),
    Case(
        "no changes",
        "an exception whose attributes cannot be set",
        raises(exceptions.NoSetattr, "x"),
        raised(exceptions.NoSetattr, "x"),
    ),
    Case(
        "strange notes",
        "an exception whose notes are a number",
        exceptions.raises_with_strange_notes,
        raised(ValueError, "with notes"),
    ),
    Case(
        "exception group",
        "nested",
        exceptions.raises_a_group,
        raised(ExceptionGroup, "several", exceptions.is_the_group),
    ),
    Case(
        "exception group with a lock",
        "in one of its exceptions",
        exceptions.raises_a_group_with_a_lock,
        either(raised(ExceptionGroup, "several"), described("several")),
    ),
    Case(
        "cause and note",
        "`raise ... from`",
        exceptions.raises_from_another,
        raised(ValueError, "the second", exceptions.has_cause_and_note),
    ),
    Case(
        "context",
        "raised while another was handled",
        exceptions.raises_in_a_context,
        raised(ValueError, "the second", exceptions.has_context),
    ),
    Case("long chain", "5,000 causes", exceptions.raises_a_long_chain, raised(ValueError, "4999")),
    Case("long traceback", "of 40,000 frames", exceptions.raises_from_the_depth, raised(ValueError, "no number")),
    Case(
        "circle", "two exceptions, each the cause of the other", exceptions.raises_a_circle, raised(ValueError, "one")
    ),
    Case(
        "deep group",
        "5,000 groups in each other",
        exceptions.raises_a_deep_group,
        either(raised(ExceptionGroup), described("deeper")),
    ),
    Case(
        "50 MB message",
        "in an exception",
        exceptions.raises_a_long_message,
        raised(ValueError, more=carries(exceptions.MESSAGE)),
        memory=GIB,
    ),
]

TIMES = [
    Case("endless loop", "`while True: pass`", times.loops_endlessly, timed_out(), **SLOW),
    Case("sleep", "for a day", times.sleeps, timed_out(), **SLOW),
    Case(
        "blocked event loop",
        "a coroutine sleeps without awaiting",
        times.sleeps,
        timed_out(),
        left=("async",),
        collateral=1,  # what is awaited in that loop is lost with it
        **AWAITED,
    ),
    Case("endless coroutine", "waits for a day", times.sleeps_async, timed_out(), **AWAITED),
    Case(
        "cancellation swallowed",
        "by a coroutine",
        times.swallows_its_cancellation,
        timed_out(),
        left=("async",),
        **AWAITED,
    ),
    Case("SIGTERM ignored", "and an endless loop", times.ignores_sigterm, timed_out(), **KILLED, **UNMIXED),
    Case("all signals blocked", "and a sleep", times.blocks_all_signals, timed_out(), **KILLED),
    Case("everything caught", "`except BaseException`, for ever", times.catches_everything, timed_out(), **KILLED),
    Case("GIL held", "by C code that does not return", times.holds_the_gil, timed_out(), **KILLED),
    Case("regular expression", "catastrophic backtracking", times.matches_for_ever, timed_out(), **KILLED),
    Case("deadlock", "waits for a lock that it has", times.waits_for_a_lock, timed_out(), **KILLED),
    Case("SIGSTOP", "stops itself", times.stops_itself, timed_out(), **KILLED),
    Case(
        "seccomp",
        "allows itself to read and write only",
        deaths.may_only_read_and_write,
        either(died(), timed_out()),
        **KILLED,
    ),
    Case("main thread ended", "by `pthread_exit`", deaths.ends_its_thread, either(died(), timed_out()), **KILLED),
    Case(
        "another group",
        "leaves its process group, then sleeps",
        times.leaves_its_group_and_sleeps,
        timed_out(),
        **KILLED,
    ),
    Case(
        "grandchildren",
        "starts programs, one in a session of its own, one orphaned, then sleeps",
        times.breeds_and_sleeps,
        timed_out(),
        gone=True,
        **KILLED,
    ),
    Case(
        "slow to pickle",
        "a result whose `__reduce__` sleeps",
        times.returns_what_takes_for_ever_to_pickle,
        timed_out(),
        **KILLED,
    ),
    Case(
        "exception slow to pickle",
        "its `__reduce__` sleeps",
        times.raises_what_takes_for_ever_to_pickle,
        timed_out(),
        **KILLED,
    ),
    Case(
        "slow to load",
        "an input whose loading sleeps",
        str,
        timed_out(),
        **bad_input(Loaded, values.sleep_on),
        **KILLED,
    ),
]

RESULTS = [
    Case("lambda", "as a result", values.returns_a_lambda, not_picklable("result"), **MOVED),
    Case("lock", "as a result", values.lock, not_picklable("result"), **MOVED),
    Case("generator", "as a result", values.returns_a_generator, not_picklable("result"), **MOVED),
    Case("socket", "as a result", values.returns_a_socket, not_picklable("result"), **MOVED),
    Case("open file", "as a result", values.returns_an_open_file, not_picklable("result"), **MOVED),
    Case("module", "as a result", values.returns_a_module, not_picklable("result"), **MOVED),
    Case("memoryview", "as a result", values.returns_a_memoryview, not_picklable("result"), **MOVED),
    Case(
        "instance of a local class",
        "as a result",
        values.returns_an_instance_of_a_local_class,
        not_picklable("result"),
        **MOVED,
    ),
    Case(
        "pickling raises",
        "ValueError",
        result(Reducing, values.throw, ValueError),
        either(not_picklable("result"), raised(ValueError)),
        **MOVED,
    ),
    Case(
        "pickling exits",
        "SystemExit",
        result(Reducing, values.throw, SystemExit),
        either(not_picklable(), raised(SystemExit)),
        **MOVED,
    ),
    Case(
        "pickling interrupts",
        "KeyboardInterrupt",
        result(Reducing, values.throw, KeyboardInterrupt),
        either(not_picklable(), raised(KeyboardInterrupt)),
        **MOVED,
    ),
    Case("pickling dies", "`os._exit(9)`", result(Reducing, deaths.exits, 9), died(9), **DEADLY),
    Case(
        "pickling gives nonsense",
        "a number for a recipe",
        result(Reducing, int),
        either(not_picklable("result"), anything()),
        **MOVED,
    ),
    Case(
        "pickling never ends",
        "each has another in it",
        result(Reducing, values.loop_on),
        either(not_picklable("result"), raised(RecursionError), died()),
        **MOVED,
    ),
    Case(
        "loading raises",
        "a result, in the caller",
        result(Loading, values.throw, ValueError),
        raised(ValueError, "of the value's own"),
        **MOVED,
    ),
    Case(
        "loading exits",
        "SystemExit, in the caller",
        result(Loading, values.throw, SystemExit),
        raised(SystemExit, "of the value's own"),
        **MOVED,
    ),
    Case(
        "loading interrupts",
        "KeyboardInterrupt, in the caller",
        result(Loading, values.throw, KeyboardInterrupt),
        raised(KeyboardInterrupt, "of the value's own"),
        **MOVED,
    ),
    Case(
        "loading takes MemoryError",
        "in the caller",
        result(Loading, values.throw, MemoryError),
        raised(MemoryError),
        **MOVED,
    ),
    Case("loading is slow", "a second, in the caller", values.slow_when_loaded, **MOVED),
    Case(
        "loading is unhashable",
        "a key whose hash needs what is not loaded yet",
        values.unhashable_when_loaded,
        anything(),
        **MOVED,
    ),
    Case(
        "100,000 levels",
        "a list in a list in ...",
        values.nested,
        either(not_picklable("result"), raised(RecursionError), died()),
        may_survive=True,
        value=values.is_nested,
        **MOVED,
    ),
    Case("rude", "a result that raises whatever it is asked", values.Rude, value=values.is_rude),
    Case("no class", "a result whose `__class__` raises", values.Classless, value=values.is_classless),
    Case("an exception", "as a result", values.returns_an_exception, value=values.is_an_exception),
    Case("last words", "a result whose `__del__` raises", values.LastWords, value=values.is_last_words),
    Case("NaN", "as a result", values.returns_nan, value=values.is_nan),
    Case("coroutine", "as a result of a plain function", values.returns_a_coroutine),
    Case(
        "bad awaitable",
        "a result whose `__await__` raises",
        values.AwaitsBadly,
        either(raised(ValueError, "will not be awaited"), raised(TypeError)),
    ),
    Case(
        "5,000 buffers",
        "as a result",
        part(values.returns_many_buffers, 5000),
        value=part(values.has_length, size=5000),
    ),
    Case(
        "100 MB",
        "as a result",
        part(values.returns_bytes, 100 * MIB),
        value=part(values.has_length, size=100 * MIB),
        memory=GIB,
    ),
    Case(
        "100 MB in a buffer",
        "as a result",
        part(values.returns_a_buffer, 100 * MIB),
        value=part(values.is_buffer, size=100 * MIB),
        memory=GIB,
    ),
    Case(
        "1 GB",
        "as a result",
        part(values.returns_bytes, GIB),
        value=part(values.has_length, size=GIB),
        quick=False,
        memory=6 * GIB,
        within=60.0,
    ),
    Case(
        "1 GB in a buffer",
        "as a result",
        part(values.returns_a_buffer, GIB),
        value=part(values.is_buffer, size=GIB),
        quick=False,
        memory=6 * GIB,
        within=60.0,
    ),
]

BAD = part(exceptions.raises, ValueError, "of this input")
INPUTS = [
    Case("lock as input", "cannot be pickled", BAD, not_picklable("input"), **bad_input(values.lock), **MOVED),
    Case(
        "input: pickling raises",
        "ValueError, in the caller",
        BAD,
        either(not_picklable("input"), raised(ValueError)),
        **bad_input(Reducing, values.throw, ValueError),
        **MOVED,
    ),
    Case(
        "input: pickling exits",
        "SystemExit, in the caller",
        BAD,
        either(not_picklable("input"), raised(SystemExit)),
        **bad_input(Reducing, values.throw, SystemExit),
        **MOVED,
    ),
    Case(
        "input: pickling interrupts",
        "KeyboardInterrupt, in the caller",
        BAD,
        either(not_picklable("input"), raised(KeyboardInterrupt)),
        **bad_input(Reducing, values.throw, KeyboardInterrupt),
        **MOVED,
    ),
    Case(
        "input: loading raises",
        "ValueError, in the worker",
        BAD,
        raised(ValueError, "of the value's own"),
        **bad_input(Loaded, values.throw, ValueError),
        **MOVED,
    ),
    Case(
        "input: loading exits",
        "SystemExit, in the worker",
        BAD,
        raised(SystemExit, "of the value's own"),
        **bad_input(Loaded, values.throw, SystemExit),
        **MOVED,
    ),
    Case(
        "input: loading interrupts",
        "KeyboardInterrupt, in the worker",
        BAD,
        raised(KeyboardInterrupt, "of the value's own"),
        **bad_input(Loaded, values.throw, KeyboardInterrupt),
        **MOVED,
    ),
    Case(
        "input: loading dies",
        "`os._exit(9)`, in the worker",
        BAD,
        died(9),
        **bad_input(Loaded, deaths.exits, 9),
        **MOVED,
    ),
    Case(
        "input: loading crashes",
        "in the worker",
        BAD,
        died(signal.SIGSEGV),
        **bad_input(Loaded, deaths.reads_address_0),
        **MOVED,
    ),
    Case("input of 100,000 levels", "a list in a list in ...", BAD, anything(), **bad_input(values.nested)),
    Case(
        "input: repr raises",
        "ValueError",
        BAD,
        raised(ValueError, "of this input"),
        **bad_input(Described, values.throw, ValueError),
    ),
    Case(
        "input: repr exits",
        "SystemExit",
        BAD,
        raised(ValueError, "of this input"),
        **bad_input(Described, values.throw, SystemExit),
    ),
    Case(
        "input: repr interrupts",
        "KeyboardInterrupt",
        BAD,
        raised(ValueError, "of this input"),
        **bad_input(Described, values.throw, KeyboardInterrupt),
    ),
    Case(
        "input: repr is huge",
        "100 MB",
        BAD,
        raised(ValueError, "of this input"),
        **bad_input(Described, str.ljust, "", 100 * MIB),
    ),
    Case(
        "input: repr is a number", "and no text", BAD, raised(ValueError, "of this input"), **bad_input(Described, int)
    ),
    Case(
        "input: class raises",
        "`__class__` does",
        BAD,
        raised(ValueError, "of this input"),
        **bad_input(values.DeniesItsClass, str),
    ),
    Case(
        "rude input", "raises whatever it is asked", BAD, raised(ValueError, "of this input"), **bad_input(values.Rude)
    ),
    Case(
        "100 MB as input",
        "of a task that fails",
        BAD,
        raised(ValueError, "of this input"),
        memory=GIB,
        **bad_input(bytes, 100 * MIB),
    ),
]

SURROUNDINGS = [
    Case("descriptors 0-2", "closes them", part(surroundings.closes, 0, 3), died(), may_survive=True, **SPOILING),
    Case("descriptors 3-999", "closes them", part(surroundings.closes, 3, 1000), died(), may_survive=True, **SPOILING),
    Case("every descriptor", "that it can find, is closed", surroundings.closes_all, died(), **SPOILING),
    Case(
        "files in their place",
        "closes all descriptors, opens files",
        surroundings.closes_all_and_opens_files,
        died(),
        after=surroundings.files_are_as_written,
        **SPOILING,
    ),
    Case(
        "sockets in their place",
        "closes all descriptors, opens sockets",
        surroundings.closes_all_and_opens_sockets,
        died(),
        after=surroundings.nothing_was_heard,
        **SPOILING,
    ),
    Case("descriptors covered", "by `os.dup2`", surroundings.covers_descriptors, died(), **SPOILING),
    Case(
        "descriptors not blocking",
        "sets all so",
        surroundings.sets_all_nonblocking,
        died(),
        may_survive=True,
        **SPOILING,
    ),
    Case("sockets shut down", "all of them", surroundings.shuts_all_sockets_down, died(), **SPOILING),
    Case("files truncated", "all that are open", surroundings.truncates_all, died(), may_survive=True, **SPOILING),
    Case(
        "garbage",
        "writes to all descriptors",
        surroundings.writes_to_all,
        died(),
        may_survive=True,
        limits={"process": "the task that its worker has begun meanwhile is begun once more"},
        **SPOILING,
    ),
    Case(
        "garbage in front",
        "writes over the beginning of all files",
        surroundings.writes_over_all,
        died(),
        may_survive=True,
        **SPOILING,
    ),
    Case(
        "files rewound",
        "all of them, then crashes",
        surroundings.rewinds_all_and_crashes,
        died(signal.SIGSEGV),
        **SPOILING,
    ),
    Case(
        "crash with files in their place",
        "closes all descriptors, opens files, crashes",
        surroundings.puts_files_in_place_and_crashes,
        died(),
        after=surroundings.files_are_as_written,
        **SPOILING,
    ),
    Case("exit patched", "`os._exit` raises", surroundings.patches_the_exit, **SPOILING),
    Case("stdout closed", "`sys.stdout.close()`", surroundings.closes_stdout, **SPOILING),
    Case("no stdout", "`sys.stdout = None`", part(surroundings.replaces_stdout, None), **SPOILING),
    Case("another stdout", "`sys.stdout = io.StringIO()`", surroundings.replaces_stdout_by_text, **SPOILING),
    Case("directory deleted", "its own", surroundings.deletes_its_directory, **SPOILING),
    Case("caller's directory deleted", "under its feet", surroundings.deletes_the_callers_directory, **SPOILING),
    Case("environment cleared", "`os.environ.clear()`", surroundings.clears_the_environment, **SPOILING),
    Case("environment spoilt", "with bytes that are no text", surroundings.spoils_the_environment, **SPOILING),
    Case("8 descriptors", "`RLIMIT_NOFILE`", part(surroundings.limits_itself, resource.RLIMIT_NOFILE, 8), **SPOILING),
    Case(
        "files of no length",
        "`RLIMIT_FSIZE`, and a result of 10 MB",
        part(surroundings.returns_much_under_a_limit, 10 * MIB),
        value=part(values.has_length, size=10 * MIB),
        **SPOILING,
    ),
    Case("signals ignored", "SIGCHLD too", surroundings.ignores_signals, **SPOILING, **UNMIXED),
    Case("default signals", "SIGPIPE and SIGINT too", surroundings.takes_default_signals, **SPOILING, **UNMIXED),
    Case("signals blocked", "all", surroundings.blocks_signals, **SPOILING),
    Case("signals' descriptor", "`signal.set_wakeup_fd`", surroundings.wakes_nobody, **SPOILING, **UNMIXED),
    Case("group left", "and it goes on", surroundings.leaves_its_group, **SPOILING),
    Case("niceness", "also umask and CPU affinity", surroundings.is_slow_and_alone, **SPOILING),
    Case("modules cleared", "`sys.modules.clear()`", surroundings.clears_modules, **SPOILING),
    Case("import path cleared", "and all that imports", surroundings.clears_path, **SPOILING),
    Case(
        "builtins deleted",
        "`print`, `len`, `isinstance` ...",
        surroundings.deletes_builtins,
        died(),
        may_survive=True,
        **SPOILING,
    ),
    Case(
        "pickle patched",
        "its functions raise",
        surroundings.patches_pickle,
        either(died(), anything()),
        may_survive=True,
        **SPOILING,
    ),
    Case(
        "much patched",
        "in `time`, `os`, `socket`, `threading`",
        surroundings.patches_much,
        either(died(), anything()),
        may_survive=True,
        **SPOILING,
    ),
    Case("no collection", "`gc.disable()`", surroundings.turns_off_collection, **SPOILING),
    Case(
        "little recursion",
        "a low `sys.setrecursionlimit`",
        surroundings.allows_little_recursion,
        either(raised(RecursionError), died()),
        may_survive=True,
        **SPOILING,
    ),
    Case(
        "tracing",
        "by a function that raises",
        surroundings.traces,
        either(raised(ValueError), died()),
        may_survive=True,
        **SPOILING,
    ),
    Case("switch interval", "of 1,000 s", surroundings.switches_seldom, **SPOILING),
    Case("warnings as errors", "for good", surroundings.makes_warnings_errors, **SPOILING),
    Case("hooks", "that raise, and one that sleeps at the end", surroundings.spoils_hooks, **SPOILING),
    Case(
        "audit hook",
        "that forbids everything",
        surroundings.audits,
        either(died(), anything()),
        may_survive=True,
        **SPOILING,
    ),
]

OUTPUT = [
    Case("10 MB in lines", "printed", printing.prints_lines),
    Case("10 MB in one line", "printed", printing.prints_one_line),
    Case("10 MB of no text", "bytes that are not UTF-8", printing.writes_bytes),
    Case("10 MB past sys.stdout", "to descriptors 1 and 2", printing.writes_to_descriptors),
    Case("lone surrogate", "printed", printing.prints_a_lone_surrogate, raised(UnicodeEncodeError), may_survive=True),
    Case("stdin", "reads it", printing.reads_stdin, either(raised(EOFError), raised(RuntimeError))),
    Case("bad log records", "wrong arguments, values without words", printing.logs_badly),
    Case("warning", "given by `warnings.warn`", printing.warns),
    Case("lock of the log", "kept by a thread", printing.holds_the_log, left=("inline", "async", "thread", "auto")),
]

OFFSPRING = [
    Case("exception in a thread", "of the task's", offspring.raises_in_a_thread),
    Case(
        "sleeping thread",
        "is left behind, a daemon",
        part(offspring.leaves_a_thread, True, offspring.sleep_on),
        **SPOILING,
    ),
    Case(
        "stubborn thread",
        "is left behind, not a daemon",
        part(offspring.leaves_a_thread, False, offspring.sleep_on),
        **SPOILING,
    ),
    Case("computing thread", "is left behind", part(offspring.leaves_a_thread, True, offspring.compute_on), **SPOILING),
    Case("printing thread", "is left behind", part(offspring.leaves_a_thread, True, offspring.print_on), **SPOILING),
    Case(
        "programs left behind",
        "end with the worker",
        offspring.leaves_programs,
        kinds=ISOLATED,
        why="they are the caller's",
    ),
    Case("programs of the dead", "starts programs, then dies", offspring.breeds_and_dies, died(1), gone=True, **DEADLY),
    Case("fork", "returns in both processes", offspring.forks, **FORKING),
    Case("fork and raise", "in both processes", offspring.forks_and_raises, raised(ValueError, "in both"), **FORKING),
    Case("fork and leave", "the child sleeps", offspring.forks_and_leaves_it, **SPOILING),
    Case("fork and exit", "the child, with a status", offspring.forks_and_exits_there, **SPOILING),
    Case(
        "fork past Python",
        "by the C library, and return in both",
        offspring.forks_past_python,
        died(),
        may_survive=True,
        limits=dict.fromkeys(ISOLATED, "two processes then speak for one; a neighbour may be blamed"),
        **SPOILING,
    ),
    Case(
        "fork past Python and die",
        "the child holds what was open",
        offspring.forks_past_python_and_dies,
        died(1),
        gone=True,
        **DEADLY,
    ),
    Case("program", "is run by `subprocess`", offspring.runs_a_program),
    Case("threads", "by `ThreadPoolExecutor`", offspring.uses_threads),
    Case(
        "asyncio",
        "`asyncio.run` in a task",
        offspring.uses_asyncio,
        unmixed=("async",),
        kinds=("process", "thread", "inline", "auto"),
        why="a loop is running there",
    ),
    Case("flatout in a task", "auto", part(offspring.uses_flatout, "auto")),
    Case("flatout processes in a task", 'via="process"', part(offspring.uses_flatout, "process")),
    Case("flatout threads in a task", 'via="thread"', part(offspring.uses_flatout, "thread")),
    Case(
        "not cores x cores",
        "auto chooses no processes in a worker",
        offspring.is_not_multiplied,
        kinds=("process",),
        why="elsewhere it may",
    ),
    Case("flatout.Executor in a task", "of processes", offspring.uses_flatouts_executor),
    Case("run left open", "by a task", offspring.leaves_a_run_open, **SPOILING),
    Case("multiprocessing in a task", "a pool, forked", part(offspring.uses_multiprocessing, "fork"), **SPOILING),
    Case("multiprocessing, spawned", "a pool in a task", part(offspring.uses_multiprocessing, "spawn"), **SPOILING),
    Case(
        "ProcessPoolExecutor in a task",
        "as it is",
        offspring.uses_process_pool_executor,
        # By default it then starts a server, with a folder for its socket; a worker is killed, and so takes nothing away.
        limits=dict.fromkeys(ISOLATED, "as of Python 3.14 a folder `pymp-*` stays")
        if sys.version_info >= (3, 14)
        else {},
        **SPOILING,
    ),
]

NOTHING: dict[str, Any] = {"fault": str, "at": ()}
RUNS = [
    Case(
        "input iterator raises",
        "ValueError after five",
        ends=input_failed(ValueError),
        delivered=5,
        inputs=part(values.breaks_off, 5, ValueError),
        **NOTHING,
    ),
    Case(
        "input iterator exits",
        "SystemExit after five",
        ends=either(input_failed(SystemExit), raised(SystemExit)),
        delivered=5,
        inputs=part(values.breaks_off, 5, SystemExit),
        **NOTHING,
    ),
    Case(
        "input iterator interrupts",
        "KeyboardInterrupt after five",
        ends=either(input_failed(KeyboardInterrupt), raised(KeyboardInterrupt)),
        delivered=5,
        inputs=part(values.breaks_off, 5, KeyboardInterrupt),
        **NOTHING,
    ),
    Case(
        "input iterator raises at once",
        "before the first",
        ends=input_failed(ValueError),
        inputs=part(values.breaks_off, 0, ValueError),
        **NOTHING,
    ),
    Case(
        "async input raises",
        "ValueError after five",
        ends=input_failed(ValueError),
        delivered=5,
        inputs=part(values.breaks_off_async, 5),
        peers="they take no async iterables",
        **NOTHING,
    ),
    Case(
        "no iterator",
        "`__iter__` raises",
        ends=either(input_failed(ValueError), raised(ValueError)),
        inputs=values.NoIterator,
        **NOTHING,
    ),
    Case(
        "sequence breaks",
        "`__getitem__` raises after five",
        ends=input_failed(ValueError),
        delivered=5,
        inputs=values.Breaking,
        **NOTHING,
    ),
    Case("sequence lies", "about its length", inputs=values.Lying, **NOTHING),
    Case("sequence has no length", "`__len__` raises", inputs=values.NoLength, **NOTHING),
    Case(
        "initializer raises",
        "LookupError",
        initializer=part(values.throw, LookupError),
        ends=raised(LookupError),
        **NOTHING,
    ),
    Case(
        "initializer exits",
        "SystemExit",
        initializer=part(values.throw, SystemExit),
        ends=raised(SystemExit),
        kinds=("process", "thread", "async"),
        why="in the caller's own thread it ends the program",
        fault=str,
        at=(),
    ),
    Case(
        "initializer dies", "`os._exit(3)`", initializer=part(deaths.exits, 3), ends=died(), fault=str, at=(), **DEADLY
    ),
    Case(
        "initializer crashes",
        "a segmentation fault",
        initializer=deaths.reads_address_0,
        ends=died(),
        fault=str,
        at=(),
        **DEADLY,
    ),
    Case(
        "function cannot be pickled",
        "it has a lock",
        part(str, values.lock()),
        ends=not_picklable("lock"),
        at=(),
        kinds=("process",),
        why="there it stays where it is",
    ),
    Case(
        "function: loading raises",
        "in the worker",
        values.Broken(values.throw, ValueError),
        ends=raised(ValueError),
        at=(),
        kinds=("process",),
        why="there it stays where it is",
    ),
    Case(
        "function: loading dies",
        "in the worker",
        values.Broken(deaths.exits, 9),
        ends=died(),
        at=(),
        kinds=("process",),
        why="there it stays where it is",
    ),
]

SECTIONS: dict[str, list[Case]] = {
    "A process that dies": DEATHS,
    "A process that dies later": AFTERMATHS,
    "An exception that is hard to bring home": ERRORS,
    "A task that takes too long": TIMES,
    "A result that is hard to bring home": RESULTS,
    "An input that is hard to bring there": INPUTS,
    "A process in a bad state": SURROUNDINGS,
    "What is printed": OUTPUT,
    "Threads, processes and other runs in a task": OFFSPRING,
    "Inputs, initializers and functions": RUNS,
}

CASES: list[Case] = [case for cases in SECTIONS.values() for case in cases]


def case_named(name: str) -> Case:
    return next(case for case in CASES if case.name == name)
