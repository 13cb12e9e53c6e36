"""The choice: from figures by the law, and of real work by what it really does."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from builds import needs_gil

import flatout
from flatout._dispatch import _batching
from flatout._model import Batch, Measurement, Options, Prediction, Work, way
from flatout._plan import _choose
from flatout._plan._choose import MOST_THREADS, Situation, choose, predict, restate
from flatout._plan._chooser import Chooser
from flatout._plan._effects import Watch
from flatout._record import replace

COMPUTES = Measurement(gil=0.010, free=0.0, wait=0.0, transfer=5e-6)
COMPUTES_FREE = Measurement(gil=0.0, free=0.010, wait=0.0, transfer=5e-6)
WAITS = Measurement(gil=0.0, free=0.0, wait=0.010, transfer=5e-6)


# --- from figures


@pytest.mark.parametrize("cores", [2, 4, 64])
def test_computing_with_the_gil_goes_to_processes(cores: int) -> None:
    plan = choose(COMPUTES, Situation(cores, left=1000))
    assert (plan.kind, plan.concurrency) == ("process", cores)


@pytest.mark.parametrize("cores", [2, 4, 64])
def test_computing_without_the_gil_goes_to_threads(cores: int) -> None:
    plan = choose(COMPUTES_FREE, Situation(cores, left=1000))
    assert plan.kind == "thread"
    assert plan.ceiling == cores


def test_waiting_goes_to_many_threads() -> None:
    plan = choose(WAITS, Situation(2, left=1000))
    assert plan.kind == "thread"
    assert plan.ceiling is not None
    assert plan.ceiling > 100


@pytest.mark.parametrize("cores", [2, 8])
@pytest.mark.parametrize("waits", [False, True], ids=["as BLAS", "as Rayon"])
def test_a_call_that_fills_all_cores_gains_nothing(cores: int, waits: bool) -> None:
    """Its own thread computes with the others, or waits for them; a program that it has started is the same."""
    own = 0.010 * (cores if waits else cores - 1)
    fills = Measurement(0.0, 0.0 if waits else 0.010, 0.010 if waits else 0.0, transfer=5e-6, own=own)
    assert fills.cores == pytest.approx(cores)
    plan = choose(fills, Situation(cores, left=1000))
    assert plan.kind == "inline"
    assert [p.concurrency for p in plan.predictions if not p.impossible] == [1, 1, 1]
    assert f"{cores}.0 cores busy with its own threads or processes" in str(plan)


@pytest.mark.parametrize(("cores", "own", "workers"), [(8, 0.010, 4), (8, 0.030, 2), (8, 0.015, 4), (64, 0.070, 8)])
def test_a_call_that_fills_some_cores_shares_them(cores: int, own: float, workers: int) -> None:
    """About so many workers as the cores that a call keeps busy go into all of them."""
    held = Measurement(0.010, 0.0, 0.0, transfer=5e-6, own=own)
    assert choose(held, Situation(cores, left=1000)).concurrency == workers
    assert choose(held, Situation(cores, left=1000)).kind == "process"
    let_go = Measurement(0.0, 0.010, 0.0, transfer=5e-6, own=own)
    assert choose(let_go, Situation(cores, left=1000)).concurrency == workers
    assert choose(let_go, Situation(cores, left=1000)).kind == "thread"


def test_a_call_that_waits_for_a_program_that_computes_is_not_taken_to_wait() -> None:
    program = Measurement(0.0005, 0.0, 0.0495, transfer=5e-6, own=0.050)
    plan = choose(program, Situation(4, left=1000))
    assert (plan.kind, plan.concurrency) == ("thread", 4)


def test_one_core_computes_in_the_plain_loop() -> None:
    assert choose(COMPUTES, Situation(1, left=1000)).kind == "inline"
    assert choose(COMPUTES_FREE, Situation(1, left=1000)).kind == "inline"


@pytest.mark.parametrize("measured", [COMPUTES, COMPUTES_FREE, WAITS])
def test_nothing_left_stays_in_the_plain_loop(measured: Measurement) -> None:
    assert choose(measured, Situation(8, left=0)).kind == "inline"


def test_the_start_of_processes_is_weighed_against_what_is_left() -> None:
    assert choose(COMPUTES, Situation(2, left=5, warm=False)).kind == "inline"
    assert choose(COMPUTES, Situation(2, left=50, warm=True)).kind == "process"


def test_while_processes_start_the_caller_goes_on_with_short_calls() -> None:
    """74 of 1.2 ms were over 70 ms after a choice, of which the zygote took 20 and two processes 8 more."""
    (short,) = (
        p for p in predict(Measurement(0.0012, 0.0, 0.0), Situation(2, left=74, booting=0.03)) if p.way == "process"
    )
    assert 0.055 < short.seconds < 0.07
    (few,) = (
        p for p in predict(Measurement(0.0012, 0.0, 0.0), Situation(2, left=20, booting=0.03)) if p.way == "process"
    )
    assert few.seconds > 20 * 0.0012, "the caller is through with them before that"


def test_of_the_zygote_s_start_counts_what_is_left_of_it() -> None:
    assert choose(COMPUTES, Situation(2, left=8)).kind == "inline"
    assert choose(COMPUTES, Situation(2, left=8, booting=0.04)).kind == "process"
    assert Situation(2, booting=1.0).boot == Situation(2, warm=True).boot == 0.0


def test_large_data_of_a_function_has_its_price_and_the_caller_goes_on_while_it_is_written() -> None:
    def processes(writing: float, loading: float) -> Prediction:
        situation = Situation(2, left=100, warm=True, writing=writing, loading=loading)
        return next(p for p in predict(COMPUTES, situation) if p.way == "process")

    without, written, loaded = processes(0.0, 0.0), processes(0.2, 0.0), processes(0.0, 0.2)
    assert loaded.seconds == pytest.approx(without.seconds + 0.2)
    assert written.seconds == pytest.approx(loaded.seconds - 20 * 0.010 / 1.94, rel=0.05), "the caller has made 20"
    assert choose(COMPUTES, Situation(2, left=100, warm=True, writing=0.2)).kind == "process"
    stays = choose(COMPUTES, Situation(2, left=100, warm=True, writing=1.5))
    assert stays.kind == "inline", "the caller would be through with them before that"
    assert "processes need 1.5 s to load the function with its data" in stays.reason


def test_what_is_dear_to_move_stays() -> None:
    assert choose(Measurement(0.010, 0.0, 0.0, transfer=0.050), Situation(8, left=1000)).kind == "inline"


def test_a_microsecond_is_too_short_to_be_moved() -> None:
    assert choose(Measurement(1e-6, 0.0, 0.0, transfer=1e-6), Situation(8, left=10_000_000)).kind == "inline"


def test_processes_must_win_by_more_than_a_little_against_threads() -> None:
    assert choose(Measurement(0.004, 0.006, 0.0, transfer=1e-6), Situation(2, left=10_000)).kind == "thread"
    assert choose(Measurement(0.008, 0.002, 0.0, transfer=1e-6), Situation(2, left=10_000)).kind == "process"


@pytest.mark.parametrize(
    ("measured", "situation"),
    [
        (COMPUTES, Situation(8, left=1000, no_process="the moon is full")),
        (Measurement(0.01, 0.0, 0.0, unpicklable="the moon is full"), Situation(8, left=1000)),
    ],
)
def test_what_rules_processes_out_is_told(measured: Measurement, situation: Situation) -> None:
    plan = choose(measured, situation)
    assert plan.kind == "inline"
    assert "processes are ruled out: the moon is full" in str(plan)


@pytest.mark.parametrize("measured", [COMPUTES, COMPUTES_FREE, WAITS])
@pytest.mark.parametrize("most", [1, 2, 3])
def test_max_concurrency_is_kept(measured: Measurement, most: int) -> None:
    assert (choose(measured, Situation(8, left=1000, most=most)).ceiling or 1) <= most


@pytest.mark.parametrize("left", [None, 0, 1, 10**9])
@pytest.mark.parametrize("measured", [COMPUTES, COMPUTES_FREE, WAITS, Measurement(0.0, 0.0, 0.0)])
def test_every_kind_has_a_prediction_and_the_plan_a_reason_with_figures(
    left: int | None, measured: Measurement
) -> None:
    plan = choose(measured, Situation(4, left=left))
    kinds = ["inline", "async", "thread", "process", "process of threads"]
    assert [way(prediction.kind, prediction.inside) for prediction in plan.predictions] == kinds
    assert all(prediction.seconds >= 0 or prediction.impossible for prediction in plan.predictions)
    assert any(character.isdigit() for character in plan.reason)
    assert predict(measured, Situation(4, left=left)) == plan.predictions


def test_what_is_impossible_takes_for_ever() -> None:
    predictions = predict(COMPUTES, Situation(8, left=10, no_process="no"))
    assert [p.kind for p in predictions if p.seconds == math.inf] == ["async", "process", "process"]
    assert all(p.impossible for p in predictions if p.seconds == math.inf)


def test_batches_are_what_the_dispatcher_makes_of_them() -> None:
    assert _choose.BATCH == _batching.TARGET


def test_workers_that_are_there_already_start_sooner() -> None:
    def seconds(idle: int) -> float:
        return predict(COMPUTES, Situation(8, left=100, warm=True, idle=idle))[3].seconds

    assert seconds(0) > seconds(4) > seconds(8) == seconds(9)


def test_threads_of_an_earlier_run_begin_sooner() -> None:
    def seconds(kept: int) -> float:
        return predict(WAITS, Situation(2, left=500, kept=kept))[2].seconds

    assert seconds(500) < seconds(50) < seconds(0)
    assert seconds(500) == seconds(5000), "no more than are wanted"


def test_a_first_call_that_hardly_computes_is_no_reason_for_processes_by_itself() -> None:
    """A reading of one that asked a server: the others computed 0.3 ms. What threads do is looked at again."""
    first = Measurement(0.0026, 0.0, 0.0207, calls=1)
    assert choose(first, Situation(2, left=198, warm=True)).kind == "thread"
    assert choose(replace(first, calls=2), Situation(2, left=198, warm=True)).kind == "process"
    assert choose(first, Situation(16, left=10_000, warm=True)).kind == "process", "even if they compute half as much"


def test_calls_that_wait_by_turns_are_more_than_would_do_if_each_took_just_the_mean() -> None:
    """Four would do for two cores then; how many are ample is checked in `test_law`."""
    (process,) = (p for p in predict(Measurement(0.005, 0.0, 0.005), Situation(2, left=200)) if p.way == "process")
    assert process.useful == pytest.approx(4.0, rel=0.01)
    assert process.concurrency == 6
    (process,) = (p for p in predict(Measurement(0.005, 0.0, 0.0008), Situation(2, left=200)) if p.way == "process")
    assert process.concurrency == 2, "that may be chance"


def test_fewer_processes_than_calls_that_wait_ask_for_take_longer_than_the_mean_says() -> None:
    """A reading of naps of 1 ms: 16 processes are the most, and 30 would seldom leave a core idle."""
    naps = Measurement(0.000125, 0.0, 0.0011, transfer=0.47e-6, calls=30)
    assert choose(naps, Situation(2, left=2989)).kind == "thread"


def test_all_cores_together_do_less_than_so_many_times_what_one_does() -> None:
    """Two do 1.885 times as much where that was measured (`make bench` measures it)."""
    assert Situation(1).masters == 1
    assert 1.8 < Situation(2).masters < 2
    assert Situation(2, physical=1).masters < 1.5, "two hardware threads of one core"
    assert Situation(2).masters < Situation(4, physical=2).masters < 3
    assert Situation(2, physical=4).masters == Situation(2).masters, "bounded to half of them"
    (process,) = (p for p in predict(COMPUTES, Situation(2, left=1000, warm=True)) if p.way == "process")
    assert 10 / 2 < process.seconds < 10 / 1.8


def test_of_few_calls_the_last_one_is_waited_for() -> None:
    def seconds(left: int) -> float:
        return predict(COMPUTES, Situation(4, left=left, warm=True, idle=4))[3].seconds

    assert seconds(5) == pytest.approx(seconds(8), rel=0.1), "a second round, whole or not"
    assert seconds(5) > 1.7 * seconds(4)


def test_a_plan_is_stated_anew_with_the_figures_of_the_whole_first_call() -> None:
    half = Measurement(gil=0.0, free=0.0, wait=0.06, calls=0)
    plan = choose(half, Situation(2, left=19))
    assert "at least" in str(plan)
    whole = Measurement(gil=0.0, free=0.0, wait=0.2, calls=1)
    again = restate(plan, whole, Situation(2, left=19, under_way=0.03))
    assert (again.kind, again.concurrency, again.ceiling) == (plan.kind, plan.concurrency, plan.ceiling)
    assert again.measured is whole
    assert again.predicted
    assert again.predicted.seconds >= 0.2
    inline = next(prediction for prediction in again.predictions if prediction.kind == "inline")
    assert inline.seconds == pytest.approx(19.85 * 0.2), "of the first call 0.17 s were left"
    assert "at least" not in str(again)


def test_what_turns_out_to_be_impossible_does_not_change_a_plan_that_is_followed() -> None:
    plan = choose(COMPUTES, Situation(8, left=1000))
    assert restate(plan, replace(COMPUTES, unpicklable="the moon is full"), Situation(8, left=1000)) is plan


@pytest.mark.parametrize(
    ("own", "most", "left", "start", "ceiling"),
    [
        (0.0, None, 300, 38, MOST_THREADS),
        (0.0, 25, 300, 25, 25),  # `max_concurrency`
        (0.0, 2000, 300, 38, 2000),
        (0.0, None, 22, 22, MOST_THREADS),  # no more are left
        (0.0038, None, 300, 2, MOST_THREADS),  # a program that they start computes: there are no more cores for that
    ],
)
def test_threads_for_calls_that_mostly_wait_begin_with_twice_as_many_as_the_law_wants(
    own: float, most: int | None, left: int, start: int, ceiling: int
) -> None:
    measured = Measurement(0.0002, 0.0, 0.004, own=own, calls=5)
    plan = choose(measured, Situation(2, left=left, most=most))
    assert (plan.kind, plan.concurrency, plan.ceiling) == ("thread", start, ceiling)
    predicted = plan.predicted
    assert predicted is not None
    said = (
        f"{predicted.concurrency} thread" if predicted.concurrency == start else f"({start} are begun, since calls that"
    )
    assert said in plan.reason


HALF_WAITS = Measurement(0.005, 0.0, 0.005)


def test_calls_that_wait_and_hold_the_gil_go_to_threads_in_a_process_for_each_core() -> None:
    plan = choose(HALF_WAITS, Situation(4, left=1000))
    assert (plan.way, plan.processes) == ("process of threads", 4)
    assert plan.concurrency >= 8, "the law's own number is for calls that all take the mean"
    assert "calls in threads of 4 processes should take" in plan.reason


@pytest.mark.parametrize(
    ("measured", "way_of_it"),
    [
        (Measurement(0.01, 0.0, 0.0005), "process"),  # hardly waits
        (Measurement(0.00001, 0.0, 0.1, calls=9), "thread"),  # hardly computes
        (Measurement(0.0001, 0.005, 0.005), "thread"),  # computes without the GIL
        (Measurement(0.005, 0.0, 0.005, unpicklable="a lock"), "thread"),
    ],
)
def test_there_is_no_mixture_where_threads_or_processes_do_as_well(measured: Measurement, way_of_it: str) -> None:
    assert choose(measured, Situation(4, left=1000)).way == way_of_it


# --- what may still change


@needs_gil
def test_a_call_that_may_change_something_is_not_sent_away_before_its_end() -> None:
    """Judged in the middle of the first call it has changed nothing yet; at its end it has."""
    seen: list[int] = []
    plans: list[flatout.Plan] = []
    adopted = threading.Event()
    chooser = Chooser(Work(seen.append), Options(), 8, "", lambda: True, lambda: None)

    def adopt(plan: flatout.Plan) -> None:
        plans.append(plan)
        adopted.set()

    chooser.adopt = adopt
    chooser.left = lambda: 1000
    chooser.before(Batch(0, [1]))
    computed = 0.0
    while computed < 0.2:  # seconds, several times what it takes to judge
        computed -= time.thread_time()
        compute(10_000)
        computed += time.thread_time()
    assert plans == []
    seen.append(1)
    chooser.after(1, None)
    assert adopted.wait(60)
    assert plans[0].kind != "process"
    assert "the call changed" in str(plans[0])


run: list[int] = []  # named as the attribute of subprocess is


def runs_true(x: int) -> int:
    return subprocess.run(["true"]).returncode


def reads_run(x: int) -> int:
    return len(run)


def test_an_attribute_of_the_same_name_is_no_global() -> None:
    assert not Watch(runs_true, 1).watching
    assert Watch(reads_run, 1).watching


@pytest.mark.parametrize("value", [1, "a", None, (1, 2), frozenset("ab"), math.sqrt, math, int, compile])
def test_values_that_cannot_change_are_not_watched(value: object) -> None:
    assert not Watch(lambda x: x, value).watching


@pytest.mark.parametrize("value", [[], {}, set(), bytearray(), ([],), {}.get, object.__new__(type("T", (), {}))])
def test_values_that_can_change_are_watched(value: object) -> None:
    assert Watch(lambda x: x, value).watching


# --- of real work

BIG = bytes(2_000_000)
RECORDS = [{"number": i, "name": str(i)} for i in range(3000)]


def compute(n: int) -> int:
    total = 0
    for i in range(n):
        total += i * i % 7
    return total


def digest(i: int) -> str:
    return hashlib.sha256(BIG).hexdigest()


def compress(i: int) -> int:
    return len(zlib.compress(BIG))


def dump(i: int) -> int:
    return len(json.dumps(RECORDS))


def sleep(i: int) -> None:
    time.sleep(0.01)


def run_sleep(i: int) -> int:
    return subprocess.run([sys.executable, "-S", "-E", "-c", "import time; time.sleep(0.02)"]).returncode


def ask(address: tuple[str, int]) -> bytes:
    with socket.create_connection(address, timeout=60) as connection:
        connection.sendall(b"?")
        return connection.recv(16)


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    """A server in a process of its own, which thinks for 20 ms about every question."""
    code = """
