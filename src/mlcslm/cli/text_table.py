"""Prints tables, for readers at a terminal or for other programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Literal

import typer

Format = Literal["text", "markdown", "csv", "json"]
_PIPE_WIDTH = 400  # characters, where no terminal sets a limit
_LABEL_WIDTH = 16  # longer labels may take several lines
_GAP = 3  # between columns


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
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=width or (None if sys.stdout.isatty() else _PIPE_WIDTH), highlight=False)

    def grid(
        columns: Sequence[str], rows: Sequence[Sequence[str]], chosen: Sequence[int], needed: Sequence[int] = ()
    ) -> Table:
        table = Table(box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
        for number in chosen:
            table.add_column(
                Text(columns[number]),
                justify="right" if numeric[number] else "left",
                overflow="fold",
                width=needed[number] if needed and numeric[number] else None,
            )
        for row in rows:
            table.add_row(*(Text(row[number]) for number in chosen))
        return table

    def widest(texts: Iterable[str]) -> int:
        return max(map(cell_len, texts), default=0)

    shown = [[printable(cell) for cell in row] for row in rows]
    tables = [grid(columns, shown, range(len(columns)))]
    if console.measure(tables[0], options=console.options.update(width=_PIPE_WIDTH)).maximum > console.width:
        columns, shown = _compact(columns, shown, numeric)
        needed = [
            max(widest(line for row in shown for line in row[number].splitlines()), widest(columns[number].split()))
            for number in range(len(columns))
        ]
        # Text without numbers can be broken between words.
        needed = [width if right else min(width, _LABEL_WIDTH) for width, right in zip(needed, numeric, strict=True)]
        tables = [grid(columns, shown, chosen, needed) for chosen in _side_by_side(needed, console.width)]
    tables[0].title = Text(title)
    with console.capture() as printed:
        for table in tables:
            console.print(table)
    typer.echo("\n".join(line.rstrip() for line in printed.get().splitlines()))


def _side_by_side(needed: Sequence[int], width: int) -> list[list[int]]:
    """Which columns stand beside each other where each needs so many characters; the first has labels, and is in all.

    >>> _side_by_side([10, 20, 20, 20, 8], 60)
    [[0, 1, 2], [0, 3, 4]]
    """
    parts: list[list[int]] = []
    for number in range(1, len(needed)):
        if parts and needed[0] + sum(needed[one] + _GAP for one in [*parts[-1][1:], number]) + 1 <= width:
            parts[-1].append(number)
        else:
            parts.append([0, number])
    return parts or [[0]]


def _compact(
    columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool]
) -> tuple[list[str], list[list[str]]]:
    """The same for a narrow terminal: short headings, intervals below their values, labels in several lines.

    >>> _compact(["method", "dev published"], [["RLVF(format+accuracy)", "1.0 [0.5, 1.5]"]], [False, True])
    (['method', 'paper'], [['RLVF(format+\\naccuracy)', '1.0\\n[0.5, 1.5]']])
    """
    headings = ["paper" if column.endswith(" published") else column for column in columns]
    return headings, [
        [
            cell.replace(" [", "\n[") if right or len(cell) <= _LABEL_WIDTH else cell.replace("+", "+\n")
            for cell, right in zip(row, numeric, strict=True)
        ]
        for row in rows
    ]


def printable(text: str) -> str:
    """Text with control characters escaped, so that it can neither move the cursor nor end a line.

    >>> printable("a\\x1b[2Jb")
    'a\\\\x1b[2Jb'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
