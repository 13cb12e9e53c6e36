"""The command line, by real processes: what goes in, what comes out, and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import psutil
import pytest
from test_signals import wait_until_asleep

FLATOUT = [sys.executable, "-m", "flatout"]
KINDS = ("inline", "thread", "process")
PATIENCE = 60.0  # seconds; only a test that fails takes so long

WORK = """
import asyncio, os, subprocess, sys, threading, time

prepared = []

def prepare():
    prepared.append(True)

def is_prepared(value):
    return bool(prepared)

def root(value):
    if value == "x":
        raise ValueError(f"{value} has no root\\nand never will")
    return int(value) ** 0.5

def shout(text):
    return text.upper()

def nap(text):
    if text != "0":
        for name in (f"pid-{os.getpid()}", f"task-{text}"):
            with open(name, "w"):
                pass
        time.sleep(600)
    return text

def begun():
    with open(f"pid-{os.getpid()}", "w"):
        pass

def wait_for_program(text, prepare=""):
    subprocess.run(["bash", "-c", prepare + "touch pid-$$; sleep 600; true"], stderr=subprocess.DEVNULL, check=True)
    with open(f"done-{text}", "w"):
        pass

def wait_for_stubborn_program(text):
    wait_for_program(text, "trap '' TERM; ")

def swallow(text):
    begun()
    while True:
        try:
            time.sleep(600)
        except:
            print("swallowed", flush=True)

def nap_in_loop(text):
    async def nap():
        begun()
        await asyncio.gather(*(asyncio.sleep(600) for _ in range(3)))
    asyncio.run(nap())

def double(value):
    return value * 2

def strange(value):
    return {(1, 2): {value}, "nan": float("nan")}

class Mute:
    def __str__(self):
        raise TypeError("mute")

def mute(value):
    return Mute()

def leave(value):
    sys.exit(3)

def close_stdout(value):
    sys.stdout.close()

def close_stdout_and_fail(value):
    sys.stdout.close()
    raise ValueError("shut")

def several(value):
    yield value

class Words:
    @staticmethod
    def count(text):
        return len(text.split())

number = 5
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a module that the commands can call."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(str(Path(p).resolve()) for p in sys.path if p))
    (tmp_path / "work.py").write_text(WORK)
    return tmp_path


def flatout(*arguments: str, stdin: str | bytes = b"") -> subprocess.CompletedProcess[str]:
    given = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run([*FLATOUT, *arguments], input=given, capture_output=True, timeout=PATIENCE)
    decoded = (stream.decode("utf-8", "surrogateescape") for stream in (done.stdout, done.stderr))
    return subprocess.CompletedProcess(done.args, done.returncode, *decoded)


class Started:
    """A command under way, in a process group of its own as a shell would put it."""

    def __init__(self, *arguments: str) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [*FLATOUT, *arguments], stdin=pipe, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.stdin: IO[str] = self.process.stdin
        self.stdout: IO[str] = self.process.stdout
        self.stderr: IO[str] = self.process.stderr

    def end(self) -> tuple[int, str, str]:
        """Exit status and the rest of both outputs."""
        stdout, stderr = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, stdout, stderr


@pytest.fixture
def start() -> Iterator[type[Started]]:
    started: list[Started] = []

    class Recorded(Started):
        def __init__(self, *arguments: str) -> None:
            super().__init__(*arguments)
            started.append(self)

    yield Recorded
    for one in started:
        if one.process.poll() is None:
            os.killpg(one.process.pid, signal.SIGKILL)
            one.process.wait()
        for stream in (one.stdin, one.stdout, one.stderr):
            stream.close()


# what needs no run


