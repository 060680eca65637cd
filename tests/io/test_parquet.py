"""A changed or missing byte of a Parquet file is noticed wherever it is; a failing drive is no damaged file."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlcslm.errors import UserError
from mlcslm.io.parquet import read_table, write_table

TABLE = pa.table({"name": [f"utterance {n}" for n in range(300)], "start": [n / 7 for n in range(300)]})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_table(TABLE.replace_schema_metadata({"checkpoint": "a"}), tmp_path / "a.parquet")
    return tmp_path / "a.parquet"


def test_what_is_written_is_read(path: Path) -> None:
    assert read_table(path).equals(TABLE)
    assert read_table(path).schema.metadata == {b"checkpoint": b"a"}
    assert read_table(path, ["start", "name"]).column_names == ["start", "name"]


def test_no_changed_bit_gives_other_values(path: Path) -> None:
    """Some bits of a header say nothing about the values; all others have to be noticed."""
    whole = path.read_bytes()
    refused = 0
    for place in range(0, len(whole), 23):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        try:
            assert read_table(path, ["name", "start"]).equals(TABLE.select(["name", "start"]))
        except UserError as error:
            assert str(error).startswith(f"{path}: ")
            refused += 1
    assert refused > len(whole) / 23 / 2


@pytest.mark.parametrize("share", [0, 0.3, 0.999])
def test_a_file_cut_short_is_refused_with_what_to_do(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(UserError, match=r"a\.parquet: not a Parquet file.*Delete it and run the workflow again"):
        read_table(path)


def test_missing_files_and_columns_are_named(path: Path) -> None:
    with pytest.raises(UserError, match=r"none: no such file"):
        read_table(path.with_name("none"))
    with pytest.raises(UserError, match="found the columns name, start; expected end as well"):
        read_table(path, ["name", "end"])


def test_a_drive_that_does_not_answer_is_no_reason_to_delete(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: Any, **__: Any) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(pq, "ParquetFile", lost)
    with pytest.raises(OSError, match="Stale"):
        read_table(path)


def test_folders_with_an_equals_sign_add_no_column(tmp_path: Path) -> None:
    write_table(TABLE, tmp_path / "a=1" / "b.parquet")
    assert read_table(tmp_path / "a=1" / "b.parquet").column_names == ["name", "start"]
