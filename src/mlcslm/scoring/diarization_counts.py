"""A diarizer's errors on every recording of a manifest, from its turns and transcripts to Parquet."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from mlcslm.config.languages import Group, read_languages
from mlcslm.errors import FaultyInput, UserError
from mlcslm.formats.rttm import read_rttm
from mlcslm.formats.segments import Segment, Utterance, by_recording
from mlcslm.formats.stm import read_stm
from mlcslm.io.parquet import write_table
from mlcslm.scoring.der import DiarizationErrors, score_diarizations
from mlcslm.scoring.recordings import check_references
from mlcslm.scoring.transcripts import TranscriptErrors, score_transcripts
from mlcslm.scoring.wer_counts import groups_of_rows, read_rows
from mlcslm.text.protocols import Protocol, get_protocol

_SECONDS = ("scored_speech", "missed", "false_alarm", "confusion")
_TCP = ("errors", "length", "insertions", "deletions", "substitutions")
_CAUSES = ("timing", "confusion", "missed", "false_alarm", "recognition")
_COUNTS = (
    *("speakers_reference", "speakers_found"),
    *(f"tcp_{name}" for name in _TCP),
    *("cp_errors", "cp_length", "orc_errors", "orc_length"),
    *(f"{cause}_errors" for cause in _CAUSES),
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
    """Write to `out` one row (`DIARIZATION_COUNTS_SCHEMA`) per recording of `manifest`, in the manifest's order.

    rttm: folder of RTTM files (any names) with the turns; stm: their transcripts; oracle: Track 1 counts
    (`wer_counts.COUNTS_SCHEMA`) of the transcribing system on the manifest's own utterances; jobs: processes. A
    recording without output counts as missed and deleted. Raises UserError or FaultyInput for files that are missing or
    faulty, references without text, recordings that the manifest lacks, and an oracle of another protocol or of other
    utterances.
    """
    chosen = get_protocol(protocol, normalise_hypothesis)
    rows = read_rows(manifest, ("utterance_id", "session_id", "grp", "speaker", "start", "end", "text"))
    references = by_recording(reference_utterances(rows, manifest))
    groups = groups_of_sessions(rows, manifest, languages)
    turns, transcripts = read_rttm_folder(rttm), by_recording(read_stm(stm))
    check_references(references, turns, (str(manifest), str(rttm)))
    check_references(references, transcripts, (str(manifest), str(stm)))
    for source, found in ((rttm, turns), (stm, transcripts)):
        if missing := [recording for recording in references if recording not in found]:
            logging.getLogger(__name__).warning(
                "%s: no output for %d of %d recordings: all their speech counts as missed",
                source,
                len(missing),
                len(references),
            )
    oracle_counts = _oracle(oracle, chosen.name)
    labels = {"system": system, "split": split}
    table = count_recordings(references, groups, turns, transcripts, chosen, labels=labels, jobs=jobs)
    for row in table:
        row["oracle_errors"], row["oracle_length"] = oracle_counts.get(row["recording"], (0, 0))
        if row["oracle_length"] != row["tcp_length"]:
            raise UserError(
                f"{oracle}: found {row['oracle_length']} reference tokens in {row['recording']}, expected the "
                f"{row['tcp_length']} of {manifest}; score that system again."
            )
    write_table(pa.Table.from_pylist(table, schema=DIARIZATION_COUNTS_SCHEMA), out)


def count_recordings(
    references: Mapping[str, Sequence[Utterance]],
    groups: Mapping[str, Group],
    turns: Mapping[str, Sequence[Segment]],
    transcripts: Mapping[str, Sequence[Utterance]] | None,
    protocol: Protocol,
    *,
    labels: Mapping[str, str],
    jobs: int = 1,
) -> list[dict[str, Any]]:
    """One row (`DIARIZATION_COUNTS_SCHEMA`) per recording of `references`, without an oracle's errors.

    groups, turns: by recording; transcripts: None to score only turns, leaving word errors null; labels: system and
    split; jobs: processes.
    """
    segments = {name: [Segment(u.start, u.end, u.speaker) for u in spoken] for name, spoken in references.items()}
    diarization = score_diarizations(segments, turns, jobs=jobs)
    words: Mapping[str, TranscriptErrors] = {}
    if transcripts is not None:
        words = score_transcripts(references, transcripts, groups, protocol, jobs=jobs)
    rows = []
    for recording in references:
        speakers = (
            len({segment.speaker for segment in segments[recording]}),
            len({segment.speaker for segment in turns.get(recording, ())}),
        )
        key = {"protocol": protocol.name, "recording": recording, "grp": groups[recording].group}
        rows.append({**labels, **key, **_counts(diarization[recording], words.get(recording), speakers)})
    return rows


def read_rttm_folder(folder: Path) -> dict[str, list[Segment]]:
    """Segments of each recording in the `.rttm` files of a folder. Raises UserError if the folder does not exist."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. Expected the RTTM files of a diarizer.")
    recordings: dict[str, list[Segment]] = {}
    for path in sorted(folder.glob("*.rttm")):
        for recording, segments in read_rttm(path).items():
            recordings.setdefault(recording, []).extend(segments)
    return recordings


def reference_utterances(rows: Mapping[str, list[Any]], manifest: Path) -> list[Utterance]:
    """Utterances of a manifest's rows, with sessions as recordings. Raises FaultyInput if any has no text."""
    if unlabelled := sum(text is None for text in rows["text"]):
        raise FaultyInput(
            f"{manifest}: cannot score the split.",
            [f"{unlabelled} of {len(rows['text'])} utterances have no reference text (transcripts of three columns?)"],
        )
    columns = (rows[name] for name in ("session_id", "speaker", "start", "end", "text"))
    return [Utterance(*values) for values in zip(*columns, strict=True)]


def groups_of_sessions(rows: Mapping[str, list[Any]], manifest: Path, languages: Path) -> dict[str, Group]:
    """Group of each recording of a manifest's rows. Raises UserError for groups that `languages` lacks."""
    of_utterances = groups_of_rows(rows, read_languages(languages), manifest, languages)
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


def _counts(
    diarization: DiarizationErrors, transcription: TranscriptErrors | None, speakers: tuple[int, int]
) -> dict[str, Any]:
    """Columns of seconds and counts; those of the transcription are null without one, those of the oracle always."""
    values: dict[str, Any] = {name: getattr(diarization, name) for name in _SECONDS}
    values["speakers_reference"], values["speakers_found"] = speakers
    if transcription is not None:
        tcp, parts = transcription.tcp, transcription.breakdown
        values |= {f"tcp_{name}": getattr(tcp, name) for name in _TCP}
        values |= {"cp_errors": transcription.cp, "cp_length": tcp.length}
        values |= {"orc_errors": transcription.orc, "orc_length": tcp.length, "orc_exact": transcription.orc_exact}
        values |= {f"{cause}_errors": getattr(parts, cause) for cause in _CAUSES}
    return dict.fromkeys(DIARIZATION_COUNTS_SCHEMA.names[5:]) | values
