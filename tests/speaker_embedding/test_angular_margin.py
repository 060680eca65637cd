from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from mlcslm.speaker_embedding.angular_margin import AngularMarginClassifier, margin_at, with_margin


def test_the_margin_turns_the_angle() -> None:
    angles = torch.linspace(0.01, math.pi - 0.31, 50, dtype=torch.float64)
    torch.testing.assert_close(with_margin(angles.cos(), 0.3), (angles + 0.3).cos())


def test_more_similar_is_never_worse_even_where_the_sum_exceeds_pi() -> None:
    cosine = torch.linspace(-1, 1, 2001, dtype=torch.float64)
    assert (with_margin(cosine, 0.5).diff() > 0).all()
    assert (with_margin(cosine, 0.5) < cosine).all()


def test_without_margin_it_is_softmax_of_scaled_cosines() -> None:
    torch.manual_seed(0)
    classifier = AngularMarginClassifier(5, 8, scale=32.0)
    embeddings, speakers = torch.randn(7, 8), torch.randint(5, (7,))
    logits = 32 * functional.cosine_similarity(embeddings[:, None], classifier.weight[None], dim=-1)
    loss, right = classifier(embeddings, speakers, 0.0)
    torch.testing.assert_close(loss, functional.cross_entropy(logits, speakers))
    assert right == (logits.argmax(dim=1) == speakers).float().mean()


def test_the_margin_applies_to_the_target_speaker_only() -> None:
    classifier = AngularMarginClassifier(2, 2, scale=1.0)
    with torch.no_grad():
        classifier.weight.copy_(torch.eye(2))
    loss, _ = classifier(torch.tensor([[3.0, 0.0]]), torch.tensor([0]), margin=0.2)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(0 - math.cos(0.2))), abs=1e-4)


def test_the_margin_rises_linearly_then_stays() -> None:
    assert [margin_at(step, 10, 0.2, 0.4) for step in (0, 1, 2, 4, 9)] == pytest.approx([0, 0.05, 0.1, 0.2, 0.2])
    assert margin_at(0, 10, 0.2, 0.0) == 0.2
