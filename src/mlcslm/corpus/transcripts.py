"""Transcripts of the MLC-SLM layout, tab-separated: start, end, speaker and, except in unlabelled test sets, text."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlcslm.corpus.audio import segment_samples
from mlcslm.corpus.faults import Fault, FaultKind
from mlcslm.errors import FaultyInput
from mlcslm.io.files import atomic_path
from mlcslm.io.reading import GZIP

SPEAKERS = ("O1", "O2")
# One audio token (10 Hz). Annotation tools let the last boundary overshoot the recording's end by a few milliseconds;
# reading clips it, and what is lost is shorter than the model's resolution.
OVERSHOOT = 0.1
LONGEST_TIME = 1e7
"""Seconds (over a hundred days): no recording is longer, and arithmetic up to it is exact to the sample."""
LINE_END = re.compile(rb"\r\n|\n|\r")
"""Line ends in all readers. Unicode's line separators (U+2028) are not among them: they occur within texts."""
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Utterance:
    """What one speaker says from `start` to `end` (seconds from the session's beginning).

    text: the transcript as in the file, None if the file has no text column. Utterances may overlap.
    """

    speaker: str
    start: float
    end: float
    text: str | None


@dataclass(frozen=True)
class TranscriptLine:
    """An utterance with its 1-based line in the transcript."""

    number: int
    utterance: Utterance


def read_transcript(path: str | os.PathLike[str], duration: float | None = None) -> list[Utterance]:
    """Return a transcript's utterances in order of start. Raises FaultyInput listing every fault of the file.

    With `duration` (seconds of audio), times past the end of the audio are faults too.
    """
    lines, faults = parse_transcript(path, duration)
    if faults:
        raise FaultyInput(f"{path}: {len(faults)} faults.", [str(fault) for fault in faults])
    return [line.utterance for line in lines]


