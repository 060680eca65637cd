"""The shards of a decoding, joined."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mlcslm.errors import UserError
from mlcslm.files import atomic_path


def merge_shards(shards: Sequence[Path], manifest: Path, out: Path) -> None:
    """Join the shards of a decoding into one file, in the manifest's order. Raises UserError for what is missing."""
    table = pa.concat_tables([pq.read_table(shard) for shard in shards])
    place = {utterance_id: i for i, utterance_id in enumerate(table["utterance_id"].to_pylist())}
    wanted = pq.read_table(manifest, columns=["utterance_id"])["utterance_id"].to_pylist()
    missing = [utterance_id for utterance_id in wanted if utterance_id not in place]
    if missing or len(place) != table.num_rows:
        raise UserError(
            f"{out}: its {len(shards)} shards hold {table.num_rows} hypotheses, {len(place)} of them different; "
            f"{manifest} has {len(wanted)}. Missing: {', '.join(missing[:5]) or 'none'}. "
            "Delete the shards and run again."
        )
    with atomic_path(out) as temporary:
        pq.write_table(table.take([place[utterance_id] for utterance_id in wanted]), temporary)
