"""External systems, from their folders into `results.duckdb`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from mlcslm.errors import FaultyInput, UserError
from mlcslm.evaluation.evaluate import COUNTS, HYPOTHESES, read_card
from mlcslm.io.files import sha256
from mlcslm.results import loading

_TEXTS = [
    *(pa.field(name, pa.string(), nullable=False) for name in ("utterance_id", "transcript")),
    pa.field("stop_reason", pa.string(), metadata=loading.MAY_BE_ABSENT),  # the checks of hypotheses need it
]
_SEGMENTS = [
    *(pa.field(name, pa.string(), nullable=False) for name in ("utterance_id", "recording", "grp", "speaker")),
    *(pa.field(name, pa.float64(), nullable=False) for name in ("start", "end")),
    pa.field("transcript", pa.string(), nullable=False),
]


@dataclass(frozen=True)
class ExternalSystem:
    """A system on a split: its folder, and the content of `system.json` in it. track: 1 or 2; source: its files."""

    folder: Path
    name: str
    split: str
    track: int
    method: str | None
    source: str
    manifest_sha256: str

    @classmethod
    def read(cls, folder: Path) -> ExternalSystem:
        """The system in a folder that `evaluate` wrote."""
        card = read_card(folder)
        source = ", ".join(file["path"] for file in card["files"])
        named = card["system"], card["split"], card["track"]
        return cls(folder, *named, card["method"] or None, source, card["manifest_sha256"])


def counts_of(systems: Sequence[ExternalSystem], track: int) -> list[Path]:
    """Counts files of a track's systems."""
    return [system.folder / COUNTS for system in systems if system.track == track]


def insert_systems(
    connection: duckdb.DuckDBPyConnection, systems: Sequence[ExternalSystem], manifests: Mapping[str, Path]
) -> None:
    """List external systems in `systems` (Track 1) or `diarizers` (Track 2), once for all splits.

    Raises UserError for a name that is already in use, also on the other track, FaultyInput for systems scored against
    other manifests than these.
    """
    stale = [
        f"{system.folder}: scored against a different manifest than {manifests[system.split]}"
        for system in systems
        if sha256(manifests[system.split]) != system.manifest_sha256
    ]
    if stale:
        raise FaultyInput("Evaluate these again (mlcslm evaluate, or the workflow), or remove their folders:", stale)
    taken = "SELECT system FROM systems UNION ALL SELECT diarizer FROM diarizers"
    names = {name for (name,) in connection.execute(taken).fetchall()}
    tracks: dict[str, set[int]] = {}
    for system in systems:
        tracks.setdefault(system.name, set()).add(system.track)
        if system.name in names or len(tracks[system.name]) > 1:
            raise UserError(
                f"{system.folder}: the name {system.name} is in use by another system, or on the other track; "
                "evaluate it under another name and remove that folder."
            )
    for system in {system.name: system for system in systems}.values():
        table, key = ("systems", "system") if system.track == 1 else ("diarizers", "diarizer")
        sources = ", ".join(dict.fromkeys(other.source for other in systems if other.name == system.name))
        connection.execute(
            f"INSERT INTO {table} ({key}, method, source) VALUES (?, ?, ?)", [system.name, system.method, sources]
        )


def load_answers(connection: duckdb.DuckDBPyConnection, systems: Sequence[ExternalSystem]) -> None:
    """Fill `hypotheses` and `diarized_segments` with the systems' transcripts."""
    for track, table, fields, checks in (
        (1, "hypotheses", _TEXTS, loading.HYPOTHESES_CHECKS),
        (2, "diarized_segments", _SEGMENTS, loading.SEGMENTS_CHECKS),
    ):
        files = (
            (system.folder / HYPOTHESES, {"system": system.name, "split": system.split}, fields)
            for system in systems
            if system.track == track
        )
        staged = loading.stage_files(files)
        if staged is not None:
            staged = staged.append_column("raw_text", staged["transcript"])
            loading.insert_checked(connection, table, staged, checks)
