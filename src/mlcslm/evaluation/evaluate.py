"""Score external hypotheses as the workflow scores its own: answers and error counts in a folder per system, split."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

import mlcslm
from mlcslm.config.languages import read_languages
from mlcslm.evaluation.external_hypotheses import LoadedHypotheses, load_external
from mlcslm.evaluation.matching import official_segment_id
from mlcslm.evaluation.request import Evaluation
from mlcslm.formats.rttm import write_rttm
from mlcslm.formats.segments import by_recording
from mlcslm.formats.stm import write_stm
from mlcslm.io.files import atomic_folder, read_json, sha256, write_json
from mlcslm.io.parquet import write_table
from mlcslm.io.places import is_stream
from mlcslm.io.reading import read_stream
from mlcslm.scoring.diarization_counts import (
    DIARIZATION_COUNTS_SCHEMA,
    count_recordings,
    groups_of_sessions,
    reference_utterances,
)
from mlcslm.scoring.error_counts import ErrorCounts, pool
from mlcslm.scoring.explanation import describe_normalised, explain_characters, explain_normalisation, normalising
from mlcslm.scoring.files import count_changed
from mlcslm.scoring.wer import score_texts
from mlcslm.scoring.wer_counts import check_texts, count_utterances, groups_of_rows
from mlcslm.workflow.paths import CARD

COUNTS, HYPOTHESES = "counts.parquet", "hypotheses.parquet"
_RECORDINGS = ("turns.rttm", "hypothesis.stm")
TEXTS_SCHEMA = pa.schema([("utterance_id", pa.string()), ("transcript", pa.string())])
SEGMENTS_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("utterance_id", "recording", "grp", "speaker")),
        *((name, pa.float64()) for name in ("start", "end")),
        ("transcript", pa.string()),
    ]
)


@dataclass(frozen=True)
class ScoredSystem:
    """A system's answers, their counts (`COUNTS_SCHEMA`, or on Track 2 `DIARIZATION_COUNTS_SCHEMA`) and its card."""

    loaded: LoadedHypotheses
    counts: pa.Table
    card: dict[str, Any]


def evaluate(request: Evaluation, out: Path) -> dict[str, Any]:
    """Score a system's files, replace the folder `out`, and return the content of its `system.json`.

    The folder holds hypotheses.parquet, counts.parquet (`COUNTS_SCHEMA`, or `DIARIZATION_COUNTS_SCHEMA` on Track 2;
    every protocol), system.json, and on Track 2 what was scored as turns.rttm and hypothesis.stm. Raises UserError or
    FaultyInput, and leaves `out` unchanged, for files that cannot be read, hypotheses without a reference (unless
    skipped) and anything that cannot be scored.
    """
    scored = score_system(request)
    write_system(scored, out)
    return scored.card


def score_system(request: Evaluation) -> ScoredSystem:
    """Read and score a system's files. Raises UserError or FaultyInput as `evaluate` does."""
    loaded = load_external(request)
    counts = (_count_utterances if loaded.track == 1 else _count_recordings)(request, loaded)
    explained = _explain(request, loaded, counts)
    card = {
        "system": request.name,
        "split": request.split,
        "track": loaded.track,
        "method": request.method,
        "origin": request.origin,
        "files": [{"path": str(path), **_fingerprint(path)} for path in request.files],
        "formats": loaded.formats,
        "protocols": [protocol.name for protocol in request.protocols],
        "manifest_sha256": sha256(request.manifest),
        "mlcslm_version": mlcslm.__version__,
        "references": len(loaded.references.ids if loaded.track == 1 else loaded.references.prefixes),
        "unknown": loaded.unknown,
        "missing": loaded.missing,
        "notes": loaded.notes,
        **explained,
    }
    return ScoredSystem(loaded, counts, card)


def write_system(scored: ScoredSystem, out: Path) -> None:
    """Write a scored system to the folder `out`, which is replaced."""
    loaded = scored.loaded
    with atomic_folder(out, "system", own=[CARD, COUNTS, HYPOTHESES, *_RECORDINGS]) as folder:
        write_table(scored.counts, folder / COUNTS)
        if loaded.track == 1:
            rows = [{"utterance_id": name, "transcript": text} for name, text in loaded.texts.items()]
            write_table(pa.Table.from_pylist(rows, schema=TEXTS_SCHEMA), folder / HYPOTHESES)
        else:
            _write_recordings(loaded, folder)
        write_json(folder / CARD, scored.card)


