"""Texts, transcripts and turns of a file in any format, as `mlcslm score` reads them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mlcslm.config.systems import FileFormat
from mlcslm.errors import FaultyInput, UserError, shortened
from mlcslm.formats.ctm import read_ctm
from mlcslm.formats.detect import detect_format
from mlcslm.formats.foreign import TITLES as FOREIGN
from mlcslm.formats.foreign import read_foreign
from mlcslm.formats.kaldi_text import read_kaldi_text
from mlcslm.formats.nemo import NemoEntry, read_nemo, read_table
from mlcslm.formats.parsing import MAX_LISTED_FAULTS
from mlcslm.formats.rttm import Channel, describe_ignored, read_rttm_channels
from mlcslm.formats.seglst import read_seglst
from mlcslm.formats.segments import Segment, Utterance
from mlcslm.formats.stm import read_nist_stm
from mlcslm.formats.zones import Zone

Side = Literal["reference", "hypothesis"]


@dataclass(frozen=True)
class Transcripts:
    """Utterances of a file, the zones of each recording that it excludes from scoring, and notes on ignored content."""

    utterances: list[Utterance]
    unscored: dict[str, list[Zone]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Turns:
    """Turns of a file by recording and channel, the zones it excludes from scoring, and notes on ignored content."""

    segments: dict[Channel, list[Segment]]
    unscored: dict[Channel, list[Zone]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_transcripts(path: Path, side: Side, file_format: FileFormat = "auto") -> Transcripts:
    """Who says what when: from STM, SegLST or CTM, or from NeMo lines with offset, duration and speaker.

    side: only a reference may exclude zones from scoring, or have its text under NeMo's `text`; file_format: `auto` to
    detect it. Raises UserError or
    FaultyInput as the readers of the formats do, and for formats without words, or without speakers and times.
    """
    match chosen := _format(path, file_format, timed=True):
        case "stm":
            stm = read_nist_stm(path)
            return Transcripts(stm.utterances, stm.unscored, stm.notes(zones_used=side == "reference"))
        case "seglst":
            return Transcripts(read_seglst(path))
        case "ctm":
            ctm = read_ctm(path)
            return Transcripts(ctm.words, notes=ctm.notes())
        case "nemo":
            return Transcripts(_utterances(read_nemo(path, side), path))
        case _ if chosen in FOREIGN:
            found = read_foreign(path, chosen)
            if found.utterances or not (found.entries or found.turns):
                return Transcripts(found.utterances, notes=found.notes)
    missing = "words" if chosen == "rttm" else "speakers and times"
    raise UserError(
        f"{path}: found {_TITLES[chosen]}, which has no {missing}; expected STM, SegLST, CTM or NeMo lines."
    )


def read_turns(path: Path, side: Side, file_format: FileFormat = "auto") -> Turns:
    """Who speaks when: from RTTM, or from a file with transcripts (`read_transcripts`), one turn per utterance."""
    chosen = _format(path, file_format, timed=True)
    if chosen == "rttm":
        rttm = read_rttm_channels(path)
        notes = describe_ignored(rttm, zones_used=side == "reference")
        return Turns(rttm.turns, rttm.unscored, notes)
    if chosen in FOREIGN and (found := read_foreign(path, chosen)).turns:
        return Turns({(recording, ""): turns for recording, turns in found.turns.items()})
    read = read_transcripts(path, side, file_format)
    turns: dict[Channel, list[Segment]] = {}
    for utterance in read.utterances:
        segment = Segment(utterance.start, utterance.end, utterance.speaker)
        turns.setdefault((utterance.recording, ""), []).append(segment)
    return Turns(turns, {(name, ""): zones for name, zones in read.unscored.items()}, read.notes)


def read_texts(path: Path, side: Side, file_format: FileFormat = "auto") -> tuple[dict[str, str], list[str]]:
    """Text of each utterance by id, and notes on ignored content.

    From Kaldi text or NeMo lines, or from STM, SegLST or CTM with utterance ids in place of recordings. Entries with
    the same id are joined in order of start. Raises UserError or FaultyInput as the readers of the formats do, and for
    repeated ids (Kaldi, NeMo).
    """
    match _format(path, file_format):
        case "kaldi":
            return read_kaldi_text(path), []
        case "nemo" | "table" | "trn" | "json" as chosen:
            entries = _entries(path, chosen, side)
            if entries is None:
                read = read_transcripts(path, side, file_format)
                return join_texts(read.utterances), read.notes
            if repeated := [name for name, count in Counter(entry.name for entry in entries).items() if count > 1]:
                raise FaultyInput(
                    f"{path}: found {len(repeated)} names more than once; give each line an `utterance_id`:",
                    shortened(repeated, MAX_LISTED_FAULTS),
                )
            return {entry.name: entry.text for entry in entries}, []
    read = read_transcripts(path, side, file_format)
    return join_texts(read.utterances), read.notes


def _format(path: Path, file_format: FileFormat, *, timed: bool = False) -> str:
    return detect_format(path, timed=timed) if file_format == "auto" else file_format


def _entries(path: Path, chosen: str, side: Side) -> list[NemoEntry] | None:
    """Texts by name; None for JSON that says what was said when."""
    if chosen == "nemo":
        return read_nemo(path, side)
    if chosen == "table":
        return read_table(path, side)
    found = read_foreign(path, chosen)
    return found.entries if found.entries or not found.utterances else None


def join_texts(utterances: Iterable[Utterance]) -> dict[str, str]:
    """Text of each recording: its utterances' texts, joined in order of start."""
    pieces: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        pieces.setdefault(utterance.recording, []).append(utterance)
    return {
        name: " ".join(piece.text for piece in sorted(spoken, key=lambda piece: piece.start))
        for name, spoken in pieces.items()
    }


def log_notes(path: Path, notes: Iterable[str | None]) -> list[str]:
    """Log notes on a file as warnings (ignored content, what explains its score) and return them, for JSON."""
    logged = [f"{path}: {note}" for note in notes if note]
    for note in logged:
        logging.getLogger(__name__).warning("%s", note)
    return logged


_TITLES: Mapping[str, str] = {"kaldi": "Kaldi text", "rttm": "RTTM", **FOREIGN}


def _utterances(entries: list[NemoEntry], path: Path) -> list[Utterance]:
    utterances = []
    for entry in entries:
        if entry.offset is None or entry.duration is None or entry.speaker is None:
            raise UserError(
                f"{path}: {entry.name} lacks offset, duration or speaker; all three are needed to score who says what "
                "when."
            )
        end = max(entry.offset, round(entry.offset + entry.duration, 9))
        utterances.append(Utterance(entry.name, entry.speaker, entry.offset, end, entry.text))
    return utterances
