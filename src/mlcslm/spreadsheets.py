"""Cells of CSV files: what a spreadsheet would run as a formula is made text."""

from __future__ import annotations

from typing import Any

# A cell that begins with one of these is run as a formula by spreadsheets, by some with the full-width signs too.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def guard(cell: Any) -> str:
    """A CSV cell: decimals and numbers as they are, None empty, text that a spreadsheet would run behind an apostrophe.

    >>> from decimal import Decimal
    >>> guard(Decimal("-1.50")), guard(None), guard("-"), guard("=1+1")
    ('-1.50', '', '-', "'=1+1")
    """
    if cell is None:
        return ""
    if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) and cell != "-":
        return f"'{cell}"
    return str(cell)
