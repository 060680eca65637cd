"""The paper's tables from `results.duckdb`: a CSV that is the view, and a Markdown page to read."""

from __future__ import annotations

from pathlib import Path

import duckdb

from mlcslm.errors import FaultyInput, UserError
from mlcslm.files import atomic_path
from mlcslm.results.database import open_database
from mlcslm.results.pages import markdown_page
from mlcslm.spreadsheets import write_csv


def write_table(database: Path, table: str, csv: Path, markdown: Path) -> None:
    """Write the view `table` of `database` as `csv`, and as `markdown` a page to read, with intervals and provenance.

    Numbers have the view's decimals; an empty cell is a split that the corpus has no transcripts of. Raises UserError
    for an unknown table, one of which the config measures no row, and FaultyInput naming system and split where a row
    that should be measured has no scores.
    """
    with open_database(database) as connection:
        title = _title(connection, database, table)
        cursor = connection.execute(f'SELECT * FROM "{table}"')
        columns = [description[0] for description in cursor.description]
        rows = cursor.fetchall()
        if not rows:
            raise UserError(
                f"{database}: the config has no stage and decoding, nor diarizer, that {table} shows; add one, or ask "
                "for another table."
            )
        _check_complete(connection, database, table)
        page = markdown_page(connection, table, title, columns, rows)
    with atomic_path(csv) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        write_csv(file, columns, rows)
    with atomic_path(markdown) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _title(connection: duckdb.DuckDBPyConnection, database: Path, table: str) -> str:
    """Title of a table that has a view. The name is looked up, never pasted unseen into a query."""
    known = connection.execute(
        "SELECT table_name, title FROM paper_tables JOIN duckdb_views() ON view_name = table_name ORDER BY ALL"
    ).fetchall()
    if table not in dict(known):
        names = ", ".join(name for name, _ in known)
        raise UserError(f"{database}: found no table called {table!r}, expected one of: {names}.")
    return dict(known)[table]


def _check_complete(connection: duckdb.DuckDBPyConnection, database: Path, table: str) -> None:
    """Raise FaultyInput for cells without a number, but for those of a split that has no transcripts."""
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
            f"{database}: {table} has empty cells; decode and score these, or take them out of the config:",
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
        raise FaultyInput(f"{database}: {table} has no training loss; make the training log of these anew:", faults)
