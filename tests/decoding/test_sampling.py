"""Gumbel-max sampling: the distribution it draws from, and whose random stream it uses."""

from __future__ import annotations

import numpy as np
import pytest

from mlcslm.decoding.sampling import UtteranceStreams

SCORES = np.array([2.0, 1.0, 0.0, -1.0, -np.inf])


def noise(names: list[str], steps: int, seed: int = 0) -> np.ndarray:
    """(steps, names, 5)."""
    streams = UtteranceStreams(names, seed)
    return np.stack([streams.gumbel(len(SCORES)).numpy() for _ in range(steps)])


def draws(names: list[str], steps: int, temperature: float = 1.0, seed: int = 0) -> np.ndarray:
    """(steps, names): what the largest score is at each step."""
    return (SCORES / temperature + noise(names, steps, seed)).argmax(-1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_shares_are_those_of_the_softmax(temperature: float) -> None:
    weights = np.exp(SCORES / temperature)
    expected = weights / weights.sum()
    found = np.bincount(draws(["a"], 20_000, temperature)[:, 0], minlength=5) / 20_000
    # Four standard deviations of a share over 20,000 draws.
    assert np.all(np.abs(found - expected) <= 4 * np.sqrt(expected * (1 - expected) / 20_000))
    assert found[4] == 0


def test_the_largest_are_a_sample_without_replacement() -> None:
    """Pairs come in the order and as often as drawing one after the other gives them."""
    weights = np.exp(SCORES[:4]) / np.exp(SCORES[:4]).sum()
    order = np.argsort(-(SCORES + noise(["a"], 20_000))[:, 0], axis=-1)
    for first in range(4):
        for second in set(range(4)) - {first}:
            expected = weights[first] * weights[second] / (1 - weights[first])
            found = np.mean((order[:, 0] == first) & (order[:, 1] == second))
            assert abs(found - expected) <= 4 * np.sqrt(expected * (1 - expected) / 20_000)


def test_each_utterance_has_a_stream_of_its_own() -> None:
    together = draws(["a", "b", "c"], 200)
    for column, name in enumerate("abc"):
        assert np.array_equal(together[:, column], draws([name], 200)[:, 0])
    assert not np.array_equal(together[:, 0], together[:, 1])
    assert not np.array_equal(together, draws(["a", "b", "c"], 200, seed=1))


def test_streams_go_on_when_others_are_dropped() -> None:
    streams = UtteranceStreams(["a", "b", "c"], 0)
    whole = noise(["a", "b", "c"], 4)
    streams.gumbel(5)
    streams.keep([0, 2])
    assert np.array_equal(streams.gumbel(5), whole[1][[0, 2]])
    streams.keep([1])
    assert np.array_equal(streams.gumbel(10).reshape(2, 5), whole[2:, 2])


def test_noise_is_always_finite() -> None:
    """Infinite noise would choose a token that has no probability."""
    assert UtteranceStreams(["a"], 0).gumbel(20_000_000).isfinite().all()
