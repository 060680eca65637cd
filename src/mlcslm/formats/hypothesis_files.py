"""Files of texts, transcripts and turns in whichever of six formats they come, told by name or content."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mlcslm.errors import FaultyInput, UserError, shortened
from mlcslm.formats.ctm import read_ctm
from mlcslm.formats.kaldi_text import read_kaldi_text
from mlcslm.formats.nemo import NemoEntry, read_nemo
from mlcslm.formats.rttm import TYPES as RTTM_TYPES
from mlcslm.formats.rttm import Channel, describe_left_out, read_rttm_channels
from mlcslm.formats.seglst import read_seglst
from mlcslm.formats.segments import Segment, Utterance
from mlcslm.formats.stm import read_nist_stm
from mlcslm.formats.timed_lines import SHOWN_FAULTS, parse_seconds
from mlcslm.formats.zones import Zone
from mlcslm.io.reading import check_input, plain_suffix, read_input

Side = Literal["reference", "hypothesis"]

SUFFIXES = {".stm": "stm", ".ctm": "ctm", ".rttm": "rttm"}
"""Formats told by a name's end; all others, and names without one, are told by what the file holds."""
FORMATS = ("Kaldi text", "STM", "CTM", "SegLST", "NeMo JSON lines", "RTTM")
_BYTES_TO_TELL_BY = 16384


@dataclass(frozen=True)
class Transcripts:
    """Utterances of a file, the stretches of recordings that it marks as not scored, and what was left out of it."""

    utterances: list[Utterance]
    unscored: dict[str, list[Zone]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Turns:
    """Turns of a file by recording and channel, the zones that it marks as not scored, and what was left out of it."""

    segments: dict[Channel, list[Segment]]
    unscored: dict[Channel, list[Zone]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def detect_format(path: Path, *, timed: bool = False) -> str:
    """Format of a file by its name's end, or else by its first lines. Raises UserError where there is no file.

    JSON is told by its first character, RTTM by its line types, STM and CTM by where times are; all else is Kaldi text.
    timed: whether only formats with times are expected, so that any number where a time belongs will do.
    """
    expected = f"hypotheses: {', '.join(FORMATS)}"
    check_input(path, expected)
    if plain_suffix(path) in SUFFIXES:
        return SUFFIXES[plain_suffix(path)]
    start = read_input(path, expected)[:_BYTES_TO_TELL_BY].removeprefix(b"\xef\xbb\xbf").lstrip()
    if start[:1] in (b"[", b"{"):
        return {b"[": "seglst", b"{": "nemo"}[start[:1]]
    lines = start.decode("utf-8", "replace").splitlines()
    if len(lines) > 1:
        lines.pop()  # may be part of one
    fields = [line.split() for line in lines if line.strip() and not line.startswith(";;")]
    return next(
        (name for name, test in _TESTS.items() if fields and all(test(line, timed) for line in fields)), "kaldi"
    )


def _is_rttm(fields: list[str], timed: bool) -> bool:
    return fields[0] in RTTM_TYPES and len(fields) > 7


def _is_stm(fields: list[str], timed: bool) -> bool:
    return len(fields) > 4 and _has_times(fields[1], fields[3:5], timed) and float(fields[3]) <= float(fields[4])


def _is_ctm(fields: list[str], timed: bool) -> bool:
    return 5 <= len(fields) <= 8 and _has_times(fields[1], fields[2:4], timed)


def _has_times(channel: str, times: list[str], timed: bool) -> bool:
    # A transcript may hold two whole numbers in a row; with decimals, behind what could be a channel, hardly so.
    return None not in map(parse_seconds, times) and (
        timed or (all("." in time for time in times) and re.fullmatch("[0-9]{1,2}|[A-Za-z]", channel) is not None)
    )


_TESTS: Mapping[str, Callable[[list[str], bool], bool]] = {"rttm": _is_rttm, "stm": _is_stm, "ctm": _is_ctm}


def read_transcripts(path: Path, side: Side) -> Transcripts:
    """Who says what when, of an STM, SegLST or CTM file, or a NeMo one whose lines have offset, duration and speaker.

    side: stretches that are not scored, and NeMo's `text`, are the reference's to give. Raises UserError or FaultyInput
    as the formats' readers do, and for formats that have no words, or no speakers and times.
    """
    match chosen := detect_format(path, timed=True):
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
    lack = "words" if chosen == "rttm" else "speakers and times"
    raise UserError(f"{path}: found {_TITLES[chosen]}, which has no {lack}; expected STM, SegLST, CTM or NeMo lines.")


def read_turns(path: Path, side: Side) -> Turns:
    """Who speaks when, of an RTTM file, or of one with transcripts (`read_transcripts`), a turn an utterance."""
    if detect_format(path, timed=True) == "rttm":
        rttm = read_rttm_channels(path)
        notes = describe_left_out(rttm, zones_used=side == "reference")
        return Turns(rttm.turns, rttm.unscored, notes)
    read = read_transcripts(path, side)
    turns: dict[Channel, list[Segment]] = {}
    for utterance in read.utterances:
        segment = Segment(utterance.start, utterance.end, utterance.speaker)
        turns.setdefault((utterance.recording, ""), []).append(segment)
    return Turns(turns, {(name, ""): zones for name, zones in read.unscored.items()}, read.notes)


def read_texts(path: Path, side: Side) -> tuple[dict[str, str], list[str]]:
    """Text of each utterance by its id, of a Kaldi text or NeMo file, or of STM, SegLST or CTM with ids for recordings.

    Besides it returns what was left out of the file. Pieces of one id are joined in order of start. Raises UserError or
    FaultyInput as the formats' readers do, and for ids that are given twice (Kaldi, NeMo).
    """
    match detect_format(path):
        case "kaldi":
            return read_kaldi_text(path), []
        case "nemo":
            entries = read_nemo(path, side)
            if repeated := [name for name, count in Counter(entry.name for entry in entries).items() if count > 1]:
                raise FaultyInput(
                    f"{path}: {len(repeated)} names are given more than once; give each line an `utterance_id`:",
                    shortened(repeated, SHOWN_FAULTS),
                )
            return {entry.name: entry.text for entry in entries}, []
    read = read_transcripts(path, side)
    return join_pieces(read.utterances), read.notes


def join_pieces(utterances: Iterable[Utterance]) -> dict[str, str]:
    """Text of each recording: those of its utterances, in order of start."""
    pieces: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        pieces.setdefault(utterance.recording, []).append(utterance)
    return {
        name: " ".join(piece.text for piece in sorted(spoken, key=lambda piece: piece.start))
        for name, spoken in pieces.items()
    }


def say_notes(path: Path, notes: Iterable[str | None]) -> list[str]:
    """Tell what was left out of a file, or what explains its score, and return what was told, for JSON."""
    told = [f"{path}: {note}" for note in notes if note]
    for note in told:
        logging.getLogger(__name__).warning("%s", note)
    return told


_TITLES: Mapping[str, str] = {"kaldi": "Kaldi text", "rttm": "RTTM"}


def _utterances(entries: list[NemoEntry], path: Path) -> list[Utterance]:
    utterances = []
    for entry in entries:
        if entry.offset is None or entry.duration is None or entry.speaker is None:
            raise UserError(
                f"{path}: {entry.name} has no offset, duration or speaker; expected all three for who says what when."
            )
        end = round(entry.offset + entry.duration, 9)
        utterances.append(Utterance(entry.name, entry.speaker, entry.offset, end, entry.text))
    return utterances
