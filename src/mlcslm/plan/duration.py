"""How long a run will take on this machine, reckoned in a moment: operations in closed form, over a measured speed.

`mlcslm plan` counts the operations of the model itself, which takes a quarter of a minute; these formulas are within
a tenth of it (a test compares them) and load neither PyTorch nor transformers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mlcslm.config.model_sources import split_source
from mlcslm.config.schema import Config
from mlcslm.config.stages import ReinforcementConfig, transcripts_in_prompt
from mlcslm.errors import UserError
from mlcslm.plan.throughput import Throughput, read_throughput
from mlcslm.plan.workload import ASSUMED, SplitSize, split_sizes
from mlcslm.workflow.layout import Layout

SHARES = {"float32": 0.45, "bfloat16": 0.15}
"""Share of a matrix product's speed that a training step of the demo's size reaches: `benchmarks/demo.py` measures it.
In bfloat16 the products are so fast that a step mostly waits for everything else."""
DECODING_SHARE = 0.10
"""The same of decoding, whose products are with few columns."""
OVERHEAD_S = {
    "train": 12.0,
    "decode": 8.0,
    "decode_training_set": 8.0,
    "decode_fold": 8.0,
    "encoder_cache": 8.0,
    "demo_corpus": 30.0,
    "train_ctc_head": 30.0,
    "train_ctc_fold_head": 30.0,
}
"""Seconds that a job takes besides: importing, loading, writing (docs/log.md); those of CTC heads, in all."""
_OTHER_S = 3.0
_EMBEDDING_S = 60.0
_DIARIZING = {"train_embedding", "diarize", "transcribe_segments", "answer_sessions"}
_FRAMES_A_SECOND, _FRAMES_A_TOKEN = 50, 5
_SHAPES = Path(__file__).with_name("shapes.yaml")


@dataclass(frozen=True)
class PlannedJob:
    """A job that remains to be done. needs: identities of those it waits for."""

    identity: int
    rule: str
    wildcards: Mapping[str, str]
    needs: tuple[int, ...] = ()


@dataclass(frozen=True)
class Speed:
    """Operations per second of one core's product of two matrices of 1024 x 1024, and the type of its numbers."""

    flops: float
    dtype: str


