"""A system's error rate in a line, as its scores come in."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow.compute as pc

from mlcslm.config.paper_tables import PaperTable
from mlcslm.io.parquet import read_table


def headline(
    scores: Path, checkpoint: str, decoding: str, split: str, tables: Iterable[PaperTable], *, published: bool = True
) -> str:
    """`ckpt-4000  dev 32.5 %  (paper 18.99)` of error counts (`COUNTS_SCHEMA`), pooled over all utterances.

    published: with the paper's number, if one of `tables` has it.
    """
    counts = read_table(scores, ["errors", "length"])
    errors, length = (pc.sum(counts[name]).as_py() or 0 for name in ("errors", "length"))
    rate = f"{100 * errors / length:.1f} %" if length else "no reference words"
    name = checkpoint if decoding == "greedy" else f"{checkpoint} {decoding}"
    line = f"{name}  {split} {rate}"
    if not published:
        return line
    rows = (row for table in tables for row in table.rows)
    of_paper = (
        row.published[split]
        for row in rows
        if (row.measures.checkpoint, row.measures.decoding) == (checkpoint, decoding) and split in row.published
    )
    paper = next(of_paper, None)
    return line if paper is None else f"{line}  (paper {paper:.2f})"
