"""What `mlcslm show` prints of `results.duckdb`: a table as columns and rows of text, and what stands below it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from mlcslm.errors import UserError
from mlcslm.results.database import open_database

SYSTEMS = "systems"
GROUPS = "groups"
_QUERIES = {
    SYSTEMS: (
        "Systems: WER/CER of Track 1, pooled over all groups, in percent, with its 95 % interval",
        "SELECT system, split, utterances, CAST(wer AS DECIMAL(18, 2)) AS wer, CAST(low AS DECIMAL(18, 2)) AS wer_low, "
        "CAST(high AS DECIMAL(18, 2)) AS wer_high FROM wer_by_system ORDER BY split, wer",
    ),
    GROUPS: (
        "Groups: WER/CER of each system by language or accent, in percent",
        'PIVOT (SELECT grp AS "group", system, split, CAST(wer AS DECIMAL(18, 2)) AS wer FROM wer_by_group) '
        'ON "group" USING first(wer) GROUP BY system, split ORDER BY split, system',
    ),
}


@dataclass(frozen=True)
class Shown:
    """A table to print: numeric tells which columns hold numbers."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    numeric: list[bool]


def read_shown(database: Path, name: str) -> Shown:
    """The table `name`: `table1` … `table7`, `systems` or `groups`. Raises UserError for another, and for an empty one.

    A value and its interval, `dev`, `dev_low` and `dev_high`, become one cell, `17.14 [10.99, 21.84]`.
    """
    with open_database(database) as connection:
        titles = dict(
            connection.execute(
                "SELECT table_name, title FROM paper_tables JOIN duckdb_views() ON view_name = table_name ORDER BY ALL"
            ).fetchall()
        )
        if name in titles:
            title, query = titles[name], f'SELECT * FROM "{name}"'
        elif name in _QUERIES:
            title, query = _QUERIES[name]
        else:
            raise UserError(f"{name}: no such table; expected one of: {', '.join([*titles, *_QUERIES])}.")
        cursor = connection.execute(query)
        columns = [description[0] for description in cursor.description]
        rows = cursor.fetchall()
    if not rows:
        raise UserError(
            f"{database}: has nothing of {name}. Make it: snakemake --cores all {database.parent / 'tables' / name}.csv"
        )
    shown = [column for column in columns if not re.search("_(low|high)$", column)]
    places = {column: place for place, column in enumerate(columns)}
    return Shown(
        title,
        [column.replace("_", " ") for column in shown],
        [[_cell(row, places, column) for column in shown] for row in rows],
        [any(isinstance(row[places[column]], Decimal | int) for row in rows) for column in shown],
    )


def names_to_show(database: Path) -> list[tuple[str, str]]:
    """(name, title) of each table that has rows in `database`."""
    with open_database(database) as connection:
        titles = connection.execute(
            "SELECT table_name, title FROM paper_tables JOIN duckdb_views() ON view_name = table_name ORDER BY ALL"
        ).fetchall()
        found = [
            (name, title)
            for name, title in titles
            if connection.execute(f'SELECT count(*) FROM (SELECT 1 FROM "{name}" LIMIT 1)').fetchall()[0][0]
        ]
    return found + [(name, title) for name, (title, _) in _QUERIES.items()]


def _cell(row: Sequence[Any], places: dict[str, int], column: str) -> str:
    value = row[places[column]]
    if value is None:
        return ""
    low = row[places[f"{column}_low"]] if f"{column}_low" in places else None
    return str(value) if low is None else f"{value} [{low}, {row[places[f'{column}_high']]}]"
