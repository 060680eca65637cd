"""Training data for stages with template "reasoning", and trainers that sample their own answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest


@pytest.fixture(scope="session")
def reasoning(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reflections on the tone corpus; in each hypothesis the first word is wrong and the second missing."""
    from mlcslm.text.reflection import write_reflection

    rows = []
    for row in pq.read_table(tones).to_pylist():
        first, *others = row["text"].split()
        hypothesis = " ".join(["yes" if first == "no" else "no", *others[1:]])
        think = write_reflection(hypothesis, row["text"], "word", longest=6)
        rows.append({"utterance_id": row["utterance_id"], "hypothesis": hypothesis, "think": think})
    path = tmp_path_factory.mktemp("reasoning") / "reasoning.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.fixture
def forked_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torchrun fork a stage's processes from this one: importing torch again would take most of the time.

    As processes of their own they are started in test_interruptions.py and test_stopping.py.
    """
    from torch.distributed.launcher import api

    launch = api.elastic_launch

    def forking(settings: api.LaunchConfig, _: str) -> Callable[..., Any]:
        run = launch(dataclasses.replace(settings, start_method="fork"), _run_process)
        return lambda *command: run(command[-1])

    monkeypatch.setattr(api, "elastic_launch", forking)


def _run_process(job: str) -> None:
    from mlcslm.training.launch import _main

    _main(job)


@pytest.fixture
def make_trainer(
    make_config: Callable[..., Any], tones: Path, languages: dict[str, Any], tmp_path: Path
) -> Callable[..., Any]:
    """A RolloutTrainer of a tiny untrained model with random adapters; by default, rewards depend on answer ids."""
    import torch
    from transformers.trainer_callback import PrinterCallback

    from mlcslm.model.build import build_speech_llm
    from mlcslm.model.parts import PARTS, set_trainable
    from mlcslm.training.batches import BatchPlan
    from mlcslm.training.dataset import PromptDataset
    from mlcslm.training.grpo import RolloutTrainer, grpo_arguments
    from mlcslm.training.settings import part_options, trainer_arguments

    def make(
        *,
        manifest: Path = tones,
        template: Any = "reasoning",
        rewards: dict[str, Any] | None = None,
        prepare: Callable[..., None] = lambda *_: None,
        **values: Any,
    ) -> RolloutTrainer:
        usual = {"kind": "reinforcement", "trains": list(PARTS), "template": template, "steps": 2, "batch_size": 3}
        functions = rewards or {"accuracy": _oddness, "format": _shortness}
        usual |= {
            "rewards": [name for name in functions if name not in ("loop", "limit")],
            "max_new_tokens": 6,
            "rollouts": 4,
            "beam_rollouts": 1,
            "beams": 2,
        }
        config = make_config({"a": usual | values})
        stage, models = config.stages["a"], config.models
        model, processor = build_speech_llm(
            encoder=models.encoder, language_model=models.language_model, languages=languages, projector_hidden=32
        )
        names = set_trainable(model, stage.trains, seed=1)
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(5)
            for name, parameter in model.named_parameters():
                if name in names and ".lora_" in name:
                    parameter.normal_(std=0.1)
        utterances = PromptDataset(manifest, processor, template)
        prepare(model, processor, utterances)
        size = stage.batch_size * stage.accumulation
        trainer = RolloutTrainer(
            model=model,
            args=grpo_arguments(stage, trainer_arguments(stage, config, tmp_path / "work")),
            processor=processor,
            utterances=utterances,
            plan=BatchPlan(utterances.lengths, size, stage.steps, config.seed),
            stage=stage,
            rewards=functions,
            options=part_options(model, stage),
        )
        trainer.remove_callback(PrinterCallback)
        return trainer

    return make


def _oddness(completion_ids: list[list[int]], **_: Any) -> list[float]:
    return [sum(number % 2 for number in ids) / len(ids) for ids in completion_ids]


def _shortness(completion_ids: list[list[int]], **_: Any) -> list[float]:
    return [1 / len(set(ids)) for ids in completion_ids]
