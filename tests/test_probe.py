"""What the probe says of work that is really done, alone and beside others that want the same cores."""

from __future__ import annotations

import _thread
import contextlib
import functools
import gc
import hashlib
import itertools
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from queue import SimpleQueue

import pytest
from builds import needs_gil

import flatout
from flatout._machine._machine import usable_cores
from flatout._model import Measurement
from flatout._plan import _probe, _spinning
from flatout._plan._brisk import FOR_EACH, HURRIED, brisk
from flatout._plan._evidence import BOOT_AFTER, WAITED, Beside, Evidence
from flatout._plan._probe import Probe
from flatout._threads import _kept
from flatout._threads._times import VISIBLE, Queued, RunQueue, clock_of_native, read

BIG = bytes(2_000_000)
TEXT = "x" * 40_000


def compute() -> int:
    total = 0
    for i in range(30_000):
        total += i * i % 7
    return total


def look_for() -> object:
    return re.search("x*y|x*z", TEXT[:200])


def digest() -> bytes:
    return hashlib.sha256(BIG).digest()


def measure(call: Callable[[], object]) -> Measurement:
    """Call it until the probe has seen enough."""
    enough = threading.Event()
    probe = Probe(enough.set, lambda each: None)
    deadline = time.monotonic() + 60
    while not enough.is_set():
        probe.begin()
        call()
        probe.end(1)
        assert time.monotonic() < deadline
    return probe.measurement()


def shares(call: Callable[[], object]) -> tuple[float, float, float]:
    """Of the time of a call: computing with the GIL, without it, waiting."""
    measured = measure(call)
    print(measured)
    return measured.gil / measured.seconds, measured.free / measured.seconds, measured.wait / measured.seconds


@pytest.fixture(params=[0, 2], ids=["alone", "beside two others"])
def company(request: pytest.FixtureRequest) -> Iterator[None]:
    with beside(request.param):
        yield


@contextlib.contextmanager
def beside(count: int) -> Iterator[None]:
    """So many other processes that never stop computing."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


@pytest.mark.usefixtures("company")
@pytest.mark.parametrize("call", [compute, look_for])
@needs_gil
def test_python_and_a_regex_hold_the_gil(call: Callable[[], object]) -> None:
    for _ in range(5):
        gil, free, _ = shares(call)
        assert gil / (gil + free) > 0.8


@pytest.mark.usefixtures("company")
def test_sha256_lets_go_of_the_gil() -> None:
    """A reading may be spoilt by a thread that lost its core with the GIL in its hand; not all are."""
    assert min(shares(digest)[0] for _ in range(9)) < 0.5


@pytest.mark.usefixtures("company")
def test_sleep_waits() -> None:
    assert max(shares(functools.partial(time.sleep, 0.005))[2] for _ in range(9)) > 0.8


@pytest.mark.usefixtures("company")
def test_waiting_for_a_core_is_no_waiting() -> None:
    assert min(shares(compute)[2] for _ in range(9)) < 0.2


def test_waiting_for_the_gil_is_no_waiting() -> None:
    """Another thread of the program takes it in the middle of each call, for ten times as long as the call computes."""

    def share_of_waiting() -> float:
        wanted, over = threading.Event(), threading.Event()

        def hold() -> None:
            while wanted.wait() and not over.is_set():
                wanted.clear()
                sum(range(2_000_000))

        def call() -> None:
            compute()
            wanted.set()
            compute()

        holder = threading.Thread(target=hold)
        holder.start()
        try:
            return shares(call)[2]
        finally:
            over.set()
            wanted.set()
            holder.join()

    assert sorted(share_of_waiting() for _ in range(9))[4] < 0.4


@needs_gil
def test_a_call_that_lets_go_of_the_gil_for_moments_holds_it() -> None:
    """Such a one falls into step with the looks: each comes when the GIL is free."""

    def call() -> None:
        compute()
        os.stat("/")

    gil, _, _ = shares(call)
    assert gil > 0.5


def test_what_threads_of_the_functions_own_compute_is_its_own() -> None:
    data = BIG * 8  # once: to make it takes the calling thread as long as the others take to sum it up

    def call() -> None:
        threads = [threading.Thread(target=hashlib.sha256, args=(data,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    measurements = [measure(call) for _ in range(9)]  # of which a busy machine may spoil some
    assert any(measured.own > measured.gil + measured.free for measured in measurements)
    assert all(measured.own <= usable_cores() * measured.seconds for measured in measurements)


BURN = "import time\nwhile time.process_time() < {seconds}: pass"


def burn_in_a_program(seconds: float) -> None:
    subprocess.run([sys.executable, "-S", "-E", "-c", BURN.format(seconds=seconds)], check=True)


def test_what_a_program_computes_that_was_waited_for_is_the_calls_own() -> None:
    measurements = [measure(functools.partial(burn_in_a_program, 0.05)) for _ in range(9)]
    assert any(measured.own > measured.gil + measured.free for measured in measurements)
    assert max(measured.own for measured in measurements) > 0.03


def test_what_a_program_computes_that_still_runs_is_the_calls_own() -> None:
    """Told in the middle of the first call, and of a system that counts in ticks of 10 ms."""
    enough = threading.Event()
    probe = Probe(enough.set, lambda each: None)
    probe.begin()
    with subprocess.Popen([sys.executable, "-S", "-E", "-c", "while True: pass"]) as program:
        try:
            assert enough.wait(60)
            deadline = time.monotonic() + 60
            while (measured := probe.measurement()).own < 0.1:
                assert time.monotonic() < deadline
        finally:
            program.kill()
    probe.end(1)
    assert measured.calls == 0
    assert measured.wait > 0  # the call itself does nothing but wait


def test_what_does_nothing_of_its_own_is_said_to_do_nothing() -> None:
    assert [measure(functools.partial(time.sleep, 0.01)).own for _ in range(3)] == [0.0] * 3
    assert [measure(compute).own for _ in range(3)] == [0.0] * 3


def test_it_is_told_while_a_long_call_goes_on() -> None:
    enough = threading.Event()
    probe = Probe(enough.set, lambda each: None)
    probe.begin()
    assert enough.wait(60)
    measured = probe.measurement()
    probe.end(1)
    assert measured.calls == 0
    assert measured.wait >= WAITED  # the call is taken to be half over, at most


def test_the_next_call_is_not_made_while_another_thread_is_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would keep that from the GIL, and the choice would take as long as the next calls do."""
    monkeypatch.setattr(_probe, "AT_IT", 60.0)
    at_it, goes_on, over = threading.Event(), threading.Event(), threading.Event()

    def enough() -> None:
        at_it.set()
        goes_on.wait(60)  # without the GIL
        compute()
        over.set()

    probe = Probe(enough, lambda each: None)
    probe.begin()
    assert at_it.wait(60), "the call waits, and the watcher sees that"
    compute()  # so that the whole call does not settle what the beginning did
    threading.Timer(0.05, goes_on.set).start()
    assert not over.is_set()
    probe.end(1)
    assert over.is_set()
    probe.stop()


