"""Second speakers where two speak at once: by hand, and what always holds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyannote.core import Annotation, Timeline
from pyannote.core import Segment as Span

from mlcslm.config.diarization import DiarizerConfig
from mlcslm.diarization.overlap import with_second_speakers
from mlcslm.diarization.pipeline import Diarizer
from mlcslm.diarization.recordings import load_diarizer
from mlcslm.diarization.segmentation import FRAME_MS, SpeakerActivity, overlaps
from mlcslm.diarization.vad import OverlapDetector, make_detector
from mlcslm.errors import UserError
from mlcslm.formats.segments import Segment

A, B, C = "S1", "S2", "S3"


@pytest.mark.parametrize(
    ("turns", "both", "expected"),
    [
        # An interruption in the middle of a turn is by whoever is nearest, however far.
        (
            [Segment(0, 5, A), Segment(9, 10, B), Segment(20, 21, C)],
            [(4, 4.5)],
            [Segment(0, 5, A), Segment(4, 4.5, B), Segment(9, 10, B), Segment(20, 21, C)],
        ),
        # Across a change both go on.
        ([Segment(0, 4, A), Segment(4, 9, B)], [(3, 5)], [Segment(0, 5, A), Segment(3, 9, B)]),
        # Nobody else, or nobody at all.
        ([Segment(0, 4, A)], [(1, 2)], [Segment(0, 4, A)]),
        ([Segment(0, 4, A), Segment(6, 7, B)], [(4.5, 5.5)], [Segment(0, 4, A), Segment(6, 7, B)]),
        # Pieces of one turn stay apart, and what is added at their border is one turn.
        (
            [Segment(0, 8, A), Segment(8, 12, A), Segment(13, 14, B)],
            [(7, 9)],
            [Segment(0, 8, A), Segment(7, 9, B), Segment(8, 12, A), Segment(13, 14, B)],
        ),
        # A turn that would become too long is left, and the rest is a turn of its own.
        ([Segment(0, 8, A), Segment(8, 9, B)], [(8, 8.5)], [Segment(0, 8, A), Segment(8, 8.5, A), Segment(8, 9, B)]),
        ([], [(1, 2)], []),
    ],
)
def test_by_hand(turns: list[Segment], both: list[tuple[float, float]], expected: list[Segment]) -> None:
    assert with_second_speakers(turns, both, max_segment_s=8) == expected


@settings(max_examples=200, deadline=None)
@given(
    steps=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 8), st.sampled_from([A, B, C])), min_size=1, max_size=8),
    marks=st.sets(st.integers(0, 60), max_size=8),
)
def test_one_speaker_is_as_before_and_two_are_where_two_were_heard(
    steps: list[tuple[int, int, str]], marks: set[int]
) -> None:
    turns, time = [], 0
    for pause, length, speaker in steps:
        turns.append(Segment(time + pause, time + pause + length, speaker))
        time += pause + length
    edges = sorted(marks)[: len(marks) // 2 * 2]
    both = list(zip(edges[::2], edges[1::2], strict=True))
    found = with_second_speakers(turns, both, max_segment_s=8)
    annotation = Annotation()
    for number, turn in enumerate(found):
        annotation[Span(turn.start, turn.end), number] = turn.speaker
    for speaker in annotation.labels():  # nobody speaks twice at once
        own = sorted((turn.start, turn.end) for turn in found if turn.speaker == speaker)
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(own))
    speech = Timeline([Span(turn.start, turn.end) for turn in turns]).support()
    assert annotation.get_timeline().support() == speech
    others = len({turn.speaker for turn in turns}) > 1
    heard = Timeline([Span(*one) for one in both]).support().crop(speech) if others else Timeline()
    assert annotation.get_overlap() == heard.support()
    assert max(turn.end - turn.start for turn in found) <= 8


def test_two_are_heard_where_the_speakers_add_up_to_more_than_speech() -> None:
    speakers = np.zeros((100, 3), np.float32)
    speakers[10:60, 0] = 0.95
    speakers[40:50, 1] = 0.9
    speakers[70:73, 1:] = 0.9  # 50 ms: too short
    activity = SpeakerActivity(speakers.max(axis=1), speakers)
    assert overlaps(activity) == [(round(40 * FRAME_MS / 1000, 3), round(50 * FRAME_MS / 1000, 3))]
    assert overlaps(SpeakerActivity(np.ones(0, np.float32), np.zeros((0, 3), np.float32))) == []


def test_a_detector_that_hears_one_at_a_time_is_refused() -> None:
    silero = make_detector("silero", 8.0)
    assert not isinstance(silero, OverlapDetector)
    with pytest.raises(UserError, match="detector `segmentation` hears two"):
        Diarizer(silero, embedder=None, overlap=True)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="but the detector is silero"):
        load_diarizer("models/campplus-of-nobody", overlap=True)
    settings = {"embedding": "campplus", "asr": {"checkpoint": "a", "decoding": "greedy"}, "overlap": True}
    assert DiarizerConfig.model_validate({**settings, "vad": "segmentation"}).overlap
    # What was diarized before the key existed is not diarized again for it.
    assert "overlap" not in DiarizerConfig.model_validate({**settings, "overlap": False}).model_dump()
    with pytest.raises(ValueError, match="vad is 'silero'"):
        DiarizerConfig.model_validate(settings)
    with pytest.raises(ValueError, match="stretch_s leaves turns to"):
        DiarizerConfig.model_validate({**settings, "vad": "segmentation", "stretch_s": 20})
