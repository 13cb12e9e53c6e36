"""From a measurement to a plan: the kind with the best predicted time, start-up against what is left to do."""

from __future__ import annotations

import math

from flatout._model import Measurement, Plan, Prediction, way
from flatout._plan import _law
from flatout._record import record, replace
from flatout._units import duration

GAIN = 1.2  # a kind must be predicted so many times faster than one that is nearer to the plain loop to be worth it
# Times that for processes against threads, where only a first call tells what calls compute that hardly do. (On a slow machine the
# first that asks a server for something computes 0.3-2.6 ms, the others 0.3; what threads do is looked at again.) Guessed.
DOUBTED = 1.5
HARDLY = 0.15  # share of a call's time up to which it is said to hardly compute for that; guessed
LEAST_GAIN = 0.002  # seconds that the move must save at least
UNKNOWN = 1000  # inputs taken to be left where their number is unknown; guessed
HAND_OVER = 0.0005  # seconds until a thread of flatout's own drives the run (estimated from runs on a busy machine)
THREAD_START = 0.00018  # seconds to its first call, nearly all with the GIL held (measured with 100-500: 0.18-0.3 ms)
THREAD_READY = 0.00004  # the same for one that is there from an earlier run (measured: 60 us with the end of its call)
PROCESS_START = 0.004  # seconds from a warm zygote to a worker's first task (measured: 3-4 ms)
PROCESS_READY = 0.0015  # the same for one that is there from an earlier run (estimated from runs on a busy machine)
ZYGOTE_START = 0.050  # seconds that the zygote takes to start (measured: 40-60 ms)
THREAD_TASK = 0.2e-6  # seconds to hand a task to a thread and take its result, and
THREAD_BATCH = 20e-6  # the same for the batch that it is in (CPU seconds measured with batches of 1, 10 and 100 no-ops)
BATCH = 0.040  # seconds of calls in a batch, as the dispatcher makes them
EACH = 0.0003  # seconds of a call that mostly waits, from which it has a thread for itself, as the dispatcher has it
MODEST = 0.030  # seconds of a call, below which the caller's thread makes some while processes start, as the dispatcher has it
PROCESS_TASK = (
    0.3e-6  # the same for a process, pickling apart (measured with calls of 2 us: 0.09-0.15 in each of the two);
)
PARENT_TASK = (
    0.4e-6  # what this process takes of it where it is what holds up the others: two cores do not show that; guessed
)
# The same for the batch, in CPU seconds: the driver's thread needs 0.2-0.4 ms beside calls that fill the caches (measured); what
# the consumer and the worker need is guessed.
PROCESS_BATCH = 400e-6
# Of what a core computes alone that each further one adds (measured: two do 1.87-2.0 times as much as one; a virtual machine may
# not tell that two share what one has: then the report shows it in the time of a call).
ALL_BUSY = 0.94
# The same for one that is a second hardware thread of a core (reported: up to 0.3; Marr et al., Hyper-Threading Technology
# Architecture and Microarchitecture, Intel Technology Journal 6(1), 2002; no machine that has them was at hand).
SECOND_THREAD = 0.25
MOST_THREADS = 512  # beyond it start-up and the GIL eat what more waiting in parallel brings (measured with 500)
MOST_TASKS = 1000  # coroutines in flight
MOST_PROCESSES = 8  # per core, for work that waits where nothing but a process will do; guessed
MIXED_TASK = 40e-6  # seconds to hand a task to a thread of a process and take its result (measured)
# Times as long where just enough processes wait by turns, or fewer: now and then all of a core's do. (200 calls of 5 ms asleep and
# 5 ms of Python: 4 processes 720-750 ms, 6 655-685, 16 threads in two processes 630-670, measured.)
JUST_ENOUGH = 1.1
AMPLE = 4  # times the calls in flight that would do if each took just the mean: for those that happen to wait; guessed
MIXED = 0.25  # share of a call's time spent waiting from which it is worth having more of them than processes; guessed
MOSTLY = 0.7  # share of a call's time spent waiting from which the first call is no measure of its computing; guessed
# Times the threads that would do if each call took just the mean, where they mostly wait: they end and begin in waves.
# 400 GETs that are answered after 20 ms take 0.91 of the time so (measured).
IN_WAVES = 2
FIRST_CALL = 2  # times as long a call that mostly waits computes when it is the first (measured: 50-110 us for a sleep)
START = 100  # tasks in flight before it is known that more bring more; borrowed: aiohttp's limit of connections


