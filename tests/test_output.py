"""What tasks print and log in worker processes comes home: whole lines, in order, through the caller's own streams."""

from __future__ import annotations

import gc
import io
import logging
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import flatout


def script(code: str, *args: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a script of its own."""
    command = [sys.executable, "-c", textwrap.dedent(code), *args]
    options = {"capture_output": True, "text": True, "timeout": 60, **options}
    return subprocess.run(command, check=True, **options)


def chatter(x: int) -> int:
    for line in range(1000):
        print(f"task {x:02} line {line:03}", "x" * (line % 90), "end")
    return x


def test_lines_of_many_workers_are_never_mixed() -> None:
    code = "import flatout, test_output; flatout.map(test_output.chatter, range(12), via='process', max_concurrency=4).wait()"
    done = script(code, env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))})
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    wanted = [f"task {x:02} line {n:03} {'x' * (n % 90)} end" for x in range(12) for n in range(1000)]
    assert sorted(lines) == sorted(wanted)
    for x in range(12):  # and each task's own are in order
        own = [line for line in lines if line.startswith(f"task {x:02}")]
        assert own == sorted(own, key=lambda line: line[:16])


def speak(x: int) -> int:
    print("out", x)
    print("err", x, file=sys.stderr)
    sys.stdout.buffer.write(b"bytes %d\n" % x)
    print("no end", end="")
    return x


def test_both_streams_partial_lines_and_bytes_come_home(capsys: pytest.CaptureFixture[str]) -> None:
    assert flatout.map(speak, range(2), via="process", max_concurrency=1, chunksize=1).results() == [0, 1]
    out, err = capsys.readouterr()
    assert out == "out 0\nbytes 0\nno endout 1\nbytes 1\nno end"
    assert err == "err 0\nerr 1\n"


def test_what_a_task_prints_comes_before_its_result(capsys: pytest.CaptureFixture[str]) -> None:
    heard = ""
    for x in flatout.map(speak, range(30), via="process", chunksize=1, max_concurrency=2):
        heard += capsys.readouterr().out
        assert f"out {x}\n" in heard


def test_what_a_task_printed_before_its_worker_died_is_not_lost(capsys: pytest.CaptureFixture[str]) -> None:
    def last_words(x: int) -> None:
        print("farewell")
        os._exit(1)

    flatout.map(last_words, [1], via="process", on_error="return").results()
    assert capsys.readouterr().out == "farewell\n"


def log_much(x: int) -> int:
    logger = logging.getLogger("test_output.deep")
    logger.info("number %d of %s", x, {"a": 1})
    try:
        raise ValueError("inside")
    except ValueError:
        logger.exception("it failed", extra={"where": Path("/tmp"), "count": 3})
    return x


def test_log_records_are_handled_by_the_callers_loggers(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        flatout.map(log_much, [7], via="process").wait()
    info, error = caplog.records
    assert (info.name, info.levelno, info.getMessage()) == ("test_output.deep", logging.INFO, "number 7 of {'a': 1}")
    assert (error.levelname, error.getMessage()) == ("ERROR", "it failed")
    assert info.process != os.getpid()
    assert "ValueError: inside" in (error.exc_text or "")
    assert "ValueError: inside" in caplog.text
    assert vars(error)["where"] == "/tmp"
    assert vars(error)["count"] == 3


def test_the_callers_levels_hold_in_the_worker(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("test_output")
    with caplog.at_level(logging.WARNING):
        caplog.handler.setLevel(logging.NOTSET)
        flatout.map(log_much, [1], via="process").wait()
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        caplog.clear()
        logger.setLevel(logging.INFO)  # for this logger alone
        try:
            flatout.map(log_much, [1], via="process").wait()
        finally:
            logger.setLevel(logging.NOTSET)
        assert [record.levelname for record in caplog.records] == ["INFO", "ERROR"]
        caplog.clear()
        flatout.map(log_much, [1], via="process").wait()
        assert [record.levelname for record in caplog.records] == ["ERROR"]


@pytest.mark.parametrize("call", ["warning('it')", "log(30, 'it')", "exception('it')", "root.warning('it')"])
def test_a_function_of_logging_configures_the_callers_root_as_in_the_plain_loop(call: str) -> None:
    code = f"""
        import flatout, logging
        def task(x):
            logging.getLogger("other").warning("as it comes")
            logging.{call}
            logging.getLogger("other").warning("late")
            return x
        for via in ("inline", "process"):
            assert flatout.map(task, [1], via=via).results() == [1]
            logging.root.handlers.clear()
            print("--", file=__import__("sys").stderr)
        """
    here, there, _ = script(code).stderr.split("--\n")
    assert there == here
    assert ("WARNING:other:late" in here) == ("root" not in call)


def log_nonsense(x: int) -> int:
    logging.getLogger("test_output").error("%d and %d", x)
    return x


def test_a_log_call_that_is_wrong_fails_no_task(capsys: pytest.CaptureFixture[str]) -> None:
    assert flatout.map(log_nonsense, [1], via="process").results() == [1]
    assert "not enough arguments" in capsys.readouterr().err


class Noisy:
    """Prints when it is collected, which may be in the middle of another print."""

    def __init__(self) -> None:
        self.me = self

    def __del__(self) -> None:
        print("collected", "x" * 200)


def litter(x: int) -> int:
    gc.set_threshold(1)
    try:
        for n in range(300):
            Noisy()
            print("line", n, "y" * 300)
    finally:
        gc.set_threshold(700)
    gc.collect()
    return x


def test_finalizers_that_print_in_the_middle_of_a_print_break_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert flatout.map(litter, range(4), via="process", max_concurrency=2).results() == [0, 1, 2, 3]
    out = capsys.readouterr().out
    assert out.count("collected " + "x" * 200) == 4 * 300
    assert out.count("y" * 300) == 4 * 300


def many_threads(x: int) -> int:
    def say(name: int) -> None:
        for n in range(200):
            sys.stdout.write(f"<{name} {n}>\n")

    threads = [threading.Thread(target=say, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return x


def test_threads_of_a_task_may_print_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    flatout.map(many_threads, [1], via="process").wait()
    assert sorted(capsys.readouterr().out.split("\n")[:-1]) == sorted(
        f"<{a} {n}>" for a in range(4) for n in range(200)
    )


def spoil_stdout(x: int) -> int:
    if x == 0:
        sys.stdout.close()
    elif x == 1:
        sys.stdout = None
    return x


def test_a_task_may_close_or_replace_its_streams() -> None:
    assert flatout.map(spoil_stdout, range(4), via="process", max_concurrency=1, chunksize=4).results() == [0, 1, 2, 3]


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError("nobody reads")


def test_a_broken_stream_of_the_callers_is_no_fault_of_the_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Broken())
    results = flatout.map(speak, range(10), via="process", max_concurrency=2).results()
    monkeypatch.undo()
    assert results == list(range(10))


def test_a_stream_that_cannot_write_a_character_gets_it_escaped() -> None:
    code = (
        "import flatout; flatout.map(print, ['caf\\u00e9 \\u2713', 'plain'], via='process', max_concurrency=1).wait()"
    )
    done = script(code, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.stdout == "caf\\xe9 \\u2713\nplain\n"


def write_below(x: int) -> int:
    os.write(1, b"below\n")
    subprocess.run(["echo", "from a program"], check=True)
    return x


def test_what_goes_to_the_descriptors_themselves_goes_where_the_callers_do() -> None:
    code = "import flatout, test_output; flatout.map(test_output.write_below, [1], via='process').wait()"
    done = script(code, env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))})
    assert sorted(done.stdout.splitlines()) == ["below", "from a program"]


def fork_and_print(x: int) -> int:
    print("task says", x)
    pid = os.fork()
    if pid == 0:
        print("child says", x)
        logging.getLogger().warning("child logs")
        sys.exit(5)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_child_forked_by_a_task_prints_for_itself_and_ends_alone() -> None:
    code = """
        import flatout, test_output, logging
        logging.basicConfig()
        print(flatout.map(test_output.fork_and_print, [1, 2, 3], via="process").results(), flush=True)
    """
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONWARNINGS": "ignore"}
    done = script(code, env=env)
    lines = sorted(done.stdout.splitlines())
    assert lines == ["[5, 5, 5]", *(f"child says {x}" for x in (1, 2, 3)), *(f"task says {x}" for x in (1, 2, 3))]
    assert done.stderr.count("child logs") == 3


def print_later(x: int) -> int:
    def later() -> None:
        time.sleep(0.05)
        print("later")

    threading.Thread(target=later).start()
    return x


def test_a_thread_that_outlives_its_task_prints_into_the_next_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert flatout.map(print_later, [1], via="process").results() == [1]
    deadline = time.monotonic() + 60
    out = ""
    while "later" not in out:
        assert time.monotonic() < deadline
        flatout.map(time.sleep, [0.01] * 20, via="process", max_concurrency=8, chunksize=1).wait()  # every worker
        out += capsys.readouterr().out
    assert out == "later\n"
