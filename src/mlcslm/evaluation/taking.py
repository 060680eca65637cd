"""What a system's files say about a split: each text with its reference, what has none, and what is missing."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlcslm.config_systems import FileFormat
from mlcslm.diarization.segments import Segment
from mlcslm.errors import UserError
from mlcslm.evaluation.formats import Given, read_given
from mlcslm.evaluation.matching import References, check_known, describe_missing, tell_track, texts_of_utterances
from mlcslm.scoring.utterances import Utterance, by_recording
from mlcslm.text.protocols import Protocol


@dataclass(frozen=True)
class Evaluation:
    """What is to be scored as which system.

    files: of the system, on this split; protocols: to score under, the results' own first; track: None to be told by
    the ids; origin: `config` or `command`, whoever asked; jobs: processes.
    """

    name: str
    split: str
    files: tuple[Path, ...]
    manifest: Path
    languages: Path
    protocols: tuple[Protocol, ...]
    file_format: FileFormat = "auto"
    track: int | None = None
    skip_unknown: bool = False
    method: str = ""
    origin: str = "command"
    jobs: int = 1

    @property
    def source(self) -> str:
        """Its files, for messages."""
        return ", ".join(map(str, self.files))


@dataclass(frozen=True)
class Taken:
    """A system's hypotheses with their references.

    texts: by utterance id (Track 1); transcripts, turns: by recording (Track 2), transcripts None where turns alone
    were given; unknown: what was left out; missing: references without a hypothesis; formats: of the files.
    """

    references: References
    track: int
    formats: tuple[str, ...]
    unknown: list[str]
    missing: list[str]
    texts: dict[str, str] = field(default_factory=dict)
    transcripts: dict[str, list[Utterance]] | None = None
    turns: dict[str, list[Segment]] = field(default_factory=dict)


def take(asked: Evaluation) -> Taken:
    """Read a system's files and find their references; what is left out or missing is told by a warning.

    Raises UserError or FaultyInput for files that cannot be read or are not of the track, and for what has no reference
    unless it is to be skipped.
    """
    references = References(asked.manifest)
    given = read_given(asked.files, asked.file_format)
    track = asked.track or tell_track(given, references)
    taken = (_take_utterances if track == 1 else _take_recordings)(asked, given, references)
    log, kind = logging.getLogger(__name__), {1: "utterances", 2: "recordings"}[track]
    known = len(references.ids if track == 1 else references.prefixes)
    if taken.unknown:
        log.warning("%s: left out %d %s that have no reference", asked.source, len(taken.unknown), kind)
    if lines := describe_missing(taken.missing, known, kind):
        log.warning("%s: %s", asked.source, "\n".join(lines))
    return taken


def _take_utterances(asked: Evaluation, given: Given, references: References) -> Taken:
    if given.turns:
        raise UserError(
            f"{asked.source}: found turns (RTTM), which Track 1 has no use for; leave them out, or take Track 2."
        )
    texts = texts_of_utterances(given, references, asked.source)
    unknown, missing = check_known(
        texts, references.ids, asked.source, kind="utterances", skip_unknown=asked.skip_unknown
    )
    known = {name: texts[name] for name in references.ids if name in texts}
    return Taken(references, 1, given.kinds, unknown, missing, texts=known)


def _take_recordings(asked: Evaluation, given: Given, references: References) -> Taken:
    if given.texts or given.entries:
        raise UserError(
            f"{asked.source}: found texts without speaker and times (Kaldi, NeMo), expected STM, SegLST, CTM or RTTM "
            "on Track 2."
        )
    transcripts = by_recording(given.utterances)
    turns = given.turns or {name: _turns(spoken) for name, spoken in transcripts.items()}
    names = list(dict.fromkeys([*transcripts, *turns]))
    unknown, missing = check_known(
        names, references.prefixes, asked.source, kind="recordings", skip_unknown=asked.skip_unknown
    )
    transcripts, turns = _without(transcripts, unknown), _without(turns, unknown)
    words = transcripts if given.has_transcripts else None
    return Taken(references, 2, given.kinds, unknown, missing, transcripts=words, turns=turns)


def _turns(spoken: Sequence[Utterance]) -> list[Segment]:
    return [Segment(utterance.start, utterance.end, utterance.speaker) for utterance in spoken]


def _without(recordings: Mapping[str, Any], unknown: Sequence[str]) -> dict[str, Any]:
    left_out = set(unknown)
    return {name: value for name, value in recordings.items() if name not in left_out}
