"""Corpora of other tools as manifests: what Kaldi data folders and Lhotse manifests have in common.

A reader gives recordings and segments; here they get their group, are checked as sessions of the challenge's layout
are, and become the manifest's columns.
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
"""Seconds by which a declared length may differ from the file's: Lhotse's own tolerance."""


@dataclass(frozen=True)
class Place:
    """A line of a file."""

    path: str
    line: int

    def fault(self, kind: FaultKind, message: str) -> Fault:
        """A fault there; the line is left out by those who go on without it."""
        return Fault(self.path, self.line, kind, "line", message)


@dataclass(frozen=True)
class ForeignRecording:
    """A recording by its id, and the file that it is in; what its corpus says of it: Hz and seconds, if it does."""

    name: str
    audio: Path
    place: Place
    declared_rate: float | None = None
    declared_duration: float | None = None


@dataclass(frozen=True)
class ForeignSegment:
    """An utterance. end: None for that of the recording; language: group or language code, None where nothing says."""

    utterance_id: str
    recording: str
    speaker: str
    start: float
    end: float | None
    text: str | None
    language: str | None
    place: Place


@dataclass
class ForeignCorpus:
    """What a reader found, the faults among it. faulty: names of recordings that one of the faults is of."""

    recordings: dict[str, ForeignRecording] = field(default_factory=dict)
    segments: list[ForeignSegment] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    faulty: set[str] = field(default_factory=set)

    def leave_out_recording(self, name: str, place: Place, kind: FaultKind, message: str) -> None:
        """Record the fault of a recording; segments of it are left out with it, without a fault each."""
        self.faults.append(place.fault(kind, message))
        self.faulty.add(name)

    def add_recording(
        self, name: str, audio: Path, place: Place, rate: float | None = None, duration: float | None = None
    ) -> None:
        """Add a recording, or a fault where there is one of that name. rate, duration: as declared."""
        if name in self.recordings:
            first = self.recordings[name].place
            message = f"recording {name} is already on line {first.line} of {first.path}; keep one."
            self.faults.append(place.fault(FaultKind.DUPLICATE_SESSION, message))
            return
        self.recordings[name] = ForeignRecording(name, audio, place, rate, duration)


def manifest_rows(
    corpus: ForeignCorpus, languages: Mapping[str, Group], inspect: Inspect
) -> tuple[list[dict[str, Any]], list[Fault]]:
    """The manifest's rows, sorted as it is, and all faults: the corpus's own and those found here.

    inspect: what to look at a recording with.
    """
    faults = list(corpus.faults)
    used = {segment.recording for segment in corpus.segments}
    headers = _headers([one for one in corpus.recordings.values() if one.name in used], faults, inspect)
    rows: list[dict[str, Any]] = []
    seen: dict[str, Place] = {}
    for segment in corpus.segments:
        problems = list(_problems(segment, corpus, headers, seen, languages))
        faults += [segment.place.fault(kind, message) for kind, message in problems]
        header = headers.get(segment.recording)
        if problems or header is None:
            continue
        seen[segment.utterance_id] = segment.place
        rows.append(_row(segment, corpus.recordings[segment.recording], header, languages))
    order = {name: rank for rank, name in enumerate(languages)}
    rows.sort(key=lambda row: (order[row["grp"]], row["session_id"], row["start"], row["speaker"], row["end"]))
    turns: Counter[str] = Counter()
    for row in sorted(rows, key=lambda row: (row["start"], row["speaker"], row["end"])):
        row["turn"] = turns[row["session_id"]]
        turns[row["session_id"]] += 1
    return rows, faults


def find_group(segment: ForeignSegment, languages: Mapping[str, Group]) -> str | None:
    """The segment's group: what its corpus says if that is one group, or else what its id begins with."""
    if segment.language is not None:
        wanted = segment.language.casefold()
        by_name = [name for name in languages if name.casefold() == wanted]
        by_code = [name for name, group in languages.items() if group.language.casefold() == wanted]
        if len(found := by_name or by_code) == 1:
            return found[0]
    try:
        return group_of_utterance(segment.utterance_id, dict(languages))
    except UserError:
        return None


