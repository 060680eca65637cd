"""Additive angular margin softmax (AAM; ArcFace, Deng et al. 2019, arXiv:1801.07698), the classifier in training."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional


class AngularMarginClassifier(nn.Module):
    """One direction per speaker; logits are the cosines to them times `scale`, with the target's angle widened."""

    def __init__(self, speakers: int, embedding_size: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(torch.empty(speakers, embedding_size))
        nn.init.xavier_uniform_(self.weight)

    def forward(
        self, embeddings: torch.Tensor, speakers: torch.Tensor, margin: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean loss over the batch, and the accuracy (without the margin).

        embeddings (B, dim); speakers (B,), ids; margin in radians.
        """
        cosine = functional.linear(functional.normalize(embeddings.float()), functional.normalize(self.weight))
        target = cosine.gather(1, speakers[:, None])
        logits = self.scale * cosine.scatter(1, speakers[:, None], with_margin(target, margin))
        accuracy = (cosine.detach().argmax(dim=1) == speakers).float().mean()
        return functional.cross_entropy(logits, speakers), accuracy


def with_margin(cosine: torch.Tensor, margin: float) -> torch.Tensor:
    """Return cos(angle + margin) for the angles of `cosine`, extended linearly where the sum would exceed pi.

    >>> with_margin(torch.tensor([0.0]), math.pi / 6).item()
    -0.5
    """
    sine = (1 - cosine.square()).clamp(min=1e-9).sqrt()
    turned = cosine * math.cos(margin) - sine * math.sin(margin)
    return torch.where(cosine > -math.cos(margin), turned, cosine - margin * math.sin(margin))


def margin_at(step: int, steps: int, margin: float, warmup: float) -> float:
    """Margin at a step (from 0): rises from 0 over the share `warmup` of the steps, so that speakers separate first.

    >>> margin_at(0, 100, 0.2, 0.5), margin_at(25, 100, 0.2, 0.5), margin_at(99, 100, 0.2, 0.5)
    (0.0, 0.1, 0.2)
    """
    return margin * min(1.0, step / (warmup * steps)) if warmup else margin
