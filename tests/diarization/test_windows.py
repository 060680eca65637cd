"""Windows: the recipe's places, short segments too; turns: no gaps, no overlaps, no crossing of boundaries."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcslm.corpus.audio import SAMPLE_RATE
from mlcslm.diarization.windows import LENGTH, STEP, quietest, turns_of, windows_of
from mlcslm.formats.segments import Segment


def stock_windows(start: float, end: float) -> list[tuple[float, float]]:
    """3D-Speaker's rule as its paper's code has it: a step on while a window reaches less than a step over the end."""
    windows, at = [], start
    while at + LENGTH < end + STEP - 1e-9:
        windows.append((at, min(at + LENGTH, end)))
        at += STEP
    return windows


@pytest.mark.parametrize("milliseconds", [751, 1000, 1500, 1501, 2249, 2250, 2251, 3000, 8000])
def test_places_are_the_recipes(milliseconds: int) -> None:
    end = 10 + milliseconds / 1000
    found = [(window.start, window.end) for window in windows_of([Segment(10.0, end)])]
    assert found == [pytest.approx(window) for window in stock_windows(10.0, end)]


@pytest.mark.parametrize("milliseconds", [1, 300, 750])
def test_a_short_segment_is_one_window_where_the_recipe_has_none(milliseconds: int) -> None:
    assert stock_windows(2.0, 2 + milliseconds / 1000) == []
    window = windows_of([Segment(2.0, 2 + milliseconds / 1000)])[0]
    assert (window.start, window.end) == (2.0, 2 + milliseconds / 1000)


def test_a_turn_changes_in_the_middle_of_overlapping_windows() -> None:
    windows = windows_of([Segment(0.0, 3.0)])  # 0-1.5, 0.75-2.25, 1.5-3
    assert turns_of(windows, ["S1", "S1", "S2"], keep_vad_boundaries=True) == [
        Segment(0.0, 1.875, "S1"),
        Segment(1.875, 3.0, "S2"),
    ]


def test_a_turn_changes_where_it_is_quietest() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 3 * SAMPLE_RATE).astype(np.float32)
    noise[round(1.62 * SAMPLE_RATE) : round(1.72 * SAMPLE_RATE)] *= 0.01
    noise[round(2.5 * SAMPLE_RATE) :] = 0  # quieter, but not where the windows overlap
    find = quietest(noise)
    assert 1.64 <= find(1.5, 2.25) <= 1.70
    turns = turns_of(windows_of([Segment(0.0, 3.0)]), ["S1", "S1", "S2"], keep_vad_boundaries=True, change=find)
    assert turns == [Segment(0.0, find(1.5, 2.25), "S1"), Segment(find(1.5, 2.25), 3.0, "S2")]


def test_where_all_is_as_loud_a_turn_changes_in_the_middle() -> None:
    find = quietest(np.zeros(3 * SAMPLE_RATE, np.float32))
    assert find(1.5, 2.25) == pytest.approx(1.875, abs=0.011)
    assert find(1.5, 1.502) == pytest.approx(1.501, abs=0.001)


def test_boundaries_are_kept_or_undone() -> None:
    windows = windows_of([Segment(0.0, 1.0), Segment(1.0, 2.0), Segment(2.5, 3.0)])
    kept = turns_of(windows, ["S1"] * 3, keep_vad_boundaries=True)
    assert kept == [Segment(0.0, 1.0, "S1"), Segment(1.0, 2.0, "S1"), Segment(2.5, 3.0, "S1")]
    merged = turns_of(windows, ["S1"] * 3, keep_vad_boundaries=False)
    assert merged == [Segment(0.0, 2.0, "S1"), Segment(2.5, 3.0, "S1")]


@st.composite
def speech(draw: st.DrawFn) -> list[Segment]:
    """Disjoint segments in milliseconds, some of which touch."""
    segments, at = [], draw(st.integers(0, 500))
    for _ in range(draw(st.integers(0, 8))):
        length = draw(st.integers(1, 8000))
        segments.append(Segment(at / 1000, (at + length) / 1000))
        at += length + draw(st.sampled_from([0, 0, 1, 300]))
    return segments


@settings(max_examples=200, deadline=None)
@given(speech(), st.randoms(use_true_random=False), st.booleans())
def test_turns_cover_the_speech_once(segments: list[Segment], random, keep: bool) -> None:
    windows = windows_of(segments)
    turns = turns_of(windows, [f"S{random.randint(1, 3)}" for _ in windows], keep_vad_boundaries=keep)
    assert all(a.end <= b.start for a, b in itertools.pairwise(turns))
    assert sum(t.duration for t in turns) == pytest.approx(sum(s.duration for s in segments))
    if keep:  # each turn lies in one segment
        assert all(any(s.start <= t.start and t.end <= s.end for s in segments) for t in turns)
    else:
        assert not any(a.end == b.start and a.speaker == b.speaker for a, b in itertools.pairwise(turns))
