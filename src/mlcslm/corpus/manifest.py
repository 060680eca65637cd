"""The manifest: one row per utterance of a split, with its official ids and the location of its audio."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pyarrow as pa

from mlcslm.config.languages import Group
from mlcslm.corpus.audio import AudioHeader
from mlcslm.corpus.external import ExternalCorpus, Inspect, manifest_rows
from mlcslm.corpus.faults import Fault, FaultKind, describe_faults, list_faults
from mlcslm.corpus.identifiers import utterance_id
from mlcslm.corpus.kaldi import is_kaldi_folder, read_kaldi_folder
from mlcslm.corpus.layout import DEMO_MARKER, Session, find_sessions
from mlcslm.corpus.lhotse import is_lhotse_folder, read_lhotse_folder
from mlcslm.corpus.notices import notices_of
from mlcslm.corpus.samples import Inspection, Samples, inspect_audio
from mlcslm.corpus.transcripts import TranscriptLine, parse_transcript
from mlcslm.errors import FaultyInput, UserError
from mlcslm.io.parquet import PARQUET, read_table, write_table
from mlcslm.io.places import check_output_file
from mlcslm.runtime.progress import watched

SCHEMA = pa.schema(
    [
        pa.field("utterance_id", pa.string(), nullable=False),
        pa.field("session_id", pa.string(), nullable=False),
        pa.field("grp", pa.string(), nullable=False),
        pa.field("speaker", pa.string(), nullable=False),
        pa.field("turn", pa.int32(), nullable=False),
        pa.field("start", pa.float64(), nullable=False),
        pa.field("end", pa.float64(), nullable=False),
        pa.field("audio", pa.string(), nullable=False),
        pa.field("sample_rate", pa.int32(), nullable=False),
        pa.field("text", pa.string()),
    ]
)


Channels = Literal["ask", "mean"]
UNKNOWN_SPEAKER = "unknown"
"""Whoever speaks in a session without a transcript."""


@dataclass(frozen=True)
class CorpusReading:
    """A corpus as read.

    table: its manifest (`SCHEMA`); faults: what was skipped; notices: lines on accepted but surprising content;
    samples: statistics of each recording's samples, by the manifest's `audio`.
    """

    table: pa.Table
    faults: list[Fault]
    notices: list[str]
    samples: dict[str, Samples]


def build_manifest(
    root: str | os.PathLike[str], languages: dict[str, Group], *, skip_faulty: bool = False
) -> tuple[pa.Table, list[Fault]]:
    """The manifest of the corpus at `root`, and the skipped faults: see `read_corpus`."""
    reading = read_corpus(root, languages, skip_faulty=skip_faulty)
    return reading.table, reading.faults


def read_corpus(
    root: str | os.PathLike[str],
    languages: dict[str, Group],
    *,
    skip_faulty: bool = False,
    channels: Channels = "ask",
    levels: bool = False,
    every_fault: bool = False,
    reader: Callable[[Path], ExternalCorpus] | None = None,
) -> CorpusReading:
    """Read the corpus at `root`: one split in the challenge's layout, a Kaldi data folder, or Lhotse manifests; or
    whatever `reader` reads.

    A corpus without any transcript has one row a session, all of it, of `UNKNOWN_SPEAKER` and without text.
    Rows are sorted by group (in the order of `languages`), session, start, speaker; `turn` counts them from 0 within a
    session; `audio` is `root` joined with the file's path below it. Each recording is read once.
    channels: with "ask" a recording with one speaker per channel is a fault, with "mean" it is like any other;
    levels: see `Samples`; every_fault: list faults individually even if there are many of a kind.
    Raises UserError if `root` is not a folder, FaultyInput listing the faults if there are any or, with `skip_faulty`,
    if nothing remains without them.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(
            f"{root}: no such folder. Expected one split of a corpus: <group's folder>/<session>.wav and .txt."
        )
    inspector = _Inspector(channels, levels)
    table, faults = _read_corpus(root, languages, inspector, reader)
    faults.sort(key=lambda fault: (fault.path, fault.line or 0))
    listed = list_faults(faults, every=every_fault)
    if faults and not skip_faulty:
        raise FaultyInput(f"{root}: {describe_faults(faults)}.", listed)
    if not table.num_rows:
        title = f"{root}: {'no utterances remain without the faulty ones' if faults else 'contains no utterances'}. \
Expected <group's folder>/<session>.wav and .txt, with the folders {', '.join(g.folder for g in languages.values())}."
        raise FaultyInput(title, listed)
    notices = notices_of(table, inspector.samples, synthetic=(root.parent / DEMO_MARKER).is_file())
    return CorpusReading(table, faults, notices, inspector.samples)


@dataclass
class _Inspector:
    """Inspects recordings, and keeps the statistics of their samples by path."""

    channels: Channels
    levels: bool
    samples: dict[str, Samples] = field(default_factory=dict)

    def __call__(self, path: Path) -> Inspection:
        found = inspect_audio(path, levels=self.levels)
        self.samples[str(path)] = found.samples
        if self.channels == "ask":
            return found
        problems = tuple(problem for problem in found.problems if problem[0] is not FaultKind.SPEAKER_CHANNELS)
        return Inspection(found.header, found.samples, problems)


