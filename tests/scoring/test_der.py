"""DER against hand-worked cases, and against pyannote.metrics called directly on drawn sessions."""

from __future__ import annotations

from dataclasses import astuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyannote.core import Annotation, Timeline
from pyannote.core import Segment as Span
from pyannote.metrics.diarization import DiarizationErrorRate

from mlcslm.formats.segments import Segment
from mlcslm.scoring.der import DiarizationErrors, pool_diarization, score_diarization, score_diarizations

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
