"""How many times as fast several processes are: against steps worked by hand."""

from __future__ import annotations

import pytest

from mlcslm.plan.scaling import micro_batches, reinforcement, slowest, supervised, typical_lengths


def test_a_step_takes_as_long_as_its_slowest_process() -> None:
    assert slowest([1.0, 5.0, 2.0, 1.0], 2) == 6.0  # 1 + 2 and 5 + 1
    assert slowest([1.0, 5.0, 2.0, 1.0], 4) == 5.0


def test_utterances_of_one_length_are_shared_without_loss() -> None:
    assert supervised([3.0] * 640, size=4, accumulation=8) == {2: 2.0, 4: 4.0, 8: 8.0}
    assert set(supervised([3.0] * 640, size=4, accumulation=6)) == {2}  # four and eight do not share six evenly
    assert supervised([3.0] * 640, size=4, accumulation=1) == {}


def test_a_corpus_smaller_than_a_step_is_not_simulated() -> None:
    assert supervised([3.0] * 31, size=4, accumulation=8) == {}
    assert reinforcement([3.0] * 15, 4, 4, learning_s=1.0, sampling_s=float) == {}


def test_even_cuts_lose_less_than_batches_as_drawn() -> None:
    lengths = typical_lengths(3.87, 20_000)
    assert sum(lengths) / len(lengths) == pytest.approx(3.87, rel=0.02)
    found = supervised(lengths, size=8, accumulation=16)
    assert 3.6 < found[4] < 4.0
    assert 7.0 < found[8] < 8.0
    drawn = [[len(batch) * max(batch) for batch in step] for step in micro_batches(lengths, 8, 16, even=False)]
    assert sum(map(sum, drawn)) / sum(slowest(step, 4) for step in drawn) < found[4]


def test_sampling_is_hardly_faster_on_more_processes() -> None:
    """Four processes with a quarter of the utterances take as many steps over the weights as one with all."""
    lengths = [3.0] * 320
    assert reinforcement(lengths, 4, 4, learning_s=8.0, sampling_s=lambda utterances: 0.0) == {2: 2.0, 4: 4.0}
    assert reinforcement(lengths, 4, 4, learning_s=4.0, sampling_s=lambda utterances: 4.0)[4] == 8.0 / 5.0
    shared = reinforcement(lengths, 4, 4, learning_s=0.0, sampling_s=float)
    assert shared == {2: 2.0, 4: 4.0}
