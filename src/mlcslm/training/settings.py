"""Settings for the trainers of every kind of stage, from the configuration."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mlcslm.config.schema import Config
from mlcslm.config.stages import MUON_PARTS, Stage
from mlcslm.corpus.augmentation import make_augmenter
from mlcslm.errors import UserError
from mlcslm.model.distortions import make_distortions
from mlcslm.model.encoder_cache import open_cache
from mlcslm.model.parts import part_parameters
from mlcslm.model.precision import model_dtype, trains_in_bfloat16
from mlcslm.model.speech_llm import SpeechLLM


def trainer_arguments(stage: Stage, config: Config, work: Path) -> dict[str, Any]:
    """Keyword arguments of TrainingArguments for `stage`, with its resumable states in `work`."""
    cuda = torch.cuda.is_available()
    return {
        "output_dir": str(work),
        "seed": config.seed,
        "max_steps": stage.steps,
        "per_device_train_batch_size": stage.batch_size,
        "gradient_accumulation_steps": micro_batches_per_process(stage),
        "learning_rate": stage.learning_rate,
        "lr_scheduler_type": stage.schedule,
        "warmup_steps": stage.warmup_steps,
        "weight_decay": stage.weight_decay,
        "max_grad_norm": stage.max_gradient_norm,
        "activation_checkpointing": stage.gradient_checkpointing,
        "save_steps": stage.save_steps,
        "save_total_limit": 2,
        "bf16": model_dtype() == "bfloat16" if cuda else trains_in_bfloat16(config),
        "use_cpu": not cuda,
        "dataloader_num_workers": workers_per_process(config),
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "remove_unused_columns": False,
        "ddp_find_unused_parameters": False,  # every trained part contributes to every loss
        "disable_tqdm": True,
        "report_to": list(config.tracking.report_to),
    }


def workers_per_process(config: Config) -> int:
    """Processes that prepare batches for this one: its share of `data_workers`, at least one if there are any."""
    return -(-config.resources.data_workers // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def micro_batches_per_process(stage: Stage) -> int:
    """Micro-batches per process and optimiser step: all processes together take `stage.accumulation`."""
    return stage.accumulation // int(os.environ.get("WORLD_SIZE", "1"))


def utterances_before(name: str, config: Config) -> int:
    """Utterances that the stages before `name` draw in training, from the foundation models on; 0 for order `anew`.

    A stage goes on where its parent ended: if each began anew, all would learn the same first part of a large training
    set, and none the rest.
    """
    parent = config.stages.get(config.stages[name].parent)
    if parent is None or config.augmentation.order == "anew":
        return 0
    own = parent.steps * parent.batch_size * parent.accumulation
    return own + utterances_before(config.stages[name].parent, config)


def dataset_arguments(stage: Stage, config: Config, paths: StagePaths, model: SpeechLLM) -> dict[str, Any]:
    """Keyword arguments of UtteranceDataset: how the stage reads audio, and the longest utterance it takes."""
    if paths.cache is not None and "encoder_lora" in stage.trains:
        raise UserError(f"{paths.cache}: holds outputs of an encoder as it is, but this stage trains the encoder.")
    return {
        "cache": open_cache(paths.cache, paths.manifest, model),
        "distortions": make_distortions(
            config.augmentation, make_augmenter(config.augmentation, paths.noise, paths.room_responses)
        ),
        "boundaries_s": config.augmentation.boundaries_s,
        "seed": config.seed,
        "max_duration_s": stage.max_duration_s,
    }


def part_options(model: SpeechLLM, stage: Stage) -> dict[str, dict[str, float]]:
    """The optimiser's options by parameter name, for parts that override the stage's and matrices that Muon steps."""
    options: dict[str, dict[str, float]] = {}
    for key, values in (("lr", stage.part_learning_rates), ("eps", stage.part_epsilons)):
        chosen = {id(parameter): values[part] for part in values for parameter in part_parameters(model, part).values()}
        for name, parameter in model.named_parameters():
            if id(parameter) in chosen:
                options.setdefault(name, {})[key] = chosen[id(parameter)]
    if stage.optimizer == "muon":
        parts = [part for part in MUON_PARTS if part in stage.trains]
        matrices = {id(one) for part in parts for one in part_parameters(model, part).values() if one.dim() > 1}
        for name, parameter in model.named_parameters():
            if id(parameter) in matrices:
                options.setdefault(name, {})["matrices"] = True
    return options


@dataclass(frozen=True)
class StagePaths:
    """Where a stage reads and writes.

    parent: a checkpoint's folder (None: the foundation models); reasoning: the reflections for template "reasoning";
    hypotheses: of the training set, for stages whose context they are; dev: its manifest, for stages with `eval_steps`;
    first_passes: for stages with `first_pass`, files of what was heard in the training set, by each that heard it; ctc:
    folder of the head that hears dev, and dev_first_passes: hypotheses of dev, for those with both.
    """

    out: Path
    work: Path
    manifest: Path
    parent: Path | None = None
    cache: Path | None = None
    noise: Path | None = None
    room_responses: Path | None = None
    reasoning: Path | None = None
    hypotheses: tuple[Path, ...] = ()
    dev: Path | None = None
    first_passes: tuple[tuple[Path, ...], ...] = ()
    ctc: Path | None = None
    dev_first_passes: tuple[Path, ...] = ()