def test_version() -> None:
    done = flatout("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("flatout ")


@pytest.mark.parametrize("command", [[], ["map"], ["explain"], ["machine"], ["chess"], ["demo"]])
def test_help_explains_itself(command: list[str]) -> None:
    done = flatout(*command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: flatout")
    assert "Example" in done.stdout or not command


def test_help_imports_nothing_heavy() -> None:
    heavy = ["rich", "asyncio", "psutil", "cloudpickle", "subprocess", "multiprocessing", "http"]
    code = f"import sys, flatout._cli; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_the_console_script_is_the_same_command() -> None:
    code = "import sys; sys.argv[1:] = ['map', 'work:double', 'a']; from flatout._cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "aa\n", "")


# targets


@pytest.mark.parametrize("target", ["work:double", "work.py:double", "./work.py:double", "operator:concat"])
def test_targets(target: str) -> None:
    done = flatout("map", target, "a") if target != "operator:concat" else flatout("map", "work:Words.count", "a b")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout in ("aa\n", "2\n")


def test_methods_of_the_standard_library_are_targets(here: Path) -> None:
    done = flatout("map", "os.path:exists", "--", str(here), "--nothing")
    assert (done.returncode, done.stdout) == (0, "True\nFalse\n")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("work", "is not of the form module:function"),
        (":double", "is not of the form module:function"),
        ("work:", "is not of the form module:function"),
        ("len", "'len' is not of the form module:function or file.py:function. Did you mean 'builtins:len'?"),
        ("lambda x: x", "'lambda x: x' is not of the form module:function or file.py:function."),
        ("lambda x:x", "'lambda x:x' is not of the form module:function or file.py:function."),
        ("nowhere:double", "cannot import 'nowhere': ModuleNotFoundError"),
        ("nowhere.py:double", "there is no file 'nowhere.py'"),
        ("broken.py:double", "cannot import 'broken.py': SyntaxError"),
        ("exits:double", "cannot import 'exits': SystemExit: 7"),
        ("work:doubel", "'work' has no 'doubel'. Did you mean 'double'?"),
        ("work:number", "cannot be called: it is of type int"),
    ],
)
def test_wrong_targets_are_usage_errors(here: Path, target: str, message: str) -> None:
    (here / "broken.py").write_text("def")
    (here / "exits.py").write_text("raise SystemExit(7)")
    for done in (flatout("map", target, "1"), flatout("explain", target, "1")):
        assert (done.returncode, done.stdout) == (2, "")
        assert message in " ".join(done.stderr.split())
        assert "Traceback" not in done.stderr


def test_the_traceback_of_an_import_on_request(here: Path) -> None:
    (here / "fails.py").write_text("def inner():\n    1 / 0\ninner()\n")
    done = flatout("map", "fails:f", "1", "--traceback")
    assert done.returncode == 2
    assert "in inner" in done.stderr


@pytest.mark.parametrize("via", KINDS)
@pytest.mark.parametrize("name", ["job.py", "test.py", "queue.py", "my-job.v2.py"])
def test_files_elsewhere_with_neighbours_and_names_that_are_taken(here: Path, via: str, name: str) -> None:
    folder = here / "elsewhere"
    folder.mkdir()
    (folder / "neighbour_of_job.py").write_text("def add(text): return text + '!'\n")
    (folder / name).write_text("from neighbour_of_job import add\nsuffix = '?'\ndef ask(x): return add(x) + suffix\n")
    done = flatout("map", f"elsewhere/{name}:ask", "a", "b", "--via", via)
    assert (done.returncode, done.stdout, done.stderr) == (0, "a!?\nb!?\n", "")


# inputs


@pytest.mark.parametrize("source", [["--lines", "in.txt"], ["--lines", "-"], []])
def test_lines(here: Path, source: list[str]) -> None:
    text = "a b\n\r\nmit \u00e4\r\n\nlast"
    (here / "in.txt").write_bytes(text.encode())
    done = flatout("map", "work:shout", *source, stdin=text)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "A B\n\nMIT \u00c4\n\nLAST\n"


def test_lines_longer_than_a_read() -> None:
    long = "x" * 300_000
    done = flatout("map", "work:shout", stdin=f"{long}\ny\n{long}")
    assert done.stdout == f"{long.upper()}\nY\n{long.upper()}\n"


