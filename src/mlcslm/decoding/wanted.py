"""What a decoding is to answer and what its hypotheses are made by: enough to know whether they are there. No torch."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlcslm.config_decoding import DecodingConfig
from mlcslm.corpus.folds import sessions_of_fold
from mlcslm.errors import UserError
from mlcslm.files import atomic_path, sha256
from mlcslm.parquet import read_table

_COLUMNS = ["utterance_id", "session_id", "grp", "turn", "audio", "start", "end"]


def rows_to_decode(
    manifest: Path,
    groups: Sequence[str] | None = None,
    fold: tuple[int, int] | None = None,
    columns: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Rows of `manifest` that are of `groups` and in a session of `fold`, each where given.

    They have what decoding asks for and the `columns`.
    """
    rows = read_table(manifest, columns=list(dict.fromkeys([*_COLUMNS, *columns]))).to_pylist()
    sessions = sessions_of_fold(rows, fold) if fold is not None else None
    return [
        row
        for row in rows
        if (groups is None or row["grp"] in groups) and (sessions is None or row["session_id"] in sessions)
    ]


def made_by(checkpoint: Path, manifest: Path, decoding: DecodingConfig) -> dict[str, str]:
    """What hypotheses depend on, as their file says: checkpoint, decoding and manifest, JSON but for the first."""
    return {
        "checkpoint": sha256(checkpoint / "checkpoint.json"),
        "decoding": json.dumps(decoding.model_dump(mode="json")),
        "manifest": json.dumps(sha256(manifest)),
    }


def is_finished(hypotheses: Path, by: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the file `hypotheses` is there, was made by exactly that, and answers exactly those manifest rows."""
    try:
        table = read_table(hypotheses, columns=["utterance_id"])
    except UserError:  # there is none, or a damaged one, which is made anew
        return False
    found = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    return found == dict(by) and table["utterance_id"].to_pylist() == [row["utterance_id"] for row in rows]


def take_finished(kept: Path, out: Path, by: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> bool:
    """Move hypotheses that another job has made from `kept` to `out`; False where there are none, or others."""
    if not is_finished(kept, by, rows):
        return False
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        kept.replace(out)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with atomic_path(out) as temporary:  # the two folders are on different disks
            shutil.copyfile(kept, temporary)
        kept.unlink()
    return True
