"""How a part of the demo looks: a title and rows, with colours on a terminal and plain elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable

Row = tuple[str, str]


def show(title: str, rows: Iterable[Row]) -> None:
    """Print a part."""
    if sys.stdout.isatty():
        _rich(title, rows)
    else:
        _plain(title, rows)


def _plain(title: str, rows: Iterable[Row]) -> None:
    print(f"\n{title}")
    for label, text in rows:
        print(f"  {label:<12} {text}")
    sys.stdout.flush()


def _rich(title: str, rows: Iterable[Row]) -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column()
    for label, text in rows:
        table.add_row(label, Text(text, style="bold green" if label == FAST else ""))
    console = Console(highlight=False)
    console.print()
    console.print(Text(title, style="bold"))
    console.print(Padding(table, (0, 2)))


FAST = "flatout"  # the row that matters
