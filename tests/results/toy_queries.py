"""What tests ask of the toy corpus: rows of its database, its tables as they are written, and files with changes."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mlcslm.results.database import open_database
from mlcslm.results.tables import write_table


def query(inputs: Any, sql: str, **changes: Any) -> list[tuple[Any, ...]]:
    """Rows that `sql` gives of the database built from `inputs`, some of them changed."""
    with open_database(inputs.build(**changes)) as connection:
        return connection.execute(sql).fetchall()


def write_pages(inputs: Any, table: str = "table6", **changes: Any) -> tuple[Path, Path]:
    """The CSV and the Markdown page of a table."""
    paths = inputs.folder / f"tables/{table}.csv", inputs.folder / f"tables/{table}.md"
    write_table(inputs.build(**changes), table, *paths)
    return paths


def make(inputs: Any, table: str, **changes: Any) -> tuple[list[dict[str, str]], str]:
    """The rows of a table's CSV, and its page."""
    rows, page = write_pages(inputs, table, **changes)
    with rows.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file)), page.read_text(encoding="utf-8")


def changed(path: Path, **columns: list[Any]) -> None:
    """Replace the first values of some columns of a Parquet file."""
    table = pq.read_table(path)
    values = table.to_pydict()
    for name, new in columns.items():
        values[name][: len(new)] = new
    pq.write_table(pa.table(values, schema=table.schema), path)