import socket, threading, time
def answer(connection):
    with connection:
        connection.recv(1); time.sleep(0.02); connection.sendall(b"!")
server = socket.create_server(("127.0.0.1", 0), backlog=1000)
print(server.getsockname()[1], flush=True)
while True:
    threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield "127.0.0.1", int(server.stdout.readline())
        server.kill()


def kind_of(func: Callable[[Any], Any], inputs: Any) -> str:
    """The kind that was chosen; what was measured is shown where a test fails."""
    run = flatout.map(func, inputs)
    run.results()
    print(run.plan, run.plan.measured)
    return run.plan.kind


@pytest.mark.parametrize(("tasks", "steps"), [(10_000, 2_000), (600, 30_000), (60, 300_000), (8, 2_500_000)])
@needs_gil
def test_pure_python_goes_to_processes(tasks: int, steps: int) -> None:
    assert kind_of(compute, [steps] * tasks) == "process"


@needs_gil
def test_json_goes_to_processes() -> None:
    assert kind_of(dump, range(400)) == "process"


def test_compressing_goes_to_threads() -> None:
    """zlib lets go of the GIL for the whole of a call; see `test_probe` for where it does not."""
    assert kind_of(compress, range(60)) in ("thread", "process")


def test_sleeping_goes_to_threads() -> None:
    assert kind_of(sleep, range(200)) == "thread"


