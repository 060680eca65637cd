"""One micro-batch of training, or of reading a prompt, run on tensors without memory: operations and bytes.

Every layer costs the same. So models of one and of two layers are run, and the rest is a straight line.

Shapes: B rows, F mel frames (100 a second), T encoder frames (50 a second), N audio tokens, L positions, h width.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import DynamicCache

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
    """What a batch holds: rows of so many seconds of speech, tokens of prompt text and of the answer to learn.

    audio_rows: rows that have audio of their own; the rollouts of an utterance share theirs.
    """

    rows: int
    seconds: float
    prompt: int
    answer: int
    audio_rows: int | None = None

    @property
    def audio(self) -> int:
        """Audio tokens of a row."""
        return -(-self.encoder_frames // ENCODER_FRAMES_PER_TOKEN)

    @property
    def encoder_frames(self) -> int:
        """Encoder frames of a row."""
        return -(-max(1, round(100 * self.seconds)) // MEL_FRAMES_PER_ENCODER_FRAME)

    @property
    def tokens(self) -> int:
        """Positions that the language model reads, of all rows."""
        return self.rows * (self.audio + self.prompt + self.answer)


@dataclass(frozen=True)
class Cost:
    """What a run costs. flops: operations, a multiplication and an addition being two; peak: bytes at most besides the
    weights, their gradients and the optimiser's; cache: bytes of keys and values of all positions."""

    flops: float
    peak: float
    cache: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.flops + other.flops, self.peak + other.peak, self.cache + other.cache)

    def scaled(self, factor: float) -> Cost:
        """Of so many as these."""
        return Cost(self.flops * factor, self.peak * factor, self.cache * factor)


@dataclass(frozen=True)
class Run:
    """What is run. trains, trained_before: parts; learns: with a backward pass; cached: the encoder's outputs are read
    instead of computed; all_logits: of every labelled position, as cross entropy wants them; checkpointing: activations
    are recomputed."""

    lengths: Lengths
    trains: tuple[Part, ...] = ()
    trained_before: tuple[Part, ...] = ()
    learns: bool = True
    cached: bool = False
    all_logits: bool = True
    checkpointing: bool = False


class Meter:
    """Costs of runs with the models of a configuration; equal runs are run once."""

    def __init__(self, shapes: Shapes, models: ModelsConfig) -> None:
        self.shapes = shapes
        self.models = models
        self._known: dict[Run, Cost] = {}

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Parameters by part (`part_sizes`) of the model with all its parts and layers, on the meta device."""
        return part_sizes(stage_model(self.shapes, self.models, trains=PARTS))

    def __call__(self, run: Run) -> Cost:
        """What `run` costs with all layers."""
        if run not in self._known:
            self._known[run] = self._extrapolated(run)
        return self._known[run]

    def _extrapolated(self, run: Run) -> Cost:
        one = self.measure(run, (1, 1))
        totals = one
        counts = self.shapes.encoder.encoder_layers, self.shapes.language_model.num_hidden_layers
        for layers, count in zip(((2, 1), (1, 2)), counts, strict=True):
            if count > 1:
                totals += (self.measure(run, layers) + one.scaled(-1)).scaled(count - 1)
        return totals

    def measure(self, run: Run, layers: tuple[int, int] | None) -> Cost:
        """What `run` costs with so many layers of encoder and language model (None: all)."""
        model = stage_model(
            self.shapes, self.models, trains=run.trains, trained_before=run.trained_before, layers=layers
        )
        with FakeTensorMode(), torch.autocast("cpu", torch.bfloat16):
            without_memory(model)
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.grad = torch.empty_like(parameter)  # as from the step's micro-batches before
            if run.checkpointing:
                model.activation_checkpointing_enable({"use_reentrant": False, "preserve_rng_state": False})
            cache = DynamicCache() if not run.learns else None
            with torch.set_grad_enabled(run.learns), Tally() as tally:
                _run(model, run, cache)
            held = sum(_bytes(layer.keys) + _bytes(layer.values) for layer in cache.layers) if cache else 0
        return Cost(float(tally.flops), float(tally.peak), float(held))


def _run(model: SpeechLLM, run: Run, cache: DynamicCache | None) -> None:
    """Forward and backward pass as `SpeechLLM.forward` does them, but for what depends on the values of tensors."""
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
    """What the language model reads, (B, L, h): audio tokens, then embeddings of text."""
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


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