def _read_corpus(
    root: Path, languages: dict[str, Group], inspect: Inspect, reader: Callable[[Path], ExternalCorpus] | None
) -> tuple[pa.Table, list[Fault]]:
    """Manifest of the sound part of a corpus, and the faults of the rest."""
    if reader is not None:
        rows, faults = manifest_rows(reader(root), languages, inspect)
        return pa.Table.from_pylist(rows, schema=SCHEMA), faults
    for belongs, read in ((is_kaldi_folder, read_kaldi_folder), (is_lhotse_folder, read_lhotse_folder)):
        if belongs(root):
            rows, faults = manifest_rows(read(root), languages, inspect)
            return pa.Table.from_pylist(rows, schema=SCHEMA), faults
    sessions, faults = find_sessions(root, languages)
    tables: list[pa.Table] = []
    seen: dict[str, str] = {}
    for session in watched(sessions, f"reading {root}", "session"):
        header, lines, found = _read_session(session, inspect)
        faults += found
        if any(fault.left_out == "session" for fault in found):
            continue
        lines = _without_duplicates(session, lines, seen if session.sound else {}, faults)
        if session.sound and header is not None and session.transcript is None:
            tables.append(_whole_session(session, header))
        elif session.sound and header is not None:
            tables.append(_table(session, header, lines))
    return pa.concat_tables([SCHEMA.empty_table(), *tables]).combine_chunks(), faults


def check_manifest_file(path: str | os.PathLike[str]) -> None:
    """Raise UserError if `write_manifest` could not write to `path`, or would overwrite something else than Parquet."""
    check_output_file(path, begins=PARQUET)


def write_manifest(table: pa.Table, path: str | os.PathLike[str]) -> None:
    """Write a manifest as Parquet, atomically."""
    write_table(table, path)


def read_manifest(path: str | os.PathLike[str]) -> pa.Table:
    """Return a manifest (`SCHEMA`). Raises UserError if the file is missing or is not a manifest."""
    remedy = "Expected a manifest; create one with `mlcslm manifest`."
    try:
        table = read_table(path)
    except UserError as error:
        raise UserError(f"{error} {remedy}") from None
    if missing := [name for name in SCHEMA.names if name not in table.column_names]:
        raise UserError(f"{path}: lacks the columns {', '.join(missing)}. {remedy}")
    return table.select(SCHEMA.names).cast(SCHEMA)


def _read_session(session: Session, inspect: Inspect) -> tuple[AudioHeader | None, list[TranscriptLine], list[Fault]]:
    """Header and lines of a session; the transcript is checked even if the audio has a fault."""
    header, faults = None, []
    if session.audio is not None:
        try:
            found = inspect(session.audio)
            header = found.header
            faults += [Fault(str(session.audio), None, kind, "session", message) for kind, message in found.problems]
        except UserError as error:
            message = str(error).removeprefix(f"{session.audio}: ")
            faults.append(Fault(str(session.audio), None, FaultKind.UNREADABLE_AUDIO, "session", message))
    if session.transcript is None:
        return header, [], faults
    lines, problems = parse_transcript(session.transcript, header.duration if header else None)
    return header, lines, faults + problems


def _without_duplicates(
    session: Session, lines: Sequence[TranscriptLine], seen: dict[str, str], faults: list[Fault]
) -> list[TranscriptLine]:
    """The lines with unique ids; of several with one id the first is kept, the others are added to `faults`."""
    kept = []
    for line in lines:
        location = f"{session.transcript}:{line.number}"
        name = _id(session, line)
        if seen.setdefault(name, location) == location:
            kept.append(line)
            continue
        message = f"its id {name} is already that of {seen[name]}; expected unique ids. Remove one line."
        faults.append(Fault(str(session.transcript), line.number, FaultKind.DUPLICATE_ID, "line", message))
    return kept


def _table(session: Session, header: AudioHeader, lines: Sequence[TranscriptLine]) -> pa.Table:
    utterances = [line.utterance for line in lines]
    columns = {
        "utterance_id": [_id(session, line) for line in lines],
        "session_id": [session.recording] * len(lines),
        "grp": [session.group.group] * len(lines),
        "speaker": [utterance.speaker for utterance in utterances],
        "turn": range(len(lines)),
        "start": [utterance.start for utterance in utterances],
        "end": [utterance.end for utterance in utterances],
        "audio": [str(session.audio)] * len(lines),
        "sample_rate": [header.sample_rate] * len(lines),
        "text": [utterance.text for utterance in utterances],
    }
    return pa.table(columns, schema=SCHEMA)


def _whole_session(session: Session, header: AudioHeader) -> pa.Table:
    """The row of a session without a transcript: who speaks when in it is for a diarizer to find."""
    row = {
        "utterance_id": utterance_id(session.group.group, session.name, UNKNOWN_SPEAKER, 0.0, header.duration),
        "session_id": session.recording,
        "grp": session.group.group,
        "speaker": UNKNOWN_SPEAKER,
        "turn": 0,
        "start": 0.0,
        "end": header.duration,
        "audio": str(session.audio),
        "sample_rate": header.sample_rate,
        "text": None,
    }
    return pa.Table.from_pylist([row], schema=SCHEMA)


def _id(session: Session, line: TranscriptLine) -> str:
    utterance = line.utterance
    return utterance_id(session.group.group, session.name, utterance.speaker, utterance.start, utterance.end)
