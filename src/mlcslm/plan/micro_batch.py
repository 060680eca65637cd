"""One micro-batch of training, or of reading a prompt, run on tensors without memory: operations and bytes.

Every layer costs the same, so models with one and two layers are run and the rest is extrapolated linearly.

Shapes: B rows, L positions, h width.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import cast

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from mlcslm.config.schema import ModelsConfig
from mlcslm.config.stages import Part
from mlcslm.model.parts import PARTS
from mlcslm.model.projector import ENCODER_FRAMES_PER_TOKEN, MEL_FRAMES_PER_ENCODER_FRAME
from mlcslm.model.speech_llm import SpeechLLM
from mlcslm.plan.fake_model import part_sizes, stage_model, without_memory
from mlcslm.plan.shapes import Shapes
from mlcslm.plan.tally import Tally


@dataclass(frozen=True)
class Lengths:
    """A batch's contents: rows, each with seconds of speech, tokens of prompt text and tokens of the answer to learn.

    audio_rows: number of rows with their own audio; an utterance's rollouts share it.
    """

    rows: int
    seconds: float
    prompt: int
    answer: int
    audio_rows: int | None = None

    @property
    def audio(self) -> int:
        """Audio tokens per row."""
        return -(-self.encoder_frames // ENCODER_FRAMES_PER_TOKEN)

    @property
    def encoder_frames(self) -> int:
        """Encoder frames per row."""
        return -(-max(1, round(100 * self.seconds)) // MEL_FRAMES_PER_ENCODER_FRAME)

    @property
    def tokens(self) -> int:
        """Positions that the language model reads, over all rows."""
        return self.rows * (self.audio + self.prompt + self.answer)


@dataclass(frozen=True)
class Cost:
    """What a run costs. flops: operations, counting a multiplication and an addition as two; peak: peak bytes besides
    weights, gradients and optimiser state; cache: bytes of keys and values for all positions."""

    flops: float
    peak: float
    cache: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.flops + other.flops, self.peak + other.peak, self.cache + other.cache)

    def scaled(self, factor: float) -> Cost:
        """The cost of `factor` such runs at once."""
        return Cost(self.flops * factor, self.peak * factor, self.cache * factor)


@dataclass(frozen=True)
class Run:
    """What to run. trains, trained_before: parts; learns: with a backward pass; cached: encoder outputs are read, not
    computed; all_logits: for every labelled position, as cross entropy needs them; checkpointing: recompute
    activations."""

    lengths: Lengths
    trains: tuple[Part, ...] = ()
    trained_before: tuple[Part, ...] = ()
    learns: bool = True
    cached: bool = False
    all_logits: bool = True
    checkpointing: bool = False


class Meter:
    """Costs of runs with a configuration's models; equal runs are measured once."""

    def __init__(self, shapes: Shapes, models: ModelsConfig) -> None:
        self.shapes = shapes
        self.models = models
        self._known: dict[Run, Cost] = {}

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Parameters by part (`part_sizes`) of the model with all parts and layers, on the meta device."""
        return part_sizes(stage_model(self.shapes, self.models, trains=PARTS))

    def __call__(self, run: Run) -> Cost:
        """The cost of `run` with all layers."""
        if run not in self._known:
            self._known[run] = self._extrapolated(run)
        return self._known[run]

    def _extrapolated(self, run: Run) -> Cost:
        one = self.measure(run, (1, 1))
        totals = one
        counts = self.shapes.encoder.encoder_layers, self.shapes.language_model.num_hidden_layers
        for layers, count in zip(((2, 1), (1, 2)), counts, strict=True):
            if count > 1 and not (run.cached and layers == (2, 1)):  # whose encoder does not run
                totals += (self.measure(run, layers) + one.scaled(-1)).scaled(count - 1)
        return totals

    def measure(self, run: Run, layers: tuple[int, int] | None) -> Cost:
        """The cost of `run` with this many layers of encoder and language model (None: all)."""
        model = stage_model(
            self.shapes, self.models, trains=run.trains, trained_before=run.trained_before, layers=layers
        )
        without_memory(model)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.empty_like(parameter)  # as left by the step's earlier micro-batches
        with torch.autocast("cpu", torch.bfloat16):
            if run.checkpointing:
                model.activation_checkpointing_enable({"use_reentrant": False, "preserve_rng_state": False})
            cache = DynamicCache() if not run.learns else None
            with torch.set_grad_enabled(run.learns), Tally(shapes_only=True) as tally:
                _run(model, run, cache)
            filled = cast("list[DynamicLayer]", cache.layers if cache is not None else [])
            held = sum(_bytes(tensor) for layer in filled for tensor in (layer.keys, layer.values))
        return Cost(float(tally.flops), float(tally.peak), float(held))


def _run(model: SpeechLLM, run: Run, cache: DynamicCache | None) -> None:
    """Forward and backward pass as in `SpeechLLM.forward`, except for anything that depends on tensor values."""
    lengths = run.lengths
    inputs = _inputs(model, run)
    mask = torch.ones(inputs.shape[:2], dtype=torch.long)
    hidden = model.model.language_model(
        inputs_embeds=inputs, attention_mask=mask, past_key_values=cache, use_cache=cache is not None
    ).last_hidden_state
    if not run.learns:
        model.compute_logits(hidden[:, -1:])
        return
    labelled = hidden[:, -lengths.answer - 1 : -1].reshape(-1, hidden.shape[-1])
    if run.all_logits:
        targets = torch.zeros(len(labelled), dtype=torch.long)
        loss = torch.nn.functional.cross_entropy(model.compute_logits(labelled).float(), targets, reduction="none")
    else:
        loss = labelled
    loss.sum().backward()


def _inputs(model: SpeechLLM, run: Run) -> torch.Tensor:
    """The language model's input, (B, L, h): audio tokens, then text embeddings."""
    lengths = run.lengths
    rows = lengths.audio_rows or lengths.rows
    if run.cached:
        frames = torch.empty(rows, lengths.encoder_frames, model.config.audio_config.d_model)
        mask = torch.ones(frames.shape[:2], dtype=torch.bool)
    else:
        mel = MEL_FRAMES_PER_ENCODER_FRAME * lengths.encoder_frames
        features = torch.empty(rows, model.config.audio_config.num_mel_bins, mel)
        frames, mask = model.encode_audio(features, torch.ones(rows, mel, dtype=torch.bool))
    if lengths.rows > rows:
        frames, mask = (t.repeat_interleave(lengths.rows // rows, 0) for t in (frames, mask))
    audio, _ = model.model.projector(frames, mask)
    text = torch.zeros(lengths.rows, lengths.prompt + (lengths.answer if run.learns else 0), dtype=torch.long)
    embedded = model.get_input_embeddings()(text)
    return torch.cat([audio.to(embedded.dtype), embedded], dim=1)


def _bytes(tensor: torch.Tensor | None) -> int:
    return 0 if tensor is None else tensor.numel() * tensor.element_size()
