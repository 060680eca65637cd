"""Errors of who said what: tcpWER, cpWER, tcORC-WER and where they come from, many recordings at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mlcslm.config.languages import Group
from mlcslm.formats.segments import Utterance
from mlcslm.scoring.error_counts import ErrorCounts
from mlcslm.scoring.recordings import map_recordings
from mlcslm.scoring.speaker_wer import score_cp, score_orc
from mlcslm.scoring.tcpwer import score_tcp, time_recording
from mlcslm.scoring.tcpwer_breakdown import Breakdown, break_down
from mlcslm.text.protocols import Protocol


@dataclass(frozen=True)
class TranscriptErrors:
    """Errors of the transcripts of one or many recordings, all against `tcp.length` reference tokens.

    tcp: tcpWER's counts; cp, orc: errors of cpWER and tcORC-WER; orc_exact: whether `orc` is none too many
    (`speaker_wer.OrcScore`); breakdown: where tcpWER's errors come from, None where that was not asked for.
    """

    tcp: ErrorCounts
    cp: int
    orc: int
    orc_exact: bool
    breakdown: Breakdown | None

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
        )


def pool_transcripts(errors: Iterable[TranscriptErrors]) -> TranscriptErrors:
    """Sum of `errors`: its rates are the pooled ones, as the challenge reports."""
    return sum(errors, TranscriptErrors.zero())


@dataclass(frozen=True)
class TranscriptTask:
    """What a recording's transcript is scored from: raw utterances of both sides, and how they become tokens.

    breakdown: whether to say where the errors come from, which takes half as long again.
    """

    reference: Sequence[Utterance]
    hypothesis: Sequence[Utterance]
    group: Group
    protocol: Protocol
    breakdown: bool = True


def score_transcript(task: TranscriptTask) -> TranscriptErrors:
    """Errors of a recording's transcript."""
    recording = time_recording(task.reference, task.hypothesis, task.group, task.protocol)
    tcp = score_tcp(recording)
    orc = score_orc(recording, tcp)
    parts = break_down(recording, tcp, task.reference, task.hypothesis) if task.breakdown else None
    return TranscriptErrors(tcp.counts, score_cp(recording), orc.errors, orc.exact, parts)


def score_transcripts(
    references: Mapping[str, Sequence[Utterance]],
    hypotheses: Mapping[str, Sequence[Utterance]],
    groups: Mapping[str, Group],
    protocol: Protocol,
    *,
    breakdown: bool = True,
    jobs: int = 1,
) -> dict[str, TranscriptErrors]:
    """Errors of every recording of `references`, in their order; one without a hypothesis has all tokens deleted.

    references, hypotheses: utterances by recording; groups: of each recording; breakdown: whether to say where errors
    come from; jobs: processes.
    """
    # Once, before processes are forked from this one.
    import meeteval.wer.matching.cy_levenshtein  # noqa: F401

    tasks = [
        TranscriptTask(spoken, hypotheses.get(recording, ()), groups[recording], protocol, breakdown)
        for recording, spoken in references.items()
    ]
    sizes = [len(task.reference) + len(task.hypothesis) for task in tasks]
    return dict(zip(references, map_recordings(score_transcript, tasks, jobs=jobs, sizes=sizes), strict=True))
