"""Diarization error rate: missed speech, false alarms and speaker confusion, in seconds, through pyannote.metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from mlcslm.formats.segments import Segment
from mlcslm.scoring.recordings import map_recordings


@dataclass(frozen=True)
class DiarizationErrors:
    """Seconds of speech of one or many recordings, a second in which two people speak being two.

    scored_speech: what the reference has, the denominator. Anything negative raises ValueError.
    """

    scored_speech: float
    missed: float
    false_alarm: float
    confusion: float

    def __post_init__(self) -> None:
        if min(self.scored_speech, self.missed, self.false_alarm, self.confusion) < 0:
            raise ValueError(f"negative time in {self}")

    @classmethod
    def zero(cls) -> DiarizationErrors:
        """Errors of nothing: the start of a sum."""
        return cls(0.0, 0.0, 0.0, 0.0)

    @property
    def error_rate(self) -> float | None:
        """DER: the three errors per second of speech, a fraction that false alarms can take above 1; None without."""
        errors = self.missed + self.false_alarm + self.confusion
        return errors / self.scored_speech if self.scored_speech else None

    def __add__(self, other: DiarizationErrors) -> DiarizationErrors:
        if not isinstance(other, DiarizationErrors):
            return NotImplemented
        return DiarizationErrors(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


def pool_diarization(errors: Iterable[DiarizationErrors]) -> DiarizationErrors:
    """Sum of `errors`: its error rate is the pooled one, recordings weighing as much as is spoken in them."""
    return sum(errors, DiarizationErrors.zero())


def score_diarization(reference: Sequence[Segment], hypothesis: Sequence[Segment]) -> DiarizationErrors:
    """Errors of a recording's segments, speakers named as suits the hypothesis best.

    Scored is the region from the reference's first start to its last end, no collar, overlapping speech included; what
    the hypothesis has outside of it does not count. Segments of one speaker that overlap are one. An empty hypothesis
    has missed everything; without any speech in the reference nothing is scored.
    """
    from pyannote.core import Segment as Span
    from pyannote.core import Timeline
    from pyannote.metrics.diarization import DiarizationErrorRate

    spoken = [segment for segment in reference if segment.end > segment.start]
    if not spoken:
        return DiarizationErrors.zero()
    region = Timeline([Span(min(segment.start for segment in spoken), max(segment.end for segment in spoken))])
    metric = DiarizationErrorRate(collar=0.0, skip_overlap=False)
    parts = metric(_annotation(spoken), _annotation(hypothesis), uem=region, detailed=True)
    return DiarizationErrors(
        float(parts["total"]),
        float(parts["missed detection"]),
        float(parts["false alarm"]),
        float(parts["confusion"]),
    )


def score_diarizations(
    references: Mapping[str, Sequence[Segment]], hypotheses: Mapping[str, Sequence[Segment]], *, jobs: int = 1
) -> dict[str, DiarizationErrors]:
    """Errors of every recording of `references`, in their order; one without a hypothesis is all missed.

    references, hypotheses: segments by recording; jobs: processes.
    """
    # Once, before processes are forked from this one.
    import pyannote.metrics.diarization  # noqa: F401

    tasks = [(spoken, hypotheses.get(recording, ())) for recording, spoken in references.items()]
    sizes = [len(reference) + len(hypothesis) for reference, hypothesis in tasks]
    return dict(zip(references, map_recordings(_score_pair, tasks, jobs=jobs, sizes=sizes), strict=True))


def _score_pair(pair: tuple[Sequence[Segment], Sequence[Segment]]) -> DiarizationErrors:
    return score_diarization(*pair)


def _annotation(segments: Iterable[Segment]) -> Any:
    """pyannote's Annotation of `segments`, a speaker's own overlaps merged: it would count them twice."""
    from pyannote.core import Annotation
    from pyannote.core import Segment as Span

    annotation = Annotation()
    for number, segment in enumerate(segments):
        if segment.end > segment.start:
            annotation[Span(segment.start, segment.end), number] = segment.speaker
    return annotation.support()
