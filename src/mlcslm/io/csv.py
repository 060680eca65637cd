"""CSV output in which spreadsheets find no formulas to run."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

# Spreadsheets run a cell that begins with one of these as a formula; some accept the full-width signs too.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def guard(cell: Any) -> str:
    """A CSV cell: numbers as they are, None as empty, text that a spreadsheet would run prefixed with an apostrophe.

    >>> from decimal import Decimal
    >>> guard(Decimal("-1.50")), guard(None), guard("-"), guard("=1+1")
    ('-1.50', '', '-', "'=1+1")
    """
    if cell is None:
        return ""
    if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) and cell != "-":
        return f"'{cell}"
    return str(cell)


def write_csv(file: TextIO, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a header and rows as CSV, every cell of the rows guarded."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([guard(cell) for cell in row] for row in rows)