@record
class Situation:
    """What a choice depends on beside the measurement.

    cores: CPUs to be used, and physical: of how many cores they are, None where each is one. left: inputs still to be done, None
    where unknown. no_process: why processes are out of the question, else empty.
    warm: whether the zygote is running; booting: seconds for which it has been starting, where it does not yet. gil: whether there is one. most: calls that may be under way at once, None where no option says so. under_way: seconds for which
    the caller's thread has been on the first call, where the decision falls in the middle of that. idle: worker processes
    that are there from an earlier run. kept: threads that are. begun: coroutines under way, which end in the loop where they are. quickest: seconds
    that coroutines take at least where none is in the way of another. writing: seconds until what is large of the function's
    data is written for processes, while the caller goes on; loading: seconds that it takes them to load the rest.
    """

    cores: int
    left: int | None = None
    no_process: str = ""
    warm: bool = False
    gil: bool = True
    most: int | None = None
    under_way: float = 0.0
    booting: float = 0.0
    idle: int = 0
    kept: int = 0
    begun: int = 0
    quickest: float = 0.0
    writing: float = 0.0
    loading: float = 0.0
    physical: int | None = None

    @property
    def boot(self) -> float:
        """Seconds until the zygote runs."""
        return 0.0 if self.warm else max(0.0, ZYGOTE_START - self.booting)

    @property
    def masters(self) -> float:
        """How many cores' worth of computing all cores do together."""
        whole = min(self.cores, self.physical or self.cores)
        return 1 + (whole - 1) * ALL_BUSY + (self.cores - whole) * SECOND_THREAD


def choose(measured: Measurement, situation: Situation) -> Plan:
    """The plan by the law, with every prediction and one sentence of reason.

    The further a kind is from the plain loop, the more it must win by: threads against it, processes against threads.
    """
    predictions = predict(measured, situation)
    best = predictions[0]
    doubted = measured.calls <= 1 and measured.wait > (1 - HARDLY) * measured.seconds
    gain = GAIN * (DOUBTED if doubted else 1.0)
    for rival in predictions:
        if situation.left != 0 and _beats(rival, best, situation.cores, gain) and not rival.impossible:
            best = rival
    processes = min(situation.cores, best.concurrency) if best.inside else None
    start = ceiling = best.concurrency
    if best.kind == "thread" and measured.wait > MOSTLY * measured.seconds:
        most = MOST_THREADS if situation.most is None else situation.most
        ceiling = max(start, most)
        if not (measured.own or first_call_tells_too_much(measured, best.useful)):
            start = max(start, min(IN_WAVES * start, most, MOST_THREADS, _left(situation)))
    return Plan(
        best.kind,
        start,
        ceiling,
        reason=_reason(best, start, measured, situation, predictions),
        measured=measured,
        predictions=predictions,
        processes=processes,
        inside=best.inside,
    )


def restate(plan: Plan, measured: Measurement, situation: Situation) -> Plan:
    """The same plan with the figures of a later measurement, as long as they do not show it to be impossible."""
    predictions = predict(measured, situation)
    followed = replace(plan, predictions=predictions).predicted
    if followed is None or followed.impossible:
        return plan
    reason = _reason(followed, plan.concurrency, measured, situation, predictions)
    return replace(plan, reason=reason, measured=measured, predictions=predictions)


