"""Every example of the documentation runs, as it stands there.

A ```python block is run as a script of its own, as a reader would run it: no main guard, no name left over from another
block. A ```text block right behind it is its exact output. In a ```console block the commands (`$ flatout ...`) are run
by the shell, one after the other in one folder, and what follows a command is its output: a line of "..." stands for any
lines, "..." within a line for any characters, no line at all for any output. Console blocks in which no command begins
with flatout are left alone. So are blocks of either sort right behind `<!-- not run: reason -->`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from builds import needs_gil

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(
    r"^(?P<skip><!-- not run:.*?-->\s*)?"
    r"^```(?P<language>python|console)\n(?P<body>.*?)^```$"
    r"(?:\s*^```text\n(?P<output>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)
SECONDS = 100  # that one example may take: below the time that a test may take


@dataclass(frozen=True)
class Example:
    """A block of code that is to be run. `output` is None where none is given."""

    language: str
    body: str
    output: str | None
    line: int

    def check(self, folder: Path) -> None:
        if self.language == "python":
            self._check_script(folder)
        else:
            for command, output in commands(self.body):
                _check_command(command, output, folder)

    def _check_script(self, folder: Path) -> None:
        script = folder / "example.py"
        script.write_text(self.body, encoding="utf-8")
        printed = _run([sys.executable, script.name], folder)
        assert self.output is None or printed == self.output


def examples(text: str) -> Iterator[Example]:
    """The blocks of a Markdown text that are to be run."""
    for match in BLOCK.finditer(text):
        skip, language, body, output = match.group("skip", "language", "body", "output")
        left_alone = language == "console" and not any(command.startswith("flatout") for command, _ in commands(body))
        if not skip and not left_alone:
            yield Example(language, body, output, text.count("\n", 0, match.start("body")))


def commands(body: str) -> list[tuple[str, str]]:
    """The commands of a console block, each with the output given for it."""
    parts = re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]
    return [(command, output) for command, _, output in (part.partition("\n") for part in parts)]


def matches(output: str, printed: str) -> bool:
    """Whether what was printed is the output given, in which "..." stands for anything."""
    pattern = "".join(map(_line_pattern, output.strip("\n").split("\n")))
    return re.fullmatch(pattern, printed.strip("\n") + "\n") is not None


def _line_pattern(line: str) -> str:
    return r"(?:.*\n)*?" if line == "..." else re.escape(line).replace(r"\.\.\.", ".*?") + "\n"


def _check_command(command: str, output: str, folder: Path) -> None:
    scripts = Path(sys.executable).parent
    if shutil.which("flatout", path=str(scripts)) is None:
        pytest.skip("flatout is not installed in this environment: `make test` installs it")
    printed = _run(["sh", "-c", command], folder, PATH=f"{scripts}{os.pathsep}{os.environ['PATH']}")
    assert not output or matches(output, printed), f"$ {command}\n{printed}"


def _run(command: list[str], folder: Path, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _documented() -> Iterator[object]:
    for page in [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]:
        for example in examples(page.read_text(encoding="utf-8")):
            marks = [needs_gil] if "process\n" in (example.output or "") else []
            yield pytest.param(example, id=f"{page.relative_to(ROOT)}:{example.line}", marks=marks)


@pytest.mark.parametrize("example", list(_documented()))
def test_example_runs(example: Example, tmp_path: Path) -> None:
    example.check(tmp_path)


def block(language: str, body: str) -> str:
    return f"```{language}\n{body}\n```\n"


def test_blocks_are_found_with_their_output() -> None:
    with_output = block("python", "print(1)") + "\n" + block("text", "1")
    without = block("python", "x = 2") + "words\n" + block("text", "")
    found = [Example("python", "print(1)\n", "1\n", 1), Example("python", "x = 2\n", None, 8)]
    assert list(examples(with_output + without)) == found


def test_blocks_that_are_not_to_run_are_left_out() -> None:
    marked = "<!-- not run: it needs\na network -->\n" + block("python", "import nowhere") + block("text", "1")
    assert list(examples(marked + block("sh", "flatout") + block("console", "$ make test"))) == []
    assert len(list(examples(marked + block("python", "pass")))) == 1


def test_wrong_output_or_exit_is_found(tmp_path: Path) -> None:
    (right,) = examples(block("python", "print(1)") + block("text", "1"))
    right.check(tmp_path)
    (wrong,) = examples(block("python", "print(1)") + block("text", "2"))
    with pytest.raises(AssertionError):
        wrong.check(tmp_path)
    (failing,) = examples(block("python", "import nowhere"))
    with pytest.raises(AssertionError, match="ModuleNotFoundError"):
        failing.check(tmp_path)


def test_commands_and_their_output() -> None:
    body = "$ flatout machine\ncores 2\n...\n$ seq 3 | flatout map int\n"
    assert commands(body) == [("flatout machine", "cores 2\n...\n"), ("seq 3 | flatout map int", "")]


@pytest.mark.parametrize(
    ("output", "printed", "same"),
    [
        ("a\nb\n", "a\nb\n", True),
        ("a\n", "a\nb\n", False),
        ("a\n...\n", "a\nb\nc\n", True),
        ("a\n...\nz\n", "a\nz\n", True),
        ("a\n...\nz\n", "a\nb\ny\n", False),
        ("took ... s\n", "took 1.5 s\n", True),
        ("took ... s\n", "took 1.5\n s\n", False),
        ("a+b\n", "aab\n", False),
    ],
)
def test_three_dots_stand_for_anything(output: str, printed: str, same: bool) -> None:
    assert matches(output, printed) is same
