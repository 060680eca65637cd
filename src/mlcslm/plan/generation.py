"""What generating answers costs: keys and values, operations, and the time to read the weights at every step."""

from __future__ import annotations

from dataclasses import dataclass

from mlcslm.config.stages import Part
from mlcslm.plan.micro_batch import Cost, Lengths, Meter, Run
from mlcslm.plan.throughput import Gpu

_COPIES = 2.0
"""Factor for keys and values: spare buffer capacity, and copies while buffers grow or move."""
_SCORE_COPIES = 4
"""Float32 scores of the whole vocabulary that a search step holds at once: log-probabilities, noise, sums."""


@dataclass(frozen=True)
class Work:
    """A batch's operations, and its seconds on a GPU."""

    flops: float
    seconds: float


@dataclass(frozen=True)
class Generating:
    """Answers to a batch of `utterances`, with `rows` beams or samples each.

    parts: trained parts, whose weights are float32; none for a decoding, whose model is all bfloat16 with merged
    adapters. shared: all rows of an utterance share its prompt's keys and values; cached: encoder outputs are read, not
    computed.
    """

    meter: Meter
    parts: tuple[Part, ...]
    utterances: int
    rows: int
    prompt: int
    shared: bool = False
    cached: bool = False

    def memory(self, seconds: float, answer: int) -> tuple[float, float]:
        """Bytes of keys and values after `answer` tokens, and peak bytes of the rest, beyond the weights."""
        read, rows = self._reading(seconds), self.utterances * self.rows
        per_position = read.cache / self._prompts(seconds).tokens
        positions = self.utterances * self._prompts(seconds).tokens + rows * answer
        scores = score_bytes(rows, self.meter.shapes.rows)
        return _COPIES * positions * per_position, max(self.utterances * read.peak, scores)

    def work(self, seconds: float, answer: int, gpu: Gpu) -> Work:
        """The cost of a batch whose answers end after `answer` tokens."""
        read = self._reading(seconds).scaled(self.utterances)
        step = self._step_flops() * self.utterances * self.rows
        once = gpu.seconds(read.flops, gpu.shares.prompts)
        each = gpu.step_seconds(self._weights(), read.cache, step)
        return Work(read.flops + answer * step, once + answer * each)

    def _reading(self, seconds: float) -> Cost:
        """The cost of reading one utterance's prompts, encoding it once; it scales with the number of utterances."""
        return self.meter(Run(self._prompts(seconds), trained_before=self.parts, learns=False, cached=self.cached))

    def _prompts(self, seconds: float) -> Lengths:
        return Lengths(1 if self.shared else self.rows, seconds, self.prompt, 0, audio_rows=1)

    def _step_flops(self) -> float:
        """Operations per token: two for each weight of the language model's layers and head."""
        sizes = self.meter.sizes
        adapters = sizes["lm_lora"] if "lm_lora" in self.parts else 0
        return 2.0 * (self._layers() + adapters + sizes["embedding"])  # the head has the embedding's size

    def _weights(self) -> float:
        """Bytes read per step: the language model's layers, adapters and head."""
        sizes = self.meter.sizes
        adapters = sizes["lm_lora"] if "lm_lora" in self.parts else 0
        head_bytes = 4 if "head" in self.parts else 2
        return 2.0 * self._layers() + 4.0 * adapters + float(head_bytes * sizes["embedding"])

    def _layers(self) -> int:
        sizes = self.meter.sizes
        return sizes["language_model"] - sizes["embedding"] - sizes["head"]


def score_bytes(rows: int, vocabulary: int) -> float:
    """Bytes of a search step's scores."""
    return 4.0 * _SCORE_COPIES * rows * vocabulary
