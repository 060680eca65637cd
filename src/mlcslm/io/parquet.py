"""The workflow's Parquet files: written atomically with page checksums; damaged ones are reported with a remedy."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mlcslm.errors import UserError
from mlcslm.io.files import atomic_path

REMAKE = "Delete it and run the workflow again to rebuild it"


def write_table(table: pa.Table, path: str | os.PathLike[str]) -> None:
    """Write a table to `path`, atomically, with checksums that let `read_table` detect a single changed bit."""
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, write_page_checksum=True)


def read_table(path: str | os.PathLike[str], columns: Sequence[str] | None = None) -> pa.Table:
    """The `columns` (all by default) of a Parquet file.

    Raises UserError naming the file if it is missing or damaged or lacks a column; OSError if the disk or drive fails,
    which says nothing about the file.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file. Run the workflow to create it.")
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            found = file.schema_arrow.names
            if missing := [name for name in columns or () if name not in found]:
                raise UserError(
                    f"{path}: found the columns {', '.join(found)}; expected {', '.join(missing)} as well. {REMAKE}."
                )
            table = file.read(columns=list(columns) if columns is not None else None)
            return table.select(list(columns)) if columns is not None else table
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"{path}: not a Parquet file, or damaged ({reason}). {REMAKE}.") from None
