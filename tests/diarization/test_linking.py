"""Linking of the speakers of stretches, by hand."""

from __future__ import annotations

import numpy as np

from mlcslm.diarization.linking import link_speakers

RNG = np.random.default_rng(0)
TWO = np.array([[1.0, 0.2, 0.0], [0.1, 1.0, 0.0]])


def test_voices_are_linked_across_stretches() -> None:
    order = [0, 1, 1, 0, 0, 1, 0]
    voices = [TWO[one] + 0.05 * RNG.normal(size=3) for one in order]
    assert link_speakers(voices, [0, 0, 1, 1, 2, 2, 3]) == [1, 2, 2, 1, 1, 2, 1]


def test_two_speakers_of_a_stretch_are_never_one() -> None:
    assert link_speakers([[1.0, 0.0], [1.0, 0.0]], [0, 0]) == [1, 2]
    names = link_speakers([[1.0, 0.0], [1.0, 0.01], [1.0, 0.0], [1.0, 0.01]], [0, 0, 1, 1], most=1)
    assert names == [1, 2, 1, 2]


def test_other_voices_stay_apart_unless_their_number_is_bounded() -> None:
    assert link_speakers(TWO * [1.0, 1.0, 1.0], [0, 1]) == [1, 2]
    assert link_speakers(TWO, [0, 1], most=1) == [1, 1]


def test_no_more_are_joined_than_the_fewest_speakers_allow() -> None:
    alike = [[1.0, 0.0], [1.0, 0.01], [1.0, 0.3]]
    assert link_speakers(alike, [0, 1, 2]) == [1, 1, 1]
    assert link_speakers(alike, [0, 1, 2], fewest=2) == [1, 1, 2]
    assert link_speakers(alike, [0, 1, 2], fewest=2, most=2) == [1, 1, 2]
    assert link_speakers(alike, [0, 1, 2], fewest=5) == [1, 2, 3]


def test_none_and_one() -> None:
    assert link_speakers(np.zeros((0, 3)), []) == []
    assert link_speakers([[0.0, 0.0]], [4]) == [1]
