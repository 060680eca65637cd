"""Hypotheses that another job has made are taken whole, whatever disk they lie on, and damaged ones are not taken."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mlcslm.decoding.hypothesis_files import reuse_finished
from mlcslm.io.parquet import read_table, write_table

BY = {"checkpoint": "a", "decoding": "{}", "manifest": '"b"'}
ROWS = [{"utterance_id": "u1"}, {"utterance_id": "u2"}]


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    write_table(pa.Table.from_pylist(ROWS).replace_schema_metadata(BY), tmp_path / "kept.parquet")
    return tmp_path / "kept.parquet"


def test_they_are_moved(kept: Path, tmp_path: Path) -> None:
    assert reuse_finished(kept, tmp_path / "deep" / "out.parquet", BY, ROWS)
    assert read_table(tmp_path / "deep" / "out.parquet").to_pylist() == ROWS
    assert not kept.exists()


def test_they_are_moved_to_another_disk(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = Path.replace

    def across(self: Path, target: Any) -> Path:
        if self == kept:
            raise OSError(errno.EXDEV, "Invalid cross-device link", str(self), None, str(target))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", across)
    assert reuse_finished(kept, tmp_path / "deep" / "out.parquet", BY, ROWS)
    assert read_table(tmp_path / "deep" / "out.parquet").to_pylist() == ROWS
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["out.parquet"]


def test_damaged_ones_and_those_of_another_decoding_are_left(kept: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    assert not reuse_finished(kept, out, BY | {"decoding": "[]"}, ROWS)
    assert not reuse_finished(kept, out, BY, ROWS[:1])
    kept.write_bytes(kept.read_bytes()[:-9])
    assert not reuse_finished(kept, out, BY, ROWS)
    assert not out.exists()
