"""Multinomial sampling with a random stream for each utterance: the batch it is decoded in changes nothing."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import torch
from transformers import LogitsProcessor


class UtteranceSampling(LogitsProcessor):
    """Adds Gumbel noise to logits / temperature, so that the largest one is a multinomial sample (Gumbel-max trick).

    Row i draws from a stream of its own, of (seed, utterance i). Decode greedily with it.
    """

    def __init__(self, utterance_ids: Sequence[str], seed: int, temperature: float) -> None:
        self._streams = [np.random.default_rng([seed, zlib.crc32(name.encode())]) for name in utterance_ids]
        self._temperature = temperature

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Perturbed scores (B, V)."""
        noise = np.stack([stream.gumbel(size=scores.shape[1]) for stream in self._streams])
        return scores / self._temperature + torch.from_numpy(noise).to(scores.device, scores.dtype)
