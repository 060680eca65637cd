"""Training stages in the configuration: supervised and reinforcement stages, and what they share."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, Field, PlainSerializer, Tag, model_validator

from mlcslm.config.base import ExtendedSection, Name, Rate, Section, Share

Part = Literal["projector", "embedding", "head", "new_rows", "lm_lora", "encoder_lora"]
Reward = Literal["format", "accuracy", "error_type", "error_detail", "correction", "error_rate", "errors"]
MUON_PARTS: tuple[Part, ...] = ("projector", "lm_lora", "encoder_lora")
"""Parts whose matrices `optimizer: muon` steps."""
ON_REFLECTIONS: frozenset[Reward] = frozenset({"error_type", "error_detail", "correction"})
"""Rewards of what is inside `<think>`."""
Penalty = Literal["loop", "limit"]

# Section 3.5 of the paper; its text lost the name of the reward with weight 0.8.
_REWARD_WEIGHTS: dict[Reward, float] = {
    "accuracy": 0.8,
    "format": 0.5,
    "error_type": 0.5,
    "error_detail": 0.5,
    "correction": 0.5,
    "error_rate": 1.0,
    "errors": 1.0,
}


_CHOOSING = ("eval_steps", "eval_utterances", "eval_max_new_tokens", "keep", "result", "mean_of", "patience")


class Stage(ExtendedSection):
    """What every training stage has: a parent checkpoint, the parts it trains, its optimiser and schedule."""

    off: ClassVar[frozenset[str]] = frozenset({"optimizer", *_CHOOSING})

    parent: Name = Field(description="checkpoint to start from; `foundation` for the pretrained models")
    trains: tuple[Part, ...] = Field(
        min_length=1,
        description="parts to train; all others are frozen. new_rows: the added tokens' rows of embedding and head, in "
        "supervised stages",
    )
    method: str = Field("", description="label in the results")
    steps: int = Field(ge=1, description="optimiser steps of this stage")
    batch_size: int = Field(16, ge=1, description="utterances per micro-batch")
    accumulation: int = Field(
        1, ge=1, description="micro-batches per optimiser step; GPUs share them, so at most this many GPUs are used"
    )
    learning_rate: Rate = Field(1e-3, description="peak learning rate")
    part_learning_rates: dict[Part, Rate] = Field(default_factory=dict, description="peak learning rates by part")
    part_epsilons: dict[Part, Rate] = Field(
        default_factory=dict,
        description="AdamW epsilons by part, default 1e-8; for embedding and head, one about as large as the gradients "
        "of known tokens' rows lets the added tokens' rows learn before the known ones move",
    )
    optimizer: Literal["adamw", "muon"] = Field(
        "adamw",
        description="muon: Muon for the matrices of projector and adapters, AdamW for all other weights; the demo's "
        "first stage needs half of the steps with it (docs/recipes.md)",
    )
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = Field(
        "cosine", description="learning-rate schedule"
    )
    warmup_steps: int = Field(10, ge=0, description="steps of linear warm-up")
    weight_decay: float = Field(0.0, ge=0, description="weight decay of AdamW")
    max_gradient_norm: float = Field(1.0, gt=0, description="gradient clipping")
    save_steps: int = Field(100, ge=1, description="steps between resumable states")
    max_duration_s: float = Field(30.0, gt=0, description="skip longer training utterances, in seconds")
    gradient_checkpointing: bool = Field(False, description="recompute activations to save memory")
    eval_steps: int = Field(
        0,
        ge=0,
        description="measure the loss and the error rate on a slice of dev every so many steps and after the last one; "
        "0: never (docs/recipes.md)",
    )
    eval_utterances: int = Field(
        150, ge=1, description="size of that slice, drawn once by the seed, as many from each group as possible"
    )
    eval_max_new_tokens: int = Field(180, ge=1, description="longest answer to its utterances, in tokens")
    keep: int = Field(
        0, ge=0, description="keep this many of the measured states, those with the fewest errors, as checkpoints"
    )
    result: Literal["last", "best", "mean_of_last", "mean_of_best"] = Field(
        "last",
        description="weights that the stage ends with: its last, those of the measured state with the fewest errors, "
        "or the mean of the last or best `mean_of` measured states",
    )
    mean_of: int = Field(3, ge=2, description="number of states of `result: mean_of_last` or `mean_of_best`")
    patience: int = Field(
        0, ge=0, description="end the stage after this many measurements without a lower error rate; 0: never"
    )

    @model_validator(mode="after")
    def _rows_are_trained_once(self) -> Stage:
        if "new_rows" in self.trains and (both := [part for part in ("embedding", "head") if part in self.trains]):
            raise ValueError(f"trains has new_rows, rows of embedding and head, and {' and '.join(both)}; remove one")
        return self

    @model_validator(mode="after")
    def _states_are_measured(self) -> Stage:
        if not self.eval_steps and (given := [key for key in _CHOOSING[1:] if key in self.model_fields_set]):
            raise ValueError(f"{' and '.join(given)} without eval_steps: no state is measured; add eval_steps")
        if self.eval_steps and getattr(self, "template", None) == "diarized":
            raise ValueError(
                "eval_steps with template 'diarized', whose answers no error rate is defined for; remove it"
            )
        return self

    @model_validator(mode="after")
    def _rates_are_of_trained_parts(self) -> Stage:
        for key in ("part_learning_rates", "part_epsilons"):
            if idle := set(getattr(self, key)) - set(self.trains):
                raise ValueError(f"{key} names {', '.join(sorted(idle))}, missing from trains")
        return self


class PromptLossWeight(Section):
    """Weight of the loss inside `<think>` (paper, equation 2); 1 in the rest of the answer, 0 in the prompt."""

    first: Share = Field(1.0, description="weight at the first step")
    last: Share = Field(0.1, description="weight from step `steps` on")
    steps: int = Field(300, ge=1, description="steps over which it changes linearly")


class CheckpointFirstPass(Section):
    """A first pass by another checkpoint: what it answers to the same utterance."""

    checkpoint: Name = Field(description="checkpoint whose hypotheses of dev and test are in the prompts there")
    decoding: Name = Field("greedy", description="decoding of all these hypotheses, without context and CTC head")
    folds: tuple[Name, ...] = Field(
        min_length=2,
        description="stages that stand for it in training, one per `fold`: the training set is decoded by them, each "
        "the sessions that it was not trained on",
    )


FirstPass = Annotated[
    Annotated[Literal["ctc"], Tag("<head>")] | Annotated[CheckpointFirstPass, Tag("<checkpoint>")],
    Discriminator(lambda value: "<head>" if isinstance(value, str) else "<checkpoint>"),
]
"""Who heard an utterance before: a CTC head on the stage's encoder, or another checkpoint."""