def test_bytes_that_are_not_utf8_go_through() -> None:
    done = subprocess.run([*FLATOUT, "map", "work:double"], input=b"\xff\xfe\n", capture_output=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (0, b"\xff\xfe\xff\xfe\n")


def test_no_input_at_all_is_no_error() -> None:
    done = flatout("map", "work:double")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("source", ["in.jsonl", "-"])
def test_json_lines(here: Path, source: str) -> None:
    text = '{"a": [1]}\n\n"x"\n  7 \n'
    (here / "in.jsonl").write_text(text)
    done = flatout("map", "json:dumps", "--json", source, stdin=text)
    assert (done.returncode, done.stdout, done.stderr) == (0, '{"a": [1]}\n"x"\n7\n', "")


def test_glob_is_recursive_sorted_and_repeatable(here: Path) -> None:
    for name in ("b.txt", "a.txt", "deep/down/c.txt", "deep/d.md"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).touch()
    done = flatout("map", "builtins:str", "--glob", "**/*.txt", "--glob", "deep/*.md", "--glob", "*.none")
    assert done.stdout.split() == ["a.txt", "b.txt", "deep/down/c.txt", "deep/d.md"]
    assert (done.returncode, done.stderr) == (0, "flatout: nothing matches '*.none'\n")


def test_a_path_that_several_patterns_match_is_one_input(here: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (here / name).touch()
    done = flatout("map", "builtins:str", "--glob", "b.*", "--glob", "*.txt", "--glob", "a.*")
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["b.txt", "a.txt"], "")


@pytest.mark.parametrize("extra", [["--lines", "-"], ["--json", "-"], ["--glob", "*"]])
def test_two_sources_are_a_usage_error(extra: list[str]) -> None:
    done = flatout("map", "work:double", "a", *extra)
    assert done.returncode == 2
    assert "Inputs come from one source" in done.stderr


def test_a_file_of_inputs_must_exist() -> None:
    done = flatout("map", "work:double", "--lines", "none.txt")
    assert done.returncode == 2
    assert "'none.txt' does not exist" in done.stderr


def test_a_person_at_the_terminal_is_asked_for_inputs() -> None:
    master, slave = pty.openpty()
    try:
        command = [*FLATOUT, "map", "work:double"]
        done = subprocess.run(command, stdin=slave, capture_output=True, text=True, timeout=PATIENCE)
    finally:
        os.close(master)
        os.close(slave)
    assert done.returncode == 2
    assert "No inputs" in done.stderr


@pytest.mark.timeout(30)  # seconds; it hangs where a result waits for the next input
def test_every_result_comes_before_the_next_line_is_read(start: type[Started]) -> None:
    command = start("map", "work:shout", "--lines", "-")
    for word in ("one", "two", "three"):
        command.stdin.write(f"{word}\n")
        command.stdin.flush()
        assert command.stdout.readline() == f"{word.upper()}\n"
    command.stdin.close()
    assert command.process.wait(PATIENCE) == 0


# outputs


def test_json_output() -> None:
    done = flatout("map", "work:root", "4", "x", "9", "--output", "json")
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"index": 0, "ok": True, "value": 2.0},
        {"index": 1, "ok": False, "error": "ValueError: x has no root"},
        {"index": 2, "ok": True, "value": 3.0},
    ]
    assert done.returncode == 1


@pytest.mark.parametrize("via", KINDS)
def test_json_output_counts_lines_that_are_not_json(via: str) -> None:
    lines = ["{", "4", "", "[", "]", '"x"', "9", "}"]
    done = flatout("map", "work:root", "--json", "-", "--output", "json", "--via", via, stdin="\n".join(lines))
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(record["index"], record.get("value")) for record in records] == [
        *((0, None), (1, 2.0), (2, None), (3, None), (4, None), (5, 3.0), (6, None))
    ]
    assert [record["ok"] for record in records] == [False, True, False, False, False, True, False]
    assert [record["error"][:31] for record in records if "error" in record] == [
        "standard input, line 1: not JSO",
        "standard input, line 4: not JSO",
        "standard input, line 5: not JSO",
        "ValueError: x has no root",
        "standard input, line 8: not JSO",
    ]
    assert "flatout: task 4 (input 'x') failed: ValueError: x has no root\n" in done.stderr
    assert done.returncode == 1


