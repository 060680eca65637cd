"""The speech LLM with shapes and no memory: its parameters counted, and run to count what a run costs."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from mlcslm.config.schema import ModelsConfig
from mlcslm.config.stages import Part
from mlcslm.model.configuration import LoraSettings, SpeechLLMConfig
from mlcslm.model.parts import PARTS, is_tied, part_parameters, set_trainable
from mlcslm.model.speech_llm import SpeechLLM
from mlcslm.plan.shapes import Shapes

FROZEN_DTYPE = torch.bfloat16
"""In which a GPU holds what is not trained; what is or was trained is float32 (`set_trainable`)."""
ADAPTERS: frozenset[Part] = frozenset({"lm_lora", "encoder_lora"})
"""Parts that are not in a model before a stage trains them."""


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
    """The model of a stage as `train_stage` has it, but with random weights, or on the meta device with none.

    trains: what the stage trains; trained_before: what its ancestors did; layers: of encoder and language model, by
    default all; dtype: of what no stage has trained, the rest being float32.
    """
    trains = tuple(trains)
    audio, text = copy.deepcopy(shapes.encoder), copy.deepcopy(shapes.language_model)
    if layers is not None:
        audio.encoder_layers, text.num_hidden_layers = layers
        if getattr(text, "layer_types", None):
            text.layer_types = text.layer_types[: layers[1]]
    audio.dtype = text.dtype = dtype  # else those that a folder's config.json names
    config = SpeechLLMConfig(
        audio_config=audio,
        text_config=text,
        projector_hidden=models.projector_hidden,
        audio_token_id=shapes.rows - 1,
        added_tokens={},
    )
    lora = LoraSettings(**models.lora.model_dump())
    with torch.device(device):
        with _default_dtype(dtype):
            model = SpeechLLM(config)
        set_trainable(model, dict.fromkeys((*trained_before, *trains)), lora=lora)  # puts adapters in, casts to float32
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
    """Parameters of the encoder and the language model without adapters, and of each part that stages may train.

    Embedding and head are parts of the language model, and one where they are tied.
    """
    sizes = {part: _count(part_parameters(model, part).values()) for part in PARTS}
    if is_tied(model):
        sizes["head"] = 0
    encoder, language_model = (_count(m.parameters()) for m in (model.model.encoder, model.model.language_model))
    return {
        "encoder": encoder - sizes["encoder_lora"],
        "language_model": language_model - sizes["lm_lora"] + sizes["head"],
    } | sizes


def weight_bytes(model: nn.Module) -> int:
    """Bytes of all weights, tied ones once."""
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


def stage_bytes(sizes: Mapping[str, int], trained: Iterable[Part]) -> int:
    """Bytes of the weights of a model of which `trained` was ever trained; sizes: as `part_sizes` of all parts."""
    trained = set(trained)
    parts = {"encoder", "language_model", "projector", *trained & ADAPTERS}
    return 2 * sum(sizes[part] for part in parts) + 2 * sum(sizes[part] for part in trained)


def without_memory(model: SpeechLLM) -> SpeechLLM:
    """`model` (on the meta device) with tensors of the fake mode that is on, which say that they are on a CPU.

    The meta device knows no autocast; these do.
    """
    made: dict[int, torch.Tensor] = {}
    originals = []  # kept, so that no id is given twice
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None:
                    originals.append(tensor)
                    tensors[name] = made.setdefault(id(tensor), _without_memory(tensor))
    return model


def _without_memory(tensor: torch.Tensor) -> torch.Tensor:
    fake = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
    return nn.Parameter(fake, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else fake


def _count(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters)
