from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_curve

from mlcslm.speaker_embedding.embedding import SpeakerEmbedder
from mlcslm.speaker_embedding.networks import build_network
from mlcslm.speaker_embedding.verification import equal_error_rate, verify, verify_manifest


@pytest.mark.parametrize(
    ("same", "different", "rate"),
    [
        ([0.9, 0.8], [0.2, 0.1], 0.0),
        ([0.1, 0.2], [0.8, 0.9], 1.0),
        # At 0.5, one of four is rejected and one of four accepted.
        ([0.9, 0.8, 0.7, 0.3], [0.6, 0.2, 0.1, 0.0], 0.25),
        ([0.5, 0.5], [0.5, 0.5], 0.5),
    ],
)
def test_equal_error_rate_by_hand(same: list[float], different: list[float], rate: float) -> None:
    assert equal_error_rate(np.array(same), np.array(different)) == pytest.approx(rate)


def test_equal_error_rate_is_where_scikit_learns_curve_crosses() -> None:
    rng = np.random.default_rng(0)
    same, different = rng.normal(1.0, 1.0, 3000), rng.normal(0.0, 1.0, 5000)
    accepted, right, _ = roc_curve(np.repeat([1, 0], [3000, 5000]), np.concatenate([same, different]))
    crossing = accepted[np.argmin(np.abs(accepted - (1 - right)))]
    assert equal_error_rate(same, different) == pytest.approx(crossing, abs=1e-3)
    assert equal_error_rate(same, different) == pytest.approx(0.3085, abs=0.025)  # of two normals, one deviation apart


def test_without_trials_there_is_no_rate() -> None:
    assert np.isnan(equal_error_rate(np.array([]), np.array([0.1])))


def test_pairs_are_counted_within_sessions_and_over_all() -> None:
    """Two sessions; the second's speakers sound like the first's: told apart within each, but not across sessions."""
    embeddings = np.array([[1, 0], [1, 0.1], [0, 1], [0, 1], [1, 0], [1, 0], [0, 1], [0.1, 1]], np.float32)
    found = verify(embeddings, ["a"] * 4 + ["b"] * 4, ["O1", "O1", "O2", "O2"] * 2)
    assert (found.same_pairs, found.different_pairs, found.speakers) == (4, 8, 4)
    assert found.eer == 0
    assert found.eer_all > 0.2
    assert found.same_cosine > 0.99
    assert found.different_cosine < 0.2


def test_utterances_per_speaker_are_limited(voices: dict[str, Path]) -> None:
    torch.manual_seed(0)
    embedder = SpeakerEmbedder(build_network("resnet101", {"channels": 4, "blocks": (1, 1, 1, 1)}))
    found = verify_manifest(embedder, voices["dev"], utterances=3)
    assert (found.speakers, found.same_pairs, found.different_pairs) == (8, 8 * 3, 4 * 9)
