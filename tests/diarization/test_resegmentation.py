"""Turns that end where speakers change, from hand-made embeddings."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcslm.diarization.resegmentation import CHANGE_PENALTY, PART_S, PART_STEP_S, clear_windows, resegment, viterbi
from mlcslm.diarization.windows import middle, windows_of
from mlcslm.formats.segments import Segment
from mlcslm.speaker_embedding.embedding import Parts

VOICES = np.eye(8)[:3]


def heard(start: float, end: float, turns: list[Segment], rng: np.random.Generator) -> np.ndarray:
    """What an embedding of this time is like: its speakers' voices by their shares of it, and noise."""
    shares = [max(0.0, min(end, turn.end) - max(start, turn.start)) for turn in turns]
    voice = sum(share * VOICES[int(turn.speaker[1:]) - 1] for share, turn in zip(shares, turns, strict=True))
    return voice / (end - start) + rng.normal(0, 0.1, VOICES.shape[1])


def found(
    turns: list[Segment], segments: list[Segment], *, max_segment_s: float = 8.0, penalty: float = CHANGE_PENALTY
) -> list[Segment]:
    """The turns of windows labelled by who speaks most in them, changed in the middle: no audio tells better."""
    rng = np.random.default_rng(0)
    windows = windows_of(segments)
    embeddings = np.stack([heard(window.start, window.end, turns, rng) for window in windows])
    labels = embeddings[:, : len(VOICES)].argmax(axis=1)
    parts, middles, first = [], [], [0]
    for window in windows:
        starts = np.arange(window.start, window.end - PART_S + 1e-9, PART_STEP_S)
        spans = [(start, start + PART_S) for start in starts] or [(window.start, window.end)]
        parts += [heard(*span, turns, rng) for span in spans]
        middles += [(start + end) / 2 for start, end in spans]
        first.append(len(parts))
    return resegment(
        segments,
        windows,
        labels,
        embeddings,
        Parts(np.stack(parts).astype(np.float32), np.array(middles), np.array(first)),
        quietest=middle,
        max_segment_s=max_segment_s,
        penalty=penalty,
    )


def conversation(*lengths: float, speakers: int = 2) -> list[Segment]:
    edges = itertools.pairwise(itertools.accumulate(lengths, initial=0.0))
    return [Segment(start, end, f"S{number % speakers + 1}") for number, (start, end) in enumerate(edges)]


@pytest.mark.parametrize("speakers", [2, 3])
def test_turns_change_where_the_speakers_do(speakers: int) -> None:
    turns = conversation(3.1, 1.7, 2.35, 4.2, 1.2, 3.0, 2.6, speakers=speakers)
    result = found(turns, [Segment(0.0, turns[-1].end)])
    assert [turn.speaker for turn in result] == [turn.speaker for turn in turns]
    for turn, expected in zip(result, turns, strict=True):
        # Windows alone, of 1.5 s every 0.75 s, would be off by up to 0.4 s.
        assert turn.start == pytest.approx(expected.start, abs=0.11)


@pytest.mark.parametrize(("cut", "within"), [(4.1, 0.11), (4.7, 0.21), (5.0, 0.11), (5.3, 0.21)])
def test_where_the_detector_cuts_is_no_change(cut: float, within: float) -> None:
    """Whether a segment was too long, or `segmentation` heard another speaker: the embeddings say where, a little less
    exactly near a cut, over which no window reaches."""
    turns = conversation(5.0, 5.0)
    result = found(turns, [Segment(0.0, cut), Segment(cut, 10.0)])
    assert [turn.speaker for turn in result] == ["S1", "S2"]
    assert result[0].end == pytest.approx(5.0, abs=within)


def test_pauses_stay() -> None:
    turns = [Segment(0.0, 2.0, "S1"), Segment(2.5, 4.0, "S1"), Segment(4.3, 4.8, "S2"), Segment(5.0, 8.0, "S2")]
    assert found(turns, turns) == turns


def test_turns_are_no_longer_than_allowed() -> None:
    turns = conversation(21.0, 2.0, 9.0)
    result = found(turns, [Segment(0.0, 32.0)], max_segment_s=8.0)
    assert max(turn.duration for turn in result) <= 8.0
    assert min(turn.duration for turn in result) >= 1.9
    assert (result[0].start, result[-1].end) == (0.0, 32.0)
    assert all(before.end == after.start for before, after in itertools.pairwise(result))
    whole = found(turns, [Segment(0.0, 32.0)], max_segment_s=float("inf"))
    assert [turn.speaker for turn in whole] == ["S1", "S2", "S1"]


def test_a_higher_penalty_ignores_short_turns() -> None:
    turns = conversation(3.0, 0.8, 2.2, 2.0)
    assert len(found(turns, [Segment(0.0, 8.0)], penalty=0.05)) == 4
    assert len(found(turns, [Segment(0.0, 8.0)], penalty=1.0)) == 2


@given(
    st.lists(st.lists(st.integers(0, 5), min_size=3, max_size=3), min_size=1, max_size=6),
    st.sampled_from([0.0, 1.0, 2.5]),
)
def test_viterbi_finds_the_best_of_all_paths(scores: list[list[int]], penalty: float) -> None:
    def worth(path: tuple[int, ...]) -> float:
        changes = sum(before != after for before, after in itertools.pairwise(path))
        return sum(row[state] for row, state in zip(scores, path, strict=True)) - penalty * changes

    best = max(worth(path) for path in itertools.product(range(3), repeat=len(scores)))
    assert worth(tuple(viterbi(np.array(scores, float), penalty).tolist())) == best


def test_windows_over_a_change_are_not_clear() -> None:
    one, other = VOICES[0], VOICES[1]
    windows = [[one, one, one], [one, 0.5 * one + 0.5 * other, other], [other] * 3, [one], [other, other]]
    first = np.cumsum([0, *map(len, windows)])
    parts = Parts(np.concatenate(windows).astype(np.float32), np.zeros(first[-1]), first)
    assert clear_windows(parts).tolist() == [True, False, True, True, True]
    assert (
        clear_windows(Parts(np.stack([one, other]).astype(np.float32), np.zeros(2), np.arange(3))).tolist()
        == [True] * 2
    )
