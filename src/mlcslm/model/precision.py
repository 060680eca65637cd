"""The precision that a model is loaded and trained in."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from mlcslm.config.schema import Config


def model_dtype() -> str:
    """`bfloat16` on a GPU with native support, else `float32`."""
    return "bfloat16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "float32"


FLOAT32_ATTENTION = "sdpa_float32"
"""Value of `attn_implementation` for attention in float32, even under autocast."""


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    with torch.autocast(query.device.type, enabled=False):
        return sdpa_attention_forward(module, query.float(), key.float(), value.float(), attention_mask, **options)


AttentionInterface.register(FLOAT32_ATTENTION, _attention)
AttentionMaskInterface.register(FLOAT32_ATTENTION, sdpa_mask)


def trains_in_bfloat16(config: Config) -> bool:
    """Whether training multiplies matrices in bfloat16 on the CPU: if configured, and supported by the processor."""
    if torch.cuda.is_available():
        return False
    capabilities = torch.cpu.get_capabilities()
    native = any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
    return config.resources.cpu_precision == "auto" and native