def first_passes_of(value: Any) -> tuple[Any, ...]:
    """The first passes that a stage's `first_pass` names, checked or as it stands in a file or a checkpoint's recipe.

    >>> first_passes_of("none"), first_passes_of("ctc"), first_passes_of([{"checkpoint": "a"}, "ctc"])
    ((), ('ctc',), ({'checkpoint': 'a'}, 'ctc'))
    """
    if isinstance(value, (list, tuple)):
        return tuple(value)
    return () if value == "none" else (value,)


def _as_written(value: tuple[Any, ...]) -> Any:
    dumped = [one.model_dump(mode="json") if isinstance(one, CheckpointFirstPass) else one for one in value]
    return dumped[0] if len(dumped) == 1 else dumped


FirstPasses = Annotated[tuple[FirstPass, ...], BeforeValidator(first_passes_of), PlainSerializer(_as_written)]


class StageConfig(Stage):
    """One supervised training stage: cross entropy on the answer."""

    off: ClassVar[frozenset[str]] = Stage.off | {"context_source", "first_pass", "rewrite_above"}

    kind: Literal["supervised"] = Field("supervised", description="supervised: cross entropy on the transcript")
    template: Literal["plain", "tagged", "tagged-own-language", "reasoning", "diarized", "choose"] = Field(
        description="prompt and target (docs/paper.md); reasoning: with reflections, made as `reasoning` says; "
        "diarized: stretches of conversation of up to max_duration_s, with who speaks when (docs/diarization.md); "
        "choose: which of two first passes is the transcript, or a new one (docs/recipes.md)"
    )
    prompt_loss_weight: PromptLossWeight | None = Field(
        None, description="with template reasoning: loss weight of the reflection; none: 1 (the paper's plain loss)"
    )
    fold: tuple[int, int] | None = Field(
        None,
        description="[number, count]: split the sessions into `count` parts and leave out part `number`, counted from "
        "0, for reasoning.checkpoint or a first pass to decode",
    )
    turns: bool = Field(False, description="also train on the whole turns that corpus.turns_s makes")
    context: int = Field(
        0, ge=0, description="number of preceding utterances whose transcripts are in the prompt (paper: 2)"
    )
    context_source: Literal["references", "hypotheses", "mixed"] = Field(
        "references",
        description="what these transcripts are: references; hypotheses, which reasoning.checkpoint decodes for the "
        "training set; mixed: either, half of the time (docs/context.md)",
    )
    context_dropout: Share = Field(0.0, description="share of training samples whose context is omitted")
    first_pass: FirstPasses = Field(
        (),
        description="what the prompt says of the utterance itself, one or a list of: ctc: what a CTC head on the "
        "encoder hears; a section: what another checkpoint answers; in training, what those do that were trained "
        "without its session (docs/recipes.md)",
    )
    rewrite_above: float | None = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="with template choose: learn to write a new transcript where the better of the two first passes "
        "has more errors per unit than this; 0: where both are wrong; none: never",
    )

    @model_validator(mode="after")
    def _stretches_stand_alone(self) -> StageConfig:
        if self.template == "diarized" and (self.turns or self.context):
            raise ValueError("template 'diarized' hears whole stretches of conversation; remove turns and context")
        return self

    @model_validator(mode="after")
    def _weighted_reflections_exist(self) -> StageConfig:
        if self.prompt_loss_weight is not None and self.template != "reasoning":
            raise ValueError(
                f"prompt_loss_weight with template {self.template!r}, whose answers have no reflection; remove it"
            )
        return self

    @model_validator(mode="after")
    def _context_exists(self) -> StageConfig:
        if self.context_dropout and not self.context:
            raise ValueError(f"context_dropout is {self.context_dropout}, but context is 0: nothing to drop")
        if self.context_source != "references" and not self.context:
            raise ValueError(f"context_source is {self.context_source!r}, but context is 0: there is none")
        return self

    @model_validator(mode="after")
    def _first_pass_can_be_heard(self) -> StageConfig:
        if self.first_pass and self.template in ("plain", "diarized"):
            raise ValueError(
                f"first_pass with template {self.template!r}: expected a template with <transcribe>, which marks it in "
                "the prompt: tagged, tagged-own-language, reasoning or choose"
            )
        if len(set(self.first_pass)) < len(self.first_pass):
            raise ValueError("first_pass names the same twice; remove one")
        if "ctc" in self.first_pass and "encoder_lora" in self.trains:
            raise ValueError(
                "first_pass is of a CTC head on the encoder as it is, but trains has encoder_lora; train the encoder "
                "in a stage before"
            )
        return self

    @model_validator(mode="after")
    def _there_is_a_choice(self) -> StageConfig:
        if self.template == "choose" and len(self.first_pass) != 2:
            raise ValueError(
                f"template 'choose' with {len(self.first_pass)} first passes; expected first_pass to list two, the one "
                "to keep and the other, such as [{checkpoint: NAME, folds: [NAME, NAME]}, ctc]"
            )
        if self.template != "choose" and "rewrite_above" in self.model_fields_set:
            raise ValueError(f"rewrite_above with template {self.template!r}, which chooses nothing; remove it")
        return self

    @model_validator(mode="after")
    def _fold_is_one_of_its_count(self) -> StageConfig:
        if self.fold is not None and not 0 <= self.fold[0] < self.fold[1] >= 2:
            raise ValueError(f"fold is {list(self.fold)}: expected [number, count] with count >= 2 and number from 0")
        return self


