"""DER against hand-worked cases, and against pyannote.metrics called directly on random sessions."""

from __future__ import annotations

from dataclasses import astuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyannote.core import Annotation, Timeline
from pyannote.core import Segment as Span
from pyannote.metrics.diarization import DiarizationErrorRate

from mlcslm.formats.segments import Segment
from mlcslm.scoring.der import (
    DerOptions,
    DerTask,
    DiarizationErrors,
    pool_diarization,
    score_diarization,
    score_diarizations,
    score_task,
)

TWO = [Segment(1, 5, "O1"), Segment(4, 8, "O2")]  # overlapping from 4 to 5

CASES = {
    # (reference, hypothesis): scored speech, missed, false alarm, confusion
    "perfect, names do not matter": (TWO, [Segment(1, 5, "b"), Segment(4, 8, "a")], (8, 0, 0, 0)),
    "overlap found as one": (TWO, [Segment(1, 4.5, "a"), Segment(4.5, 8, "b")], (8, 1, 0, 0)),
    "missed": (TWO, [Segment(2, 5, "a"), Segment(4, 7, "b")], (8, 2, 0, 0)),
    "false where one speaks": (TWO, [*TWO, Segment(2, 3, "O2")], (8, 0, 1, 0)),
    "false where nobody speaks": ([*TWO, Segment(10, 11, "O1")], [*TWO, Segment(8, 11, "O1")], (9, 0, 2, 0)),
    "outside of the region": (TWO, [Segment(0, 5, "O1"), Segment(4, 9, "O2")], (8, 0, 0, 0)),
    "confusion": (TWO, [Segment(1, 3, "a"), Segment(3, 5, "b"), Segment(4, 8, "b")], (8, 1, 0, 1)),
    "one speaker too many": ([Segment(0, 4, "O1")], [Segment(0, 3, "a"), Segment(3, 4, "b")], (4, 0, 0, 1)),
    "empty hypothesis": (TWO, [], (8, 8, 0, 0)),
    "empty segments": ([*TWO, Segment(20, 20, "O1")], [Segment(3, 3, "a")], (8, 8, 0, 0)),
    "own overlap counts once": ([Segment(0, 3, "O1"), Segment(2, 4, "O1")], [Segment(0, 4, "a")], (4, 0, 0, 0)),
    "no speech": ([Segment(1, 1, "O1")], [Segment(0, 4, "a")], (0, 0, 0, 0)),
    "nothing": ([], [Segment(0, 4, "a")], (0, 0, 0, 0)),
}


@pytest.mark.parametrize("name", CASES)
def test_hand_worked_cases(name: str):
    reference, hypothesis, expected = CASES[name]
    assert astuple(score_diarization(reference, hypothesis)) == pytest.approx(expected)


def test_rates_are_pooled_and_a_recording_without_hypothesis_is_missed():
    references = {"a": [Segment(0, 8, "O1")], "b": [Segment(0, 2, "O1")]}
    errors = score_diarizations(references, {"a": [Segment(0, 8, "x")]}, jobs=2)
    assert list(errors) == ["a", "b"]
    assert pool_diarization(errors.values()) == DiarizationErrors(10, 2, 0, 0)
    assert pool_diarization(errors.values()).error_rate == 0.2
    assert score_diarizations(references, {}, jobs=1)["a"].error_rate == 1.0
    assert DiarizationErrors.zero().error_rate is None
    with pytest.raises(ValueError, match="negative time"):
        DiarizationErrors(1, -1, 0, 0)


def turns(speakers: int) -> st.SearchStrategy[list[Segment]]:
    """Segments of which one speaker's never overlap: pyannote would count them twice."""

    def disjoint(bounds: list[tuple[int, list[int]]]) -> list[Segment]:
        return [
            Segment(first / 8, second / 8, f"s{who}")
            for who, times in bounds
            for first, second in zip(sorted(times)[::2], sorted(times)[1::2], strict=False)
        ]

    times = st.lists(st.integers(0, 200), unique=True, max_size=10)
    return st.lists(st.tuples(st.integers(0, speakers), times), max_size=4, unique_by=lambda x: x[0]).map(disjoint)


