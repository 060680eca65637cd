"""Weights laid out for products with few rows on a CPU: a decoding step of a batch is one row per answer.

A library's general product lays out a matrix anew each time, which for few rows costs about as much as it saves. The
weights themselves remain, for prompts, whose products have many rows: packing takes their memory once more.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from mlcslm.model.speech_llm import SpeechLLM

_MOST_ROWS = 64
_LEAST_OUTPUTS = 512
"""Narrower matrices are no faster when packed (SmolLM2's keys and values, 192 outputs: a quarter slower)."""


class PackedLinear(nn.Linear):
    """A linear layer that has its weights packed as well, for inputs of few rows. Not to be trained any more."""

    _packed: torch.Tensor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs (…, o) of `x` (…, i)."""
        if x.numel() > _MOST_ROWS * self.in_features or torch.is_grad_enabled():
            return functional.linear(x, self.weight, self.bias)
        product: Any = torch.ops.mkldnn._linear_pointwise  # not at import: builds without oneDNN lack it
        return product(x, self._packed, self.bias, "none", [], "")


def pack_language_model(model: SpeechLLM) -> None:
    """Pack the weights of the language model and its head, in place, if it runs in float32 on a CPU that benefits."""
    if model.device.type != "cpu" or model.dtype != torch.float32 or not torch.backends.mkldnn.is_available():
        return
    for layer in [*model.model.language_model.modules(), model.lm_head]:
        if type(layer) is nn.Linear and layer.out_features >= _LEAST_OUTPUTS:
            layer.__class__ = PackedLinear
            with torch.no_grad():
                layer._packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach())