def _beats(rival: Prediction, best: Prediction, cores: int, gain: float) -> bool:
    """Whether a way further from the plain loop is to be preferred. gain: what processes must win by against threads.

    A mixture need not win against more processes than there are cores: it takes less memory.
    """
    if rival.inside and best.kind == "process" and best.concurrency > cores:
        return rival.seconds <= best.seconds
    least = gain if (rival.kind, best.kind) == ("process", "thread") else GAIN
    return rival.seconds * least < best.seconds and best.seconds - rival.seconds > LEAST_GAIN


def for_cores(plan: Plan, before: int, cores: int) -> Plan:
    """The plan for processes where there are so many cores instead of those it was made for: workers in proportion."""
    if cores == before:
        return plan
    ceiling = None if plan.ceiling is None else max(1, round(plan.ceiling * cores / before))
    reason = f"{plan.reason}; in mid-run the cores went from {before} to {cores}, and the workers with them"
    concurrency, processes = max(1, round(plan.concurrency * cores / before)), cores if plan.inside else None
    return replace(plan, concurrency=concurrency, ceiling=ceiling, processes=processes, reason=reason)


def async_plan(why: str, most: int | None) -> Plan:
    """The plan for what is to be awaited."""
    ceiling = MOST_TASKS if most is None else most
    reason = f"{why}: one event loop keeps up to {ceiling} calls in flight, switching at every await"
    return Plan("async", ceiling if most is not None else START, ceiling, reason=reason)


def predict(measured: Measurement, situation: Situation) -> tuple[Prediction, ...]:
    """Seconds for what is left, kind by kind."""
    each = _law.inline_seconds_per_call(measured.gil, measured.free, measured.wait)
    return (
        Prediction("inline", 1, (_left(situation) + _rest(measured, situation)) * each),
        Prediction("async", 0, math.inf, "the function does not return an awaitable"),
        _threads(measured, situation),
        _processes(measured, situation),
        _mixture(measured, situation),
    )


def _rest(measured: Measurement, situation: Situation) -> float:
    """How much of a call the caller's thread still has before it: where it is in the middle of the first, half of it.

    When that is over it is known.
    """
    if not measured.calls:
        return 0.5
    return max(0.0, 1.0 - situation.under_way / measured.seconds) if situation.under_way and measured.seconds else 0.0


def _left(situation: Situation) -> int:
    return UNKNOWN if situation.left is None else situation.left


def _threads(measured: Measurement, situation: Situation) -> Prediction:
    """The driver is a thread, too: what it does for a call takes the GIL from all."""
    n, m = _left(situation), situation.cores
    gil, free, wait, own = measured.gil, measured.free, measured.wait, measured.own
    useful = min(_law.useful_in_flight(gil, free + wait), _law.useful_in_flight(gil + free, wait, m, own))
    less = FIRST_CALL if first_call_tells_too_much(measured, useful) else 1
    gil /= less
    k = _clamp(less * useful, m, n, situation.most, MOST_THREADS)
    alone = measured.seconds >= EACH and wait > measured.seconds / 2
    handling = THREAD_TASK + THREAD_BATCH * (1.0 if alone else _batches_per_call(n, measured.seconds, k))
    each = _law.thread_seconds_per_call(gil + handling, free, wait, situation.masters, k, own)
    # The GIL is held for the start of threads, and for the rest of the call that goes on in the caller's.
    kept = min(k, situation.kept)
    start = (kept * THREAD_READY + (k - kept) * THREAD_START) / k
    begun = _law.workers_begun(n, measured.seconds, k, start)
    busy = _rest(measured, situation) * gil + begun * start
    seconds = HAND_OVER + _law.run_seconds(n, each, measured.seconds, k, start, busy)
    return Prediction("thread", k, seconds, masters=_law.thread_masters(gil, free, m, own), useful=useful)


