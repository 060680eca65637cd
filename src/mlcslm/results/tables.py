"""The paper's tables from `results.duckdb`: a CSV that is the view, and a Markdown page to read."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from mlcslm.errors import FaultyInput, UserError
from mlcslm.files import atomic_path
from mlcslm.results.database import open_database

# A cell that begins with one of these is run as a formula by spreadsheets.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
SPLITS = ("train", "dev", "test")
_LOSS = (
    "**Training loss**: mean over the last tenth of the stage's own steps, in nats a labelled token, as it was "
    "optimised: weighted where the stage weights its tokens (ckpt-10000)."
)


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
        splits = [split for split in SPLITS if split in columns]
        if not rows:
            raise UserError(
                f"{database}: the config has no stage that {table} shows; add one, or ask for another table."
            )
        _check_complete(connection, database, table, splits)
        if "training_loss" in columns:
            _check_losses(database, table, columns, rows)
        page = "\n\n".join(
            [
                f"# {title}",
                _grid(columns, rows),
                *_provenance(connection, table, splits),
                *([_LOSS] if "training_loss" in columns else []),
                *_remarks(connection, table, noted="note" in columns),
            ]
        )
    _write_csv(csv, columns, rows)
    with atomic_path(markdown) as temporary:
        temporary.write_text(page + "\n", encoding="utf-8")


def guard(cell: Any) -> str:
    """A CSV cell: decimals and numbers as they are, None empty, text that a spreadsheet would run behind an apostrophe.

    >>> guard(Decimal("-1.50")), guard(None), guard("-"), guard("=1+1")
    ('-1.50', '', '-', "'=1+1")
    """
    if cell is None:
        return ""
    if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) and cell != "-":
        return f"'{cell}"
    return str(cell)


def _title(connection: duckdb.DuckDBPyConnection, database: Path, table: str) -> str:
    """Title of a table that has a view. The name is looked up, never pasted unseen into a query."""
    known = connection.execute(
        "SELECT table_name, title FROM paper_tables JOIN duckdb_views() ON view_name = table_name ORDER BY ALL"
    ).fetchall()
    if table not in dict(known):
        names = ", ".join(name for name, _ in known)
        raise UserError(f"{database}: found no table called {table!r}, expected one of: {names}.")
    return dict(known)[table]


def _check_complete(connection: duckdb.DuckDBPyConnection, database: Path, table: str, splits: Sequence[str]) -> None:
    lacking = connection.execute(
        "SELECT r.system, s.split, w.utterances FROM table_rows AS r "
        "CROSS JOIN (SELECT DISTINCT split FROM utterances WHERE text IS NOT NULL) AS s "
        "LEFT JOIN wer_by_system AS w ON w.system = r.system AND w.split = s.split "
        "WHERE r.table_name = ? AND r.measured AND list_contains(?, s.split) AND (w.wer IS NULL OR w.low IS NULL) "
        "ORDER BY r.position, s.split",
        [table, list(splits)],
    ).fetchall()
    if lacking:
        raise FaultyInput(
            f"{database}: {table} has empty cells; decode and score these, or take their stages out of the config:",
            [
                f"{system} on {split}: " + ("no scores" if count is None else f"{count} utterances, no reference token")
                for system, split, count in lacking
            ],
        )


def _check_losses(database: Path, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    place = columns.index("training_loss")
    if lacking := [str(row[0]) for row in rows if row[place] is None]:
        raise FaultyInput(f"{database}: {table} has no training loss; make the training log of these anew:", lacking)


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([guard(cell) for cell in row] for row in rows)


def _grid(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table: `dev`, `dev_low` and `dev_high` in one cell, `dev_published` beside it."""
    shown = [column for column in columns if not column.endswith(("_low", "_high"))]
    numeric = [any(isinstance(row[columns.index(column)], Decimal) for row in rows) for column in shown]
    lines = [
        "| " + " | ".join(column.replace("_", " ") for column in shown) + " |",
        "|" + "|".join("---:" if right else ":---" for right in numeric) + "|",
    ]
    for values in rows:
        row = dict(zip(columns, values, strict=True))
        lines.append("| " + " | ".join(_cell(row, column) for column in shown) + " |")
    return "\n".join(lines)


def _cell(row: dict[str, Any], column: str) -> str:
    value = row[column]
    if value is None:
        return "not measured" if f"{column}_low" in row else ""
    if row.get(f"{column}_low") is not None:
        return f"{value} [{row[f'{column}_low']}, {row[f'{column}_high']}]"
    return _escape(str(value))


def _provenance(connection: duckdb.DuckDBPyConnection, table: str, splits: Sequence[str]) -> list[str]:
    settings = dict(connection.execute("SELECT key, value FROM settings").fetchall())
    measured = connection.execute(
        "SELECT split, max(sessions), max(utterances), max(length) FROM wer_by_system WHERE list_contains(?, split) "
        "AND system IN (SELECT system FROM table_rows WHERE table_name = ? AND measured) GROUP BY split ORDER BY split",
        [list(splits), table],
    ).fetchall()
    sizes = "; ".join(
        f"{split}: {utterances:,} utterances, {sessions:,} sessions, {tokens:,} reference tokens"
        for split, sessions, utterances, tokens in measured
    )
    level, samples = 100 * float(settings["bootstrap_level"]), int(settings["bootstrap_samples"])
    preset, models, corpus = (_escape(settings[key]) for key in ("preset", "models", "corpus"))
    return [
        f"**Measured here**: preset {preset}, models {models}, corpus {corpus} ({sizes}). Percent, pooled over all "
        f"groups: errors over reference tokens, protocol `{settings['protocol']}`, collar none. In brackets: the "
        f"{level:g} % bootstrap interval over sessions ({samples:,} samples).",
        "**Published**: what the paper printed for its own models on the challenge's data. Not measured here.",
    ]


def _remarks(connection: duckdb.DuckDBPyConnection, table: str, *, noted: bool) -> list[str]:
    """What stands below a table: the paper's other rows, and, if its rows are not `noted` within, their notes."""
    rows = connection.execute(
        "SELECT array_to_string(map_values(r.labels), ', '), r.measured, r.note, c.from_step, c.steps "
        "FROM table_rows AS r LEFT JOIN systems USING (system) LEFT JOIN collapses AS c USING (checkpoint) "
        "WHERE r.table_name = ? ORDER BY r.position",
        [table],
    ).fetchall()
    absent, notes = [], []
    for label, measured, note, from_step, steps in rows:
        if not measured:
            absent.append(_escape(label))
        elif not noted:
            if from_step is not None:
                notes.append(f"- {_escape(label)}: collapsed in {steps} steps, first in step {from_step}")
            if note:
                notes.append(f"- {_escape(label)}: {_escape(note)}")
    remarks = [f"Rows of the paper that the preset has no stage for: {'; '.join(absent)}."] if absent else []
    return remarks + (["\n".join(notes)] if notes else [])


def _escape(text: str) -> str:
    """Text as it is in Markdown: no column, link, HTML or code is made of it."""
    return re.sub(r"([\\|`*<>\[\]])", r"\\\1", " ".join(text.split()))