def test_skip_leaves_the_places_of_lines_that_are_not_json_empty() -> None:
    done = flatout(
        "map", "work:double", "--json", "-", "--output", "json", "--on-error", "skip", stdin="{\n1\n{\n2\n{\n"
    )
    assert [json.loads(line)["index"] for line in done.stdout.splitlines()] == [1, 3]
    assert (done.returncode, done.stderr) == (1, "")


def test_json_output_of_what_json_cannot_hold() -> None:
    done = flatout("map", "work:strange", "a", "--output", "json")
    record = json.loads(done.stdout)
    assert (done.returncode, record["ok"]) == (0, True)
    assert record["value"] == "{(1, 2): {'a'}, 'nan': nan}"


def test_a_result_that_cannot_be_written_is_a_failure_of_its_own() -> None:
    done = flatout("map", "work:mute", "a", "--via", "inline")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "flatout: the result of task 0 cannot be written: TypeError: mute\n"


def test_out(here: Path) -> None:
    done = flatout("map", "work:double", "a", "b", "--out", "out.txt")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (here / "out.txt").read_text() == "aa\nbb\n"


@pytest.mark.parametrize(
    ("path", "message"), [("in.txt", "the file that the inputs come from"), ("no/where", "No such file or directory")]
)
def test_out_that_cannot_be(here: Path, path: str, message: str) -> None:
    (here / "in.txt").write_text("keep me\n")
    done = flatout("map", "work:double", "--lines", "./in.txt", "--out", path)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert (here / "in.txt").read_text() == "keep me\n"


@pytest.mark.parametrize(
    "circle",
    [
        "--lines keep.txt --out linked.txt",
        "--json keep.txt --out ./keep.txt",
        "--out keep.txt < keep.txt",
        "--lines - --out keep.txt < keep.txt",
        "--glob 'k*.txt' --glob '*.py' --out keep.txt",
        "--lines keep.txt >> keep.txt",
        "< keep.txt >> keep.txt",
    ],
)
def test_results_do_not_go_where_the_inputs_come_from(here: Path, circle: str) -> None:
    (here / "keep.txt").write_text("1\n")
    (here / "linked.txt").symlink_to("keep.txt")
    shell = f"{' '.join(FLATOUT)} map work:double {circle}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 2
    assert "that is the file that the inputs come from" in " ".join(done.stderr.split())
    assert (here / "keep.txt").read_text() == "1\n"


@pytest.mark.parametrize("fine", ["--glob '*.txt' > some.txt", "--glob '*.txt' --out some.txt", "--out - some.txt"])
def test_a_file_of_results_that_is_no_input(here: Path, fine: str) -> None:
    (here / "one.txt").touch()
    shell = f"{' '.join(FLATOUT)} map os.path:exists {fine}"
    done = subprocess.run(["bash", "-c", shell], stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, b"")


def test_out_may_be_standard_output(here: Path) -> None:
    done = flatout("map", "work:double", "a", "--out", "-")
    assert (done.returncode, done.stdout, done.stderr) == (0, "aa\n", "")
    assert not (here / "-").exists()


@pytest.mark.parametrize(
    "refused",
    [["work:double", "--timeout", "inf"], ["work:double", "--via", "async"], ["work:several"]],
)
def test_a_run_that_is_refused_leaves_out_as_it_is(here: Path, refused: list[str]) -> None:
    (here / "keep.txt").write_text("keep me\n")
    assert flatout("map", *refused, "--out", "keep.txt", "--", "1").returncode == 2
    assert (here / "keep.txt").read_text() == "keep me\n"


