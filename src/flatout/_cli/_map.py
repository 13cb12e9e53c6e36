"""`flatout map` and `flatout explain`: a function over inputs."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click

import flatout
from flatout._cli import _output, _sources
from flatout._cli._failures import TASK_FAILED, Ended, Failures, outcomes
from flatout._cli._numbers import Count, Number
from flatout._cli._output import complain
from flatout._record import replace

Command = TypeVar("Command", bound=Callable[..., Any])


def _takes_inputs(command: Command) -> Command:
    """TARGET and the ways to give inputs, the same for every command."""
    existing = click.Path(exists=True, dir_okay=False, allow_dash=True)
    for decorate in (
        click.option(
            "--glob",
            "patterns",
            metavar="PATTERN",
            multiple=True,
            help="Paths that match are the inputs, sorted; ** matches any depth. Repeatable: one pattern after"
            " the other, each path once.",
        ),
        click.option(
            "--json",
            "json_path",
            metavar="FILE",
            type=existing,
            help="Each line of FILE is a JSON value and an input; - is standard input.",
        ),
        click.option(
            "--lines",
            "lines_path",
            metavar="FILE",
            type=existing,
            help="Each line of FILE is an input, without its newline; - is standard input.",
        ),
        click.argument("inputs", nargs=-1),
        click.argument("target"),
    ):
        command = decorate(command)
    return command


@click.command(name="map")
@_takes_inputs
@click.option(
    "--out",
    "out_path",
    metavar="FILE",
    type=click.Path(dir_okay=False, writable=True, allow_dash=True),
    help="Write results there instead of to standard output, which - is, too.",
)
@click.option(
    "--output",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="text: str(result). json: a line of JSON for each input, with index, ok and value or error; index counts"
    " lines that are not JSON, too, but no blank ones of --json.",
)
@click.option(
    "--via",
    type=click.Choice(["auto", "inline", "thread", "process", "async"]),
    default="auto",
    show_default=True,
    help="The kind of worker; auto measures and chooses.",
)
@click.option("-j", "--max-concurrency", metavar="N", type=Count(), help="At most N tasks run at once.")
@click.option(
    "--max-per-second",
    metavar="N",
    type=Number(above=True),
    help="Start at most N tasks a second.",
)
@click.option("--chunksize", metavar="N", type=Count(), help="Send N tasks together to a worker.")
@click.option("--buffersize", metavar="N", type=Count(), help="Hold at most N inputs and results.")
@click.option("--timeout", metavar="SECONDS", type=Number(above=True), help="A task that runs longer fails.")
@click.option("--retry", metavar="N", type=Count(), help="Try a failed task again, N times in all.")
@click.option(
    "--on-error",
    type=click.Choice(["return", "raise", "skip"]),
    default="return",
    show_default=True,
    help="return: say so on standard error and go on. raise: stop at the first failure. skip: go on and say nothing.",
)
@click.option(
    "--initializer",
    metavar="TARGET",
    help="A function, named like TARGET, that each worker calls once before its first task.",
)
@click.option(
    "--progress/--no-progress",
    default=None,
    help="A display on standard error; by default where that is a terminal and the results go elsewhere.",
)
@click.option(
    "--report", is_flag=True, help="In the end say on standard error which way was taken, why, and what it cost."
)
@click.option("--traceback", is_flag=True, help="Print the whole traceback of a failure.")
@click.pass_context
def map_(
    ctx: click.Context,
    /,
    target: str,
    inputs: tuple[str, ...],
    lines_path: str | None,
    json_path: str | None,
    patterns: tuple[str, ...],
    out_path: str | None,
    form: _output.Form,
    on_error: str,
    initializer: str | None,
    progress: bool | None,
    report: bool,
    traceback: bool,
    **options: Any,
) -> None:
    """Call TARGET once for each input and write the results in the order of the inputs.

    TARGET is module:function or file.py:function; the working directory is importable. A file keeps its own name as
    a module unless another module has it already. Give the inputs as arguments, or by one of --lines, --json and
    --glob; with none of these, the lines of standard input are the inputs.

    A task that ends its process (os._exit, a crash) takes the command along where it runs in that, as the first ones
    do, and its exit status is then the command's: --via process or --timeout guards against it.

    \b
    Examples:
      flatout map math:sqrt --json numbers.txt
      flatout map os.path:getsize -- README.md LICENSE
      flatout map fetch.py:fetch --lines urls.txt --timeout 30 --retry 3
      flatout map parse.py:parse --glob 'data/**/*.xml' --output json --out parsed.jsonl
      tail -f access.log | flatout map report.py:parse --lines -

    \b
    Exit status: 0 all is well, 1 a task failed, 2 the command cannot be carried out,
    130 interrupted by Ctrl-C, 141 nobody reads the results any more, 143 terminated.
    """
    out_path = None if out_path == "-" else out_path
    func = _loaded(target, "TARGET", traceback)
    prepare = _loaded(initializer, "--initializer", traceback) if initializer else None
    failures = Failures(on_error, traceback)
    source = _source(inputs, lines_path, json_path, patterns, failures.bad_line)
    if not inputs:
        _refuse_circle(out_path, source if patterns else None, lines_path or json_path or "-")
    run = flatout.map(
        func,
        source,
        # skipped failures are counted all the same, and their places in the order kept
        on_error="raise" if on_error == "raise" else "return",
        initializer=prepare,
        progress=_is_watched(out_path) if progress is None else progress,
        **options,
    )
    # only now: a run that is refused leaves the file as it is
    with _opened(out_path, form) as output, run:
        try:
            _write_all(output, failures, outcomes(run))
        except Ended as ended:
            failures.ended(ended.error, ended.index)
    if report:
        complain(str(run.report))
    ctx.exit(TASK_FAILED if failures.count else 0)


@click.command()
@_takes_inputs
@click.option("--traceback", is_flag=True, help="Print the whole traceback of a failure.")
@click.pass_context
def explain(
    ctx: click.Context,
    target: str,
    inputs: tuple[str, ...],
    lines_path: str | None,
    json_path: str | None,
    patterns: tuple[str, ...],
    traceback: bool,
) -> None:
    """Measure a few calls of TARGET and predict what every kind of worker would make of the rest.

    Runs the first few tasks and nothing more. Inputs are given as to flatout map.

    \b
    Examples:
      flatout explain json:loads --lines docs.jsonl
      flatout explain fetch.py:fetch --lines urls.txt
      flatout explain parse.py:parse --glob 'data/**/*.xml'
    """
    func = _loaded(target, "TARGET", traceback)
    failures = Failures("raise", traceback)
    source = _source(inputs, lines_path, json_path, patterns, failures.bad_line)
    try:
        explanation = str(flatout.explain(func, source))
    except flatout.PlanError:
        raise
    except Exception as error:
        failures.ended(error)
    else:
        click.echo(explanation)
    ctx.exit(TASK_FAILED if failures.count else 0)


def _write_all(output: _output.Output, failures: Failures, values: Iterable[tuple[int, Any]]) -> None:
    """Each outcome under the number of its input, of which a line that is not JSON is one, though no task."""
    bad = 0
    for index, value in values:
        bad += _write_bad_lines(output, failures, index + bad)
        _write(output, failures, index + bad, value)
    _write_bad_lines(output, failures, math.inf)


def _write_bad_lines(output: _output.Output, failures: Failures, index: float) -> int:
    """Those which stand where the next outcome, of this number, would else be; returns how many."""
    count = 0
    while failures.bad_lines and failures.bad_lines[0].index <= index + count:
        line = failures.bad_lines.popleft()
        count += 1
        if not failures.skipped:
            output.failure(line.index, str(line))
    return count


def _write(output: _output.Output, failures: Failures, index: int, value: Any) -> None:
    if isinstance(value, flatout.Failure):
        failures.task(replace(value, index=index))
        if not failures.skipped:
            output.failure(index, _output.described(value.error))
        return
    try:
        output.value(index, value)
    except _output.OutputError:
        raise
    except Exception as error:
        failures.result(index, error)


def _loaded(target: str, hint: str, traceback: bool) -> Callable[..., Any]:
    from flatout._cli import _target  # and pathlib, which takes 3 ms

    try:
        return _target.load(target)
    except _target.TargetError as error:
        if traceback and error.__cause__ is not None:
            complain(_output.traceback_of(error.__cause__))
        raise click.BadParameter(str(error), param_hint=hint) from error


def _source(
    inputs: Sequence[str],
    lines_path: str | None,
    json_path: str | None,
    patterns: Sequence[str],
    bad_line: Callable[[_sources.BadLine], None],
) -> Iterable[Any]:
    """The one source of inputs that was named."""
    given = sum(map(bool, (inputs, lines_path, json_path, patterns)))
    if given > 1:
        raise click.UsageError("Inputs come from one source: give arguments, --lines, --json or --glob, not several.")
    if not given and not _sources.stdin_waits():
        raise click.UsageError(
            "No inputs: give them as arguments or by --lines, --json or --glob, or on standard input."
        )
    if inputs:
        return inputs
    if patterns:
        return _sources.paths(patterns, complain)
    return _sources.json_lines(json_path, bad_line) if json_path else _sources.lines(lines_path or "-")


def _refuse_circle(out_path: str | None, matches: Iterable[str] | None, in_path: str) -> None:
    """Results must not go to a file that the inputs are still to be read from: it would be lost, or grow for ever."""
    if matches is None:
        in_files = {_sources.regular_file(_sources.STDIN if in_path == "-" else in_path)}
    elif out_path:
        in_files = set(map(_sources.regular_file, matches))
    else:  # the shell has made what standard output goes to, so that it matches where it was not meant to
        return
    out_file = _sources.regular_file(out_path or _output.STDOUT)
    if out_file is not None and out_file in in_files:
        hint = "--out" if out_path else "standard output"
        raise click.BadParameter("that is the file that the inputs come from.", param_hint=hint)


def _opened(path: str | None, form: _output.Form) -> _output.Output:
    try:
        return _output.Output(path, form)
    except OSError as error:
        raise click.BadParameter(f"cannot open {path!r}: {error.strerror}.", param_hint="--out") from error


def _is_watched(out_path: str | None) -> bool:
    """Whether a person looks at standard error and sees no results: a display that has to make way for every line of
    them would slow the terminal down (measured: 0.45 ms a line)."""
    shows_results = out_path is None and sys.stdout is not None and sys.stdout.isatty()
    return sys.stderr is not None and sys.stderr.isatty() and not shows_results