def test_a_long_sleep_goes_to_threads() -> None:
    assert kind_of(lambda i: time.sleep(0.2), range(20)) == "thread"


def test_blocking_sockets_go_to_threads(address: tuple[str, int]) -> None:
    assert kind_of(ask, [address] * 200) == "thread"


def test_waiting_for_subprocesses_goes_to_threads() -> None:
    assert kind_of(run_sleep, range(30)) == "thread"


def test_what_is_short_stays() -> None:
    assert kind_of(abs, range(20_000)) == "inline"


def test_a_handful_stays() -> None:
    assert kind_of(compute, [2_000] * 5) == "inline"


def test_nothing_stays() -> None:
    run = flatout.map(compute, [])
    assert run.results() == []
    assert run.plan.kind == "inline"
    assert "no input" in str(run.plan)


async def nothing(i: int) -> int:
    return i


def test_a_coroutine_function_goes_to_an_event_loop() -> None:
    assert kind_of(nothing, range(10)) == "async"
    assert kind_of(functools.partial(nothing), range(10)) == "async"


def nested(i: int) -> tuple[str, str]:
    run = flatout.map(compute, [300_000] * 12)
    run.results()
    return run.plan.kind, str(run.plan)


def test_a_worker_process_chooses_no_processes() -> None:
    ((kind, why),) = flatout.map(nested, [0], via="process").results()
    assert kind != "process"
    assert "this is itself a worker process of flatout" in why


