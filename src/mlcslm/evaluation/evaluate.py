"""Hypotheses of others to what the workflow makes of its own: answers and error counts, a folder a system and split."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

import mlcslm
from mlcslm.config_systems import FileFormat
from mlcslm.diarization.segments import Segment
from mlcslm.errors import UserError
from mlcslm.evaluation.formats import Given, read_given
from mlcslm.evaluation.matching import (
    References,
    check_known,
    describe_missing,
    official_segment_id,
    tell_track,
    texts_of_utterances,
)
from mlcslm.files import atomic_path, sha256, write_json
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
from mlcslm.scoring.utterances import Utterance, by_recording
from mlcslm.text.protocols import Protocol

CARD, COUNTS, HYPOTHESES = "system.json", "counts.parquet", "hypotheses.parquet"
TEXTS_SCHEMA = pa.schema([("utterance_id", pa.string()), ("transcript", pa.string())])
SEGMENTS_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("utterance_id", "recording", "grp", "speaker")),
        *((name, pa.float64()) for name in ("start", "end")),
        ("transcript", pa.string()),
    ]
)


@dataclass(frozen=True)
class Evaluation:
    """What is to be scored as which system.

    files: of the system, on this split; protocols: to score under, the results' own first; track: None to be told by
    the ids; origin: `config` or `command`, whoever asked; jobs: processes.
    """

    name: str
    split: str
    files: tuple[Path, ...]
    manifest: Path
    languages: Path
    protocols: tuple[Protocol, ...]
    file_format: FileFormat = "auto"
    track: int | None = None
    skip_unknown: bool = False
    method: str = ""
    origin: str = "command"
    jobs: int = 1


def evaluate(asked: Evaluation, out: Path) -> dict[str, Any]:
    """Score a system's files and write the folder `out` anew; return what `system.json` in it says.

    In it: hypotheses.parquet, counts.parquet (`COUNTS_SCHEMA`, or `DIARIZATION_COUNTS_SCHEMA` on Track 2; every
    protocol), system.json, and on Track 2 turns.rttm and hypothesis.stm, which hold what was scored. Raises UserError
    or FaultyInput, and leaves `out` as it was, for files that cannot be read, what has no reference (unless it is
    skipped) and what cannot be scored.
    """
    references = References(asked.manifest)
    given = read_given(asked.files, asked.file_format)
    track = asked.track or tell_track(given, references)
    with atomic_path(out) as folder:
        folder.mkdir()
        written = (_write_track_1 if track == 1 else _write_track_2)(asked, given, references, folder)
        card = {
            "system": asked.name,
            "split": asked.split,
            "track": track,
            "method": asked.method,
            "origin": asked.origin,
            "files": [{"path": str(path), **_fingerprint(path)} for path in asked.files],
            "formats": sorted(set(given.formats)),
            "protocols": [protocol.name for protocol in asked.protocols],
            "manifest_sha256": sha256(asked.manifest),
            "mlcslm_version": mlcslm.__version__,
            **written,
        }
        write_json(folder / CARD, card)
    return card


def read_card(folder: Path) -> dict[str, Any]:
    """What `system.json` of a system's folder says."""
    return json.loads((folder / CARD).read_text(encoding="utf-8"))


def _fingerprint(path: Path) -> dict[str, str]:
    return {"sha256": sha256(path)} if path.is_file() else {}


