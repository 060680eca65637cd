"""What generating answers costs: keys and values, operations, and the time to read the weights at every step."""

from __future__ import annotations

from dataclasses import dataclass

from mlcslm.config.stages import Part, ReinforcementConfig
from mlcslm.plan.fake_model import ADAPTERS
from mlcslm.plan.micro_batch import Cost, Lengths, Meter, Run
from mlcslm.plan.throughput import Gpu

_COPIES = 2.0
"""Factor for keys and values: spare buffer capacity, and copies while buffers grow or move."""
_SCORE_COPIES = 4
"""Float32 scores of the whole vocabulary that a search step holds at once: log-probabilities, noise, sums."""


_UNMERGED_LAUNCHES = 82 / 40
"""Kernels per layer and step with adapters beside the weights, and with merged ones."""


@dataclass(frozen=True)
class Work:
    """A batch's operations, and its seconds on a GPU."""

    flops: float
    seconds: float

    def __add__(self, other: Work) -> Work:
        return Work(self.flops + other.flops, self.seconds + other.seconds)

    def scaled(self, factor: float) -> Work:
        """`factor` such batches, one after the other."""
        return Work(self.flops * factor, self.seconds * factor)


@dataclass(frozen=True)
class Generating:
    """Answers to a batch of `utterances`, with `rows` beams or samples each.

    parts: trained parts, whose weights are float32; none for a decoding, whose model is all bfloat16; adapters among
    them are not merged. shared: all rows of an utterance share its prompt's keys and values; cached: encoder outputs
    are read, not computed.
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
        return self.reading(seconds, gpu) + self.growing(seconds, answer, gpu)

    def reading(self, seconds: float, gpu: Gpu) -> Work:
        """The cost of encoding the utterances and reading the prompts."""
        flops = self.utterances * self._reading(seconds).flops
        return Work(flops, gpu.seconds(flops, gpu.shares.prompts))

    def growing(self, seconds: float, answer: int, gpu: Gpu) -> Work:
        """The cost of `answer` tokens after the prompts."""
        step = self._step_flops() * self.utterances * self.rows
        cache = self.utterances * self._reading(seconds).cache
        launches = _UNMERGED_LAUNCHES if "lm_lora" in self.parts else 1.0
        return Work(answer * step, answer * gpu.step_seconds(self._weights(), cache, step, launches))

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


@dataclass(frozen=True)
class Sampling:
    """Answers to a step's utterances as `roll_out` samples them: one batch, adapters merged into copies of the weights.

    parts: those trained; prompt: tokens without the audio.
    """

    meter: Meter
    stage: ReinforcementConfig
    parts: tuple[Part, ...]
    prompt: int
    cached: bool

    def memory(self, utterances: int, seconds: float, answer: int) -> float:
        """Peak bytes beyond the weights, with the merged copies of those that have adapters."""
        sizes = self.meter.sizes
        copied = sizes["language_model"] - sizes["embedding"] - sizes["head"] if "lm_lora" in self.parts else 0
        copied += sizes["encoder"] if "encoder_lora" in self.parts else 0
        return 2.0 * copied + max(sum(one.memory(seconds, answer)) for one in self._requests(utterances))

    def work(self, utterances: int, seconds: float, answer: int, gpu: Gpu) -> Work:
        """The cost of all answers: the prompts are read once, then one request grows after the other."""
        requests = self._requests(utterances)
        once = self._request(utterances, 1, shared=True).reading(seconds, gpu)
        return sum((one.growing(seconds, answer, gpu) for one in requests), once)

    def _requests(self, utterances: int) -> list[Generating]:
        """Samples have copies of their prompt's keys and values, beams share them."""
        stage = self.stage
        beams = [self._request(utterances, stage.beams, shared=True)] if stage.beam_rollouts else []
        samples = stage.rollouts - stage.beam_rollouts
        return ([self._request(utterances, samples, shared=False)] if samples else []) + beams

    def _request(self, utterances: int, rows: int, *, shared: bool) -> Generating:
        merged = tuple(part for part in self.parts if part not in ADAPTERS)
        return Generating(self.meter, merged, utterances, rows, self.prompt, shared, self.cached)