def parse_transcript(
    path: str | os.PathLike[str], duration: float | None = None
) -> tuple[list[TranscriptLine], list[Fault]]:
    """Return the valid lines of a transcript, ordered by start then speaker, and the faults of the others by line.

    Blank lines, a byte order mark at the beginning and the line ends of Windows and old Macs are accepted.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        return [], [Fault(str(path), None, FaultKind.UNREADABLE_TRANSCRIPT, "session", f"cannot be read: {error}.")]
    if content.startswith(GZIP):
        message = "is gzipped, expected plain text. Unpack it (gunzip)."
        return [], [Fault(str(path), None, FaultKind.UNREADABLE_TRANSCRIPT, "session", message)]
    if content.startswith(_UTF16_MARKS):
        return [], [Fault(str(path), None, FaultKind.ENCODING, "session", "is UTF-16; save the file as UTF-8.")]
    decoded, faults = decode_lines(str(path), content)
    rows = [(number, line.split("\t")) for number, line in decoded]
    with_text = any(len(columns) == 4 for _, columns in rows) or not any(len(columns) == 3 for _, columns in rows)
    lines = []
    for number, columns in rows:
        problems = _problems(columns, with_text, duration)
        faults += [Fault(str(path), number, kind, "line", message) for kind, message in problems]
        if not problems:
            start, end, speaker, *text = columns
            utterance = Utterance(speaker.strip(), float(start), float(end), text[0] if text else None)
            lines.append(TranscriptLine(number, utterance))
    if not rows and not faults:
        message = "contains no utterances; expected one per line. Add them, or remove the session."
        faults = [Fault(str(path), None, FaultKind.EMPTY_TRANSCRIPT, "session", message)]
    lines.sort(key=lambda line: (line.utterance.start, line.utterance.speaker, line.utterance.end, line.number))
    return lines, sorted(faults, key=lambda fault: fault.line or 0)


def write_transcript(path: str | os.PathLike[str], utterances: Iterable[Utterance]) -> None:
    """Write a transcript, one utterance per line in the given order, with times in full precision.

    Raises ValueError if a text contains a tab or a line end, or if only some utterances have a text.
    """
    utterances = list(utterances)
    if len({utterance.text is None for utterance in utterances}) > 1:
        raise ValueError(f"{path}: some utterances have a text, others have none")
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        for utterance in utterances:
            text = [] if utterance.text is None else [utterance.text]
            if any(character in "".join(text) for character in "\t\n\r"):
                raise ValueError(f"{path}: the text {utterance.text!r} contains a tab or a line end")
            times = [repr(float(utterance.start)), repr(float(utterance.end))]
            file.write("\t".join([*times, utterance.speaker, *text]) + "\n")


def decode_lines(path: str, content: bytes) -> tuple[list[tuple[int, str]], list[Fault]]:
    """Non-blank lines of a file with their 1-based numbers, and the faults of those that are not UTF-8."""
    lines, faults = [], []
    for number, raw in enumerate(LINE_END.split(content.removeprefix(b"\xef\xbb\xbf")), start=1):
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            message = (
                f"byte {error.start + 1} of the line is {raw[error.start]:#04x}, not UTF-8; save the file as UTF-8."
            )
            faults.append(Fault(path, number, FaultKind.ENCODING, "line", message))
            continue
        if line.startswith("\ufeff"):
            message = "begins with a byte order mark (U+FEFF), as in concatenated files; remove it."
            faults.append(Fault(path, number, FaultKind.ENCODING, "line", message))
        elif line.strip():
            lines.append((number, line))
    return lines, faults


def _problems(columns: Sequence[str], with_text: bool, duration: float | None) -> list[tuple[FaultKind, str]]:
    expected = ["start", "end", "speaker", "text"] if with_text else ["start", "end", "speaker"]
    if len(columns) != len(expected):
        message = f"found {len(columns)} columns, expected {len(expected)} separated by tabs: {', '.join(expected)}."
        return [(FaultKind.COLUMN_COUNT, message)]
    problems = []
    times = [parse_seconds(column) for column in columns[:2]]
    for name, column, time in zip(expected, columns, times, strict=False):
        if time is None:
            problems.append((FaultKind.TIME, f"the {name} is {column!r}, expected a time in seconds."))
    problems += interval_problems(times[0], times[1], duration)
    if (speaker := columns[2].strip()) not in SPEAKERS:
        problems.append((FaultKind.SPEAKER, f"the speaker is {speaker!r}, expected {' or '.join(SPEAKERS)}."))
    return problems


def interval_problems(start: float | None, end: float | None, duration: float | None) -> list[tuple[FaultKind, str]]:
    """What is wrong with an utterance from `start` to `end` in `duration` seconds of audio, each None if unknown."""
    problems = []
    if start is not None and start < 0:
        problems.append((FaultKind.NEGATIVE_START, f"starts at {start:g} s, expected 0 or later."))
    if start is not None and duration is not None and end == duration and segment_samples(start, end) < 1:
        problems += _past_the_end(start, end, duration)  # ends with the audio, but starts after it
    elif start is not None and end is not None and segment_samples(start, end) < 1:
        problems.append((FaultKind.END_BEFORE_START, f"ends at {end} s, expected later than its start at {start} s."))
    elif start is not None and end is not None and duration is not None:
        problems += _past_the_end(start, end, duration)
    return problems


def _past_the_end(start: float, end: float, duration: float) -> list[tuple[FaultKind, str]]:
    if segment_samples(start, duration) < 1:
        return [(FaultKind.PAST_THE_END, f"starts at {start:.3f} s, past the end of the audio at {duration:.3f} s.")]
    if end > duration + OVERSHOOT:
        message = (
            f"ends at {end:.3f} s, expected at most {OVERSHOOT:g} s past the end of the audio at {duration:.3f} s."
        )
        return [(FaultKind.PAST_THE_END, message)]
    return []


def parse_seconds(column: str) -> float | None:
    """The time in a column, None if it is not a number within `LONGEST_TIME` (Python's `1_0` is not one)."""
    try:
        time = float(column)
    except ValueError:
        return None
    return time if math.isfinite(time) and abs(time) <= LONGEST_TIME and "_" not in column else None