@needs_gil
def test_the_plan_says_why_with_figures() -> None:
    run = flatout.map(compute, [300_000] * 60)
    run.results()
    text = str(run.plan)
    assert text.startswith("process: a call takes ")
    assert "computing with the GIL held" in text
    assert "processes should take" in text
    assert "the plain loop" in text
    assert run.plan.measured is not None
    assert run.plan.measured.gil > 0


def test_sys_executable_unknown_means_no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "")
    run = flatout.map(compute, [300_000] * 12)
    run.results()
    assert run.plan.kind != "process"
    assert "sys.executable" in str(run.plan)
    with pytest.raises(flatout.PlanError, match=r'sys\.executable.*Use via="thread"'):
        flatout.map(compute, [1], via="process")


def test_a_frozen_program_means_no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    run = flatout.map(compute, [300_000] * 12)
    run.results()
    assert run.plan.kind != "process"
    assert "frozen" in str(run.plan)
    with pytest.raises(flatout.PlanError, match="frozen"):
        flatout.map(compute, [1], via="process")


@needs_gil
def test_what_the_caller_has_not_begun_goes_to_processes_too() -> None:
    def where(n: int) -> int:
        if n >= 8_000:
            compute(1_000_000)
        return os.getpid()

    run = flatout.map(where, range(8_040))  # the dear ones come in one batch with the last of the cheap ones
    pids = run.results()
    assert run.plan.kind == "process"
    assert pids[8_000] == os.getpid()
    assert len({*pids[8_010:]} - {os.getpid()}) == 2


