"""Reinforcement with verifiable rewards (paper, section 3.5): the trainer of a configured stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mlcslm.config.schema import Config
from mlcslm.config.stages import Penalty, ReinforcementConfig, Reward
from mlcslm.decoding.loops import has_loop
from mlcslm.errors import UserError
from mlcslm.model.processor import SpeechProcessor
from mlcslm.model.speech_llm import SpeechLLM
from mlcslm.text.protocols import Unit
from mlcslm.training.batches import BatchPlan
from mlcslm.training.dataset import PromptDataset
from mlcslm.training.grpo import RewardFunction, RolloutTrainer, grpo_arguments
from mlcslm.training.rewards import format_reward, judge, reward_table
from mlcslm.training.settings import (
    StagePaths,
    dataset_arguments,
    part_options,
    trainer_arguments,
    utterances_before,
)


def reinforcement_trainer(
    name: str, config: Config, paths: StagePaths, work: Path, model: SpeechLLM, processor: SpeechProcessor
) -> RolloutTrainer:
    """The trainer of reinforcement stage `name`: `model` is its parent, with the trained parts unfrozen.

    Raises UserError if the manifest has too few utterances.
    """
    stage = config.stages[name]
    assert isinstance(stage, ReinforcementConfig)
    arguments = grpo_arguments(stage, trainer_arguments(stage, config, work))
    utterances = PromptDataset(
        paths.manifest, processor, stage.template, **dataset_arguments(stage, config, paths, model)
    )
    size = stage.batch_size * stage.accumulation
    if len(utterances) < size:
        raise UserError(
            f"stages.{name}: batch_size {stage.batch_size} with accumulation {stage.accumulation} is {size} utterances "
            f"per step, but {paths.manifest} has only {len(utterances)} of at most {stage.max_duration_s} s; lower one."
        )
    return RolloutTrainer(
        model=model,
        args=arguments,
        processor=processor,
        utterances=utterances,
        plan=BatchPlan(
            utterances.lengths,
            size,
            stage.steps,
            config.seed,
            languages=utterances.languages,
            temperature=config.augmentation.language_temperature,
            after=utterances_before(name, config),
        ),
        stage=stage,
        rewards={
            **{reward: reward_function(reward, stage) for reward in stage.rewards},
            **{penalty: penalty_function(penalty, processor.end_token_id) for penalty in stage.penalties},
        },
        options=part_options(model, stage),
        measure=measure_function(stage),
    )


def reward_function(name: Reward, stage: ReinforcementConfig) -> RewardFunction:
    """Reward `name` as a function of the answers' texts and the dataset's columns for their utterances."""

    def rewards(
        raw: Sequence[str], reference: Sequence[str], unit: Sequence[Unit], language: Sequence[str], **_: Any
    ) -> list[float]:
        table = reward_table(
            raw, reference, unit, [name], stage.similarity, languages=language, template=stage.template
        )
        return table[name]

    return rewards


def penalty_function(name: Penalty, end: int) -> RewardFunction:
    """1 for each answer, given by its ids, that `loop`s or that reaches its `limit` without the token `end`, else 0."""

    def penalties(completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float]:
        if name == "loop":
            return [float(has_loop(ids)) for ids in completion_ids]
        return [float(ids[-1] != end) for ids in completion_ids]

    return penalties


def measure_function(stage: ReinforcementConfig) -> Callable[..., dict[str, float]]:
    """Means over the answers, for telemetry: `think_length`, `well_formed_share`."""

    def measure(
        raw: Sequence[str], reference: Sequence[str], unit: Sequence[Unit], language: Sequence[str], **_: Any
    ) -> dict[str, float]:
        rows = zip(raw, reference, unit, language, strict=True)
        judged = [judge(*answer, stage.template) for answer in rows]
        return {
            "think_length": sum(len(one.hypothesis_units) for one in judged) / len(judged),
            "well_formed_share": sum(map(format_reward, judged)) / len(judged),
        }

    return measure
