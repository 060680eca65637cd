"""Errors of speaker-attributed transcripts: tcpWER, cpWER, tcORC-WER and their breakdown, of many recordings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mlcslm.config.languages import Group
from mlcslm.formats.segments import Utterance
from mlcslm.formats.zones import Zone, covers
from mlcslm.scoring.error_counts import ErrorCounts
from mlcslm.scoring.recordings import map_recordings
from mlcslm.scoring.speaker_wer import score_cp, score_orc
from mlcslm.scoring.tcpwer import RecordingWords, score_tcp, time_recording
from mlcslm.scoring.tcpwer_breakdown import Breakdown, break_down
from mlcslm.scoring.word_timing import TimedWords
from mlcslm.text.protocols import Protocol

Result = TypeVar("Result")


@dataclass(frozen=True)
class TranscriptErrors:
    """Errors of the transcripts of one or many recordings, all against `tcp.length` reference tokens.

    tcp: tcpWER's counts; cp, orc: errors of cpWER and tcORC-WER; orc_exact: False if `orc` may be too high
    (`speaker_wer.OrcScore`); breakdown: where tcpWER's errors come from, None if not requested; unscored_reference,
    unscored_hypothesis: tokens in unscored zones, which no other count includes.
    """

    tcp: ErrorCounts
    cp: int
    orc: int
    orc_exact: bool
    breakdown: Breakdown | None
    unscored_reference: int = 0
    unscored_hypothesis: int = 0

    @classmethod
    def zero(cls) -> TranscriptErrors:
        """Errors of nothing: the start of a sum."""
        return cls(ErrorCounts.zero(), 0, 0, True, Breakdown.zero())

    def __add__(self, other: TranscriptErrors) -> TranscriptErrors:
        if not isinstance(other, TranscriptErrors):
            return NotImplemented
        parts = self.breakdown, other.breakdown
        return TranscriptErrors(
            self.tcp + other.tcp,
            self.cp + other.cp,
            self.orc + other.orc,
            self.orc_exact and other.orc_exact,
            None if parts[0] is None or parts[1] is None else parts[0] + parts[1],
            self.unscored_reference + other.unscored_reference,
            self.unscored_hypothesis + other.unscored_hypothesis,
        )


def pool_transcripts(errors: Iterable[TranscriptErrors]) -> TranscriptErrors:
    """Sum of `errors`: its rates are the pooled ones, as reported by the challenge."""
    return sum(errors, TranscriptErrors.zero())


@dataclass(frozen=True)
class TranscriptTask:
    """A recording to score: raw utterances of both sides, and how to tokenise them.

    breakdown: whether to compute where the errors come from, which takes twice as long again; unscored: zones in
    seconds; words of either side whose middle is in one are excluded, as in sclite.
    """

    reference: Sequence[Utterance]
    hypothesis: Sequence[Utterance]
    group: Group
    protocol: Protocol
    breakdown: bool = True
    unscored: Sequence[Zone] = ()


def score_transcript(task: TranscriptTask) -> TranscriptErrors:
    """Errors of a recording's transcript."""
    recording, left_out = _scored_words(task)
    tcp, cp = score_tcp(recording), score_cp(recording)
    orc = score_orc(recording, tcp)
    parts = break_down(recording, tcp, cp, task.reference, task.hypothesis) if task.breakdown else None
    return TranscriptErrors(tcp.counts, cp.errors, orc.errors, orc.exact, parts, *left_out)


def score_tcp_alone(task: TranscriptTask) -> ErrorCounts:
    """tcpWER's counts of a recording's transcript, and nothing else."""
    return score_tcp(_scored_words(task)[0]).counts


def _scored_words(task: TranscriptTask) -> tuple[RecordingWords, tuple[int, int]]:
    """Scored words of a task, and the numbers of unscored ones of reference and hypothesis."""
    recording = time_recording(task.reference, task.hypothesis, task.group, task.protocol)
    if not task.unscored:
        return recording, (0, 0)
    sides = recording.reference, recording.hypothesis
    kept = [[_outside(utterance, task.unscored) for utterance in side] for side in sides]
    before, after = ([sum(len(utterance.words) for utterance in side) for side in these] for these in (sides, kept))
    return RecordingWords(*kept), (before[0] - after[0], before[1] - after[1])


def _outside(utterance: TimedWords, zones: Sequence[Zone]) -> TimedWords:
    kept = [index for index, middle in enumerate(utterance.middles) if not covers(zones, middle)]
    return TimedWords(
        utterance.speaker,
        [utterance.words[index] for index in kept],
        [utterance.times[index] for index in kept],
        [utterance.middles[index] for index in kept],
    )


def score_transcripts(
    references: Mapping[str, Sequence[Utterance]],
    hypotheses: Mapping[str, Sequence[Utterance]],
    groups: Mapping[str, Group],
    protocol: Protocol,
    *,
    breakdown: bool = True,
    unscored: Mapping[str, Sequence[Zone]] | None = None,
    jobs: int = 1,
) -> dict[str, TranscriptErrors]:
    """Errors of every recording of `references`, in their order; all tokens of one without a hypothesis are deleted.

    references, hypotheses: utterances by recording; groups: by recording; breakdown: whether to compute where errors
    come from; unscored: excluded zones by recording; jobs: processes.
    """
    zones = unscored or {}
    tasks = [
        TranscriptTask(
            spoken, hypotheses.get(recording, ()), groups[recording], protocol, breakdown, zones.get(recording, ())
        )
        for recording, spoken in references.items()
    ]
    return dict(zip(references, map_transcripts(score_transcript, tasks, jobs=jobs), strict=True))


def map_transcripts(
    function: Callable[[TranscriptTask], Result], tasks: Sequence[TranscriptTask], *, jobs: int
) -> list[Result]:
    """Apply `function` to every task in up to `jobs` processes; results in the order of `tasks`."""
    # Imported once, before this process forks.
    import meeteval.wer.matching.cy_levenshtein  # noqa: F401

    sizes = [len(task.reference) + len(task.hypothesis) for task in tasks]
    return map_recordings(function, tasks, jobs=jobs, sizes=sizes)