class Operations:
    """Operations of a configuration's jobs. Raises UserError for foundation models of unknown shape."""

    def __init__(self, config: Config, throughput: Throughput, splits: Mapping[str, SplitSize]) -> None:
        self.config = config
        self.layout = Layout(config)
        self.text_lengths = throughput.text
        self.splits = splits
        audio, text = _shape(config.models.encoder), _shape(split_source(config.models.language_model)[0])
        rank = config.models.lora.rank
        self.width = audio["d_model"]
        self.encoder_layers, self.layers = audio["encoder_layers"], text["num_hidden_layers"]
        feed = audio["encoder_ffn_dim"]
        # Weights that each frame, position, audio token or labelled position is multiplied with.
        self.encoder = self.encoder_layers * (4 * self.width**2 + 2 * self.width * feed)
        self.convolutions = 2 * 3 * audio["num_mel_bins"] * self.width + 3 * self.width**2
        self.encoder_lora = rank * self.encoder_layers * (8 * self.width + 2 * (self.width + feed))
        self.hidden = text["hidden_size"]
        head = text.get("head_dim") or self.hidden // text["num_attention_heads"]
        self.queries, keys = head * text["num_attention_heads"], head * text["num_key_value_heads"]
        inner = text["intermediate_size"]
        self.language_model = self.layers * self.hidden * (2 * self.queries + 2 * keys + 3 * inner)
        pairs = 2 * (self.hidden + self.queries) + 2 * (self.hidden + keys) + 3 * (self.hidden + inner)
        self.lm_lora = rank * self.layers * pairs
        self.head = self.hidden * text["vocab_size"]
        wide = config.models.projector_hidden
        self.projector = _FRAMES_A_TOKEN * self.width**2 + self.width * wide + wide * self.hidden

    def of(self, job: PlannedJob) -> float:
        """Operations of a job; 0 for one that multiplies no large matrices."""
        wildcards = job.wildcards
        if job.rule == "train":
            stage = self.config.stages[wildcards["checkpoint"]]
            return stage.steps * self.step(wildcards["checkpoint"])
        if job.rule == "encoder_cache":
            split = self.splits[wildcards["split"]]
            variants = self.config.augmentation.cached_variants if wildcards["split"] == "train" else 1
            return variants * split.utterances * self._encoding(split.mean_s)
        if job.rule in ("decode", "decode_training_set", "decode_fold"):
            split = self.splits[wildcards.get("split", "train")]
            name = wildcards.get("decoding", self.config.reasoning.decoding)
            parts = len(self.layout.shards())
            if "split" not in wildcards:
                parts *= self.config.fold_count(wildcards["checkpoint"])
            return split.utterances / parts * self.answering(wildcards["checkpoint"], name, split)
        return 0.0

    def step(self, name: str) -> float:
        """Operations of an optimiser step of a stage, with utterances of mean length."""
        stage = self.config.stages[name]
        seconds = self.splits["train"].mean_s
        frames = _FRAMES_A_SECOND * seconds
        audio = frames / _FRAMES_A_TOKEN
        utterances = stage.batch_size * stage.accumulation
        trained = {part for one in (name, *self.config.lineage(name)) for part in self.config.stages[one].trains}
        rows = utterances
        answer: float = self.text_lengths.answer_tokens(stage.template, seconds)
        lines = round(transcripts_in_prompt(stage) * self.text_lengths.tokens_a_second * seconds)
        prompt = self.text_lengths.prompt[stage.template] + lines
        if isinstance(stage, ReinforcementConfig):
            rows, answer = utterances * stage.rollouts, min(answer, stage.max_new_tokens)
        positions = audio + prompt + answer
        # Two operations per weight forwards and two backwards; two more for the gradient of a trained weight.
        adapters = self.lm_lora if "lm_lora" in trained else 0
        attention = 2 * self.layers * self.queries * positions
        again = 1 if stage.gradient_checkpointing else 0  # the forward pass, for the backward one
        language = positions * (
            (4 + 2 * again) * self.language_model + (6 + 2 * again) * adapters + (3.5 + again) * attention
        )
        head = answer * self.head * (6 if "head" in stage.trains else 4)
        projector = audio * self.projector * 6
        encoder = heard = 0.0
        if not self.layout.uses_cache(name, "train"):
            encoder = heard = self._encoding(seconds, adapters="encoder_lora" in trained)
            if "encoder_lora" in stage.trains:
                encoder = (2 + again) * heard + frames * 2 * self.encoder_lora
        if not isinstance(stage, ReinforcementConfig):
            return rows * (language + head + projector) + utterances * encoder
        # Read by the parent as well; sampled before, once per rollout or beam, all from prompts that are read once.
        read = positions * (2 * self.language_model + 2 * adapters + attention) + answer * self.head * 4
        sampled = stage.rollouts - stage.beam_rollouts + (stage.beams if stage.beam_rollouts else 0)
        written = sampled * min(1.5 * answer, stage.max_new_tokens)
        writing = 2 * (written * (self.language_model + self.head) + (prompt + audio) * self.language_model)
        return rows * (language + head + projector + read) + utterances * (encoder + 2 * heard + writing)

    def answering(self, checkpoint: str, decoding: str, split: SplitSize) -> float:
        """Operations of transcribing an utterance of mean length."""
        settings, template = self.config.decodings[decoding], self.config.stages[checkpoint].template
        answer = min(1.5 * self.text_lengths.answer_tokens(template, split.mean_s), settings.max_new_tokens)
        audio = _FRAMES_A_SECOND * split.mean_s / _FRAMES_A_TOKEN
        first_pass = transcripts_in_prompt(self.config.stages[checkpoint], context=False)
        lines = first_pass * self.text_lengths.tokens_a_second * split.mean_s
        read = audio + self.text_lengths.prompt[template] + lines
        encoder = 0.0 if self.layout.uses_cache(checkpoint, "dev") else self._encoding(split.mean_s)
        return encoder + 2 * self.language_model * (read + settings.rows * answer) + 2 * self.head * answer

    def _encoding(self, seconds: float, *, adapters: bool = False) -> float:
        frames = _FRAMES_A_SECOND * seconds
        weights = self.encoder + self.convolutions + (self.encoder_lora if adapters else 0)
        return frames * (2 * weights + 4 * self.encoder_layers * self.width * frames)


