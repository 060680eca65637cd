"""The workflow's Parquet files: written atomically with page checksums; damaged ones are reported with a remedy."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mlcslm.errors import UserError
from mlcslm.io.files import atomic_path
from mlcslm.io.places import is_stream
from mlcslm.io.reading import GZIP, read_stream

PARQUET = b"PAR1"
"""First bytes of every Parquet file."""
REMAKE = "Delete it and run the workflow again to rebuild it"


def write_table(table: pa.Table, path: str | os.PathLike[str]) -> None:
    """Write a table to `path`, atomically, with checksums that let `read_table` detect a single changed bit."""
    with atomic_path(path, begins=PARQUET) as temporary:
        pq.write_table(table, temporary, write_page_checksum=True)


def read_table(path: str | os.PathLike[str], columns: Sequence[str] | None = None) -> pa.Table:
    """The `columns` (all by default) of a Parquet file.

    Raises UserError naming the file if it is missing or damaged or lacks a column; OSError if the disk or drive fails,
    which says nothing about the file.
    """
    path = Path(path)
    if not path.is_file() and not is_stream(path):
        what = "is a folder" if path.is_dir() else "no such file"
        raise UserError(f"{path}: {what}. Run the workflow to create it.")
    try:
        with pq.ParquetFile(_source(path), page_checksum_verification=True) as file:
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
        if _begins_with(path, GZIP):
            raise UserError(f"{path}: is gzipped, expected plain Parquet. Unpack it (gunzip).") from None
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"{path}: not a Parquet file, or damaged ({reason}). {REMAKE}.") from None


def _source(path: Path) -> Path | pa.BufferReader:
    """What pyarrow reads: it seeks, so a pipe is read completely first."""
    return pa.BufferReader(read_stream(path)) if is_stream(path) else path


def _begins_with(path: Path, magic: bytes) -> bool:
    if is_stream(path):
        return read_stream(path).startswith(magic)
    with path.open("rb") as file:
        return file.read(len(magic)) == magic