class CollapseConfig(ExtendedSection):
    """When a reinforcement stage counts as collapsed; the log and the results report it."""

    off: ClassVar[frozenset[str]] = frozenset({"stop"})

    format_below: Share = Field(0.5, description="mean format reward below this")
    steps: int = Field(20, ge=1, description="for this many consecutive steps")
    stop: bool = Field(
        False,
        description="end the stage then, with the weights of its best measured state; needs eval_steps. Otherwise "
        "training continues",
    )


class ReinforcementConfig(Stage):
    """One reinforcement stage: Dr. GRPO with verifiable rewards (paper, section 3.5), or another loss."""

    kind: Literal["reinforcement"] = Field(description="reinforcement: rewards for sampled answers")
    template: Literal["plain", "tagged", "tagged-own-language", "reasoning"] = Field(
        "reasoning", description="prompt and answer; all but reasoning: plain transcription"
    )
    loss: Literal["dr_grpo", "grpo", "mwer"] = Field(
        "dr_grpo",
        description="dr_grpo: advantages are rewards minus their mean over the utterance's answers, summed over tokens "
        "and divided by max_new_tokens; grpo: also divided by their standard deviation and by each answer's length; "
        "mwer: the expected reward over the utterance's distinct answers, their probabilities renormalised (minimum "
        "word error rate with reward errors or error_rate)",
    )
    cross_entropy_weight: float = Field(
        0.01, ge=0, description="with loss mwer: weight of the cross entropy of the reference"
    )
    rewards: tuple[Reward, ...] = Field(min_length=1, description="rewards to sum")
    reward_weights: dict[Reward, float] = Field(
        default_factory=_REWARD_WEIGHTS.copy, description="weight of each reward"
    )
    similarity: Share = Field(
        0.5,
        description="least similarity of the hypothesis in `<think>` to the final answer for error_type, error_detail "
        "and correction to count",
    )
    penalties: dict[Penalty, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict,
        description="subtracted from the rewards of an answer that repeats itself in a loop (loop), or that reaches "
        "max_new_tokens without ending (limit)",
    )
    replacement_rounds: int = Field(
        0,
        ge=0,
        description="how often, at most, a step replaces the utterances whose answers all earn the same, from which "
        "nothing is learnt, by others; each round samples as many answers as it replaces",
    )
    rollouts: int = Field(4, ge=2, description="answers drawn per utterance")
    beam_rollouts: int = Field(2, ge=0, description="of these, drawn by beam sampling; the others are multinomial")
    beams: int = Field(4, ge=2, description="beams of beam sampling, of which the best `beam_rollouts` are kept")
    temperature: float = Field(0.5, gt=0, description="sampling temperature")
    kl_weight: float = Field(
        0.04, ge=0, description="weight of the KL divergence to the parent checkpoint; 0: none, and no parent in memory"
    )
    max_new_tokens: int = Field(150, ge=1, description="maximum answer length, in tokens; also Dr. GRPO's divisor")
    collapse: CollapseConfig = Field(default_factory=CollapseConfig, description="when the stage counts as collapsed")

    @model_validator(mode="after")
    def _rewards_are_weighted_once(self) -> ReinforcementConfig:
        if len(set(self.rewards)) < len(self.rewards):
            raise ValueError(f"rewards is {list(self.rewards)}: expected each only once")
        if missing := [name for name in self.rewards if name not in self.reward_weights]:
            raise ValueError(f"reward_weights lacks {', '.join(missing)}, named in rewards")
        return self

    @model_validator(mode="after")
    def _a_collapse_leaves_a_best_state(self) -> ReinforcementConfig:
        if self.collapse.stop and not self.eval_steps:
            raise ValueError("collapse.stop without eval_steps: no state is known to be the best; add eval_steps")
        return self

    @model_validator(mode="after")
    def _head_is_whole(self) -> ReinforcementConfig:
        if "new_rows" in self.trains:
            raise ValueError(
                "trains has new_rows, which reinforcement cannot train; use embedding and head, or neither"
            )
        return self

    @model_validator(mode="after")
    def _template_has_what_is_rewarded(self) -> ReinforcementConfig:
        if self.template != "reasoning" and (found := [name for name in self.rewards if name in ON_REFLECTIONS]):
            raise ValueError(f"rewards {', '.join(found)} with template {self.template!r}, which has no reflection")
        if self.template == "reasoning" and self.loss == "mwer" and self.cross_entropy_weight:
            raise ValueError(
                "loss mwer with template 'reasoning', whose references have no reflection to compute a cross entropy "
                "with; set cross_entropy_weight: 0"
            )
        return self

    @model_validator(mode="after")
    def _beams_give_the_beam_rollouts(self) -> ReinforcementConfig:
        if self.beam_rollouts > min(self.rollouts, self.beams):
            raise ValueError(
                f"beam_rollouts is {self.beam_rollouts}: expected at most rollouts ({self.rollouts}) and at most beams "
                f"({self.beams})"
            )
        return self


def _kind(value: Any) -> str:
    return str(value.get("kind", "supervised") if isinstance(value, dict) else getattr(value, "kind", "supervised"))


AnyStageConfig = Annotated[
    Annotated[StageConfig, Tag("supervised")] | Annotated[ReinforcementConfig, Tag("reinforcement")],
    Discriminator(_kind),
]
"""A training stage of either kind, told apart by `kind`, which defaults to `supervised`."""

STAGE_KINDS: dict[str, type[Stage]] = {"supervised": StageConfig, "reinforcement": ReinforcementConfig}


def transcripts_in_prompt(stage: AnyStageConfig, *, context: bool = True) -> int:
    """Transcripts in a stage's prompts: of utterances before, if with `context`, and of the utterance itself."""
    before = getattr(stage, "context", 0) if context else 0
    return before + len(getattr(stage, "first_pass", ()))