def test_it_is_told_once() -> None:
    told: list[int] = []
    probe = Probe(lambda: told.append(1), lambda each: None)
    for _ in range(50):
        probe.begin()
        compute()
        probe.end(1)
    probe.finish()
    assert told == [1]


def test_nothing_is_told_after_stop() -> None:
    told: list[int] = []
    probe = Probe(lambda: told.append(1), lambda each: None)
    probe.stop()
    for _ in range(50):
        probe.begin()
        compute()
        probe.end(1)
    assert told == []


def test_computing_is_told_early_and_waiting_is_not() -> None:
    computing = threading.Event()
    probe = Probe(lambda: None, lambda each: computing.set)
    deadline = time.monotonic() + 60
    while not computing.is_set():
        probe.begin()
        compute()
        probe.end(1)
        assert time.monotonic() < deadline
    probe.stop()
    waiting: list[int] = []
    idle = Probe(lambda: None, lambda each: waiting.append(1))
    idle.begin()
    time.sleep(10 * BOOT_AFTER)
    idle.end(1)
    idle.stop()
    assert waiting == []


def test_computing_is_told_again_until_there_is_something_to_do() -> None:
    told: list[float] = []
    prepared = threading.Event()

    def computing(each: float) -> Callable[[], object] | None:
        told.append(each)
        return prepared.set if len(told) == 3 else None

    probe = Probe(lambda: 60.0, computing)  # seconds that it is to be watched for yet: it is never judged before
    deadline = time.monotonic() + 60
    after = 0
    while after < 10:
        probe.begin()
        compute()
        probe.end(1)
        after += prepared.is_set()
        assert time.monotonic() < deadline
    probe.stop()
    assert len(told) == 3
    assert all(each > 0 for each in told)


