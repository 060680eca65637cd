"""What each training stage needs: parameters, memory by part, tokens and operations per step, GPU hours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

from mlcslm.config.schema import Config
from mlcslm.config.stages import MUON_PARTS, Part, ReinforcementConfig, Stage, StageConfig, transcripts_in_prompt
from mlcslm.model.parts import PARTS
from mlcslm.plan import scaling
from mlcslm.plan.fake_model import ADAPTERS, stage_bytes
from mlcslm.plan.generation import Sampling, Work
from mlcslm.plan.micro_batch import Cost, Lengths, Meter, Run
from mlcslm.plan.throughput import GIB, Gpu, Host, TextLengths
from mlcslm.plan.workload import SplitSize

FLOAT32 = 4
_TILE_BYTES = 2**30
"""What trl's head, which computes log-probabilities in tiles, needs at most besides the gradient of its weights."""


@dataclass(frozen=True)
class StagePlan:
    """A stage's plan.

    trained: parameters by part; memory: bytes by part for the longest utterances, in one process; shared_bytes: total
    memory of each of two processes, which copy the gradients to add them up in buckets, but sample half the answers;
    host_bytes: of the machine's memory, per process; tokens: positions that the language model reads or writes in an
    optimiser step with utterances of mean length; flops, seconds: of such a step, on one GPU; speedups: how many times
    as fast it is on several, by their number.
    """

    name: str
    parent: str
    steps: int
    utterances: int
    parameters: int
    trained: Mapping[str, int]
    memory: Mapping[str, int]
    tokens: int
    flops: float
    seconds: float
    speedups: Mapping[int, float]
    shared_bytes: int
    host_bytes: float

    @property
    def trainable(self) -> int:
        """Number of trained parameters."""
        return sum(self.trained.values())

    @property
    def peak_bytes(self) -> int:
        """Total memory."""
        return sum(self.memory.values())

    @property
    def gpu_hours(self) -> float:
        """Hours on one GPU for all steps."""
        return self.steps * self.seconds / 3600


def _momentum_alone(stage: Stage, trained: Mapping[str, int]) -> int:
    """Weights of which the optimiser keeps one moment instead of AdamW's two."""
    return sum(trained.get(part, 0) for part in MUON_PARTS) if stage.optimizer == "muon" else 0


@dataclass(frozen=True)
class Planner:
    """Plans stages of `config` for `gpu`.

    train: the size of the training split; lengths: seconds of some utterances, to simulate how they are dealt to
    processes.
    """

    config: Config
    meter: Meter
    text: TextLengths
    train: SplitSize
    gpu: Gpu
    host: Host = field(default_factory=Host)
    lengths: Sequence[float] = ()

    def __call__(self, name: str) -> StagePlan:
        """The plan of stage `name`."""
        stage = self.config.stages[name]
        before = self.trained_before(name)
        sizes = self.meter.sizes
        trained: dict[str, int] = {part: sizes[part] for part in get_args(Part) if part in stage.trains}
        trainable = sum(trained.values())
        present = ("encoder", "language_model", "projector", *ADAPTERS & {*before, *stage.trains})
        memory = {
            "weights": stage_bytes(sizes, (*before, *stage.trains)),
            "gradients": FLOAT32 * trainable,
            "optimiser": FLOAT32 * (2 * trainable - _momentum_alone(stage, trained)),
        }
        if isinstance(stage, ReinforcementConfig):
            memory["reference"] = FLOAT32 * trainable if stage.kl_weight else 0
            step = _reinforcement(self, name, stage)
        else:
            step = _supervised(self, name, stage)
        return StagePlan(
            name=name,
            parent=stage.parent,
            steps=stage.steps,
            utterances=stage.batch_size * stage.accumulation,
            parameters=sum(sizes[part] for part in present),
            trained=trained,
            memory=memory | step.memory,
            tokens=step.tokens,
            flops=step.flops,
            seconds=step.seconds,
            speedups=step.speedups,
            shared_bytes=sum((memory | step.memory | step.shared).values()) + FLOAT32 * trainable,
            host_bytes=memory["weights"] + self._host_bytes(),
        )

    def _host_bytes(self) -> float:
        """Memory of a process and its workers, without the weights, which are in it while they are loaded."""
        host, workers = self.host, self.config.resources.data_workers
        rows = self.train.utterances * host.utterance_bytes
        return GIB * (host.process_gib + workers * host.worker_gib) + (1 + workers) * rows

    def with_reading(self, name: str, utterances: int, seconds: float) -> float:
        """Seconds of a step whose computing takes `seconds`, with reading its utterances beside it or, without workers,
        before it."""
        if self.cached(name):
            return seconds
        workers = self.config.resources.data_workers
        reading = self.host.reading_s(utterances * self.train.mean_s, max(1, workers))
        return max(seconds, reading) if workers else seconds + reading

    def trained_before(self, name: str) -> tuple[Part, ...]:
        """Parts trained by the ancestors of `name`."""
        ancestors = self.config.lineage(name)[1:]
        trained = {part for ancestor in ancestors for part in self.config.stages[ancestor].trains}
        return tuple(part for part in PARTS if part in trained)

    def prompt_tokens(self, stage: StageConfig | ReinforcementConfig, seconds: float) -> int:
        """Prompt tokens without the audio."""
        lines = transcripts_in_prompt(stage)
        return self.text.prompt[stage.template] + round(lines * self.text.tokens_a_second * seconds)

    def cached(self, name: str) -> bool:
        """Whether a stage reads encoder outputs from the cache."""
        return self.config.resources.cache_encoder and self.config.encoder_of(name) != name

    def share(self, stage: Stage, before: tuple[Part, ...]) -> float:
        """The share of the GPU's peak that a training step reaches."""
        shares = self.gpu.shares
        return shares.training_adapters if ADAPTERS & {*stage.trains, *before} else shares.training


