"""One training stage: from the parent checkpoint to its own, across any number of interruptions."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from transformers import TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from mlcslm.config.languages import read_languages
from mlcslm.config.schema import Config
from mlcslm.config.stages import AnyStageConfig, ReinforcementConfig, StageConfig
from mlcslm.decoding.first_pass import open_first_passes
from mlcslm.errors import UserError
from mlcslm.io.files import fingerprint, sha256
from mlcslm.model.build import build_speech_llm
from mlcslm.model.checkpoint import load_checkpoint, save_checkpoint
from mlcslm.model.checkpoint_file import read_checkpoint
from mlcslm.model.configuration import LoraSettings
from mlcslm.model.ctc import load_ctc_head
from mlcslm.model.parts import set_trainable
from mlcslm.model.precision import FLOAT32_ATTENTION, model_dtype, trains_in_bfloat16
from mlcslm.model.processor import SpeechProcessor, token_id
from mlcslm.model.speech_llm import SpeechLLM
from mlcslm.runtime.interruption import between_steps
from mlcslm.text.templates import END_THINK, THINK
from mlcslm.training.batches import BatchPlan
from mlcslm.training.dataset import UtteranceDataset
from mlcslm.training.dev_slice import DevSlice
from mlcslm.training.log import TrainingLog, write_training_log
from mlcslm.training.parts_trainer import PartsTrainer, StopOnRequest, Watch, newest_state
from mlcslm.training.prompt_loss import LabelWeights
from mlcslm.training.selection import FIELDS, Selection, remove_selection
from mlcslm.training.settings import StagePaths, dataset_arguments, part_options, trainer_arguments, utterances_before
from mlcslm.training.telemetry import Telemetry
from mlcslm.training.tracking import tracked
from mlcslm.training.trainer import SpeechTrainer


def train_stage(name: str, config: Config, paths: StagePaths) -> None:
    """Train stage `name` of `config` and write its checkpoint and training log into `paths.out`.

    Resumable states go to a folder below `paths.work` named after everything the result depends on, so that a state of
    another recipe is never resumed from; it is removed at the end. A second process waits for the first and keeps its
    result. When asked to stop, finishes the step, saves its state and raises Interrupted.
    """
    stage = config.stages[name]
    fingerprints = {
        "stage": fingerprint(stage.model_dump(mode="json")),
        "augmentation": fingerprint(config.augmentation.model_dump(mode="json")),
        "models": fingerprint(config.models.model_dump(mode="json")),
        "languages": sha256(config.languages),
        "manifest": sha256(paths.manifest),
        "parent": sha256(paths.parent / "checkpoint.json") if paths.parent else "",
        "bfloat16": str(trains_in_bfloat16(config)),
        "cached_encoder": str(paths.cache is not None),
        "seed": str(config.seed),
    }
    if paths.reasoning is not None:
        fingerprints["reasoning"] = sha256(paths.reasoning)
    if paths.hypotheses:
        fingerprints["hypotheses"] = fingerprint([sha256(path) for path in paths.hypotheses])
    if paths.first_passes:
        fingerprints["first_pass"] = fingerprint([[sha256(path) for path in files] for files in paths.first_passes])
    if paths.dev is not None:
        fingerprints["dev"] = sha256(paths.dev)
    work = paths.work / fingerprint(fingerprints)[:16]
    work.mkdir(parents=True, exist_ok=True)
    with _sole_process(work) as waited:
        if waited and int(os.environ.get("WORLD_SIZE", "1")) == 1 and _is_finished(paths.out, name, fingerprints):
            shutil.rmtree(work)
            return
        model, processor = _parent_model(config, paths)
        _check_tokens(stage, model, name)
        set_trainable(model, stage.trains, lora=LoraSettings(**config.models.lora.model_dump()), seed=config.seed)
        with tracked(name, config):
            selection = _train(name, config, paths, work, model, processor)
        if int(os.environ.get("RANK", "0")) == 0:
            paths.out.mkdir(parents=True, exist_ok=True)
            telemetry = Telemetry(stage, name) if isinstance(stage, ReinforcementConfig) else None
            fields = FIELDS if selection is not None else ()
            write_training_log(work / "log.jsonl", paths.out / "training_log.parquet", name, telemetry, fields)
            save = partial(
                save_checkpoint,
                model=model,
                parent=stage.parent,
                recipe=stage.model_dump(mode="json"),
                fingerprints=fingerprints,
            )
            remove_selection(paths.out)
            if selection is not None:
                selection.finish(lambda folder: save(paths.out / folder, name=f"{name}/{folder}"), paths.out)
            save(paths.out, name=name)
            shutil.rmtree(work)


def _parent_model(config: Config, paths: StagePaths) -> tuple[SpeechLLM, SpeechProcessor]:
    languages = read_languages(config.languages)
    attention = FLOAT32_ATTENTION if trains_in_bfloat16(config) else None
    if paths.parent is not None:
        return load_checkpoint(
            paths.parent,
            encoder=config.models.encoder,
            language_model=config.models.language_model,
            languages=languages,
            dtype=model_dtype(),
            attn_implementation=attention,
            training=True,
        )
    return build_speech_llm(
        encoder=config.models.encoder,
        language_model=config.models.language_model,
        languages=languages,
        projector_hidden=config.models.projector_hidden,
        encoder_window=config.models.encoder_window,
        dtype=model_dtype(),
        attn_implementation=attention,
        seed=config.seed,
        lora=LoraSettings(**config.models.lora.model_dump()),
    )


def _check_tokens(stage: AnyStageConfig, model: SpeechLLM, name: str) -> None:
    learnt = {"embedding", "head", "new_rows"} & (set(stage.trains) | model.changed_parts)
    if stage.template != "plain" and not learnt and "lm_lora" not in {*stage.trains, *model.changed_parts}:
        raise UserError(
            f"stages.{name}: template {stage.template!r} writes tokens that no stage so far has trained. "
            "Add embedding and head, or new_rows, to its `trains`, or start from a stage that trains them."
        )


def _train(
    name: str, config: Config, paths: StagePaths, work: Path, model: SpeechLLM, processor: SpeechProcessor
) -> Selection | None:
    """Train the stage to its end; returns what chooses among its states, if it has `eval_steps`."""
    stage = config.stages[name]
    trainer: PartsTrainer
    selection: Selection | None = None
    if isinstance(stage, ReinforcementConfig):
        from mlcslm.training.reinforcement import reinforcement_trainer  # trl alone takes seven seconds

        log = TrainingLog(work / "log.jsonl", name, Telemetry(stage, name))
        trainer = reinforcement_trainer(name, config, paths, work, model, processor)
    else:
        log = TrainingLog(work / "log.jsonl", name)
        trainer = _supervised_trainer(name, stage, config, paths, work, model, processor)
    log.trainer = trainer
    for callback in (log, Watch()):
        trainer.add_callback(callback)
    if stage.eval_steps:
        if paths.dev is None:
            raise ValueError(f"stage {name} has eval_steps, but there is no manifest of dev")
        head = load_ctc_head(paths.ctc, model) if paths.ctc is not None else None
        heard = open_first_passes(stage.model_dump(mode="json"), head, paths.dev_first_passes, name)
        dev = DevSlice(paths.dev, processor, stage, stage.template, config.seed, heard)
        selection = Selection(name, stage, work, dev, trainer, log)
        log.columns = selection.columns
        trainer.add_callback(selection)
    for unused in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(unused)
    state = newest_state(work)
    if state is not None and selection is not None and selection.has_ended(int(state.name.split("-")[1])):
        trainer.resume(state)
        return selection
    if state is not None:
        print(f"{name}: resuming from step {state.name.split('-')[1]} of {stage.steps}", file=sys.stderr)
    with between_steps() as stop:
        trainer.add_callback(StopOnRequest(stop))
        trainer.train(resume_from_checkpoint=str(state) if state else None)
    return selection


def _supervised_trainer(
    name: str,
    stage: StageConfig,
    config: Config,
    paths: StagePaths,
    work: Path,
    model: SpeechLLM,
    processor: SpeechProcessor,
) -> SpeechTrainer:
    options = dataset_arguments(stage, config, paths, model)
    dataset = UtteranceDataset(
        paths.manifest,
        processor,
        stage.template,
        fold=stage.fold,
        reasoning=paths.reasoning,
        context=stage.context,
        context_dropout=stage.context_dropout,
        context_source=stage.context_source,
        hypotheses=paths.hypotheses,
        first_passes=paths.first_passes,
        rewrite_above=stage.rewrite_above,
        turns=stage.turns,
        **options,
    )
    arguments = TrainingArguments(**trainer_arguments(stage, config, work))
    if len(dataset) < stage.batch_size:
        raise UserError(
            f"stages.{name}.batch_size is {stage.batch_size}, but {paths.manifest} has only {len(dataset)} utterances "
            f"of at most {stage.max_duration_s} s; make batch_size smaller."
        )
    return SpeechTrainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        data_collator=processor.collate,
        plan=BatchPlan(
            dataset.lengths,
            stage.batch_size,
            stage.steps * stage.accumulation,
            config.seed,
            accumulation=stage.accumulation,
            languages=dataset.languages,
            temperature=config.augmentation.language_temperature,
            after=utterances_before(name, config),
        ),
        options=part_options(model, stage),
        label_weights=_label_weights(stage, processor),
    )


def _label_weights(stage: StageConfig, processor: SpeechProcessor) -> LabelWeights | None:
    if stage.prompt_loss_weight is None:
        return None
    think_id, end_think_id = (token_id(processor.tokenizer, tag) for tag in (THINK, END_THINK))
    return LabelWeights(stage.prompt_loss_weight, think_id, end_think_id)


def _is_finished(out: Path, name: str, fingerprints: dict[str, str]) -> bool:
    try:
        info = read_checkpoint(out)
    except UserError:
        return False
    return (info.name, info.fingerprints) == (name, fingerprints) and (out / "training_log.parquet").is_file()


@contextmanager
def _sole_process(work: Path) -> Iterator[bool]:
    """Lock `work` for this process (its first rank); yields whether another one held it until now.

    The system releases the lock however the process ends.
    """
    if int(os.environ.get("RANK", "0")) != 0:
        yield False
        return
    waited = False
    with open(work.with_suffix(".lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{work}: another process is training this stage; waiting for it.", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
            work.mkdir(parents=True, exist_ok=True)
            waited = True
        yield waited
