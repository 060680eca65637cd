"""Diarization error rate: missed speech, false alarms and speaker confusion, in seconds, through pyannote.metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from mlcslm.formats.segments import Segment
from mlcslm.formats.zones import Zone, without
from mlcslm.scoring.recordings import map_recordings

Key = TypeVar("Key")


@dataclass(frozen=True)
class DiarizationErrors:
    """Seconds of speech of one or many recordings; a second in which two people speak counts twice.

    scored_speech: of the reference, the denominator. Negative values raise ValueError.
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
        """DER: the three errors per second of speech (false alarms can push it above 1); None without speech."""
        errors = self.missed + self.false_alarm + self.confusion
        return errors / self.scored_speech if self.scored_speech else None

    def __add__(self, other: DiarizationErrors) -> DiarizationErrors:
        if not isinstance(other, DiarizationErrors):
            return NotImplemented
        return DiarizationErrors(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


def pool_diarization(errors: Iterable[DiarizationErrors]) -> DiarizationErrors:
    """Sum of `errors`: its error rate is the pooled one, with recordings weighted by their speech."""
    return sum(errors, DiarizationErrors.zero())


@dataclass(frozen=True)
class DerOptions:
    """How strictly turns are compared.

    collar: seconds not scored on either side of each reference boundary, as in md-eval (pyannote's `collar` is the
    total width, twice as much); skip_overlap: whether to skip overlapping speech of the reference.
    """

    collar: float = 0.0
    skip_overlap: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.collar < float("inf"):
            raise ValueError(f"found a collar of {self.collar} s, expected 0 or more")


STRICT = DerOptions()
"""The challenge's options: no collar, overlapping speech scored."""


@dataclass(frozen=True)
class DerTask:
    """Turns of a recording to score.

    scored: zones to score, in seconds; None for everything from the first start to the last end of the reference.
    unscored: zones to exclude from these.
    """

    reference: Sequence[Segment]
    hypothesis: Sequence[Segment]
    scored: Sequence[Zone] | None = None
    unscored: Sequence[Zone] = ()
    options: DerOptions = STRICT


def score_diarization(
    reference: Sequence[Segment], hypothesis: Sequence[Segment], options: DerOptions = STRICT
) -> DiarizationErrors:
    """Errors of a recording's segments under the best mapping of speakers.

    The scored region extends from the first start to the last end of the reference; hypothesis segments outside do not
    count. By default there is no collar and overlapping speech is scored. Overlapping segments of one speaker are
    merged. An empty hypothesis misses everything; without speech in the reference, nothing is scored.
    """
    return score_task(DerTask(reference, hypothesis, options=options))


def score_task(task: DerTask) -> DiarizationErrors:
    """Errors of a recording's segments within its scored zones; otherwise as `score_diarization`.

    Given zones, a reference without speech can have false alarms.
    """
    from pyannote.core import Segment as Span
    from pyannote.core import Timeline
    from pyannote.metrics.diarization import DiarizationErrorRate

    spoken = [segment for segment in task.reference if segment.end > segment.start]
    scored = task.scored
    if scored is None:
        scored = [(min(s.start for s in spoken), max(s.end for s in spoken))] if spoken else []
    region = Timeline([Span(start, end) for start, end in without(scored, task.unscored)])
    if not region:
        return DiarizationErrors.zero()
    metric = DiarizationErrorRate(collar=2 * task.options.collar, skip_overlap=task.options.skip_overlap)
    parts = metric(_annotation(spoken), _annotation(task.hypothesis), uem=region, detailed=True)
    return DiarizationErrors(
        *(max(0.0, float(parts[name])) for name in ("total", "missed detection", "false alarm", "confusion"))
    )


def score_diarizations(
    references: Mapping[str, Sequence[Segment]], hypotheses: Mapping[str, Sequence[Segment]], *, jobs: int = 1
) -> dict[str, DiarizationErrors]:
    """Errors of every recording of `references`, in their order; all speech of one without a hypothesis is missed.

    references, hypotheses: segments by recording; jobs: processes.
    """
    tasks = {recording: DerTask(spoken, hypotheses.get(recording, ())) for recording, spoken in references.items()}
    return score_tasks(tasks, jobs=jobs)


def score_tasks(tasks: Mapping[Key, DerTask], *, jobs: int = 1) -> dict[Key, DiarizationErrors]:
    """Errors of every task, in their order; jobs: processes."""
    # Imported once, before this process forks.
    import pyannote.metrics.diarization  # noqa: F401

    sizes = [len(task.reference) + len(task.hypothesis) for task in tasks.values()]
    found = map_recordings(score_task, list(tasks.values()), jobs=jobs, sizes=sizes)
    return dict(zip(tasks, found, strict=True))


def _annotation(segments: Iterable[Segment]) -> Any:
    """pyannote's Annotation of `segments`, with a speaker's own overlaps merged: it would count them twice."""
    from pyannote.core import Annotation
    from pyannote.core import Segment as Span

    annotation = Annotation()
    for number, segment in enumerate(segments):
        if segment.end > segment.start:
            annotation[Span(segment.start, segment.end), number] = segment.speaker
    return annotation.support()
