"""Hypotheses of a decoding under way, on disk batch by batch: a killed one goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlcslm.files import atomic_path
from mlcslm.training.log import read_rows


class PartialHypotheses:
    """What has been decoded so far for `out`, in a hidden file beside it.

    rows: hypotheses by utterance id. Those that were not made by exactly `made_by` are dropped, and so is a line that
    a kill cut short.
    """

    def __init__(self, out: Path, made_by: Mapping[str, str]) -> None:
        self._path = out.with_name(f".{out.name}.partial")
        header, *rows = read_rows(self._path) or [None]
        if header != dict(made_by):
            rows = []
        self.rows: dict[str, dict[str, Any]] = {row["utterance_id"]: row for row in rows}
        with atomic_path(self._path) as temporary:
            temporary.write_text(_lines([made_by, *self.rows.values()]), encoding="utf-8")

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Keep the hypotheses of a batch."""
        self.rows |= {row["utterance_id"]: row for row in rows}
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(_lines(rows))

    def remove(self) -> None:
        """Remove the file, once the decoding is whole."""
        self._path.unlink()


def _lines(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)
