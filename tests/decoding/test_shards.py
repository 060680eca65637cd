"""Shards are joined whole, in the manifest's order, or refused."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlcslm.decoding.generation import SCHEMA
from mlcslm.decoding.hypothesis_files import merge_shards
from mlcslm.errors import UserError

pytestmark = pytest.mark.slow

IDS = [f"French-0001_001-O1-{i:06d}-{i + 1:06d}" for i in range(6)]


def shard(path: Path, ids: list[str], metadata: dict[str, str] | None = None) -> Path:
    rows = [dict.fromkeys(SCHEMA.names) | {"utterance_id": name, "transcript": name[-3:]} for name in ids]
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA).replace_schema_metadata(metadata), path)
    return path


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    pq.write_table(pa.table({"utterance_id": IDS}), tmp_path / "manifest.parquet")
    return tmp_path / "manifest.parquet"


def merge(folder: Path, manifest: Path, *shards: list[str]) -> list[str]:
    paths = [shard(folder / f"{number}.parquet", ids) for number, ids in enumerate(shards)]
    merge_shards(paths, manifest, folder / "merged.parquet")
    return pq.read_table(folder / "merged.parquet")["utterance_id"].to_pylist()


@pytest.mark.parametrize("shards", [[IDS], [IDS[3:], IDS[:3]], [IDS[::2], IDS[1::2]], [IDS, []]])
def test_the_manifests_order_is_restored(tmp_path: Path, manifest: Path, shards: list[list[str]]) -> None:
    assert merge(tmp_path, manifest, *shards) == IDS
    table = pq.read_table(tmp_path / "merged.parquet")
    assert table["transcript"].to_pylist() == [name[-3:] for name in IDS]
    assert table.schema.remove_metadata() == SCHEMA


@pytest.mark.parametrize(
    ("shards", "expected"),
    [
        ([IDS[:2], IDS[3:]], f"missing: {IDS[2]}"),
        ([IDS[:4], IDS[3:]], f"duplicated: {IDS[3]}"),
        ([IDS, ["French-0009_001-O1-000000-000001"]], "not in the manifest: French-0009_001"),
    ],
)
def test_what_does_not_add_up_is_refused_by_name(
    tmp_path: Path, manifest: Path, shards: list[list[str]], expected: str
) -> None:
    with pytest.raises(UserError) as error:
        merge(tmp_path, manifest, *shards)
    assert expected in str(error.value)
    assert not (tmp_path / "merged.parquet").exists()


def test_shards_of_different_checkpoints_are_refused(tmp_path: Path, manifest: Path) -> None:
    paths = [
        shard(tmp_path / "a.parquet", IDS[:3], {"checkpoint": "1", "decoding": "{}"}),
        shard(tmp_path / "b.parquet", IDS[3:], {"checkpoint": "2", "decoding": "{}"}),
    ]
    with pytest.raises(UserError, match=r"b\.parquet.*another checkpoint"):
        merge_shards(paths, manifest, tmp_path / "merged.parquet")


def test_what_a_decoding_was_made_by_goes_with_it(tmp_path: Path, manifest: Path) -> None:
    provenance = {"checkpoint": "1", "decoding": "{}"}
    paths = [shard(tmp_path / "a.parquet", IDS[:3], provenance), shard(tmp_path / "b.parquet", IDS[3:], provenance)]
    merge_shards(paths, manifest, tmp_path / "merged.parquet")
    assert pq.read_schema(tmp_path / "merged.parquet").metadata == {b"checkpoint": b"1", b"decoding": b"{}"}
