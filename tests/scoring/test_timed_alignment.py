"""Alignment in pieces against meeteval's alignment of whole streams, every word with every other."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from meeteval.wer.matching.cy_levenshtein import time_constrained_levenshtein_distance_with_alignment

from mlcslm.scoring.timed_alignment import align_words, cut_points, timed_distance
from mlcslm.scoring.word_timing import TimedWords


def stream(words: list[tuple[int, int, int]], collar: int = 0) -> TimedWords:
    """Words of (number, start, length)."""
    times = [(float(start - collar), float(start + length + collar)) for _, start, length in words]
    return TimedWords("", [word for word, _, _ in words], times, [(start + end) / 2 for start, end in times])


def streams(collar: int) -> st.SearchStrategy[TimedWords]:
    """Words on a grid of whole seconds, in order of time or not."""
    words = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 60), st.integers(0, 3)), max_size=25)
    in_order = words.map(lambda drawn: sorted(drawn, key=lambda word: word[1]))
    return st.one_of(words, in_order, in_order).map(lambda drawn: stream(drawn, collar))


@settings(max_examples=500, deadline=None)
@given(streams(0), st.sampled_from([0, 1, 2, 5]).flatmap(streams))
@pytest.mark.slow
def test_counts_as_the_alignment_of_the_whole(reference: TimedWords, hypothesis: TimedWords):
    expected = time_constrained_levenshtein_distance_with_alignment(
        reference.words, hypothesis.words, reference.times, hypothesis.times, prune=False
    )
    found = align_words(reference, hypothesis)
    assert timed_distance(reference, hypothesis) == found.counts.errors == expected["total"]
    for kind in ("insertions", "deletions", "substitutions"):
        assert getattr(found.counts, kind) == expected[kind]
    assert (len(found.deleted), len(found.inserted)) == (found.counts.deletions, found.counts.insertions)
    assert found.deleted == sorted(set(found.deleted)) and found.inserted == sorted(set(found.inserted))


@settings(max_examples=200, deadline=None)
@given(streams(0), streams(2))
def test_no_overlapping_words_lie_across_a_cut(reference: TimedWords, hypothesis: TimedWords):
    cuts = cut_points(reference, hypothesis)
    assert cuts[0] == (0, 0) and cuts[-1] == (len(reference.words), len(hypothesis.words))
    assert all(first[0] <= second[0] and first[1] <= second[1] for first, second in pairwise(cuts))
    for cut_r, cut_h in cuts:
        for r, (r_start, r_end) in enumerate(reference.times):
            for h, (h_start, h_end) in enumerate(hypothesis.times):
                if (r < cut_r) != (h < cut_h):
                    assert not (r_start < h_end and h_start < r_end)


def test_silences_longer_than_the_collar_are_cut():
    words = [(0, 20 * turn + place, 1) for turn in range(6) for place in range(4)]
    reference, hypothesis = stream(words), stream(words, collar=5)
    assert cut_points(reference, hypothesis) == [(4 * turn, 4 * turn) for turn in range(7)]
    assert align_words(reference, hypothesis).counts.errors == 0
