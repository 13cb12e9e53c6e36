"""The command `flatout`: the public names from a shell.

What it needs beyond click is imported by the command that needs it, so that `flatout --help` answers at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import click
from click.exceptions import Exit

import flatout
from flatout._cli._failures import TASK_FAILED
from flatout._cli._map import explain, map_
from flatout._cli._numbers import Count, Number
from flatout._cli._output import OutputClosed, OutputError, complain, described
from flatout._cli._programs import end_programs, inherited

# exit statuses; 2, for what was asked wrongly, is click's own, 1 is TASK_FAILED
INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM
OUTPUT_CLOSED = 128 + 13  # as if SIGPIPE, which Python ignores, had done it


class _Edge(click.Group):
    """The one place where what ends a command becomes an exit status."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """As click does, which writes the help here."""
        with _exit_statuses():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """As click does, with an exit status for each way to end."""
        try:
            with _exit_statuses():
                return super().invoke(ctx)
        except flatout.PlanError as error:
            raise click.UsageError(str(error), self._invoked(ctx)) from error

    def _invoked(self, ctx: click.Context) -> click.Context:
        """That of the command that was asked for, whose usage is to be shown."""
        name = ctx.invoked_subcommand
        command = name and self.get_command(ctx, name)
        return click.Context(command, ctx, name) if command else ctx


def main() -> None:
    """Be the command."""
    cli(prog_name="flatout")


@contextlib.contextmanager
def _exit_statuses() -> Iterator[None]:
    """What ends a command from outside is told in one line, if anybody is there to be told."""
    signals, others = _Signals(), inherited()
    try:
        with signals:
            yield
    except (OutputClosed, BrokenPipeError) as error:
        _leave_standard_output()
        raise Exit(OUTPUT_CLOSED) from error
    except (OutputError, OSError) as error:
        _leave_standard_output()
        complain(str(error) if isinstance(error, OutputError) else described(error))
        raise Exit(TASK_FAILED) from error
    except KeyboardInterrupt as error:
        complain("terminated" if signals.terminated else "interrupted")
        end_programs(others)
        raise Exit(TERMINATED if signals.terminated else INTERRUPTED) from error


def _leave_standard_output() -> None:
    """What is still buffered would break the end of the interpreter."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


class _Signals:
    """Ctrl-C and SIGTERM raise KeyboardInterrupt; before and after they end the process like any other."""

    def __init__(self) -> None:
        self.terminated = False
        self._heeded: list[signal.Signals] = []

    def __enter__(self) -> None:
        numbers = (signal.SIGINT, signal.SIGTERM)
        self._heeded = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
        for number in self._heeded:
            signal.signal(number, self._terminate if number == signal.SIGTERM else signal.default_int_handler)

    def __exit__(self, *error: object) -> None:
        for number in self._heeded:
            signal.signal(number, signal.SIG_DFL)

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        """All is brought to an end in the same way as after Ctrl-C."""
        self.terminated = True
        signal.signal(number, signal.SIG_DFL)  # a task may swallow what is raised: a second one ends the process
        asyncio = sys.modules.get("asyncio")
        loop = asyncio and asyncio._get_running_loop()
        if loop:  # in one of its tasks it would be told again, with a traceback
            loop.call_soon_threadsafe(_interrupt)
        else:
            _interrupt()


def _interrupt() -> None:
    raise KeyboardInterrupt


@click.group(
    cls=_Edge,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Each command has its own help with examples: flatout map --help",
)
@click.version_option(flatout.__version__, prog_name="flatout", message="%(prog)s %(version)s")
def cli() -> None:
    """Run any Python function over any inputs, as fast as this machine allows.

    flatout measures the first calls, sees whether they compute or wait, and picks the event loop, threads, processes
    or the plain loop by itself.
    """


cli.add_command(map_)
cli.add_command(explain)


@cli.command()
def machine() -> None:
    """Say what this machine can give: cores, memory, open files, and whether Python has a GIL.

    \b
    Example:
      flatout machine
    """
    click.echo(str(flatout.machine()))


@cli.command()
@click.option("--opponents", type=Count(), default=24, show_default=True, help="Tables.")
@click.option(
    "--move",
    metavar="SECONDS",
    type=Number(),
    default=5.0,
    show_default=True,
    help="What a master needs for a move.",
)
@click.option(
    "--reply",
    metavar="SECONDS",
    type=Number(),
    default=55.0,
    show_default=True,
    help="What an opponent needs for a reply.",
)
@click.option(
    "--pairs",
    type=Count(),
    default=30,
    show_default=True,
    help="Pairs of moves in a game; at most 100,000 at all tables together.",
)
@click.option("--masters", type=Count(), default=1, show_default=True, help="Masters who share the tables.")
@click.option(
    "--live",
    metavar="SPEED",
    type=Number(above=True),
    help="Play it before your eyes, so many times as fast as life.",
)
@click.option(
    "--svg",
    metavar="FOLDER",
    type=click.Path(file_okay=False),
    help="Draw it instead: writes exhibition.svg, tables.svg and kinds.svg there.",
)
def chess(
    opponents: int, move: float, reply: float, pairs: int, masters: int, live: float | None, svg: str | None
) -> None:
    """Play the chess exhibition that explains flatout.

    A master who plays game after game waits most of the time; one who walks from table to table waits hardly at all.

    \b
    Examples:
      flatout chess
      flatout chess --masters 2
      flatout chess --opponents 8 --pairs 10 --live 600
    """
    import shutil

    from flatout._chess import Exhibition, draw_into, lines

    exhibition = Exhibition(opponents=opponents, move=move, reply=reply, pairs=pairs, masters=masters)
    if svg is not None:
        try:
            for path in draw_into(svg, exhibition):
                click.echo(path)
        except OSError as error:
            raise click.ClickException(f"nothing can be drawn in {svg}: {error.strerror}") from error
        return
    for line in lines(exhibition, live=live, width=shutil.get_terminal_size().columns):
        click.echo(line)


@cli.command()
@click.option(
    "--only",
    metavar="NAME",
    type=click.Choice(["computing", "waiting", "coroutines", "hashing"]),
    help="Only this part: computing, waiting, coroutines or hashing.",
)
def demo(only: str | None) -> None:
    """Show on this machine what flatout does: some 20 seconds, no network, nothing to prepare.

    \b
    Examples:
      flatout demo
      flatout demo --only waiting
    """
    from flatout import _demo

    _demo.show(only)
