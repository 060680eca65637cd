"""Prints tables, for readers at a terminal or for other programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Literal

import typer

Format = Literal["text", "markdown", "csv", "json"]
_PIPE_WIDTH = 400  # characters, where no terminal sets a limit


def print_grid(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    numeric: Sequence[bool],
    form: Format = "text",
    *,
    width: int | None = None,
) -> None:
    """Print rows of text under a title; `numeric` columns are right-aligned. width: of text, by default the terminal's.

    csv escapes cells that spreadsheets would run as formulas; json is a list of objects.
    """
    if form == "csv":
        from mlcslm.io.csv import write_csv

        write_csv(sys.stdout, columns, rows)
    elif form == "json":
        found = [dict(zip(columns, row, strict=True)) for row in rows]
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
    elif form == "markdown":
        typer.echo("\n".join(_markdown(title, columns, rows, numeric)))
    else:
        _print_text(title, columns, rows, numeric, width)


def _markdown(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool]) -> list[str]:
    marks = ["---:" if right else ":---" for right in numeric]
    lines = [f"## {title}", "", f"| {' | '.join(columns)} |", f"|{'|'.join(marks)}|"]
    return [*lines, *(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)]


def _print_text(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    numeric: Sequence[bool],
    width: int | None = None,
) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=width or (None if sys.stdout.isatty() else _PIPE_WIDTH), highlight=False)
    table = Table(box=box.SIMPLE_HEAD, title=Text(title), title_justify="left", title_style="bold", pad_edge=False)
    for column, right in zip(columns, numeric, strict=True):
        table.add_column(Text(column), justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console.print(table)


def printable(text: str) -> str:
    """Text with control characters escaped, so that it can neither move the cursor nor end a line.

    >>> printable("a\\x1b[2Jb")
    'a\\\\x1b[2Jb'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
