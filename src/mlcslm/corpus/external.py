"""Corpora of other tools as manifests: what Kaldi data folders and Lhotse manifests have in common.

A reader provides recordings and segments; here they are assigned to groups, checked like sessions of the challenge's
layout, and turned into the manifest's rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlcslm.config.languages import Group, group_of_utterance
from mlcslm.corpus.audio import AudioHeader, is_file
from mlcslm.corpus.faults import Fault, FaultKind
from mlcslm.corpus.samples import Inspection
from mlcslm.corpus.transcripts import interval_problems
from mlcslm.errors import UserError
from mlcslm.runtime.progress import watched

Inspect = Callable[[Path], Inspection]
DURATION_TOLERANCE = 0.025
"""Tolerance in seconds between a declared duration and the file's: Lhotse's own."""


@dataclass(frozen=True)
class Location:
    """A line of a file, or the whole file."""

    path: str
    line: int | None

    def __str__(self) -> str:
        return self.path if self.line is None else f"line {self.line} of {self.path}"

    def fault(self, kind: FaultKind, message: str) -> Fault:
        """A fault of this line, which is skipped on request."""
        return Fault(self.path, self.line, kind, "line", message)


@dataclass(frozen=True)
class ExternalRecording:
    """A recording: its id, its audio file, and the declared rate (Hz) and duration (seconds), if any."""

    name: str
    audio: Path
    location: Location
    declared_rate: float | None = None
    declared_duration: float | None = None


@dataclass(frozen=True)
class ExternalSegment:
    """An utterance. end: None for the end of the recording; language: group or language code, None if not given."""

    utterance_id: str
    recording: str
    speaker: str
    start: float
    end: float | None
    text: str | None
    language: str | None
    location: Location


@dataclass
class ExternalCorpus:
    """What a reader found, including faults. faulty: names of recordings with a fault."""

    recordings: dict[str, ExternalRecording] = field(default_factory=dict)
    segments: list[ExternalSegment] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    faulty: set[str] = field(default_factory=set)

    def skip_recording(self, name: str, location: Location, kind: FaultKind, message: str) -> None:
        """Record the fault of a recording; its segments are skipped with it, without faults of their own."""
        self.faults.append(location.fault(kind, message))
        self.faulty.add(name)

    def add_recording(
        self, name: str, audio: Path, location: Location, rate: float | None = None, duration: float | None = None
    ) -> None:
        """Add a recording, or a fault if the name is taken. rate, duration: as declared."""
        if name in self.recordings:
            first = self.recordings[name].location
            message = f"recording {name} is already {'' if first.line is None else 'on '}{first}; keep one."
            self.faults.append(location.fault(FaultKind.DUPLICATE_SESSION, message))
            return
        self.recordings[name] = ExternalRecording(name, audio, location, rate, duration)


def manifest_rows(
    corpus: ExternalCorpus, languages: Mapping[str, Group], inspect: Inspect
) -> tuple[list[dict[str, Any]], list[Fault]]:
    """The manifest's rows in its order, and all faults: the corpus's own and those found here.

    inspect: inspects a recording.
    """
    faults = list(corpus.faults)
    used = {segment.recording for segment in corpus.segments}
    headers = _headers([one for one in corpus.recordings.values() if one.name in used], faults, inspect)
    rows: list[dict[str, Any]] = []
    seen: dict[str, Location] = {}
    for segment in corpus.segments:
        problems = list(_problems(segment, corpus, headers, seen, languages))
        faults += [segment.location.fault(kind, message) for kind, message in problems]
        header = headers.get(segment.recording)
        if problems or header is None:
            continue
        seen[segment.utterance_id] = segment.location
        rows.append(_row(segment, corpus.recordings[segment.recording], header, languages))
    order = {name: rank for rank, name in enumerate(languages)}
    rows.sort(key=lambda row: (order[row["grp"]], row["session_id"], row["start"], row["speaker"], row["end"]))
    turns: Counter[str] = Counter()
    for row in sorted(rows, key=lambda row: (row["start"], row["speaker"], row["end"])):
        row["turn"] = turns[row["session_id"]]
        turns[row["session_id"]] += 1
    return rows, faults


def find_group(segment: ExternalSegment, languages: Mapping[str, Group]) -> str | None:
    """The segment's group: its language if that identifies one group, otherwise the prefix of its id."""
    if segment.language is not None:
        language = segment.language.casefold()
        by_name = [name for name in languages if name.casefold() == language]
        by_code = [name for name, group in languages.items() if group.language.casefold() == language]
        if len(found := by_name or by_code) == 1:
            return found[0]
    try:
        return group_of_utterance(segment.utterance_id, dict(languages))
    except UserError:
        return None


