"""From a manifest and what a diarizer found and transcribed to its errors on every recording, files to Parquet."""

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
_CAUSES = ("confusion", "missed", "false_alarm", "recognition")
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
    """Write to `out` a row (`DIARIZATION_COUNTS_SCHEMA`) for each recording of `manifest`, in the manifest's order.

    rttm: folder of the turns found, RTTM files of any names; stm: their transcripts; oracle: Track 1 counts
    (`hypotheses.COUNTS_SCHEMA`) of the system that transcribed them, on the manifest's own utterances; jobs: processes.
    A recording of which nothing was found counts as missed and deleted. Raises UserError or FaultyInput for files that
    are missing or faulty, references without text, recordings that the manifest lacks, and an oracle of another
    protocol or of other utterances.
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
                "%s: nothing of %d of %d recordings; all of them is missed", source, len(missing), len(references)
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
    """A row (`DIARIZATION_COUNTS_SCHEMA`) for each recording of `references`, without an oracle's errors.

    groups: of each recording; turns: found in each; transcripts: None where only turns are to be scored, whose rows
    then have no errors of words; labels: system and split; jobs: processes.
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
        place = {"protocol": protocol.name, "recording": recording, "grp": groups[recording].group}
        rows.append({**labels, **place, **_counts(diarization[recording], words.get(recording), speakers)})
    return rows


def read_rttm_folder(folder: Path) -> dict[str, list[Segment]]:
    """Segments of each recording in the `.rttm` files of a folder. Raises UserError where there is no folder."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. Expected one with the RTTM files of a diarizer.")
    recordings: dict[str, list[Segment]] = {}
    for path in sorted(folder.glob("*.rttm")):
        for recording, segments in read_rttm(path).items():
            recordings.setdefault(recording, []).extend(segments)
    return recordings


def reference_utterances(rows: Mapping[str, list], manifest: Path) -> list[Utterance]:
    """Utterances of a manifest's rows, recordings being sessions. Raises FaultyInput for those without a text."""
    if unlabelled := sum(text is None for text in rows["text"]):
        raise FaultyInput(
            f"{manifest}: the split cannot be scored.",
            [f"{unlabelled} of {len(rows['text'])} utterances have no reference text (transcripts of three columns?)"],
        )
    columns = (rows[name] for name in ("session_id", "speaker", "start", "end", "text"))
    return [Utterance(*values) for values in zip(*columns, strict=True)]


def groups_of_sessions(rows: Mapping[str, list], manifest: Path, languages: Path) -> dict[str, Group]:
    """Group of each recording of a manifest's rows. Raises UserError for groups that `languages` lacks."""
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


def _counts(
    diarization: DiarizationErrors, transcription: TranscriptErrors | None, speakers: tuple[int, int]
) -> dict[str, Any]:
    """Columns of the seconds and the counts, nulls where there is no transcription, and no oracle's."""
    values: dict[str, Any] = {name: getattr(diarization, name) for name in _SECONDS}
    values["speakers_reference"], values["speakers_found"] = speakers
    if transcription is not None:
        tcp, parts = transcription.tcp, transcription.breakdown
        values |= {f"tcp_{name}": getattr(tcp, name) for name in _TCP}
        values |= {"cp_errors": transcription.cp, "cp_length": tcp.length}
        values |= {"orc_errors": transcription.orc, "orc_length": tcp.length, "orc_exact": transcription.orc_exact}
        values |= {f"{cause}_errors": getattr(parts, cause) for cause in _CAUSES}
    return dict.fromkeys(DIARIZATION_COUNTS_SCHEMA.names[5:]) | values
