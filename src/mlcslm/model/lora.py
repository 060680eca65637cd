"""LoRA adapters on all linear layers of the language model (not its head) and of the encoder (paper, section 3.3)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from mlcslm.model.configuration import LoraSettings
from mlcslm.model.lora_linear import fuse
from mlcslm.model.speech_llm import SpeechLLM

LoraPart = Literal["lm_lora", "encoder_lora"]
LORA_MODULES: dict[LoraPart, str] = {"lm_lora": "model.language_model", "encoder_lora": "model.encoder"}
"""The module of the speech LLM that holds each part's adapters."""
ADAPTER = "default"
_ADAPTER_WEIGHT = re.compile(rf"\.lora_\w+\.{ADAPTER}\.")


def has_lora(model: SpeechLLM, part: LoraPart) -> bool:
    """Whether the model has the adapters of `part`."""
    return any(isinstance(module, BaseTunerLayer) for module in model.get_submodule(LORA_MODULES[part]).modules())


def add_lora(model: SpeechLLM, part: LoraPart, *, seed: int) -> None:
    """Add new adapters to every linear layer of `part`'s module, without changing what the model computes.

    Their first matrix is random, from `seed`; the global random state is not changed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        inject_adapter_in_model(_config(model.lora_settings), model.get_submodule(LORA_MODULES[part]), ADAPTER)
    fuse(model.get_submodule(LORA_MODULES[part]))


def lora_parameters(model: SpeechLLM, part: LoraPart) -> dict[str, nn.Parameter]:
    """The adapters' weights of `part` by name within its module: `layers.0.self_attn.q_proj.lora_A.default.weight`."""
    module = model.get_submodule(LORA_MODULES[part])
    return {name: parameter for name, parameter in module.named_parameters() if _ADAPTER_WEIGHT.search(name)}


def merge_lora(model: SpeechLLM) -> None:
    """Merge the adapters into their layers' weights: decoding then costs no more than without adapters.

    A merged model can be neither trained further nor saved.
    """
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            module.merge()
    model.lora_is_merged = True


@contextmanager
def merged_lora(model: SpeechLLM) -> Iterator[None]:
    """Merge the adapters inside this context, into copies: afterwards every weight is the very same tensor as before.

    Unmerging by subtraction would leave a rounding error in the frozen weights each time.
    """
    layers: list[Any] = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    originals = []
    try:
        for layer in (layer for layer in layers if not layer.merged):
            weight = layer.get_base_layer().weight
            originals.append((layer, weight, weight.data))
            weight.data = weight.data.clone()
            layer.merge()
        yield
    finally:
        for layer, weight, original in originals:
            weight.data = original
            layer.merged_adapters.clear()


def _config(settings: LoraSettings) -> LoraConfig:
    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules="all-linear",
        bias="none",
    )
