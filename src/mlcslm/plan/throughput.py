"""What plans are based on (config/throughput.yaml): GPUs, their utilisation, the corpus, lengths of texts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from mlcslm.config.base import Section
from mlcslm.config.checkout import here_or_checkout
from mlcslm.errors import FaultyInput, UserError
from mlcslm.text.templates import Template

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]
Split = Literal["train", "dev", "test"]
GIB = 2**30


class Shares(Section):
    """A GPU's utilisation by kind of work, as shares of its peak; source: "assumed", or where it was measured."""

    source: str = "assumed"
    training: Share = 0.35
    training_adapters: Share = 0.20
    encoder: Share = 0.30
    prompts: Share = 0.40
    embeddings: Share = 0.10
    bandwidth: Share = 0.60
    step_ms: Positive = 30
    diarization: Positive = 0.005


class Gpu(Section):
    """A GPU: its memory, the part of it not available to tensors, its dense bfloat16 peak, its memory bandwidth."""

    name: str
    memory_gib: Positive
    reserved_gib: float = Field(4.0, ge=0)
    bfloat16_tflops: Positive
    bandwidth_gb_s: Positive
    shares: Shares = Field(default_factory=Shares)

    @property
    def usable_bytes(self) -> float:
        """Memory available to tensors."""
        return (self.memory_gib - self.reserved_gib) * GIB

    def seconds(self, flops: float, share: float) -> float:
        """Seconds for `flops` operations at `share` of the peak."""
        return flops / (self.bfloat16_tflops * 1e12 * share)

    def step_seconds(self, weights: float, cache: float, flops: float, launches: float = 1.0) -> float:
        """Seconds of a decoding step, which reads weights and cache (bytes) once and performs `flops` operations.

        launches: how many times as many kernels it launches as with merged adapters.
        """
        reading = (weights + cache) / (self.bandwidth_gb_s * 1e9 * self.shares.bandwidth)
        return max(reading, self.seconds(flops, self.shares.prompts), launches * self.shares.step_ms / 1000)


class CorpusSize(Section):
    """A corpus without manifests yet: hours of utterances and of recordings by split, seconds per utterance."""

    hours: dict[Split, Positive]
    recordings_h: dict[Split, Positive]
    mean_s: Positive
    max_duration_s: Positive


class TextLengths(Section):
    """Transcript tokens per second of speech; by template, tokens of prompts and of an answer's frame, and how often an
    answer repeats the transcript."""

    tokens_a_second: Positive
    prompt: dict[Template, int]
    answer: dict[Template, int]
    answer_times: dict[Template, Positive]

    def answer_tokens(self, template: Template, seconds: float) -> int:
        """Tokens of the answer to this many seconds of speech, including its end token."""
        return self.answer[template] + round(self.answer_times[template] * self.tokens_a_second * seconds)


class Host(Section):
    """What a job's processes take of the machine around the GPU.

    features_ms: milliseconds of one core to read a second of speech and compute its log-mel features; process_gib,
    worker_gib: memory of a process that trains, and of one that prepares batches, without weights and utterances;
    utterance_bytes: of each utterance of the manifest, in each of these processes.
    """

    features_ms: Positive = 1.0
    process_gib: Positive = 4.0
    worker_gib: Positive = 0.6
    utterance_bytes: Positive = 1000

    def reading_s(self, seconds: float, workers: int = 1) -> float:
        """Seconds that so many processes need to read `seconds` of speech."""
        return seconds * self.features_ms / 1000 / workers


class Throughput(Section):
    """config/throughput.yaml."""

    gpu: str
    host: Host = Field(default_factory=Host)
    gpus: dict[str, Gpu]
    corpus: CorpusSize
    text: TextLengths

    @model_validator(mode="after")
    def _gpu_is_known(self) -> Throughput:
        if self.gpu not in self.gpus:
            raise ValueError(f"gpu is {self.gpu!r}; expected one of {', '.join(self.gpus)}")
        return self


def read_throughput(path: str | Path, gpu: str | None = None) -> Throughput:
    """Read and check a throughput table; gpu: overrides the table's choice.

    Raises UserError, or FaultyInput naming each faulty key.
    """
    import yaml

    path = here_or_checkout(path)
    if not path.is_file():
        raise UserError(f"{path}: no such throughput table. The repository ships config/throughput.yaml.")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise UserError(f"{path}: found {type(values).__name__}, expected a mapping of sections.")
        return Throughput.model_validate(values | {"gpu": gpu} if gpu else values)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {error}") from None
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise FaultyInput(f"{path}: {len(faults)} fault(s); see docs/plan.md", faults) from None