def first_call_tells_too_much(measured: Measurement, useful: float) -> bool:
    """Whether only a first call has been seen, which computes more than the others, and mostly waits."""
    return measured.calls <= 1 and useful > START


def _processes(measured: Measurement, situation: Situation) -> Prediction:
    n, m, transfer = _left(situation), situation.cores, measured.transfer
    gil, free, wait, own = measured.gil, measured.free, measured.wait, measured.own
    impossible = situation.no_process or measured.unpicklable
    useful = _law.useful_in_flight(gil + free + transfer, wait, m, own)
    ample = _law.ample_in_flight(gil + free + transfer, wait, m, own)
    k = _clamp(ample if wait >= MIXED * measured.seconds else useful, m, n, situation.most, MOST_PROCESSES * m)
    batch = PROCESS_BATCH * _batches_per_call(n, measured.seconds + transfer, k)
    moving, parent = transfer + PROCESS_TASK + batch, (transfer + batch) / 2 + PARENT_TASK
    each = _law.process_seconds_per_call(gil, free, wait, moving, situation.masters, k, parent, own)
    each *= JUST_ENOUGH if m < k < _but_for_noise(ample) else 1.0
    start = _starting(situation, k)
    alone = situation.writing + (_starting(situation, 1) if measured.seconds < MODEST else 0.0)
    start += situation.writing + situation.loading
    if alone and start < n * measured.seconds:
        start -= each * (alone // measured.seconds)  # the caller makes so many calls until the first is there
    seconds = start + _run_seconds(measured, situation, each, measured.seconds + transfer, k)
    return Prediction("process", k, math.inf if impossible else seconds, impossible, masters=m, useful=useful)


def _mixture(measured: Measurement, situation: Situation) -> Prediction:
    """Threads in each of as many processes as there are cores."""
    n, m, transfer = _left(situation), situation.cores, measured.transfer
    gil, free, wait, own = measured.gil, measured.free, measured.wait, measured.own
    impossible = situation.no_process or measured.unpicklable or _no_need_to_mix(measured, n, m)
    useful = _law.useful_in_flight(gil + free + transfer, wait, m, own)
    k = _clamp(AMPLE * useful, m, n, situation.most, MOST_THREADS)
    moving = transfer + 2 * MIXED_TASK
    each = _law.process_seconds_per_call(gil, free, wait, moving, situation.masters, k, moving / 2, own)
    start = _starting(situation, min(m, k)) + -(-k // m) * THREAD_START + situation.writing + situation.loading
    seconds = start + _run_seconds(measured, situation, each, measured.seconds + transfer, k)
    return Prediction("process", k, math.inf if impossible else seconds, impossible, "thread", m, useful)


def _batches_per_call(calls: int, seconds: float, in_flight: int) -> float:
    """Short calls travel together: as many as make a batch, and ever fewer once so many batches are no longer left.

    Then the dispatcher sends a share of what is left, and 2 in_flight ln(largest) batches more than of the largest (for
    what that is, guided self-scheduling, see `_dispatch/_batching.py`).
    """
    largest = max(1.0, min(BATCH / max(seconds, 1e-9), calls / (2 * in_flight)))
    return min(1.0, 1.0 / largest + 2 * in_flight * math.log(largest) / max(1, calls))


def _starting(situation: Situation, processes: int) -> float:
    """Seconds until so many worker processes are at work."""
    ready = min(processes, situation.idle)
    return situation.boot + HAND_OVER + (PROCESS_READY if ready else 0.0) + (processes - ready) * PROCESS_START


def _run_seconds(measured: Measurement, situation: Situation, each: float, seconds: float, in_flight: int) -> float:
    """Of workers that begin together, beside the call that goes on in the caller's thread."""
    rest = _rest(measured, situation) * (measured.gil + measured.free) / situation.masters
    return _law.run_seconds(_left(situation), each, seconds, in_flight, busy=rest)


def _no_need_to_mix(measured: Measurement, n: int, m: int) -> str:
    """Why threads alone, or processes alone, do as well; empty where they do not."""
    if measured.wait < MIXED * measured.seconds:
        return "a call hardly waits"
    if measured.calls <= 1 and measured.wait > MOSTLY * measured.seconds:
        return "one call tells little of how long those that mostly wait compute"
    most = max(1, min(n, MOST_THREADS))
    each = _law.thread_seconds_per_call(measured.gil, measured.free, measured.wait, m, most, measured.own)
    return "" if each <= measured.gil else "threads hardly wait for the GIL"


def _but_for_noise(useful: float) -> float:
    """A tenth of what would be useful is given away, lest noise add a call in flight."""
    return 0.9 * useful - 0.1


def _clamp(useful: float, cores: int, left: int, most: int | None, ceiling: int) -> int:
    """Calls in flight to plan for."""
    wanted = max(min(useful, cores) - 0.1, _but_for_noise(useful))
    k = min(ceiling, max(1, left), ceiling if most is None else most, wanted)
    return max(1, math.ceil(k))


def _reason(
    best: Prediction, start: int, measured: Measurement, situation: Situation, predictions: tuple[Prediction, ...]
) -> str:
    left = f"for the {situation.left} left" if situation.left is not None else f"for each {UNKNOWN} of the rest"
    left = "with nothing left to do" if situation.left == 0 else left
    others = sorted((p for p in predictions if p is not best and not p.impossible), key=lambda p: p.seconds)
    if best.kind != "inline":
        least = "" if measured.calls else "at least "
        takes = f"{left}, {_so_many(best, situation.cores)} should take {least}{duration(best.seconds)}"
        if best.kind == "thread" and start > best.concurrency:
            takes += f" ({start} are begun, since calls that wait end in waves)"
        text = f"{takes}, {' and '.join(f'{_names(p)} {duration(p.seconds)}' for p in others)}"
    else:
        text = f"kept in the plain loop, which should take {duration(best.seconds)} {left}"
        text += f" ({_names(others[0])}, the best of the others: {duration(others[0].seconds)})"
    blocked = next(p.impossible for p in predictions if p.kind == "process") if best.kind != "process" else ""
    if (data := situation.writing + situation.loading) > LEAST_GAIN:
        text += f"; processes need {duration(data)} to load the function with its data"
    text = f"{describe(measured, situation.gil)}; {text}"
    return f"{text}; processes are ruled out: {blocked}" if blocked else text


def _so_many(best: Prediction, cores: int) -> str:
    if best.inside:
        return f"{best.concurrency} calls in threads of {min(cores, best.concurrency)} processes"
    return f"1 {best.kind}" if best.concurrency == 1 else f"{best.concurrency} {_names(best)}"


def _names(prediction: Prediction) -> str:
    return _NAMES[way(prediction.kind, prediction.inside)]


_NAMES = {
    "inline": "the plain loop",
    "async": "coroutines",
    "thread": "threads",
    "process": "processes",
    "process of threads": "threads in processes",
    "process of loops": "event loops in processes",
}


def describe(measured: Measurement, gil: bool = True) -> str:
    """What a call does, with the figures."""
    seconds = measured.seconds or 1e-9
    parts: list[str] = []
    for share, what in (
        (measured.gil, "computing with the GIL held" if gil else "computing that gains nothing from threads"),
        (measured.free, "computing with the GIL let go" if gil else "computing (there is no GIL)"),
        (measured.wait, "waiting"),
    ):
        if share >= 0.05 * seconds:
            parts.append(f"{share / seconds:.0%} of it {what}" if not parts else f"{share / seconds:.0%} {what}")
    if measured.own:
        parts.append(f"{measured.cores:.1f} cores busy with its own threads or processes")
    length = duration(measured.seconds)
    length = f"at least {duration(measured.seconds / 2)}" if measured.calls == 0 else length
    return f"a call takes {length}, {', '.join(parts) or 'next to nothing'}"
