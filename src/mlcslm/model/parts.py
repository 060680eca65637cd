"""The parts of a speech LLM that stages train: what to unfreeze, and what a checkpoint must store."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

import torch
from torch import nn

from mlcslm.config.stages import Part
from mlcslm.errors import UserError
from mlcslm.model.configuration import LoraSettings
from mlcslm.model.lora import LORA_MODULES, add_lora, has_lora, lora_parameters
from mlcslm.model.new_rows import add_new_rows, new_rows_of
from mlcslm.model.speech_llm import SpeechLLM

PARTS: tuple[Part, ...] = tuple(part for part in get_args(Part) if part != "new_rows")
"""All parts but `new_rows`, which are rows of embedding and head."""


def set_trainable(
    model: SpeechLLM,
    parts: Iterable[Part],
    *,
    lora: LoraSettings | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> list[str]:
    """Train exactly `parts`: freeze the rest; add requested LoRA adapters that do not exist yet.

    Returns the names of the trainable parameters. lora: settings of the adapters (by default those that the model was
    built with); seed: of their random matrices; dtype: of the trained weights. Float32 by default: updates are too
    small for bfloat16, so train a model loaded in bfloat16 under autocast. With tied embeddings "embedding" and "head"
    are one tensor; "new_rows" are the added tokens' rows of both. Raises UserError for an unknown part, and for
    settings that differ from existing adapters'.
    """
    parts = list(parts)
    if unknown := [part for part in parts if part not in get_args(Part)]:
        expected = ", ".join(get_args(Part))
        raise UserError(f"trained parts: found {', '.join(map(repr, unknown))}, expected some of: {expected}.")
    if lora is not None and lora != model.lora_settings:
        if any(has_lora(model, part) for part in LORA_MODULES):
            raise UserError(f"LoRA settings: found {lora}, but the existing adapters have {model.lora_settings}.")
        model.lora_settings = lora
    for number, adapters in enumerate(LORA_MODULES):
        if adapters in parts and not has_lora(model, adapters):
            add_lora(model, adapters, seed=seed + number)
    if "new_rows" in parts and not new_rows_of(model):
        add_new_rows(model)
    model.requires_grad_(False)
    for part in parts:
        for parameter in part_parameters(model, part).values():
            parameter.data = parameter.data.to(dtype)
            parameter.requires_grad_(True)
    model.changed_parts |= set(parts)
    model.train(model.training)
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def part_parameters(model: SpeechLLM, part: Part) -> dict[str, nn.Parameter]:
    """The weights of `part` by name within it; empty for adapters and new rows that do not exist."""
    match part:
        case "projector":
            return dict(model.model.projector.named_parameters())
        case "embedding":
            return dict(model.get_input_embeddings().named_parameters())
        case "head":
            return dict(model.get_output_embeddings().named_parameters())
        case "new_rows":
            return new_rows_of(model)
    return lora_parameters(model, part)


def is_tied(model: SpeechLLM) -> bool:
    """Whether the token embedding and the head are one tensor."""
    return model.get_input_embeddings().weight is model.get_output_embeddings().weight
