"""What each training stage needs: parameters, memory by part, tokens and operations per step, GPU hours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from mlcslm.config.schema import Config
from mlcslm.config.stages import Part, ReinforcementConfig, Stage, StageConfig
from mlcslm.model.parts import PARTS
from mlcslm.plan.fake_model import ADAPTERS, stage_bytes
from mlcslm.plan.generation import Generating
from mlcslm.plan.micro_batch import Cost, Lengths, Meter, Run
from mlcslm.plan.throughput import Gpu, TextLengths
from mlcslm.plan.workload import SplitSize

FLOAT32 = 4
_TILE_BYTES = 2**30
"""What trl's head, which computes log-probabilities in tiles, needs at most besides the gradient of its weights."""


@dataclass(frozen=True)
class StagePlan:
    """A stage's plan.

    trained: parameters by part; memory: bytes by part for the longest utterances, in one process; tokens: positions
    that the language model reads or writes in an optimiser step with utterances of mean length; flops, seconds: of such
    a step, on one GPU.
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


@dataclass(frozen=True)
class Planner:
    """Plans stages of `config` for `gpu`; train: the size of the training split."""

    config: Config
    meter: Meter
    text: TextLengths
    train: SplitSize
    gpu: Gpu

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
            "optimiser": 2 * FLOAT32 * trainable,
        }
        if isinstance(stage, ReinforcementConfig):
            memory["reference"] = FLOAT32 * trainable if stage.kl_weight else 0
            working, tokens, flops, seconds = _reinforcement(self, name, stage)
        else:
            working, tokens, flops, seconds = _supervised(self, name, stage)
        return StagePlan(
            name=name,
            parent=stage.parent,
            steps=stage.steps,
            utterances=stage.batch_size * stage.accumulation,
            parameters=sum(sizes[part] for part in present),
            trained=trained,
            memory=memory | working,
            tokens=tokens,
            flops=flops,
            seconds=seconds,
        )

    def trained_before(self, name: str) -> tuple[Part, ...]:
        """Parts trained by the ancestors of `name`."""
        ancestors = self.config.lineage(name)[1:]
        trained = {part for ancestor in ancestors for part in self.config.stages[ancestor].trains}
        return tuple(part for part in PARTS if part in trained)

    def prompt_tokens(self, stage: StageConfig | ReinforcementConfig, seconds: float) -> int:
        """Prompt tokens without the audio."""
        context = getattr(stage, "context", 0)
        return self.text.prompt[stage.template] + round(context * self.text.tokens_a_second * seconds)

    def cached(self, name: str) -> bool:
        """Whether a stage reads encoder outputs from the cache."""
        return self.config.resources.cache_encoder and self.config.encoder_of(name) != name

    def share(self, stage: Stage, before: tuple[Part, ...]) -> float:
        """The share of the GPU's peak that a training step reaches."""
        shares = self.gpu.shares
        return shares.training_adapters if ADAPTERS & {*stage.trains, *before} else shares.training


Step = tuple[dict[str, int], int, float, float]
"""Working memory by part, and an optimiser step's tokens, operations and seconds."""


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
    return {"activations": round(longest.peak)}, tokens, flops, planner.gpu.seconds(flops, planner.share(stage, before))


def _reinforcement(planner: Planner, name: str, stage: ReinforcementConfig) -> Step:
    """Sampling answers and learning from them; memory is that of the phase that needs more."""
    before = planner.trained_before(name)
    max_duration_s = min(stage.max_duration_s, planner.train.max_duration_s)
    parts = tuple(dict.fromkeys((*before, *stage.trains)))
    mean_answer = min(planner.text.answer_tokens(stage.template, planner.train.mean_s), stage.max_new_tokens)
    cached, prompt = planner.cached(name), planner.prompt_tokens(stage, max_duration_s)
    cost, tokens = _learning(planner, stage, before, planner.train.mean_s, mean_answer, cached=cached)
    learning, _ = _learning(planner, stage, before, max_duration_s, stage.max_new_tokens, cached=cached)
    multinomial, beams = stage.rollouts - stage.beam_rollouts, stage.beams if stage.beam_rollouts else 0
    sampling = seconds = flops = 0.0
    for rows in filter(None, (multinomial, beams)):
        answers = Generating(planner.meter, parts, stage.batch_size, rows, prompt, cached=cached)
        sampling = max(sampling, sum(answers.memory(max_duration_s, stage.max_new_tokens)))
        # Beams are kept until the last of a batch has ended, about as long as the longest answer.
        each = answers.work(planner.train.mean_s, min(round(1.5 * mean_answer), stage.max_new_tokens), planner.gpu)
        flops += stage.accumulation * each.flops
        seconds += stage.accumulation * each.seconds
    updates = stage.accumulation * cost.flops
    seconds += planner.gpu.seconds(updates, planner.share(stage, before))
    working = {"activations": round(max(0.0, learning.peak)), "sampling beyond": 0}
    working["sampling beyond"] = round(max(0.0, sampling - learning.peak))
    return working, stage.accumulation * tokens, flops + updates, seconds


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
