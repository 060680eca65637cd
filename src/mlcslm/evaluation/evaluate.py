"""Hypotheses of others to what the workflow makes of its own: answers and error counts, a folder a system and split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

import mlcslm
from mlcslm.evaluation.matching import official_segment_id
from mlcslm.evaluation.taking import Evaluation, Taken, take
from mlcslm.files import atomic_path, read_json, sha256, write_json
from mlcslm.languages import read_languages
from mlcslm.parquet import write_table
from mlcslm.scoring.diarization_counts import (
    DIARIZATION_COUNTS_SCHEMA,
    count_recordings,
    groups_of_sessions,
    reference_utterances,
)
from mlcslm.scoring.hypotheses import check_texts, count_utterances, groups_of_rows
from mlcslm.scoring.rttm import write_rttm
from mlcslm.scoring.stm import write_stm
from mlcslm.scoring.utterances import by_recording
from mlcslm.workflow_systems import CARD

COUNTS, HYPOTHESES = "counts.parquet", "hypotheses.parquet"
TEXTS_SCHEMA = pa.schema([("utterance_id", pa.string()), ("transcript", pa.string())])
SEGMENTS_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("utterance_id", "recording", "grp", "speaker")),
        *((name, pa.float64()) for name in ("start", "end")),
        ("transcript", pa.string()),
    ]
)


def evaluate(asked: Evaluation, out: Path) -> dict[str, Any]:
    """Score a system's files and write the folder `out` anew; return what `system.json` in it says.

    In it: hypotheses.parquet, counts.parquet (`COUNTS_SCHEMA`, or `DIARIZATION_COUNTS_SCHEMA` on Track 2; every
    protocol), system.json, and on Track 2 turns.rttm and hypothesis.stm, which hold what was scored. Raises UserError
    or FaultyInput, and leaves `out` as it was, for files that cannot be read, what has no reference (unless it is
    skipped) and what cannot be scored.
    """
    taken = take(asked)
    counts = (_count_utterances if taken.track == 1 else _count_recordings)(asked, taken)
    card = {
        "system": asked.name,
        "split": asked.split,
        "track": taken.track,
        "method": asked.method,
        "origin": asked.origin,
        "files": [{"path": str(path), **_fingerprint(path)} for path in asked.files],
        "formats": taken.formats,
        "protocols": [protocol.name for protocol in asked.protocols],
        "manifest_sha256": sha256(asked.manifest),
        "mlcslm_version": mlcslm.__version__,
        "references": len(taken.references.ids if taken.track == 1 else taken.references.prefixes),
        "unknown": taken.unknown,
        "missing": taken.missing,
    }
    with atomic_path(out) as folder:
        folder.mkdir()
        write_table(counts, folder / COUNTS)
        if taken.track == 1:
            rows = [{"utterance_id": name, "transcript": text} for name, text in taken.texts.items()]
            write_table(pa.Table.from_pylist(rows, schema=TEXTS_SCHEMA), folder / HYPOTHESES)
        else:
            _write_recordings(taken, folder)
        write_json(folder / CARD, card)
    return card


def read_card(folder: Path) -> dict[str, Any]:
    """What `system.json` of a system's folder says."""
    return read_json(folder / CARD, f"Delete {folder} and evaluate the system again.")


def _fingerprint(path: Path) -> dict[str, str]:
    return {"sha256": sha256(path)} if path.is_file() else {}


def _count_utterances(asked: Evaluation, taken: Taken) -> pa.Table:
    rows = taken.references.rows
    check_texts(asked.manifest, rows)
    groups = groups_of_rows(rows, read_languages(asked.languages), asked.manifest, asked.languages)
    labels = {"system": asked.name, "split": asked.split, "source": asked.source}
    return pa.concat_tables(
        count_utterances(rows, taken.texts, groups, protocol, **labels) for protocol in asked.protocols
    )


def _count_recordings(asked: Evaluation, taken: Taken) -> pa.Table:
    rows = taken.references.rows
    groups = groups_of_sessions(rows, asked.manifest, asked.languages)
    if taken.transcripts is None:  # DER needs no reference texts
        rows = {**rows, "text": ["" for _ in rows["text"]]}
    spoken = by_recording(reference_utterances(rows, asked.manifest))
    options = {"labels": {"system": asked.name, "split": asked.split}, "jobs": asked.jobs}
    counts = [
        row
        for protocol in asked.protocols
        for row in count_recordings(spoken, groups, taken.turns, taken.transcripts, protocol, **options)
    ]
    return pa.Table.from_pylist(counts, schema=DIARIZATION_COUNTS_SCHEMA)


def _write_recordings(taken: Taken, folder: Path) -> None:
    references, transcripts = taken.references, taken.transcripts or {}
    spoken = [utterance for recording in references.prefixes for utterance in transcripts.get(recording, ())]
    write_rttm(folder / "turns.rttm", taken.turns)
    write_stm(folder / "hypothesis.stm", spoken)
    rows = [
        {
            "utterance_id": official_segment_id(utterance, references),
            "recording": utterance.recording,
            "grp": references.groups[utterance.recording],
            "speaker": utterance.speaker,
            "start": utterance.start,
            "end": utterance.end,
            "transcript": utterance.text,
        }
        for utterance in spoken
    ]
    write_table(pa.Table.from_pylist(rows, schema=SEGMENTS_SCHEMA), folder / HYPOTHESES)
