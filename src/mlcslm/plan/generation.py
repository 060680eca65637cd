"""What generating answers takes: keys and values, operations, and time that goes by with the weights being read."""

from __future__ import annotations

from dataclasses import dataclass

from mlcslm.config.stages import Part
from mlcslm.plan.micro_batch import Cost, Lengths, Meter, Run
from mlcslm.plan.throughput import Gpu

_COPIES = 2.0
"""Keys and values with the room that buffers have to spare, and copies while they grow or move."""
_SCORE_COPIES = 4
"""Float32 scores of the whole vocabulary that a step of search has at a time: log-probabilities, noise, sums."""


@dataclass(frozen=True)
class Work:
    """Operations of a batch, and its seconds on a GPU."""

    flops: float
    seconds: float


@dataclass(frozen=True)
class Generating:
    """Answers to `utterances` at a time, `rows` beams or samples of each.

    parts: which have been trained, whose weights are float32; none for a decoding, whose model is bfloat16 throughout
    with merged adapters. shared: all rows of an utterance share its prompt's keys and values.
    """

    meter: Meter
    parts: tuple[Part, ...]
    utterances: int
    rows: int
    prompt: int
    shared: bool = False

    def memory(self, seconds: float, answer: int) -> tuple[float, float]:
        """Bytes of keys and values, and of the rest at its most, beyond the weights: after `answer` tokens."""
        read, rows = self._reading(seconds), self.utterances * self.rows
        per_position = read.cache / self._prompts(seconds).tokens
        positions = self.utterances * self._prompts(seconds).tokens + rows * answer
        scores = score_bytes(rows, self.meter.shapes.rows)
        return _COPIES * positions * per_position, max(self.utterances * read.peak, scores)

    def work(self, seconds: float, answer: int, gpu: Gpu) -> Work:
        """Of a batch whose answers end after `answer` tokens."""
        read = self._reading(seconds).scaled(self.utterances)
        step = self._step_flops() * self.utterances * self.rows
        once = gpu.seconds(read.flops, gpu.shares.prompts)
        each = gpu.step_seconds(self._weights(), read.cache, step)
        return Work(read.flops + answer * step, once + answer * each)

    def _reading(self, seconds: float) -> Cost:
        """Reading of an utterance's prompts; it is encoded once. Of several it takes as many times as much."""
        return self.meter(Run(self._prompts(seconds), trained_before=self.parts, learns=False))

    def _prompts(self, seconds: float) -> Lengths:
        return Lengths(1 if self.shared else self.rows, seconds, self.prompt, 0, audio_rows=1)

    def _step_flops(self) -> float:
        """Operations of a token: two for each weight of the language model's layers and head."""
        sizes = self.meter.sizes
        adapters = sizes["lm_lora"] if "lm_lora" in self.parts else 0
        return 2.0 * (self._layers() + adapters + sizes["embedding"])  # the head has the embedding's size

    def _weights(self) -> float:
        """Bytes that a step reads: the language model's layers, adapters and head."""
        sizes = self.meter.sizes
        adapters = sizes["lm_lora"] if "lm_lora" in self.parts else 0
        of_head = 4 if "head" in self.parts else 2
        return 2.0 * self._layers() + 4.0 * adapters + float(of_head * sizes["embedding"])

    def _layers(self) -> int:
        sizes = self.meter.sizes
        return sizes["language_model"] - sizes["embedding"] - sizes["head"]


def score_bytes(rows: int, vocabulary: int) -> float:
    """Bytes of the scores of a step of search."""
    return 4.0 * _SCORE_COPIES * rows * vocabulary