@dataclass(frozen=True)
class Step:
    """An optimiser step: working memory by part (and of each of two processes, where that differs), tokens, operations,
    seconds, and how many times as fast it is on several GPUs."""

    memory: dict[str, int]
    shared: dict[str, int]
    tokens: int
    flops: float
    seconds: float
    speedups: Mapping[int, float]


def _supervised(planner: Planner, name: str, stage: StageConfig) -> Step:
    before = planner.trained_before(name)

    def run(seconds: float) -> Run:
        lengths = Lengths(
            stage.batch_size,
            seconds,
            planner.prompt_tokens(stage, seconds),
            planner.text.answer_tokens(stage.template, seconds),
        )
        return Run(
            lengths,
            trains=stage.trains,
            trained_before=before,
            cached=planner.cached(name),
            checkpointing=stage.gradient_checkpointing,
        )

    mean = run(planner.train.mean_s)
    flops = stage.accumulation * planner.meter(mean).flops
    longest = planner.meter(run(min(stage.max_duration_s, planner.train.max_duration_s)))
    tokens = stage.accumulation * mean.lengths.tokens
    seconds = planner.gpu.seconds(flops, planner.share(stage, before))
    return Step(
        memory={"activations": round(longest.peak)},
        shared={},
        tokens=tokens,
        flops=flops,
        seconds=planner.with_reading(name, stage.batch_size * stage.accumulation, seconds),
        speedups=scaling.supervised(planner.lengths, stage.batch_size, stage.accumulation),
    )


def _reinforcement(planner: Planner, name: str, stage: ReinforcementConfig) -> Step:
    """Sampling answers and learning from them; memory is that of the phase that needs more."""
    before = planner.trained_before(name)
    max_duration_s = min(stage.max_duration_s, planner.train.max_duration_s)
    parts = tuple(dict.fromkeys((*before, *stage.trains)))
    mean_answer = min(planner.text.answer_tokens(stage.template, planner.train.mean_s), stage.max_new_tokens)
    cached = planner.cached(name)
    cost, tokens = _learning(planner, stage, before, planner.train.mean_s, mean_answer, cached=cached)
    learning, _ = _learning(planner, stage, before, max_duration_s, stage.max_new_tokens, cached=cached)
    utterances = stage.batch_size * stage.accumulation
    sampling = Sampling(planner.meter, stage, parts, planner.prompt_tokens(stage, max_duration_s), cached)
    # There are no gradients while answers are sampled.
    held = max(0.0, learning.peak) + FLOAT32 * sum(planner.meter.sizes[part] for part in stage.trains)

    def beyond(count: int) -> int:
        return round(max(0.0, sampling.memory(count, max_duration_s, stage.max_new_tokens) - held))

    def work(count: int) -> Work:
        # Beams are kept until the last of a batch has ended, about as long as the longest answer.
        answer = min(round(1.5 * mean_answer), stage.max_new_tokens)
        return sampling.work(count, planner.train.mean_s, answer, planner.gpu)

    updates = stage.accumulation * cost.flops
    learning_s = planner.gpu.seconds(updates, planner.share(stage, before))
    seconds = planner.with_reading(name, utterances, learning_s + work(utterances).seconds)
    return Step(
        memory={
            "activations": round(max(0.0, learning.peak)),
            "sampling beyond": beyond(utterances),
        },
        shared={"sampling beyond": beyond(-(-utterances // 2))},
        tokens=stage.accumulation * tokens,
        flops=updates + work(utterances).flops,
        seconds=seconds,
        speedups=scaling.reinforcement(
            planner.lengths, stage.batch_size, stage.accumulation, learning_s, lambda count: work(count).seconds
        ),
    )


def _learning(
    planner: Planner,
    stage: ReinforcementConfig,
    before: tuple[Part, ...],
    seconds: float,
    answer: int,
    *,
    cached: bool,
) -> tuple[Cost, int]:
    """Cost and tokens of learning from one micro-batch: with a `kl_weight` the parent's log-probabilities, then
    forward and backward."""
    rows = stage.batch_size * stage.rollouts
    heard = min(rows, stage.batch_size * stage.accumulation)  # trl distributes a step's rows at random
    lengths = Lengths(
        rows, seconds, planner.prompt_tokens(stage, seconds), answer, heard if rows % heard == 0 else rows
    )
    run = Run(
        lengths,
        trains=stage.trains,
        trained_before=before,
        cached=cached,
        all_logits=False,
        checkpointing=stage.gradient_checkpointing,
    )
    learning = planner.meter(run)
    text = planner.meter.shapes.language_model
    # Per answer token: the parent's and its own logits, the latter recomputed for the backward pass, and two gradients.
    head = 2 * rows * answer * text.hidden_size * planner.meter.shapes.rows
    gradient = FLOAT32 * text.hidden_size * planner.meter.shapes.rows if "head" in stage.trains else 0
    tile = min(_TILE_BYTES, 2 * FLOAT32 * rows * answer * planner.meter.shapes.rows)
    flops = learning.flops + (5 if stage.kl_weight else 4) * head
    if stage.kl_weight:
        flops += planner.meter(Run(lengths, stage.trains, before, learns=False, cached=cached)).flops
    cost = Cost(flops, learning.peak + gradient + tile)
    return cost, lengths.tokens