@pytest.mark.parametrize(("rivals", "interval"), [(0, HURRIED), (20, 20 * FOR_EACH), (1000, None)])
def test_the_more_threads_want_the_gil_the_longer_one_keeps_it(rivals: int, interval: float | None) -> None:
    """They all wake at every interval."""
    before = sys.getswitchinterval()
    with brisk.hurried(rivals):
        assert sys.getswitchinterval() == pytest.approx(before if interval is None else interval, rel=0.01)
    assert sys.getswitchinterval() == before


def test_what_was_measured_is_per_call() -> None:
    probe = Probe(lambda: None, lambda each: None)
    probe.begin()
    for _ in range(10):
        time.sleep(0.002)
    probe.end(10)
    probe.stop()
    measured = probe.measurement()
    assert measured.calls == 10
    assert measured.wait >= 0.001


def test_no_descriptor_is_left_open() -> None:
    measure(compute)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        measure(functools.partial(time.sleep, 0.005))
    deadline = time.monotonic() + 60
    while len(os.listdir("/proc/self/fd")) > before:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("call", [compute, functools.partial(time.sleep, 0.003)])
def test_where_no_thread_can_read_the_clock_of_another_one_watcher_tells_well_what_calls_take(
    call: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS."""
    monkeypatch.delattr(time, "pthread_getcpuclockid")
    watchers = []

    def watched() -> None:
        call()
        watchers.append(sum(thread.name == "flatout-probe" for thread in threading.enumerate()))

    began = time.perf_counter()
    measured = measure(watched)
    assert len(watchers) > 1
    assert set(watchers) == {1}
    assert 0 < measured.seconds <= time.perf_counter() - began
    computes = (measured.gil + measured.free) / measured.seconds
    assert computes > 0.5 if call is compute else computes < 0.5


@needs_gil
def test_the_switch_interval_is_as_before_when_the_first_calls_are_over() -> None:
    before = sys.getswitchinterval()
    seen = flatout.map(lambda x: sys.getswitchinterval(), range(2)).results()
    assert seen[0] <= 0.001
    assert sys.getswitchinterval() == before


@pytest.mark.parametrize(("seconds", "count"), [(0.03, 100), (0.002, 3000)])
def test_where_calls_wait_the_switch_interval_is_as_before_once_it_is_chosen(seconds: float, count: int) -> None:
    """Threads that want the GIL look for it at every interval: at 0.1 ms hundreds of them fill the cores with that.

    With so many calls the thread that has chosen may deal with their results as long as they come.
    """

    def wait(i: int) -> float:
        time.sleep(0.3 if i == 0 else seconds)
        return sys.getswitchinterval()

    before = sys.getswitchinterval()
    run = flatout.map(wait, range(count))
    seen = run.results()
    assert run.plan.kind == "thread", run.plan.reason
    assert seen[1:] == [before] * (count - 1)


def test_what_comes_after_no_ops_is_not_taken_for_one() -> None:
    enough = threading.Event()
    probe = Probe(enough.set, lambda each: None)
    probe.begin()
    probe.end(8_000)
    while not enough.is_set():
        probe.begin()
        compute()
        probe.end(1)
    measured = probe.measurement()
    began = time.thread_time()
    compute()
    assert measured.seconds > (time.thread_time() - began) / 4


def test_threads_of_an_earlier_run_that_are_still_at_its_end_are_not_taken_for_the_calls() -> None:
    over = threading.Event()

    def compute_on() -> None:
        while not over.is_set():
            hashlib.sha256(BIG).digest()

    _kept.take("of an earlier run").inbox.put(compute_on)
    try:
        assert measure(functools.partial(time.sleep, 0.005)).own == 0.0
    finally:
        over.set()


class Stranger:
    """A thread that Python does not know. It computes without the GIL, then rests, and when all is over ends."""

    def __init__(self, iterations: int) -> None:
        self._rests, self._over = threading.Event(), threading.Event()
        tids: SimpleQueue[int] = SimpleQueue()

        def compute() -> None:
            tids.put(_thread.get_native_id())
            hashlib.pbkdf2_hmac("sha256", b"", b"", iterations)
            self._rests.set()
            self._over.wait()

        _thread.start_new_thread(compute, ())
        self._clock = clock_of_native(tids.get())
        while self.cpu() < 0.001:  # before that it may want the GIL
            time.sleep(0.001)

    def cpu(self) -> float:
        """Its CPU seconds."""
        return read(self._clock) or 0.0

    def __enter__(self) -> Stranger:
        return self

    def wait(self) -> None:
        """Until it rests."""
        assert self._rests.wait(60)

    def __exit__(self, *_: object) -> None:
        self.wait()
        self._over.set()


beside_strangers = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone tells of such threads")


@beside_strangers
def test_who_was_busy_before_the_calls_and_comes_to_rest_does_not_work_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_spinning, "SPINS", 60.0)
    deadline = time.monotonic() + 60
    while True:  # until no other program makes it look as if the calls waited
        with Stranger(200_000) as stranger:
            assert measure(compute).own == 0.0
            spent = stranger.cpu()
            stranger.wait()
            if stranger.cpu() - spent < spent / 10:
                break
        assert time.monotonic() < deadline, "the calls were judged before"


@beside_strangers
def test_who_was_busy_before_the_calls_and_never_comes_to_rest_works_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_spinning, "SPINS", 0.05)
    deadline = time.monotonic() + 60
    while True:  # until no other program makes it look as if the calls waited
        with Stranger(3_000_000):
            measured = measure(digest)
        if measured.own > 0.2 * measured.seconds:
            break
        assert time.monotonic() < deadline


@beside_strangers
def test_calls_that_wait_are_judged_while_somebody_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_spinning, "SPINS", 60.0)
    with Stranger(3_000_000) as stranger:
        assert measure(functools.partial(time.sleep, 0.01)).own == 0.0
        spent = stranger.cpu()
        stranger.wait()
        assert stranger.cpu() > 1.1 * spent, "the calls were judged after it came to rest"


def test_a_full_garbage_collection_is_none_of_the_calls_work() -> None:
    """It takes long where a program has many objects, and comes in whatever call."""
    calls, before = itertools.count(), [*gc.callbacks]
    heap: list[list[list[int]]] = [[[]] for _ in range(600_000)]

    def collect_once() -> None:
        compute()
        if next(calls) == 4:
            gc.collect()

    began = time.thread_time()
    gc.collect()
    cost = time.thread_time() - began
    measured = measure(collect_once)
    began = time.thread_time()
    compute()
    assert measured.seconds < (time.thread_time() - began) + cost / 8
    assert gc.callbacks == before
    del heap


def test_a_garbage_collection_waits_for_nobody_who_takes_note() -> None:
    """It may come in a thread that holds what that one waits for."""
    probe = Probe(lambda: None, lambda seconds: None)
    collecting = threading.Thread(target=gc.collect, daemon=True)
    probe.begin()
    try:
        probe._heed_collections()
        with probe._lock:
            collecting.start()
            collecting.join(timeout=20)
            assert not collecting.is_alive()
    finally:
        probe.stop()


class Held:
    """Refers to itself; what it was given is called when it is collected."""

    def __init__(self, then: Callable[[], object]) -> None:
        self.then, self.itself = then, self

    def __del__(self) -> None:
        self.then()


def test_what_a_collection_in_another_thread_has_taken_so_far_is_none_of_the_calls_work_either() -> None:
    """It may run code that lets go of the GIL, and go on when the call has ended."""
    inside, goes_on = threading.Event(), threading.Event()

    def hold_up() -> None:
        inside.set()
        goes_on.wait(60)

    gc.collect()
    Held(hold_up)
    collecting = threading.Thread(target=gc.collect, daemon=True)
    probe = Probe(lambda: None, lambda seconds: None)
    probe.begin()
    collecting.start()
    assert inside.wait(60)
    time.sleep(0.2)
    probe.note(1)
    during = probe.measurement()
    probe.begin()
    goes_on.set()
    collecting.join()
    probe.note(1)
    probe.stop()
    assert during.seconds < 0.1
    assert probe.measurement().seconds < 0.1, "nor is it taken out twice"
    assert during.wait >= 0 <= probe.measurement().wait


def test_to_load_what_tells_of_collections_is_no_import_of_the_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what a first call had computed until then would not count."""

    def call() -> None:
        began = time.thread_time()
        while time.thread_time() - began < 0.010:
            pass
        time.sleep(0.010)

    monkeypatch.delitem(sys.modules, "gc")
    enough = threading.Event()
    probe = Probe(enough.set, lambda each: None)
    probe.begin()
    call()
    probe.note(1)
    assert "gc" in sys.modules
    measured = probe.measurement()
    probe.stop()
    assert measured.gil + measured.free > 0.008


def test_calls_under_way_that_are_over_share_their_time() -> None:
    """After no-ops many calls lie in one batch, which is judged in its middle."""
    evidence = Evidence(gil=True)
    evidence.begun(0.0, 0.0)
    evidence.ended(1000, 0.001, 0.001, lambda: 0.0)
    evidence.begun(0.001, 0.001)
    evidence.in_hand(500, 0.002, 0.002)
    for over in (1, 2, 3):
        evidence.in_hand(500 + over, 0.002 + over * 0.010, 0.002 + over * 0.010)
    assert evidence.measurement(0.032, 0.032, 0.0, Beside()).seconds == pytest.approx(0.010)
    assert evidence.spent(0.032, 0.032)[0][2] == 1504


def test_what_the_watcher_takes_of_the_gil_is_no_waiting_of_calls_that_compute() -> None:
    for cpu, wait in ((0.090, 0.001), (0.0, 0.100)):
        evidence = Evidence(gil=True)
        evidence.begun(0.0, 0.0)
        evidence.ended(1, 0.100, cpu, lambda: 0.0)
        assert evidence.measurement(0.1, cpu, 0.0, Beside(watching=0.010)).wait == pytest.approx(wait)


def test_a_call_under_way_counts_in_part() -> None:
    evidence = Evidence(gil=True)
    evidence.begun(0.0, 0.0)
    evidence.ended(1000, 0.001, 0.001, lambda: 0.0)
    evidence.begun(0.001, 0.001)
    assert evidence.measurement(0.021, 0.021, 0.0, Beside()).seconds == pytest.approx(0.040)  # taken to be half over
    evidence.in_hand(1, 0.041, 0.041)
    assert evidence.measurement(0.051, 0.051, 0.0, Beside()).seconds == pytest.approx(0.040)
    assert evidence.measurement(0.101, 0.101, 0.0, Beside()).seconds == pytest.approx(0.050)


def test_a_garbage_collection_moves_the_beginning_of_the_call_and_is_spent_all_the_same() -> None:
    evidence = Evidence(gil=True)
    evidence.begun(0.0, 0.0)
    evidence.collected(0.5, 0.4)
    evidence.ended(1, 0.6, 0.5, lambda: 0.0)
    measured = evidence.measurement(0.6, 0.5, 0.0, Beside())
    assert [measured.gil, measured.wait] == pytest.approx([0.1, 0.0])
    assert list(evidence.spent(0.6, 0.5)[0]) == pytest.approx([0.6, 0.5, 1])


def test_any_thread_can_ask_how_long_another_one_has_waited_for_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a worker the postman does, while a batch is under way."""
    made: list[Queued] = []
    thread = threading.Thread(target=lambda: made.append(Queued()))
    thread.start()
    thread.join()
    monkeypatch.setattr(
        "flatout._threads._times.seconds_of",
        lambda folder: (0.0, 7.0 if folder.endswith(f"/{thread.native_id}") else 0.0),
    )
    assert made[0].since(3.0) == 3.0
    assert made[0].since(3.0) == 0.0


def test_a_look_begins_when_its_nap_does() -> None:
    """What the calls compute while the watcher is kept from the GIL, between two naps, says nothing of the GIL in the next."""
    asked: list[float] = []

    def lose_the_gil() -> int:
        asked.append(time.perf_counter())
        if len(asked) == 1:
            time.sleep(2 * _probe.PROMPT)
        return len(asked)

    probe = Probe(lambda: None, lambda each: None)
    assert probe._note_before(lose_the_gil) == len(asked) > 1
    assert probe._noted[0] > asked[0]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone tells of the queue for a core")
def test_who_has_just_waited_for_a_core_was_not_asleep() -> None:
    probe = Probe(lambda: None, lambda each: None)
    waited, over = threading.Event(), threading.Event()

    def compute_then_sleep() -> None:
        queue = probe._queue = RunQueue()
        while queue.seconds() <= 2 * VISIBLE:
            compute()
        waited.set()
        over.wait()

    thread = threading.Thread(target=compute_then_sleep)
    with beside(usable_cores()):
        thread.start()
        try:
            assert waited.wait(60)
            assert probe._queue is not None
            deadline = time.monotonic() + 60
            while not probe._asleep(probe._queue.seconds()):
                assert time.monotonic() < deadline
            assert not probe._asleep(probe._queue.seconds() - 2 * VISIBLE)
        finally:
            over.set()
            thread.join()


def test_where_no_thread_can_be_had_to_watch_calls_they_stay_in_the_plain_loop() -> None:
    code = """
import resource, threading, time
threading.stack_size(1 << 26)
import flatout
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (1 << 25),) * 2)
run = flatout.map(time.sleep, [0.01] * 20)
print(len(run.results()), run.plan)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    assert done.stdout.startswith(
        "20 inline: kept in the plain loop, since no thread can be started to watch the calls"
    )
