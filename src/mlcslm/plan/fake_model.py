"""The speech LLM with shapes but no memory: to count its parameters and measure what runs cost."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import cast

import torch
from torch import nn

from mlcslm.config.schema import ModelsConfig
from mlcslm.config.stages import Part
from mlcslm.model.configuration import LoraSettings, SpeechLLMConfig
from mlcslm.model.parts import PARTS, is_tied, part_parameters, set_trainable
from mlcslm.model.speech_llm import SpeechLLM
from mlcslm.plan.shape_tensor import ShapeTensor
from mlcslm.plan.shapes import Shapes

FROZEN_DTYPE = torch.bfloat16
"""The dtype of weights that were never trained; those that are or were trained are float32 (`set_trainable`)."""
ADAPTERS: frozenset[Part] = frozenset({"lm_lora", "encoder_lora"})
"""Parts that a model lacks until a stage trains them."""


def stage_model(
    shapes: Shapes,
    models: ModelsConfig,
    *,
    trains: Iterable[Part],
    trained_before: Iterable[Part] = (),
    layers: tuple[int, int] | None = None,
    device: str = "meta",
    dtype: torch.dtype = FROZEN_DTYPE,
) -> SpeechLLM:
    """A stage's model as in `train_stage`, but with random weights, or with none on the meta device.

    trains: parts that the stage trains; trained_before: parts that its ancestors trained; layers: of encoder and
    language model, by default all; dtype: of parts that no stage has trained, the rest being float32.
    """
    trains = tuple(trains)
    audio, text = copy.deepcopy(shapes.encoder), copy.deepcopy(shapes.language_model)
    if layers is not None:
        audio.encoder_layers, text.num_hidden_layers = layers
        if getattr(text, "layer_types", None):
            text.layer_types = text.layer_types[: layers[1]]
    audio.dtype = text.dtype = dtype  # overrides the folder's config.json
    config = SpeechLLMConfig(
        audio_config=audio,
        text_config=text,
        projector_hidden=models.projector_hidden,
        audio_token_id=shapes.rows - 1,
        added_tokens={str(number): shapes.rows - 1 - number for number in range(shapes.added_tokens)},
    )
    lora = LoraSettings(**models.lora.model_dump())
    with torch.device(device):
        with _default_dtype(dtype):
            model = SpeechLLM(config)
        set_trainable(model, dict.fromkeys((*trained_before, *trains)), lora=lora)  # adds adapters, casts to float32
        set_trainable(model, trains)
    return model.train()


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def part_sizes(model: SpeechLLM) -> dict[str, int]:
    """Parameter counts of the encoder and the language model without adapters, and of each part that stages may train.

    Embedding and head belong to the language model, and count once if they are tied.
    """
    sizes: dict[str, int] = {part: _count(part_parameters(model, part).values()) for part in PARTS}
    matrices = 1 if is_tied(model) else 2
    if is_tied(model):
        sizes["head"] = 0
    sizes["new_rows"] = matrices * len(model.config.added_tokens) * model.config.text_config.hidden_size
    encoder, language_model = (_count(m.parameters()) for m in (model.model.encoder, model.model.language_model))
    return {
        "encoder": encoder - sizes["encoder_lora"],
        "language_model": language_model - sizes["lm_lora"] + sizes["head"],
    } | sizes


def weight_bytes(model: nn.Module) -> int:
    """Bytes of all weights, counting tied ones once."""
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


def stage_bytes(sizes: Mapping[str, int], trained: Iterable[Part]) -> int:
    """Bytes of a model's weights, given the parts ever `trained`; sizes: `part_sizes` of a model with all parts."""
    trained = set(trained)
    parts = {"encoder", "language_model", "projector", *trained & {*ADAPTERS, "new_rows"}}  # each beside the models
    return 2 * sum(sizes[part] for part in parts) + 2 * sum(sizes[part] for part in trained)


def without_memory(model: SpeechLLM) -> SpeechLLM:
    """`model` (on the meta device) with `ShapeTensor`s, which claim to be on a CPU.

    Unlike the meta device, these support autocast.
    """
    made: dict[int, torch.Tensor] = {}
    originals = []  # kept alive, so that no id is reused
    for module in model.modules():
        for tensors in cast("tuple[dict[str, torch.Tensor | None], ...]", (module._parameters, module._buffers)):
            for name, tensor in tensors.items():
                if tensor is not None:
                    originals.append(tensor)
                    tensors[name] = made.setdefault(id(tensor), _without_memory(tensor))
    return model


def _without_memory(tensor: torch.Tensor) -> torch.Tensor:
    fake = ShapeTensor(torch.empty(tensor.shape, dtype=tensor.dtype, device="meta"))
    return nn.Parameter(fake, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else fake


def _count(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters)
