"""In which precision a model is loaded."""

from __future__ import annotations

import torch


def model_dtype() -> str:
    """`bfloat16` on a GPU that multiplies in it, else `float32`."""
    return "bfloat16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "float32"