def speaker_label(segment: ExternalSegment, group: Group) -> str:
    """The speaker's label within the session: its name without a prefix that names the session.

    Other tools use names that are unique across sessions: `French-0001_001-O1` is `O1` of `French_0001_001`.
    """
    session = segment.recording.removeprefix(f"{group.recording_prefix}_")
    for front in (f"{group.group}-{session}-", f"{segment.recording}-", f"{segment.recording}_"):
        if segment.speaker.startswith(front) and segment.speaker != front:
            return segment.speaker.removeprefix(front)
    return segment.speaker


def speaker_name(row: Mapping[str, Any]) -> str:
    """A speaker name for a manifest's row that is unique across sessions; if possible, a prefix of the utterance's id.

    Kaldi requires that prefix, so that utterances sorted by id are sorted by speaker. `speaker_label` is the inverse.
    """
    front = str(row["utterance_id"]).rsplit("-", 2)[0]
    if front.endswith(f"-{row['speaker']}"):
        return front
    return f"{row['session_id']}-{row['speaker']}"


def _headers(recordings: Sequence[ExternalRecording], faults: list[Fault], inspect: Inspect) -> dict[str, AudioHeader]:
    """Headers of the recordings without faults."""
    headers = {}
    for recording in watched(recordings, "reading recordings", "recording"):
        try:
            found = inspect(recording.audio)
        except UserError as error:
            faults.append(recording.location.fault(FaultKind.UNREADABLE_AUDIO, str(error)))
            continue
        problems = [(kind, f"{recording.audio}: {message}") for kind, message in found.problems]
        problems += _declared_problems(recording, found.header)
        faults += [recording.location.fault(kind, message) for kind, message in problems]
        if not problems:
            headers[recording.name] = found.header
    return headers


def _declared_problems(recording: ExternalRecording, header: AudioHeader) -> list[tuple[FaultKind, str]]:
    """Differences between the file and what the corpus declares, which suggest that its times do not fit the file."""
    rate, duration = recording.declared_rate, recording.declared_duration
    wrong = []
    if rate is not None and rate != header.sample_rate:
        wrong.append(f"{rate:g} Hz declared, but the file has {header.sample_rate} Hz")
    if duration is not None and abs(duration - header.duration) > DURATION_TOLERANCE:
        wrong.append(f"{duration:g} s declared, but the file lasts {header.duration:g} s")
    message = f"{recording.audio}: {'; '.join(wrong)}. Recreate the recordings from the files."
    return [(FaultKind.DECLARED_AUDIO, message)] if wrong else []


def _problems(
    segment: ExternalSegment,
    corpus: ExternalCorpus,
    headers: Mapping[str, AudioHeader],
    seen: Mapping[str, Location],
    languages: Mapping[str, Group],
) -> Iterable[tuple[FaultKind, str]]:
    if segment.recording not in corpus.recordings and segment.recording not in corpus.faulty:
        yield FaultKind.MISSING_AUDIO, f"its recording {segment.recording} is not listed; add it, or remove the line."
    duration = headers[segment.recording].duration if segment.recording in headers else None
    yield from interval_problems(segment.start, duration if segment.end is None else segment.end, duration)
    if (first := seen.get(segment.utterance_id)) is not None:
        where = "in that file too" if first.line is None else f"on line {first.line}"
        message = f"its id {segment.utterance_id} is already {where}; expected unique ids."
        yield FaultKind.DUPLICATE_ID, message
    if find_group(segment, languages) is None:
        language = f"its language is {segment.language!r}, " if segment.language is not None else ""
        message = (
            f"{language}its id {segment.utterance_id} begins with no group of the languages table, so its group is "
            f"unknown; expected one of {', '.join(languages)} (see docs/corpus.md)."
        )
        yield FaultKind.UNKNOWN_GROUP, message


def _row(
    segment: ExternalSegment, recording: ExternalRecording, header: AudioHeader, languages: Mapping[str, Group]
) -> dict[str, Any]:
    group = find_group(segment, languages)
    assert group is not None
    return {
        "utterance_id": segment.utterance_id,
        "session_id": segment.recording,
        "grp": group,
        "speaker": speaker_label(segment, languages[group]),
        "turn": 0,
        "start": segment.start,
        "end": header.duration if segment.end is None else segment.end,
        "audio": str(recording.audio),
        "sample_rate": header.sample_rate,
        "text": segment.text,
    }


def resolve_audio(audio: Path, root: Path) -> Path:
    """A recording's path: relative to the working directory, or otherwise to the corpus's folder `root`."""
    in_root = root / audio
    return in_root if not is_file(audio) and is_file(in_root) else audio
