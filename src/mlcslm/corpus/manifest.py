"""The manifest: one row an utterance of a split, with its official ids and where its audio lies."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from mlcslm.config.languages import Group
from mlcslm.corpus.audio import AudioHeader, read_header
from mlcslm.corpus.faults import Fault, FaultKind, describe_faults
from mlcslm.corpus.foreign import manifest_rows
from mlcslm.corpus.identifiers import utterance_id
from mlcslm.corpus.kaldi import is_kaldi_folder, read_kaldi_folder
from mlcslm.corpus.layout import Session, find_sessions
from mlcslm.corpus.lhotse import is_lhotse_folder, read_lhotse_folder
from mlcslm.corpus.transcripts import TranscriptLine, parse_transcript
from mlcslm.errors import FaultyInput, UserError
from mlcslm.io.parquet import read_table, write_table
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


def build_manifest(
    root: str | os.PathLike[str], languages: dict[str, Group], *, skip_faulty: bool = False
) -> tuple[pa.Table, list[Fault]]:
    """Return the manifest (`SCHEMA`) of the corpus at `root`, and the faults that were left out.

    `root` is one split in the challenge's layout, a Kaldi data folder, or a folder of Lhotse manifests.
    Rows are sorted by group (in the order of `languages`), session, start, speaker; `turn` counts them from 0 within a
    session; `audio` is `root` joined with the file's path below it. Raises UserError where `root` is no folder,
    FaultyInput listing every fault where there is one, or, with `skip_faulty`, where nothing is left without them.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(
            f"{root}: no such folder. Expected one split of a corpus: <group's folder>/<session>.wav and .txt."
        )
    table, faults = _read_corpus(root, languages)
    faults.sort(key=lambda fault: (fault.path, fault.line or 0))
    if faults and not skip_faulty:
        raise FaultyInput(f"{root}: {describe_faults(faults)}.", [str(fault) for fault in faults])
    if not table.num_rows:
        title = f"{root}: no utterance {'is left without the faulty ones' if faults else 'in it'}. \
Expected <group's folder>/<session>.wav and .txt, the folders being {', '.join(g.folder for g in languages.values())}."
        raise FaultyInput(title, [str(fault) for fault in faults])
    return table, faults


def _read_corpus(root: Path, languages: dict[str, Group]) -> tuple[pa.Table, list[Fault]]:
    """Manifest of what is sound of a corpus, and the faults of the rest."""
    for belongs, read in ((is_kaldi_folder, read_kaldi_folder), (is_lhotse_folder, read_lhotse_folder)):
        if belongs(root):
            rows, faults = manifest_rows(read(root), languages)
            return pa.Table.from_pylist(rows, schema=SCHEMA), faults
    sessions, faults = find_sessions(root, languages)
    tables: list[pa.Table] = []
    seen: dict[str, str] = {}
    for session in watched(sessions, f"reading {root}", "session"):
        header, lines, found = _read_session(session)
        faults += found
        lines = _without_duplicates(session, lines, seen if session.sound else {}, faults)
        if session.sound and header is not None:
            tables.append(_table(session, header, lines))
    return pa.concat_tables([SCHEMA.empty_table(), *tables]).combine_chunks(), faults


def write_manifest(table: pa.Table, path: str | os.PathLike[str]) -> None:
    """Write a manifest as Parquet, atomically."""
    write_table(table, path)


def read_manifest(path: str | os.PathLike[str]) -> pa.Table:
    """Return a manifest (`SCHEMA`). Raises UserError where the file is missing or is no manifest."""
    remedy = "Expected a manifest; make one with `mlcslm manifest`."
    try:
        table = read_table(path)
    except UserError as error:
        raise UserError(f"{error} {remedy}") from None
    if missing := [name for name in SCHEMA.names if name not in table.column_names]:
        raise UserError(f"{path}: lacks the columns {', '.join(missing)}. {remedy}")
    return table.select(SCHEMA.names).cast(SCHEMA)


def _read_session(session: Session) -> tuple[AudioHeader | None, list[TranscriptLine], list[Fault]]:
    """Header and lines of a session; the transcript is checked even where the audio has a fault."""
    header, faults = None, []
    if session.audio is not None:
        try:
            header = read_header(session.audio)
        except UserError as error:
            message = str(error).removeprefix(f"{session.audio}: ")
            faults.append(Fault(str(session.audio), None, FaultKind.UNREADABLE_AUDIO, "session", message))
    if session.transcript is None:
        return header, [], faults
    lines, found = parse_transcript(session.transcript, header.duration if header else None)
    return header, lines, faults + found


def _without_duplicates(
    session: Session, lines: Sequence[TranscriptLine], seen: dict[str, str], faults: list[Fault]
) -> list[TranscriptLine]:
    """The lines with an id of their own; of several with one id the first is kept, the others are added to `faults`."""
    kept = []
    for line in lines:
        place = f"{session.transcript}:{line.number}"
        name = _id(session, line)
        if seen.setdefault(name, place) == place:
            kept.append(line)
            continue
        message = f"its id {name} is already that of {seen[name]}; expected one utterance an id. Remove one line."
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


def _id(session: Session, line: TranscriptLine) -> str:
    utterance = line.utterance
    return utterance_id(session.group.group, session.name, utterance.speaker, utterance.start, utterance.end)
