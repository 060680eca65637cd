"""Variants of feeding a model, and one step of each task with them.

Shapes: B utterances, T encoder frames (50 per second), d encoder width.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sampling import Utterance

from mlcslm.config.stages import Part
from mlcslm.model.log_mel import LogMel
from mlcslm.model.parts import set_trainable
from mlcslm.model.processor import IGNORED_LABEL, SpeechProcessor
from mlcslm.model.projector import SAMPLE_RATE, encoder_frame_count
from mlcslm.model.speech_llm import SpeechLLM
from mlcslm.text.templates import Template

_TAGS = 4  # tokens of an answer besides its transcript: language, <transcribe>, </transcribe>, end


@dataclass(frozen=True)
class Variant:
    """true_window: the encoder reads the true length, not 30 s; true_tokens: so does the language model, not 300
    audio tokens; buckets: batches of similar length; cached: encoder frames are cached."""

    name: str
    true_window: bool = False
    true_tokens: bool = False
    buckets: bool = False
    cached: bool = False


REFERENCE = Variant("30 s windows, 300 tokens, unsorted")
OURS = Variant("true lengths in buckets", True, True, True)
CACHED = Variant("true lengths in buckets, cached frames", True, True, True, cached=True)
ABLATIONS = (
    Variant("(a) encoder window alone", true_window=True),
    Variant("(b) audio tokens alone", true_tokens=True),
    Variant("(c) buckets alone", buckets=True),
    Variant("(a) and (b), unsorted", true_window=True, true_tokens=True),
)


@dataclass(frozen=True)
class Task:
    """A task to measure; trains: the parts that a training step updates, none for decoding."""

    name: str
    template: Template
    trains: tuple[Part, ...] = ()

    @property
    def encoder_is_frozen(self) -> bool:
        """Whether frames can be cached; for decoding, this assumes that no earlier stage has adapted the encoder."""
        return "encoder_lora" not in self.trains


TASKS = (
    Task("decode", "tagged-own-language"),
    Task("train_stage1", "plain", ("projector",)),
    Task("train_stage3", "tagged-own-language", ("projector", "embedding", "head", "lm_lora", "encoder_lora")),
)


@dataclass(frozen=True)
class Cost:
    """A batch's wall seconds for log-mel and collation, and for the model; this process's CPU seconds (all threads);
    and its audio tokens without padding."""

    prepare_s: float
    model_s: float
    cpu_s: float
    audio_tokens: int

    @property
    def wall_s(self) -> float:
        """Total wall seconds."""
        return self.prepare_s + self.model_s


class Feeder:
    """Feeds one model in any variant; audio is noise, on which throughput does not depend."""

    def __init__(self, model: SpeechLLM, processor: SpeechProcessor, seed: int) -> None:
        self.model = model
        self.processor = processor
        extractor, window = processor.features.feature_extractor, model.model.encoder.max_mel_frames
        self._log_mel = {
            True: LogMel(extractor, encoder_window="true_length", max_mel_frames=window),
            False: LogMel(extractor, encoder_window="full", max_mel_frames=window),
        }
        self._window_frames = encoder_frame_count(window)
        self._rng = np.random.default_rng(seed)
        self._noise = self._rng.standard_normal(self._log_mel[True].max_samples).astype("float32") * 0.1
        self._step: Callable[[dict[str, torch.Tensor], int], None] = self._generate
        self._cache: dict[Utterance, torch.Tensor] = {}

    def begin(self, task: Task) -> None:
        """Set the model up for `task`: freezing, adapters, optimiser."""
        self.task = task
        self.model.train(bool(task.trains))
        self.model.requires_grad_(False)
        self._step = self._generate
        if task.trains:
            set_trainable(self.model, task.trains)
            self._trained = [p for p in self.model.parameters() if p.requires_grad]
            self._optimizer = torch.optim.AdamW(self._trained, lr=1e-5, fused=True)
            self._step = self._train

    def fill_cache(self, utterances: Sequence[Utterance], size: int) -> float:
        """Encode `utterances` (given by length) once, in batches of `size`; returns wall seconds."""
        started = time.perf_counter()
        for first in range(0, len(utterances), size):
            part = utterances[first : first + size]
            mels, mask = self._log_mel[True]([self._waveform(u) for u in part])
            with torch.inference_mode():
                frames, frames_mask = self.model.encode_audio(*self._to_device(mels, mask))
            for utterance, row, length in zip(part, frames.float().cpu(), frames_mask.sum(1).tolist(), strict=True):
                self._cache[utterance] = row[:length].clone()
        return time.perf_counter() - started

    def run(self, variant: Variant, batch: Sequence[Utterance]) -> Cost:
        """Run the task's step on `batch` once. Answers are as long as the references, in every variant."""
        started, computed = time.perf_counter(), time.process_time()
        examples = [self._example(variant, utterance) for utterance in batch]
        inputs = self.processor.collate(examples, side="right" if self.task.trains else "left")
        names, tensors = inputs.keys(), self._to_device(*inputs.values())
        prepared = self._now()
        inputs = dict(zip(names, tensors, strict=True))
        with self._precision():
            if not variant.cached:
                self._encode(variant, batch, inputs)
            self._step(inputs, max(_answer_tokens(utterance) for utterance in batch))
        done, computed = self._now(), time.process_time() - computed
        audio_tokens = sum(example["input_ids"].count(self.processor.audio_token_id) for example in examples)
        return Cost(prepared - started, done - prepared, computed, audio_tokens)

    def _example(self, variant: Variant, utterance: Utterance) -> dict[str, Any]:
        samples = round(utterance.seconds * SAMPLE_RATE)
        tokens = self._log_mel[variant.true_tokens].audio_token_count(samples)
        prompt = self.processor.encode_prompt(utterance.group, self.task.template, audio_tokens=tokens)
        if variant.cached:
            example: dict[str, Any] = {"encoder_frames": self._cache[utterance]}
        else:
            example = {"input_features": self._log_mel[variant.true_window]([self._waveform(utterance)])[0][0]}
        if not self.task.trains:
            return example | {"input_ids": prompt}
        target = self._rng.integers(3, 250, _answer_tokens(utterance)).tolist()
        return example | {"input_ids": prompt + target, "labels": [IGNORED_LABEL] * len(prompt) + target}

    def _encode(self, variant: Variant, batch: Sequence[Utterance], inputs: dict[str, torch.Tensor]) -> None:
        """Replace features with frames; if window and tokens differ, truncate or pad the frames to match the tokens."""
        frames, mask = self.model.encode_audio(inputs.pop("input_features"), inputs.pop("input_features_mask"))
        if variant.true_tokens and not variant.true_window:
            samples = [round(utterance.seconds * SAMPLE_RATE) for utterance in batch]
            lengths = torch.tensor([encoder_frame_count(self._log_mel[True].mel_frame_count(n)) for n in samples])
            frames = frames[:, : int(lengths.max())]
            mask = torch.arange(frames.shape[1], device=frames.device) < lengths.to(frames.device)[:, None]
        elif variant.true_window and not variant.true_tokens:
            frames = torch.nn.functional.pad(frames, (0, 0, 0, self._window_frames - frames.shape[1]))
            mask = torch.ones_like(frames[..., 0], dtype=torch.bool)
        inputs |= {"encoder_frames": frames, "encoder_frames_mask": mask}

    def _generate(self, inputs: dict[str, torch.Tensor], answer_tokens: int) -> None:
        """A batch is done when its longest answer is: that many tokens are forced, whatever the model generates."""
        with torch.inference_mode():
            self.model.generate(**inputs, min_new_tokens=answer_tokens, max_new_tokens=answer_tokens, do_sample=False)

    def _train(self, inputs: dict[str, torch.Tensor], answer_tokens: int) -> None:
        self.model(**inputs).loss.backward()
        torch.nn.utils.clip_grad_norm_(self._trained, 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad()

    def _waveform(self, utterance: Utterance) -> np.ndarray:
        return self._noise[: round(utterance.seconds * SAMPLE_RATE)]

    def _to_device(self, *tensors: torch.Tensor) -> list[torch.Tensor]:
        return [tensor.to(self.model.device) for tensor in tensors]

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        """Training on a GPU runs under autocast, like the trainer with bf16."""
        if self.task.trains and self.model.device.type == "cuda":
            return torch.autocast("cuda", torch.bfloat16)
        return contextlib.nullcontext()

    def _now(self) -> float:
        if self.model.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def _answer_tokens(utterance: Utterance) -> int:
    return utterance.answer_tokens + _TAGS
