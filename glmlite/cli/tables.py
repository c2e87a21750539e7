"""Tables on stdout: aligned columns, Chinese counted right, nothing cut off in a pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from glmlite.cli.formatting import display_width, printable

if TYPE_CHECKING:
    from rich.console import Console

_PIPE_WIDTH = 160


def _console() -> Console:
    from rich.console import Console

    # Cells hold names from manifests: they are text, never markup.
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    return Console(markup=False, emoji=False, highlight=False, width=width)


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str = "",
    right: Sequence[int] = (),
) -> None:
    """Print rows under column heads.

    Args:
        columns: heads.
        rows: cells; shown with `str`, control characters removed.
        title: a line above.
        right: numbers of the columns that are aligned to the right.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
    for number, head in enumerate(columns):
        table.add_column(head, justify="right" if number in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(printable(str(cell)) for cell in row))
    if title:
        click.secho(title, bold=True)
    _console().print(table)


def print_pairs(pairs: Iterable[tuple[str, object]]) -> None:
    """Print `name   value` lines, values aligned; pairs with an empty value are left out."""
    shown = [(name, printable(str(value))) for name, value in pairs if value not in (None, "")]
    width = max((display_width(name) for name, _value in shown), default=0)
    for name, value in shown:
        click.echo(f"{name}{' ' * (width - display_width(name))}   {value}")


def print_json(data: Any, *, indent: int | None = 2) -> None:
    """Print one JSON object, readable by people as well; without indent: on one line."""
    click.echo(json.dumps(data, ensure_ascii=False, indent=indent))
