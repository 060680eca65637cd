"""From a manifest and what a diarizer found and transcribed to its errors on every recording, files to Parquet."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mlcslm.diarization.segments import Segment
from mlcslm.errors import FaultyInput, UserError
from mlcslm.files import atomic_path
from mlcslm.languages import Group, read_languages
from mlcslm.scoring.der import DiarizationErrors, score_diarizations
from mlcslm.scoring.hypotheses import groups_of_rows, read_rows
from mlcslm.scoring.recordings import check_references
from mlcslm.scoring.rttm import read_rttm
from mlcslm.scoring.stm import read_stm
from mlcslm.scoring.transcripts import TranscriptErrors, score_transcripts
from mlcslm.scoring.utterances import Utterance, by_recording
from mlcslm.text.protocols import get_protocol

_SECONDS = ("scored_speech", "missed", "false_alarm", "confusion")
_TCP = ("errors", "length", "insertions", "deletions", "substitutions")
_COUNTS = (
    *("speakers_reference", "speakers_found"),
    *(f"tcp_{name}" for name in _TCP),
    *("cp_errors", "cp_length", "orc_errors", "orc_length"),
    *("confusion_errors", "missed_errors", "false_alarm_errors", "recognition_errors"),
    *("oracle_errors", "oracle_length"),
)
DIARIZATION_COUNTS_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("system", "split", "protocol", "recording", "grp")),
        *(pa.field(name, pa.float64()) for name in _SECONDS),
        *(pa.field(name, pa.int32()) for name in _COUNTS),
        pa.field("orc_exact", pa.bool_()),
    ]
)


def write_diarization_counts(
    manifest: Path,
    rttm: Path,
    stm: Path,
    oracle: Path,
    out: Path,
    *,
    system: str,
    split: str,
    protocol: str,
    normalise_hypothesis: bool,
    languages: Path,
    jobs: int = 1,
) -> None:
    """Write to `out` a row (`DIARIZATION_COUNTS_SCHEMA`) for each recording of `manifest`, in the manifest's order.

    rttm: folder of the turns found, RTTM files of any names; stm: their transcripts; oracle: Track 1 counts
    (`hypotheses.COUNTS_SCHEMA`) of the system that transcribed them, on the manifest's own utterances; jobs: processes.
    A recording of which nothing was found counts as missed and deleted. Raises UserError or FaultyInput for files that
    are missing or faulty, references without text, recordings that the manifest lacks, and an oracle of another
    protocol or of other utterances.
    """
    chosen = get_protocol(protocol, normalise_hypothesis)
    rows = read_rows(manifest, ("utterance_id", "session_id", "grp", "speaker", "start", "end", "text"))
    references = by_recording(_utterances(rows, manifest))
    groups = _groups(rows, manifest, languages)
    turns, transcripts = read_rttm_folder(rttm), by_recording(read_stm(stm))
    check_references(references, turns, (str(manifest), str(rttm)))
    check_references(references, transcripts, (str(manifest), str(stm)))
    for source, found in ((rttm, turns), (stm, transcripts)):
        if missing := [recording for recording in references if recording not in found]:
            logging.getLogger(__name__).warning(
                "%s: nothing of %d of %d recordings; all of them is missed", source, len(missing), len(references)
            )
    segments = {name: [Segment(u.start, u.end, u.speaker) for u in spoken] for name, spoken in references.items()}
    diarization = score_diarizations(segments, turns, jobs=jobs)
    transcription = score_transcripts(references, transcripts, groups, chosen, jobs=jobs)
    oracle_counts = _oracle(oracle, chosen.name)
    table = []
    for recording in references:
        counts = oracle_counts.get(recording, (0, 0))
        if counts[1] != transcription[recording].tcp.length:
            raise UserError(
                f"{oracle}: found {counts[1]} reference tokens in {recording}, expected the "
                f"{transcription[recording].tcp.length} of {manifest}; score that system again."
            )
        speakers = (
            len({segment.speaker for segment in segments[recording]}),
            len({segment.speaker for segment in turns.get(recording, ())}),
        )
        labels = (system, split, chosen.name, recording, groups[recording].group)
        table.append(_row(labels, diarization[recording], transcription[recording], speakers, counts))
    with atomic_path(out) as temporary:
        pq.write_table(pa.Table.from_pylist(table, schema=DIARIZATION_COUNTS_SCHEMA), temporary)


def read_rttm_folder(folder: Path) -> dict[str, list[Segment]]:
    """Segments of each recording in the `.rttm` files of a folder. Raises UserError where there is no folder."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. Expected one with the RTTM files of a diarizer.")
    recordings: dict[str, list[Segment]] = {}
    for path in sorted(folder.glob("*.rttm")):
        for recording, segments in read_rttm(path).items():
            recordings.setdefault(recording, []).extend(segments)
    return recordings


def _utterances(rows: Mapping[str, list], manifest: Path) -> list[Utterance]:
    if unlabelled := sum(text is None for text in rows["text"]):
        raise FaultyInput(
            f"{manifest}: the split cannot be scored.",
            [f"{unlabelled} of {len(rows['text'])} utterances have no reference text (transcripts of three columns?)"],
        )
    columns = (rows[name] for name in ("session_id", "speaker", "start", "end", "text"))
    return [Utterance(*values) for values in zip(*columns, strict=True)]


def _groups(rows: Mapping[str, list], manifest: Path, languages: Path) -> dict[str, Group]:
    of_utterances = groups_of_rows(dict(rows), read_languages(languages), manifest, languages)
    return dict(zip(rows["session_id"], of_utterances.values(), strict=True))


def _oracle(path: Path, protocol: str) -> dict[str, tuple[int, int]]:
    """Errors and reference tokens of each recording in Track 1 counts."""
    rows = read_rows(path, ("utterance_id", "session_id", "protocol", "errors", "length"))
    if other := sorted({name for name in rows["protocol"] if name != protocol}):
        raise UserError(f"{path}: found counts of protocol {', '.join(other)}, expected {protocol}; score it again.")
    counts: dict[str, tuple[int, int]] = {}
    for session, errors, length in zip(rows["session_id"], rows["errors"], rows["length"], strict=True):
        before = counts.get(session, (0, 0))
        counts[session] = before[0] + errors, before[1] + length
    return counts


def _row(
    labels: Sequence[str],
    diarization: DiarizationErrors,
    transcription: TranscriptErrors,
    speakers: tuple[int, int],
    oracle: tuple[int, int],
) -> dict[str, Any]:
    tcp, parts = transcription.tcp, transcription.breakdown
    counts = (
        *speakers,
        *(getattr(tcp, name) for name in _TCP),
        *(transcription.cp, tcp.length, transcription.orc, tcp.length),
        *(parts.confusion, parts.missed, parts.false_alarm, parts.recognition),
        *oracle,
    )
    values = (*labels, *(getattr(diarization, name) for name in _SECONDS), *counts, transcription.orc_exact)
    return dict(zip(DIARIZATION_COUNTS_SCHEMA.names, values, strict=True))