def _shape(source: str) -> dict[str, Any]:
    """A foundation model's config.json, from its folder or the shipped table."""
    file = Path(source) / "config.json"
    if file.is_file():
        values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return values
    known: dict[str, dict[str, Any]] = yaml.safe_load(_SHAPES.read_text(encoding="utf-8"))
    if source not in known:
        raise UserError(f"{source}: its shape is unknown until it is downloaded.")
    return known[source]


def seconds_of(jobs: Sequence[PlannedJob], operations: Operations, speed: Speed, cores: int) -> float:
    """Seconds that the jobs will take on so many cores: of the longest chain, or of all shared among the cores."""
    seconds = {job.identity: _seconds(job, operations, speed) for job in jobs}
    needs = {job.identity: [one for one in job.needs if one in seconds] for job in jobs}
    ends: dict[int, float] = {}

    def end(identity: int) -> float:
        if identity not in ends:
            ends[identity] = seconds[identity] + max(map(end, needs[identity]), default=0.0)
        return ends[identity]

    longest = max(map(end, seconds), default=0.0)
    return max(longest, sum(seconds.values()) / max(1, cores))


def _seconds(job: PlannedJob, operations: Operations, speed: Speed) -> float:
    if job.rule in _DIARIZING:
        return _EMBEDDING_S
    share = SHARES[speed.dtype] if job.rule in ("train", "encoder_cache") else DECODING_SHARE
    return OVERHEAD_S.get(job.rule, _OTHER_S) + operations.of(job) / (speed.flops * share)


_MEASURE = """
import time, torch
torch.set_num_threads(1)
native = any(torch.cpu.get_capabilities().get(name, False) for name in ("avx512_bf16", "amx_bf16"))
dtype = torch.bfloat16 if native and PRECISION == "auto" else torch.float32
first = torch.randn(1024, 1024).to(dtype)
first @ first
best, begun = 1e9, time.perf_counter()
while time.perf_counter() < begun + SECONDS:
    start = time.perf_counter()
    first @ first
    best = min(best, time.perf_counter() - start)
print(2 * 1024**3 / best, str(dtype).removeprefix("torch."))
"""


def measure_speed(precision: str, seconds: float = 2.0) -> Speed:
    """The speed of one core, in the precision that training will use (`resources.cpu_precision`); takes `seconds` and
    an import of PyTorch, in a process of its own. Raises OSError or ValueError if it cannot be measured."""
    program = _MEASURE.replace("PRECISION", repr(precision)).replace("SECONDS", repr(seconds))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    try:
        flops, dtype = done.stdout.split()
    except ValueError:
        raise ValueError(f"no speed measured: {done.stderr.strip()[-200:]}") from None
    return Speed(float(flops), dtype)


def forecast(config: Config, jobs: Iterable[PlannedJob], cores: int, what: str) -> str | None:
    """A sentence on how long `what` will take here, None if that cannot be told. Takes some five seconds."""
    jobs = list(jobs)
    if not any(job.rule in ("train", "decode", "encoder_cache") for job in jobs):
        return None  # over before it would be measured
    try:
        throughput = read_throughput("config/throughput.yaml")
        splits = split_sizes(Layout(config), throughput.corpus)
        operations = Operations(config, throughput, dict(splits.items()))
        speed = measure_speed(config.resources.cpu_precision)
        seconds = seconds_of(jobs, operations, speed, cores)
    except (UserError, OSError, ValueError, KeyError, subprocess.TimeoutExpired):
        return None
    machine = f"{cores} core{'s' * (cores > 1)}, {speed.flops / 1e9:.0f} GFLOP/s each in {speed.dtype}"
    unknown = ", ".join(name for name, size in splits.items() if size.source == ASSUMED)
    condition = f", if {unknown} were as large as MLC-SLM's" if unknown else ""
    return f"{what}: about {_rounded(seconds)} on this machine ({machine}){condition}"


def _rounded(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 1:
        return "a minute"
    return f"{minutes:.0f} minutes" if minutes < 90 else f"{minutes / 60:.0f} hours"