def read_card(folder: Path) -> dict[str, Any]:
    """Content of `system.json` in a system's folder."""
    return read_json(folder / CARD, f"Delete {folder} and evaluate the system again.")


def _fingerprint(path: Path) -> dict[str, str]:
    if is_stream(path):
        return {"sha256": hashlib.sha256(read_stream(path)).hexdigest()}
    return {"sha256": sha256(path)} if path.is_file() else {}


def _count_utterances(request: Evaluation, loaded: LoadedHypotheses) -> pa.Table:
    rows = loaded.references.rows
    check_texts(request.manifest, rows)
    groups = groups_of_rows(rows, read_languages(request.languages), request.manifest, request.languages)
    labels = {"system": request.name, "split": request.split, "source": request.source}
    return pa.concat_tables(
        count_utterances(rows, loaded.texts, groups, protocol, **labels) for protocol in request.protocols
    )


def _count_recordings(request: Evaluation, loaded: LoadedHypotheses) -> pa.Table:
    rows = loaded.references.rows
    groups = groups_of_sessions(rows, request.manifest, request.languages)
    if loaded.transcripts is None:  # DER needs no reference texts
        rows = {**rows, "text": ["" for _ in rows["text"]]}
    spoken = by_recording(reference_utterances(rows, request.manifest))
    labels = {"system": request.name, "split": request.split}
    counts = [
        row
        for protocol in request.protocols
        for row in count_recordings(
            spoken, groups, loaded.turns, loaded.transcripts, protocol, labels=labels, jobs=request.jobs
        )
    ]
    return pa.Table.from_pylist(counts, schema=DIARIZATION_COUNTS_SCHEMA)


def _explain(request: Evaluation, loaded: LoadedHypotheses, counts: pa.Table) -> dict[str, Any]:
    """The rate with normalised hypotheses, for the card; also logged as a warning. Empty if it makes no difference.

    counts: as written; their first protocol is the one of the results.
    """
    protocol, rows = request.protocols[0], loaded.references.rows
    other = normalising(protocol)
    if other is None or (loaded.track == 2 and loaded.transcripts is None):
        return {}
    languages_table, prefix = read_languages(request.languages), "" if loaded.track == 1 else "tcp_"
    own = [row for row in counts.to_pylist() if row["protocol"] == protocol.name]
    names = ("errors", "length", "insertions", "deletions", "substitutions")
    before = {
        row["utterance_id" if loaded.track == 1 else "recording"]: ErrorCounts(*(row[prefix + name] for name in names))
        for row in own
    }
    if loaded.track == 1:
        groups = {name: languages_table[group] for name, group in zip(rows["utterance_id"], rows["grp"], strict=True)}
        references = dict(zip(rows["utterance_id"], rows["text"], strict=True))
        after = score_texts(references, loaded.texts, other, groups)
        texts = list(loaded.texts.values())
    else:
        spoken, found = by_recording(loaded.references.utterances()), loaded.transcripts or {}
        groups = {name: languages_table[group] for name, group in loaded.references.groups.items()}
        after = before | count_changed(spoken, found, groups, (protocol, other), {}, jobs=request.jobs)
        texts = [utterance.text for of_recording in found.values() for utterance in of_recording]
    pooled, normalised = pool(before.values()), pool(after.values())
    notes = [
        *explain_characters(rows["text"], texts),
        explain_normalisation(pooled, normalised, protocol.name),
    ]
    for note in filter(None, notes):
        logging.getLogger(__name__).warning("%s: %s", request.source, note)
    return {"with_normalised_hypotheses": describe_normalised(normalised, other)}


def _write_recordings(loaded: LoadedHypotheses, folder: Path) -> None:
    references, transcripts = loaded.references, loaded.transcripts or {}
    spoken = [utterance for recording in references.prefixes for utterance in transcripts.get(recording, ())]
    write_rttm(folder / _RECORDINGS[0], loaded.turns)
    write_stm(folder / _RECORDINGS[1], spoken)
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
