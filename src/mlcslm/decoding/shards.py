"""The shards of a decoding, joined."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from mlcslm.errors import FaultyInput, UserError
from mlcslm.parquet import read_table, write_table

_REMEDY = "Delete the shards and run again."


def merge_shards(shards: Sequence[Path], manifest: Path, out: Path) -> None:
    """Write the shards of a decoding as one file. Raises UserError as `merged_shards` does."""
    write_table(merged_shards(shards, manifest), out)


def merged_shards(shards: Sequence[Path], manifest: Path) -> pa.Table:
    """The hypotheses of all shards of a decoding, in the manifest's order.

    Raises UserError, by name, for hypotheses that are missing, there twice or not in the manifest, and for shards that
    different checkpoints or decodings made.
    """
    tables = [read_table(shard) for shard in shards]
    for shard, table in zip(shards, tables, strict=True):
        if table.schema.metadata != tables[0].schema.metadata:
            raise UserError(f"{shard}: was made by another checkpoint or decoding than {shards[0]}. {_REMEDY}")
    table = pa.concat_tables(tables)
    found = Counter(table["utterance_id"].to_pylist())
    wanted = read_table(manifest, columns=["utterance_id"])["utterance_id"].to_pylist()
    faults = {
        "missing": [name for name in wanted if name not in found],
        "there twice": [name for name, count in found.items() if count > 1],
        "not in the manifest": sorted(set(found) - set(wanted)),
    }
    if any(faults.values()):
        found_in = f"{shards[0].parent}: its {len(shards)} shards hold {table.num_rows} hypotheses"
        title = f"{found_in}, {manifest} has {len(wanted)}. {_REMEDY}"
        raise FaultyInput(title, [f"{len(names)} {what}: {_few(names)}" for what, names in faults.items() if names])
    place = {name: row for row, name in enumerate(table["utterance_id"].to_pylist())}
    return table.take([place[name] for name in wanted])


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