def speaker_label(segment: ForeignSegment, group: Group) -> str:
    """The speaker's label within the session: what names the session is taken off its front.

    Tools know speakers by names that no other session has: `French-0001_001-O1` is `O1` of `French_0001_001`.
    """
    session = segment.recording.removeprefix(f"{group.recording_prefix}_")
    for front in (f"{group.group}-{session}-", f"{segment.recording}-", f"{segment.recording}_"):
        if segment.speaker.startswith(front) and segment.speaker != front:
            return segment.speaker.removeprefix(front)
    return segment.speaker


def speaker_name(row: Mapping[str, Any]) -> str:
    """A speaker's name that no other session has, of a manifest's row; the utterance's id begins with it if it can.

    Kaldi wants that, so that utterances sorted by id are sorted by speaker. `speaker_label` is the way back.
    """
    front = str(row["utterance_id"]).rsplit("-", 2)[0]
    if front.endswith(f"-{row['speaker']}"):
        return front
    return f"{row['session_id']}-{row['speaker']}"


def _headers(recordings: Sequence[ForeignRecording], faults: list[Fault], inspect: Inspect) -> dict[str, AudioHeader]:
    """Headers of the sound recordings."""
    headers = {}
    for recording in watched(recordings, "reading recordings", "recording"):
        try:
            found = inspect(recording.audio)
        except UserError as error:
            faults.append(recording.place.fault(FaultKind.UNREADABLE_AUDIO, str(error)))
            continue
        problems = [(kind, f"{recording.audio}: {message}") for kind, message in found.problems]
        problems += _declared_problems(recording, found.header)
        faults += [recording.place.fault(kind, message) for kind, message in problems]
        if not problems:
            headers[recording.name] = found.header
    return headers


def _declared_problems(recording: ForeignRecording, header: AudioHeader) -> list[tuple[FaultKind, str]]:
    """Where the file is not what the corpus says that it is: then its times may not be the file's either."""
    rate, duration = recording.declared_rate, recording.declared_duration
    wrong = []
    if rate is not None and rate != header.sample_rate:
        wrong.append(f"{rate:g} Hz are declared, the file has {header.sample_rate} Hz")
    if duration is not None and abs(duration - header.duration) > DURATION_TOLERANCE:
        wrong.append(f"{duration:g} s are declared, the file lasts {header.duration:g} s")
    message = f"{recording.audio}: {'; '.join(wrong)}. Recreate the recordings from the files."
    return [(FaultKind.DECLARED_AUDIO, message)] if wrong else []


def _problems(
    segment: ForeignSegment,
    corpus: ForeignCorpus,
    headers: Mapping[str, AudioHeader],
    seen: Mapping[str, Place],
    languages: Mapping[str, Group],
) -> Iterable[tuple[FaultKind, str]]:
    if segment.recording not in corpus.recordings and segment.recording not in corpus.faulty:
        yield FaultKind.MISSING_AUDIO, f"its recording {segment.recording} is not listed; add it, or remove the line."
    duration = headers[segment.recording].duration if segment.recording in headers else None
    yield from interval_problems(segment.start, duration if segment.end is None else segment.end, duration)
    if (first := seen.get(segment.utterance_id)) is not None:
        message = f"its id {segment.utterance_id} is already that of line {first.line}; expected one utterance an id."
        yield FaultKind.DUPLICATE_ID, message
    if find_group(segment, languages) is None:
        said = f"its language is {segment.language!r}, " if segment.language is not None else ""
        message = (
            f"{said}its id {segment.utterance_id} begins with no group of the languages table, so its group is not "
            f"known; expected one of {', '.join(languages)} (docs/corpus.md tells where)."
        )
        yield FaultKind.UNKNOWN_GROUP, message


def _row(
    segment: ForeignSegment, recording: ForeignRecording, header: AudioHeader, languages: Mapping[str, Group]
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


def located(audio: Path, root: Path) -> Path:
    """A recording's path: as it is given, from the working directory, or else from the corpus's folder `root`."""
    beside = root / audio
    return beside if not is_file(audio) and is_file(beside) else audio
