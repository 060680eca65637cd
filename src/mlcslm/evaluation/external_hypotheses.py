"""A system's hypotheses matched with the references of a split: what fits, what is unknown, what is missing."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mlcslm.config.languages import read_languages
from mlcslm.errors import UserError
from mlcslm.evaluation.matching import References, check_known, describe_missing, detect_track, texts_of_utterances
from mlcslm.evaluation.request import Evaluation
from mlcslm.formats.segments import Segment, Utterance, by_recording
from mlcslm.formats.system_output import SystemOutput, read_system_output


@dataclass(frozen=True)
class LoadedHypotheses:
    """A system's hypotheses with their references.

    texts: by utterance id (Track 1); transcripts, turns: by recording (Track 2), transcripts None if the files have
    turns only; unknown: skipped names without a reference; missing: references without a hypothesis; formats: of the
    files; notes: on content that is not scored.
    """

    references: References
    track: int
    formats: tuple[str, ...]
    unknown: list[str]
    missing: list[str]
    texts: dict[str, str] = field(default_factory=dict)
    transcripts: dict[str, list[Utterance]] | None = None
    turns: dict[str, list[Segment]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def load_external(request: Evaluation) -> LoadedHypotheses:
    """Read a system's files and find their references; warn of what is skipped or missing.

    Raises UserError or FaultyInput for files that cannot be read or do not belong to the track, and for hypotheses
    without a reference unless they are to be skipped.
    """
    references = References(request.manifest)
    output = read_system_output(request.files, request.file_format)
    track = request.track or detect_track(output, references)
    loaded = (_load_utterances if track == 1 else _load_recordings)(request, output, references)
    log, kind = logging.getLogger(__name__), {1: "utterances", 2: "recordings"}[track]
    known = len(references.ids if track == 1 else references.prefixes)
    if loaded.unknown:
        log.warning("%s: skipped %d %s without a reference", request.source, len(loaded.unknown), kind)
    if lines := describe_missing(loaded.missing, known, kind):
        log.warning("%s: %s", request.source, "\n".join(lines))
    return loaded


def _load_utterances(request: Evaluation, output: SystemOutput, references: References) -> LoadedHypotheses:
    if output.turns:
        raise UserError(
            f"{request.source}: found turns (RTTM), which Track 1 does not use; leave them out, or choose Track 2."
        )
    prefixes = [group.recording_prefix for group in read_languages(request.languages).values()]
    texts = texts_of_utterances(output, references, request.source, prefixes)
    unknown, missing = check_known(
        texts, references.ids, request.source, kind="utterances", skip_unknown=request.skip_unknown
    )
    known = {name: texts[name] for name in references.ids if name in texts}
    return LoadedHypotheses(references, 1, output.kinds, unknown, missing, texts=known, notes=output.notes)


def _load_recordings(request: Evaluation, output: SystemOutput, references: References) -> LoadedHypotheses:
    if output.texts or output.entries:
        raise UserError(
            f"{request.source}: found texts without speakers and times (Kaldi, NeMo), expected STM, SegLST, CTM or "
            "RTTM on Track 2."
        )
    transcripts = by_recording(output.utterances)
    turns = output.turns or {name: _turns(spoken) for name, spoken in transcripts.items()}
    transcripts, turns = (_by_session(found, references, request.source) for found in (transcripts, turns))
    names = list(dict.fromkeys([*transcripts, *turns]))
    unknown, missing = check_known(
        names, references.prefixes, request.source, kind="recordings", skip_unknown=request.skip_unknown
    )
    transcripts, turns = _without(transcripts, unknown), _without(turns, unknown)
    words = transcripts if output.has_transcripts else None
    return LoadedHypotheses(
        references, 2, output.kinds, unknown, missing, transcripts=words, turns=turns, notes=output.notes
    )


def _by_session(found: Mapping[str, Any], references: References, source: str) -> dict[str, Any]:
    """Values by session, also where the name is that of its audio file."""
    named: dict[str, Any] = {}
    for name, value in found.items():
        sessions = references.recordings_of(name, None, ())
        session = sessions[0] if len(sessions) == 1 else name
        if len(sessions) > 1:
            raise UserError(
                f"{source}: {name} may be {' or '.join(sessions[:3])}, whose files share a name; name each file "
                "after its session."
            )
        moved = (replace(one, recording=session) if isinstance(one, Utterance) else one for one in value)
        named[session] = [*named.get(session, ()), *moved]
    return named


def _turns(spoken: Sequence[Utterance]) -> list[Segment]:
    return [Segment(utterance.start, utterance.end, utterance.speaker) for utterance in spoken]


def _without(recordings: Mapping[str, Any], unknown: Sequence[str]) -> dict[str, Any]:
    skipped = set(unknown)
    return {name: value for name, value in recordings.items() if name not in skipped}
