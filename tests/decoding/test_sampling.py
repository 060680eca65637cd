"""Gumbel-max sampling: the distribution it draws from, and whose random stream it uses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mlcslm.decoding.sampling import UtteranceSampling

SCORES = torch.tensor([2.0, 1.0, 0.0, -1.0, -float("inf")])


def draws(names: list[str], steps: int, temperature: float = 1.0, seed: int = 0) -> np.ndarray:
    """(steps, names): what the largest score is at each step."""
    sampling = UtteranceSampling(names, seed, temperature)
    scores = SCORES.repeat(len(names), 1)
    return np.array([sampling(torch.zeros(len(names), 1).long(), scores).argmax(-1).tolist() for _ in range(steps)])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_shares_are_those_of_the_softmax(temperature: float) -> None:
    expected = torch.softmax(SCORES / temperature, -1).numpy()
    found = np.bincount(draws(["a"], 20_000, temperature)[:, 0], minlength=5) / 20_000
    # Four standard deviations of a share over 20,000 draws.
    assert np.all(np.abs(found - expected) <= 4 * np.sqrt(expected * (1 - expected) / 20_000))
    assert found[4] == 0


def test_each_utterance_has_a_stream_of_its_own() -> None:
    together = draws(["a", "b", "c"], 200)
    for column, name in enumerate("abc"):
        assert np.array_equal(together[:, column], draws([name], 200)[:, 0])
    assert not np.array_equal(together[:, 0], together[:, 1])
    assert not np.array_equal(together, draws(["a", "b", "c"], 200, seed=1))