def _write_track_1(asked: Evaluation, given: Given, references: References, folder: Path) -> dict[str, Any]:
    source = ", ".join(map(str, asked.files))
    if given.turns:
        raise UserError(f"{source}: found turns (RTTM), which Track 1 has no use for; leave them out, or take Track 2.")
    texts = texts_of_utterances(given, references, source)
    unknown, missing = check_known(texts, references.ids, source, kind="utterances", skip_unknown=asked.skip_unknown)
    _tell(source, unknown, missing, len(references.ids), "utterances")
    rows = [{"utterance_id": name, "transcript": texts[name]} for name in references.ids if name in texts]
    write_table(pa.Table.from_pylist(rows, schema=TEXTS_SCHEMA), folder / HYPOTHESES)
    check_texts(asked.manifest, references.rows)
    groups = groups_of_rows(references.rows, read_languages(asked.languages), asked.manifest, asked.languages)
    transcripts = {row["utterance_id"]: row["transcript"] for row in rows}
    tables = [
        count_utterances(
            references.rows, transcripts, groups, protocol, system=asked.name, split=asked.split, source=source
        )
        for protocol in asked.protocols
    ]
    write_table(pa.concat_tables(tables), folder / COUNTS)
    return {"references": len(references.ids), "unknown": unknown, "missing": missing}


def _write_track_2(asked: Evaluation, given: Given, references: References, folder: Path) -> dict[str, Any]:
    source = ", ".join(map(str, asked.files))
    if given.texts or given.entries:
        raise UserError(
            f"{source}: found texts without speaker and times (Kaldi, NeMo), expected STM, SegLST, CTM or RTTM on "
            "Track 2."
        )
    transcripts = by_recording(given.utterances)
    turns = given.turns or {name: _turns(spoken) for name, spoken in transcripts.items()}
    unknown, missing = check_known(
        {**turns, **transcripts},
        references.prefixes,
        source,
        kind="recordings",
        skip_unknown=asked.skip_unknown,
    )
    _tell(source, unknown, missing, len(references.prefixes), "recordings")
    transcripts, turns = _without(transcripts, unknown), _without(turns, unknown)
    write_rttm(folder / "turns.rttm", turns)
    write_stm(folder / "hypothesis.stm", (utterance for spoken in transcripts.values() for utterance in spoken))
    rows = [
        {
            "utterance_id": official_segment_id(utterance, references),
            "recording": recording,
            "grp": references.groups[recording],
            "speaker": utterance.speaker,
            "start": utterance.start,
            "end": utterance.end,
            "transcript": utterance.text,
        }
        for recording in references.prefixes
        for utterance in transcripts.get(recording, ())
    ]
    write_table(pa.Table.from_pylist(rows, schema=SEGMENTS_SCHEMA), folder / HYPOTHESES)
    write_table(_count_track_2(asked, references, turns, transcripts, given.has_transcripts), folder / COUNTS)
    return {"references": len(references.prefixes), "unknown": unknown, "missing": missing}


def _count_track_2(
    asked: Evaluation,
    references: References,
    turns: Mapping[str, Sequence[Segment]],
    transcripts: Mapping[str, Sequence[Utterance]],
    has_words: bool,
) -> pa.Table:
    rows = references.rows
    if not has_words:  # DER needs no reference texts
        rows = {**rows, "text": ["" for _ in rows["text"]]}
    spoken = by_recording(reference_utterances(rows, asked.manifest))
    groups = groups_of_sessions(references.rows, asked.manifest, asked.languages)
    labels = {"system": asked.name, "split": asked.split}
    counts: list[dict[str, Any]] = []
    for protocol in asked.protocols:
        words = transcripts if has_words else None
        counts += count_recordings(spoken, groups, turns, words, protocol, labels=labels, jobs=asked.jobs)
    return pa.Table.from_pylist(counts, schema=DIARIZATION_COUNTS_SCHEMA)


def _turns(spoken: Sequence[Utterance]) -> list[Segment]:
    return [Segment(utterance.start, utterance.end, utterance.speaker) for utterance in spoken]


def _without(recordings: Mapping[str, Any], unknown: Sequence[str]) -> dict[str, Any]:
    left_out = set(unknown)
    return {name: value for name, value in recordings.items() if name not in left_out}


def _tell(source: str, unknown: Sequence[str], missing: Sequence[str], references: int, kind: str) -> None:
    log = logging.getLogger(__name__)
    if unknown:
        log.warning("%s: left out %d %s that have no reference", source, len(unknown), kind)
    if lines := describe_missing(missing, references, kind):
        log.warning("%s: %s", source, "\n".join(lines))
