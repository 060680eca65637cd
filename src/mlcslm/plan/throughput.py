"""What plans reckon with (config/throughput.yaml): GPUs, how busy they are kept, the corpus, lengths of texts."""

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
    """How busy a GPU is kept, of its peak, by kind of work; source: "assumed", or where it was measured."""

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
    """A GPU: its memory, of which so much is never a tensor's, its peak in dense bfloat16, its memory's bandwidth."""

    name: str
    memory_gib: Positive
    reserved_gib: float = Field(4.0, ge=0)
    bfloat16_tflops: Positive
    bandwidth_gb_s: Positive
    shares: Shares = Field(default_factory=Shares)

    @property
    def usable_bytes(self) -> float:
        """Memory for tensors."""
        return (self.memory_gib - self.reserved_gib) * GIB

    def seconds(self, flops: float, share: float) -> float:
        """How long `flops` operations take at `share` of the peak."""
        return flops / (self.bfloat16_tflops * 1e12 * share)

    def step_seconds(self, weights: float, cache: float, flops: float) -> float:
        """How long a step of decoding takes, which reads weights and cache (bytes) once and does `flops`."""
        reading = (weights + cache) / (self.bandwidth_gb_s * 1e9 * self.shares.bandwidth)
        return max(reading, self.seconds(flops, self.shares.prompts), self.shares.step_ms / 1000)


class CorpusSize(Section):
    """A corpus that is not there yet: hours of utterances and of recordings by split, seconds an utterance lasts."""

    hours: dict[Split, Positive]
    recordings_h: dict[Split, Positive]
    mean_s: Positive
    max_duration_s: Positive


class TextLengths(Section):
    """Tokens of transcripts a second of speech; of prompts and of an answer's frame by template; how often an answer
    has the transcript."""

    tokens_a_second: Positive
    prompt: dict[Template, int]
    answer: dict[Template, int]
    answer_times: dict[Template, Positive]

    def answer_tokens(self, template: Template, seconds: float) -> int:
        """Tokens of the answer to so many seconds of speech, its end among them."""
        return self.answer[template] + round(self.answer_times[template] * self.tokens_a_second * seconds)


class Throughput(Section):
    """config/throughput.yaml."""

    gpu: str
    gpus: dict[str, Gpu]
    corpus: CorpusSize
    text: TextLengths

    @model_validator(mode="after")
    def _gpu_is_known(self) -> Throughput:
        if self.gpu not in self.gpus:
            raise ValueError(f"gpu is {self.gpu!r}; expected one of {', '.join(self.gpus)}")
        return self


def read_throughput(path: str | Path, gpu: str | None = None) -> Throughput:
    """Read and check a throughput table; gpu: which one to reckon with instead of its own choice.

    Raises UserError, or FaultyInput that names each faulty key.
    """
    import yaml

    path = here_or_checkout(path)
    if not path.is_file():
        raise UserError(f"{path}: no such throughput table. The repository's is config/throughput.yaml.")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise UserError(f"{path}: found {type(values).__name__}, expected a mapping of sections.")
        return Throughput.model_validate(values | {"gpu": gpu} if gpu else values)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {error}") from None
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise FaultyInput(f"{path}: {len(faults)} fault(s); docs/plan.md describes it", faults) from None