def test_no_standard_output(here: Path) -> None:
    shell = f"{' '.join(FLATOUT)} map work:double a"
    done = subprocess.run(["bash", "-c", f"{shell} >&-"], stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
    assert done.returncode == 1
    assert done.stderr == "flatout: cannot write results: standard output is closed\n"
    subprocess.run(["bash", "-c", f"{shell} --out out.txt >&-"], timeout=PATIENCE, check=True)
    assert (here / "out.txt").read_text() == "aa\n"


@pytest.mark.parametrize("via", ["auto", "inline", "thread"])
@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("work:close_stdout", "cannot write results: standard output is closed"),
        ("work:close_stdout_and_fail", "task 0 (input 'a') failed: ValueError: shut"),
    ],
)
def test_a_task_that_closes_standard_output(via: str, task: str, message: str) -> None:
    done = flatout("map", task, "a", "--via", via)
    assert (done.returncode, done.stderr) == (1, f"flatout: {message}\n")


@pytest.mark.parametrize(
    "command", [["machine"], ["chess"], ["--help"], ["--version"], ["map", "--help"], ["explain", "work:double", "a"]]
)
def test_a_full_disk_for_what_others_say(command: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([*FLATOUT, *command], stdout=full, stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (1, "flatout: OSError: [Errno 28] No space left on device\n")


def test_a_full_disk() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*FLATOUT, "map", "work:double", "a"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=PATIENCE
        )
    assert done.returncode == 1
    assert done.stderr == "flatout: cannot write results: No space left on device\n"


# failures


@pytest.mark.parametrize("via", ["auto", *KINDS])
def test_a_failure_lets_the_others_through(via: str) -> None:
    done = flatout("map", "work:root", "4", "x", "9", "--via", via)
    assert (done.returncode, done.stdout) == (1, "2.0\n3.0\n")
    assert done.stderr == "flatout: task 1 (input 'x') failed: ValueError: x has no root\n"


def test_a_task_that_exits_fails_alone() -> None:
    done = flatout("map", "work:leave", "a", "b")
    assert (done.returncode, done.stdout) == (1, "")
    assert [line[:15] for line in done.stderr.splitlines()] == ["flatout: task 0", "flatout: task 1"]


@pytest.mark.parametrize("via", ["auto", *KINDS])
def test_raise_stops_at_the_first_failure(via: str) -> None:
    done = flatout("map", "work:root", "4", "x", "9", "--on-error", "raise", "--via", via)
    assert (done.returncode, done.stdout) == (1, "2.0\n")
    assert done.stderr == "flatout: task 1 (input 'x') failed: ValueError: x has no root\n"


def test_skip_leaves_failures_out_and_their_places_empty() -> None:
    done = flatout("map", "work:root", "4", "x", "9", "--on-error", "skip", "--output", "json")
    assert [json.loads(line)["index"] for line in done.stdout.splitlines()] == [0, 2]
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("via", ["inline", "process"])
@pytest.mark.parametrize("on_error", ["return", "raise"])
def test_the_whole_traceback_on_request(via: str, on_error: str) -> None:
    done = flatout("map", "work:root", "x", "--traceback", "--via", via, "--on-error", on_error)
    assert "Traceback (most recent call last)" in done.stderr
    assert "in root" in done.stderr
    assert "and never will" in done.stderr


def test_lines_that_are_not_json(here: Path) -> None:
    (here / "in.jsonl").write_text("1\n{\n3\n")
    done = flatout("map", "work:double", "--json", "in.jsonl")
    assert (done.returncode, done.stdout) == (1, "2\n6\n")
    assert done.stderr.startswith("flatout: in.jsonl, line 2: not JSON: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("bad", [b"[" * 100_000, b"1\0", b"\0\0\0" + b"1", b'"\xff"', "1".encode("utf-16")])
def test_lines_that_are_not_json_at_all(bad: bytes) -> None:
    done = flatout("map", "work:double", "--json", "-", stdin=b"1\n" + bad + b"\n3\n")
    assert (done.returncode, done.stdout) == (1, "2\n6\n")
    assert done.stderr.startswith("flatout: standard input, line 2: not JSON: ")
    assert len(done.stderr.splitlines()) == 1


def test_json_may_begin_with_a_byte_order_mark() -> None:
    done = flatout("map", "work:double", "--json", "-", stdin=b"\xef\xbb\xbf1\n2\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n4\n", "")


def test_raise_stops_at_a_line_that_is_not_json() -> None:
    done = flatout("map", "work:double", "--json", "-", "--on-error", "raise", stdin="1\n{\n3\n")
    assert (done.returncode, done.stdout) == (1, "2\n")
    assert done.stderr.startswith("flatout: standard input, line 2: not JSON: ")


def test_a_plan_that_cannot_be_is_a_usage_error() -> None:
    done = flatout("map", "work:double", "a", "--via", "async")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: flatout map ")
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("option", "message"),
    [("--retry", "'abc' is not a valid integer."), ("--timeout", "'abc' is not a valid number.")],
)
def test_options_that_are_no_numbers(option: str, message: str) -> None:
    done = flatout("map", "work:double", "a", option, "abc")
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.parametrize(
    "options",
    [["-j", "0"], ["--chunksize", "x"], ["--timeout", "0"], ["--via", "ray"], ["--on-error", "ignore"], ["--out", "."]],
)
def test_wrong_options_are_usage_errors(options: list[str]) -> None:
    done = flatout("map", "work:double", "a", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert options[0] in done.stderr


# options that reach the run


@pytest.mark.parametrize("via", KINDS)
def test_initializer(via: str) -> None:
    done = flatout("map", "work:is_prepared", "a", "b", "--initializer", "work:prepare", "--via", via)
    assert (done.returncode, done.stdout) == (0, "True\nTrue\n")


def test_an_initializer_that_is_not_there() -> None:
    done = flatout("map", "work:double", "a", "--initializer", "work:prepaer")
    assert done.returncode == 2
    assert "Did you mean 'prepare'?" in done.stderr


def test_timeout() -> None:
    done = flatout("map", "work:nap", "0", "1", "--timeout", "0.5")
    assert (done.returncode, done.stdout) == (1, "0\n")
    assert "task 1 (input '1') failed: TaskTimeout" in done.stderr


def test_retry(here: Path) -> None:
    (here / "again.py").write_text(
        "import pathlib\n"
        "def once(name):\n"
        "    path = pathlib.Path(name)\n"
        "    if not path.exists():\n"
        "        path.touch()\n"
        "        raise OSError('not yet')\n"
        "    return 'well'\n"
    )
    assert flatout("map", "again:once", "one").returncode == 1
    done = flatout("map", "again:once", "two", "--retry", "2")
    assert (done.returncode, done.stdout) == (0, "well\n")


def test_report() -> None:
    done = flatout("map", "work:double", "a", "--report")
    assert (done.returncode, done.stdout) == (0, "aa\n")
    assert done.stderr.startswith("flatout: 1 task")
    assert "inline: " in done.stderr, "the plan and its reason"


def test_progress_is_off_by_default_and_plain_in_a_log() -> None:
    assert flatout("map", "work:double", "a").stderr == ""
    done = flatout("map", "work:double", "a", "--progress")
    assert done.stdout == "aa\n"
    assert done.stderr.startswith("flatout: 1 done, 0 failed")
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize(("command", "shown"), [("", False), ("| cat", True), ("--out out.txt", True)])
def test_progress_is_on_where_a_person_sees_no_results(command: str, shown: bool) -> None:
    master, slave = pty.openpty()
    shell = f"{' '.join(FLATOUT)} map work:double a {command}"
    subprocess.run(["bash", "-c", shell], stdin=slave, stdout=slave, stderr=slave, timeout=PATIENCE, check=True)
    os.close(slave)
    assert ("1 done" in os.read(master, 65536).decode()) == shown
    os.close(master)


# being stopped


@pytest.mark.parametrize("via", ["auto", *KINDS])
@pytest.mark.parametrize("whole_group", [True, False])
@pytest.mark.parametrize(
    ("number", "status", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_signals_end_it_quietly_with_all_workers(
    here: Path, start: type[Started], via: str, whole_group: bool, number: signal.Signals, status: int, word: str
) -> None:
    command = start("map", "work:nap", *map(str, range(8)), "--via", via, "-j", "2")
    assert command.stdout.readline() == "0\n"
    pid = _first_pid(here)
    wait_until_asleep(command.process.pid)
    (os.killpg if whole_group else os.kill)(command.process.pid, number)
    assert command.end() == (status, "", f"flatout: {word}\n")
    _assert_ended(pid)


def _first_pid(folder: Path) -> int:
    """The process of the first task that hangs."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for path in folder.glob("pid-*"):
            return int(path.name.removeprefix("pid-"))
        time.sleep(0.01)
    raise AssertionError("no task began")


def _assert_ended(pid: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(10)


@pytest.mark.parametrize(
    ("number", "status", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
@pytest.mark.parametrize("task", ["work:wait_for_program", "work:wait_for_stubborn_program"])
def test_signals_to_the_command_alone_end_the_programs_of_threads(
    here: Path, start: type[Started], task: str, number: signal.Signals, status: int, word: str
) -> None:
    command = start("map", task, "a", "b", "--via", "thread")
    pid = _first_pid(here)
    wait_until_asleep(command.process.pid)
    os.kill(command.process.pid, number)
    assert command.end() == (status, "", f"flatout: {word}\n"), (
        "and nobody has taken its program for one that succeeded"
    )
    _assert_ended(pid)
    assert not list(here.glob("done-*"))


def test_what_the_command_was_started_with_is_not_its_own_to_end(here: Path) -> None:
    """A shell starts a program and becomes the command."""
    script = f"sleep 300 & echo $!; exec {sys.executable} -m flatout map work:wait_for_program a --via thread"
    with subprocess.Popen(
        ["sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as command:
        assert command.stdout is not None
        other = int(command.stdout.readline())
        try:
            _first_pid(here)
            wait_until_asleep(command.pid)
            command.send_signal(signal.SIGTERM)
            assert command.wait(PATIENCE) == 143
            assert psutil.Process(other).status() == psutil.STATUS_SLEEPING
        finally:
            os.kill(other, signal.SIGKILL)


def test_a_second_sigterm_ends_what_swallows_the_first(here: Path, start: type[Started]) -> None:
    command = start("map", "work:swallow", "0", "--via", "inline")
    _first_pid(here)
    wait_until_asleep(command.process.pid)
    command.process.send_signal(signal.SIGTERM)
    assert command.stdout.readline() == "swallowed\n"
    command.process.send_signal(signal.SIGTERM)
    assert command.process.wait(PATIENCE) == -signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_an_event_loop_of_a_task_in_one_line(
    here: Path, start: type[Started], number: signal.Signals
) -> None:
    command = start("map", "work:nap_in_loop", "1", "--via", "inline")
    _first_pid(here)
    wait_until_asleep(command.process.pid)
    command.process.send_signal(number)
    word = "interrupted" if number == signal.SIGINT else "terminated"
    assert command.end() == (128 + number, "", f"flatout: {word}\n")


@pytest.mark.parametrize("ignored", [(), (signal.SIGINT,)])
def test_sigterm_ends_the_exhibition_in_one_line(
    monkeypatch: pytest.MonkeyPatch, start: type[Started], ignored: tuple[signal.Signals, ...]
) -> None:
    before = [(number, signal.signal(number, signal.SIG_IGN)) for number in ignored]  # as in the background of a script
    try:
        command = start("chess", "--opponents", "1000", "--pairs", "100")
    finally:
        for number, handler in before:
            signal.signal(number, handler)
    _wait_for_cpu_seconds(command.process.pid, 1.0)
    command.process.send_signal(signal.SIGTERM)
    assert command.end() == (143, "", "flatout: terminated\n")


def _wait_for_cpu_seconds(pid: int, seconds: float) -> None:
    """Until it is in the middle of computing: it takes less to start, and more in all."""
    deadline = time.monotonic() + PATIENCE
    while psutil.Process(pid).cpu_times().user < seconds:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.timeout(30)  # seconds; it hangs where a result waits for the next input
def test_sigint_while_waiting_for_input(start: type[Started]) -> None:
    command = start("map", "work:shout")
    command.stdin.write("a\n")
    command.stdin.flush()
    assert command.stdout.readline() == "A\n"
    command.process.send_signal(signal.SIGINT)
    assert command.end() == (130, "", "flatout: interrupted\n")


def test_results_so_far_are_in_the_file_after_an_interruption(here: Path, start: type[Started]) -> None:
    command = start("map", "work:nap", "0", "0", "1", "--via", "inline", "--out", "out.txt")
    _first_pid(here)
    wait_until_asleep(command.process.pid)
    command.process.send_signal(signal.SIGINT)
    assert command.process.wait(PATIENCE) == 130
    assert (here / "out.txt").read_text() == "0\n0\n"


@pytest.mark.parametrize("via", ["auto", *KINDS])
def test_a_reader_that_leaves_ends_it_quietly(here: Path, start: type[Started], via: str) -> None:
    (here / "in.txt").write_text("word\n" * 200_000)
    command = start("map", "work:shout", "--lines", "in.txt", "--via", via)
    assert command.stdout.readline() == "WORD\n"
    command.stdout.close()
    command.process.wait(PATIENCE)
    assert (command.process.returncode, command.stderr.read()) == (141, "")


@pytest.mark.parametrize("command", ["machine", "chess", "--help", "explain work:double a"])
def test_a_reader_that_leaves_ends_the_others_alike(command: str) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [*FLATOUT, *command.split()], stdout=write, stderr=subprocess.PIPE, text=True, timeout=PATIENCE
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_an_endless_input_and_head() -> None:
    shell = f"yes | {' '.join(FLATOUT)} map work:shout --lines - | head -n 3"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Y\nY\nY\n", "")


# the other commands


def test_explain_predicts_and_runs_no_more_than_it_must() -> None:
    done = flatout("explain", "work:root", *map(str, range(1000)))
    assert (done.returncode, done.stderr) == (0, "")
    assert all(kind in done.stdout for kind in ("inline", "thread", "process"))


def test_explain_of_a_function_that_fails() -> None:
    done = flatout("explain", "work:root", "x")
    assert done.returncode == 1
    assert "ValueError: x has no root" in done.stderr
    assert "Traceback" not in done.stderr


def test_machine() -> None:
    done = flatout("machine")
    assert (done.returncode, done.stderr) == (0, "")
    assert "core" in done.stdout


def test_chess() -> None:
    done = flatout("chess", "--opponents", "2", "--pairs", "3")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_chess_live() -> None:
    done = flatout("chess", "--opponents", "2", "--pairs", "2", "--live", "1000")
    assert (done.returncode, done.stderr) == (0, "")


def test_chess_by_impossible_rules_is_a_usage_error() -> None:
    assert flatout("chess", "--opponents", "0").returncode == 2


def test_demo_knows_its_parts() -> None:
    from flatout._demo import NAMES

    done = flatout("demo", "--only", "nothing")
    assert done.returncode == 2
    assert all(name in done.stderr for name in NAMES)


def test_chess_that_cannot_be_drawn_where_it_shall_says_so() -> None:
    done = flatout("chess", "--svg", "/proc/nowhere")
    assert done.returncode == 1
    assert "nothing can be drawn in /proc/nowhere" in done.stderr
    assert "Traceback" not in done.stderr