@settings(max_examples=150, deadline=None)
@given(turns(2), turns(4))
@pytest.mark.slow
def test_agrees_with_pyannote_called_directly(reference: list[Segment], hypothesis: list[Segment]):
    errors = score_diarization(reference, hypothesis)
    if not reference:
        assert errors == DiarizationErrors.zero()
        return
    annotations = []
    for segments in (reference, hypothesis):
        annotations.append(Annotation())
        for number, segment in enumerate(segments):
            annotations[-1][Span(segment.start, segment.end), number] = segment.speaker
    region = Timeline([Span(min(s.start for s in reference), max(s.end for s in reference))])
    metric = DiarizationErrorRate()
    rate = metric(*annotations, uem=region)
    assert errors.error_rate == pytest.approx(rate)
    assert errors.missed == pytest.approx(metric["missed detection"])
    assert errors.false_alarm == pytest.approx(metric["false alarm"])
    assert errors.confusion == pytest.approx(metric["confusion"])
    assert errors.scored_speech == pytest.approx(sum(segment.duration for segment in reference))


ZONES = st.lists(st.tuples(st.integers(0, 200), st.integers(1, 80)), max_size=3).map(
    lambda pairs: [(start / 8, (start + length) / 8) for start, length in pairs]
)


@settings(max_examples=150, deadline=None)
@given(turns(2), turns(4), st.sampled_from([0.0, 0.25, 0.5]), st.booleans(), st.none() | ZONES, ZONES)
def test_collar_overlap_and_zones_are_as_pyannote_has_them(reference, hypothesis, collar, skip, scored, unscored):
    """The collar is half of pyannote's; the scored region is the UEM, or everything, minus unscored zones."""
    if not reference:
        return
    annotations = []
    for segments in (reference, hypothesis):
        annotations.append(Annotation())
        for number, segment in enumerate(segments):
            annotations[-1][Span(segment.start, segment.end), number] = segment.speaker
    region = Timeline([Span(*zone) for zone in scored or ()])
    if scored is None:
        region = Timeline([Span(min(s.start for s in reference), max(s.end for s in reference))])
    region = Timeline([Span(*zone) for zone in unscored]).support().gaps(support=region.support())
    errors = score_task(DerTask(reference, hypothesis, scored, unscored, DerOptions(collar, skip)))
    if not region:
        assert errors == DiarizationErrors.zero()
        return
    # One speaker's segments that touch are one, whose inner boundary has no collar.
    annotations = [annotation.support() for annotation in annotations]
    found = DiarizationErrorRate(collar=2 * collar, skip_overlap=skip)(*annotations, uem=region, detailed=True)
    expected = [found[name] for name in ("total", "missed detection", "false alarm", "confusion")]
    assert list(astuple(errors)) == pytest.approx(expected, abs=1e-9)


def test_a_collar_is_seconds_on_either_side():
    reference, late = [Segment(1, 5, "A"), Segment(5, 9, "B")], [Segment(1, 5.2, "x"), Segment(5.2, 9, "y")]
    assert score_diarization(reference, late).confusion == pytest.approx(0.2)
    assert score_diarization(reference, late, DerOptions(collar=0.25)).confusion == 0
    # 8 s less a quarter inside of either end and a half around the change of speakers.
    assert score_diarization(reference, late, DerOptions(collar=0.25)).scored_speech == pytest.approx(7)
    overlapping = score_diarization(TWO, [], DerOptions(skip_overlap=True))
    assert overlapping == DiarizationErrors(6, 6, 0, 0)
    with pytest.raises(ValueError, match="expected 0 or more"):
        DerOptions(collar=-1)
