"""Training stages in the configuration: what is common to all, supervised ones, and reinforcement."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from mlcslm.config.base import Name, Rate, Section, Share

Part = Literal["projector", "embedding", "head", "lm_lora", "encoder_lora"]
Reward = Literal["format", "accuracy", "error_type", "error_detail", "correction"]


class Stage(Section):
    """What every training stage has: a parent checkpoint, what it trains, and for how long."""

    parent: Name = Field(description="checkpoint to go on from; `foundation` for the pretrained models")
    trains: tuple[Part, ...] = Field(min_length=1, description="parts that are trained; all others are frozen")
    method: str = Field("", description="what the results call it")
    steps: int = Field(ge=1, description="optimiser steps of this stage")
    batch_size: int = Field(16, ge=1, description="utterances a micro-batch")
    accumulation: int = Field(
        1, ge=1, description="micro-batches an optimiser step, dealt out to the GPUs: no more of them are used"
    )
    learning_rate: Rate = Field(1e-3, description="peak learning rate")
    part_learning_rates: dict[Part, Rate] = Field(default_factory=dict, description="other peak rates for some parts")
    part_epsilons: dict[Part, Rate] = Field(
        default_factory=dict,
        description="other AdamW epsilons than 1e-8 for some parts; in embedding and head one as large as gradients "
        "of known tokens' rows lets the added tokens' rows learn before those move",
    )
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = Field(
        "cosine", description="learning-rate schedule"
    )
    warmup_steps: int = Field(10, ge=0, description="steps of linear warm-up")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's weight decay")
    max_gradient_norm: float = Field(1.0, gt=0, description="gradient clipping")
    save_steps: int = Field(100, ge=1, description="steps between two resumable states")
    max_duration_s: float = Field(30.0, gt=0, description="longer training utterances are left out, in seconds")
    gradient_checkpointing: bool = Field(False, description="recompute activations to save memory")

    @model_validator(mode="after")
    def _rates_are_of_trained_parts(self) -> Stage:
        for key in ("part_learning_rates", "part_epsilons"):
            if idle := set(getattr(self, key)) - set(self.trains):
                raise ValueError(f"{key} names {', '.join(sorted(idle))}, which trains does not")
        return self


class PromptLossWeight(Section):
    """Weight of the loss inside `<think>` (paper, equation 2); outside it is 1, in the prompt 0."""

    first: Share = Field(1.0, description="weight at the first step")
    last: Share = Field(0.1, description="weight from `steps` on")
    steps: int = Field(300, ge=1, description="steps in which it falls linearly")


class StageConfig(Stage):
    """One supervised training stage: cross entropy on the answer."""

    kind: Literal["supervised"] = Field("supervised", description="supervised: cross entropy on the transcript")
    template: Literal["plain", "tagged", "tagged-own-language", "reasoning"] = Field(
        description="prompt and target (docs/paper.md); reasoning: with the reflections of `reasoning`"
    )
    prompt_loss_weight: PromptLossWeight | None = Field(
        None, description="with template reasoning: weight of the reflection's loss; none: 1 (the paper's plain loss)"
    )
    fold: tuple[int, int] | None = Field(
        None,
        description="[number, count]: leave this of `count` parts of the sessions, the first being 0, out of training, "
        "for reasoning.checkpoint to decode",
    )
    context: int = Field(
        0, ge=0, description="transcripts in the prompt, of so many utterances before in the session (paper: 2)"
    )
    context_dropout: Share = Field(0.0, description="share of training samples that are shown without their context")

    @model_validator(mode="after")
    def _reflections_are_where_they_are_weighted(self) -> StageConfig:
        if self.prompt_loss_weight is not None and self.template != "reasoning":
            raise ValueError(f"prompt_loss_weight with template {self.template!r}, whose answers have no reflection")
        return self

    @model_validator(mode="after")
    def _context_is_there_to_be_dropped(self) -> StageConfig:
        if self.context_dropout and not self.context:
            raise ValueError(f"context_dropout is {self.context_dropout} with context 0: there is nothing to drop")
        return self

    @model_validator(mode="after")
    def _fold_is_one_of_its_count(self) -> StageConfig:
        if self.fold is not None and not 0 <= self.fold[0] < self.fold[1] >= 2:
            raise ValueError(f"fold is {list(self.fold)}: expected [number, count], 2 or more parts, the first being 0")
        return self


class CollapseConfig(Section):
    """When a reinforcement stage counts as collapsed; reported in the log and the results, not stopped."""

    format_below: Share = Field(0.5, description="mean of the format reward below this")
    steps: int = Field(20, ge=1, description="for so many steps on end")


class ReinforcementConfig(Stage):
    """One reinforcement stage: Dr. GRPO with verifiable rewards (paper, section 3.5)."""

    kind: Literal["reinforcement"] = Field(description="reinforcement: Dr. GRPO on rewards")
    template: Literal["reasoning"] = Field("reasoning", description="prompt and answer")
    rewards: tuple[Reward, ...] = Field(min_length=1, description="rewards that are summed up")
    reward_weights: dict[Reward, float] = Field(
        default_factory=lambda: {
            "accuracy": 0.8,
            "format": 0.5,
            "error_type": 0.5,
            "error_detail": 0.5,
            "correction": 0.5,
        },
        description="weight of each reward",
    )
    similarity: Share = Field(
        0.5, description="correction counts only if the hypothesis in `<think>` is as similar to the final answer"
    )
    rollouts: int = Field(4, ge=2, description="answers drawn for each utterance")
    beam_rollouts: int = Field(2, ge=0, description="of which by beam sampling, the others by multinomial sampling")
    beams: int = Field(4, ge=2, description="beams of the beam-sampled answers, the best of which are taken")
    temperature: float = Field(0.5, gt=0, description="sampling temperature")
    kl_weight: float = Field(0.04, gt=0, description="weight of the KL divergence to the parent checkpoint")
    max_new_tokens: int = Field(150, ge=1, description="longest answer, in tokens; the constant Dr. GRPO divides by")
    collapse: CollapseConfig = Field(default_factory=CollapseConfig, description="when it counts as collapsed")

    @model_validator(mode="after")
    def _rewards_are_weighted_once(self) -> ReinforcementConfig:
        if len(set(self.rewards)) < len(self.rewards):
            raise ValueError(f"rewards is {list(self.rewards)}: one of them is there twice")
        if missing := [name for name in self.rewards if name not in self.reward_weights]:
            raise ValueError(f"reward_weights lacks {', '.join(missing)}, which rewards has")
        return self

    @model_validator(mode="after")
    def _beams_give_the_beam_rollouts(self) -> ReinforcementConfig:
        if self.beam_rollouts > min(self.rollouts, self.beams):
            raise ValueError(
                f"beam_rollouts is {self.beam_rollouts}: expected at most rollouts ({self.rollouts}) and beams "
                f"({self.beams}), of which they are taken"
            )
        return self


def _kind(value: Any) -> str:
    return value.get("kind", "supervised") if isinstance(value, dict) else value.kind


AnyStageConfig = Annotated[
    Annotated[StageConfig, Tag("supervised")] | Annotated[ReinforcementConfig, Tag("reinforcement")],
    Discriminator(_kind),
]
"""A training stage of any kind; `kind` tells which, and is `supervised` where it is not given."""

STAGE_KINDS: dict[str, type[Stage]] = {"supervised": StageConfig, "reinforcement": ReinforcementConfig}