class Large:
    """Data that travels beside its pickle, as NumPy's arrays do."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: object) -> Any:
        return Large, (pickle.PickleBuffer(self.data),)


def spin_where(large: Large, n: int) -> int:
    compute(200_000)
    assert len(large.data) > n
    return os.getpid()


@needs_gil
@pytest.mark.skipif(flatout.machine().usable_cores < 2, reason="one core is all there is")
def test_while_large_data_is_written_for_processes_the_caller_goes_on() -> None:
    deadline = time.monotonic() + 60
    while True:  # until no other program is in the way
        large = Large(bytearray(1 << 28))
        run = flatout.map(functools.partial(spin_where, large), range(200))
        pids = run.results()
        assert run._engine is not None
        assert run._engine.choice is not None
        first = run._engine.choice.tasks  # to begin after the choice
        if run.plan.kind == "process" and len({*pids}) == 3 and pids[first : first + 3] == [os.getpid()] * 3:
            break
        assert time.monotonic() < deadline, (run.plan, pids)
    assert "to load the function with its data" in run.plan.reason


@needs_gil
def test_a_function_that_carries_too_much_data_stays_here() -> None:
    data = bytes(50_000_000)

    def compute(n: int) -> int:
        return sum(i % 7 for i in range(n)) + data[n]

    run = flatout.map(compute, [500_000] * 16)  # half of which is less than to load the data, even where cores are slow
    assert run.results() == [compute(500_000)] * 16
    assert run.plan.kind != "process"
    assert "to load the function with its data" in str(run.plan)
