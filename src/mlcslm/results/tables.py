"""The paper's tables from `results.duckdb`: the view as a CSV, and a Markdown page to read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from mlcslm.errors import FaultyInput, UserError
from mlcslm.io.csv import write_csv
from mlcslm.io.files import atomic_path
from mlcslm.results.database import open_database
from mlcslm.results.markdown import markdown_page, rendered_columns


def write_table(database: Path, table: str, csv: Path, markdown: Path, *, published: bool = True) -> None:
    """Write the view `table` of `database` as `csv`, and as `markdown` a page to read, with intervals and provenance.

    published: whether the page shows the paper's numbers too; the CSV always does. Numbers have the view's decimals; a
    cell is empty where the corpus has no transcripts of the split. Raises UserError for an unknown table and for one of
    which the config measures no row, and FaultyInput, naming system and split, where a row that should be measured has
    no scores.
    """
    with open_database(database) as connection:
        title = _title(connection, database, table)
        cursor = connection.execute(f'SELECT * FROM "{table}"')
        columns = [description[0] for description in cursor.description]
        rows = cursor.fetchall()
        if not rows:
            raise UserError(
                f"{database}: the config has no stage and decoding, nor diarizer, of {table}; add one, or request "
                "another table."
            )
        _check_complete(connection, database, table)
        page = markdown_page(connection, table, title, columns, rows, published=published)
    with atomic_path(csv) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        write_csv(file, columns, rows)
    with atomic_path(markdown) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _title(connection: duckdb.DuckDBPyConnection, database: Path, table: str) -> str:
    """Title of a table that has a view. The name is looked up, never pasted unchecked into a query."""
    known = connection.execute(
        "SELECT table_name, title FROM paper_tables JOIN duckdb_views() ON view_name = table_name ORDER BY ALL"
    ).fetchall()
    if table not in dict(known):
        names = ", ".join(name for name, _ in known)
        raise UserError(f"{database}: no table called {table!r}; expected one of: {names}.")
    return dict(known)[table]


def _check_complete(connection: duckdb.DuckDBPyConnection, database: Path, table: str) -> None:
    """Raise FaultyInput for cells without a number, except those of a split without transcripts."""
    lacking = connection.execute(
        "SELECT coalesce(c.system, c.diarizer), c.split, any_value(w.utterances), c.position FROM cells AS c "
        "LEFT JOIN wer_by_system AS w ON w.system = c.system AND w.split = c.split "
        "WHERE c.table_name = ? AND c.measured AND c.value IS NULL "
        "AND c.split IN (SELECT split FROM utterances WHERE text IS NOT NULL) GROUP BY ALL "
        "ORDER BY c.position, c.split",
        [table],
    ).fetchall()
    if lacking:
        raise FaultyInput(
            f"{database}: {table} has empty cells; decode and score these, or remove them from the config:",
            [
                f"{system} on {split}: " + ("no scores" if count is None else f"{count} utterances, no reference token")
                for system, split, count, _ in lacking
            ],
        )
    losses = connection.execute(
        "SELECT array_to_string(map_values(labels), ', ') FROM cells WHERE table_name = ? AND measured "
        "AND column_name = 'training_loss' AND value IS NULL ORDER BY position",
        [table],
    ).fetchall()
    if losses:
        faults = [label for (label,) in losses]
        raise FaultyInput(f"{database}: {table} has no training loss; rebuild the training logs of these:", faults)


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
class RenderedTable:
    """A table to print; numeric: which columns hold numbers."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    numeric: list[bool]


def render_table(database: Path, name: str, *, published: bool | None = None) -> RenderedTable:
    """The table `name`: `table1` … `table8`, `systems` or `groups`. Raises UserError for other names and empty tables.

    A value and its interval, `dev`, `dev_low` and `dev_high`, become one cell, `17.14 [10.99, 21.84]`. published:
    whether to show the paper's numbers; None as the configuration has it (`report.published`).
    """
    with open_database(database) as connection:
        if published is None:
            published = shows_published(connection)
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
            f"{database}: {name} is empty. Build it: snakemake --cores all {database.parent / 'tables' / name}.csv"
        )
    rendered = rendered_columns(columns, published=published)
    positions = {column: position for position, column in enumerate(columns)}
    return RenderedTable(
        title,
        [column.replace("_", " ") for column in rendered],
        [[_cell(row, positions, column) for column in rendered] for row in rows],
        [any(isinstance(row[positions[column]], Decimal | int) for row in rows) for column in rendered],
    )


def shows_published(connection: duckdb.DuckDBPyConnection) -> bool:
    """`report.published` of the configuration that the database was made with."""
    ((config,),) = connection.execute("SELECT value FROM settings WHERE key = 'config'").fetchall()
    return bool(json.loads(config).get("report", {}).get("published", True))


def renderable_names(database: Path) -> list[tuple[str, str]]:
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


def _cell(row: Sequence[Any], positions: dict[str, int], column: str) -> str:
    value = row[positions[column]]
    if value is None:
        return ""
    low = row[positions[f"{column}_low"]] if f"{column}_low" in positions else None
    return str(value) if low is None else f"{value} [{low}, {row[positions[f'{column}_high']]}]"
