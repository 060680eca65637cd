"""Grids: the decodings that a table compares on one checkpoint, which one job runs with the model loaded once."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlcslm.config_decoding import DecodingConfig
from mlcslm.decoding.wanted import is_finished, made_by, rows_to_decode
from mlcslm.workflow import Layout


def grids_of(layout: Layout, checkpoint: str, split: str) -> dict[str, list[str]]:
    """Names of the decodings that each table measures of `checkpoint` on `split`, where they are two or more."""
    grids = {}
    for table in layout.tables:
        names = dict.fromkeys(
            decoding for name, decoding, of in layout.measured(table) if (name, of) == (checkpoint, split)
        )
        if len(names) > 1:
            grids[table] = list(names)
    return grids


def grid_with(layout: Layout, checkpoint: str, decoding: str, split: str) -> str | None:
    """The first grid that has a decoding; None for one that runs alone."""
    grids = grids_of(layout, checkpoint, split)
    return next((grid for grid, names in grids.items() if decoding in names), None)


def kept_file(layout: Layout, checkpoint: str, decoding: str, split: str, shard: str) -> Path:
    """Where a grid's job leaves the hypotheses of one of its decodings, for the job of that decoding to take."""
    return layout.root / "work" / "decoding" / checkpoint / decoding / split / f"{shard}.parquet"


def missing_decodings(
    layout: Layout, checkpoint: str, grid: str, split: str, shard: str, groups: Sequence[str]
) -> Mapping[Path, DecodingConfig]:
    """Decodings of a grid whose hypotheses are neither in place nor kept as they would be made now, by kept file."""
    folder, manifest = layout.checkpoint(checkpoint), layout.manifest(split)
    rows = rows_to_decode(manifest, groups)
    missing = {}
    for name in grids_of(layout, checkpoint, split)[grid]:
        decoding = layout.config.decodings[name]
        kept = kept_file(layout, checkpoint, name, split, shard)
        place = layout.hypotheses(checkpoint, name, split).with_suffix("") / f"{shard}.parquet"
        by = made_by(folder, manifest, decoding)
        if is_finished(place, by, rows) or is_finished(kept, by, rows):
            print(f"{grid}: {name} on {split} is there", file=sys.stderr)
        else:
            missing[kept] = decoding
    return missing
