"""The weighted loss equals a hand-written reference of the paper's equations, however a step is split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from mlcslm.config.stages import PromptLossWeight
from mlcslm.model.build import build_speech_llm
from mlcslm.model.processor import SpeechProcessor
from mlcslm.model.speech_llm import SpeechLLM
from mlcslm.training import stage as stage_module
from mlcslm.training.batches import BatchPlan
from mlcslm.training.prompt_loss import LabelWeights
from mlcslm.training.settings import StagePaths

pytestmark = pytest.mark.slow

STAGE = {"trains": ["projector", "embedding", "head"], "template": "reasoning", "warmup_steps": 0}
SECTION = {"reasoning": {"checkpoint": "heard"}}
HEARD = {"trains": ["projector", "embedding", "head"], "template": "tagged", "steps": 1}


@pytest.fixture(scope="module")
def built(encoder_folder: str, language_model_folder: str, languages) -> tuple[SpeechLLM, SpeechProcessor]:
    models = {"encoder": encoder_folder, "language_model": language_model_folder, "projector_hidden": 32}
    return build_speech_llm(**models, languages=languages, seed=17)


def hand_weights(processor: SpeechProcessor, labels: list[int], plw: float) -> list[float]:
    """Token by token: prompt 0, from `<think>` to `</think>` the PLW, 1 elsewhere."""
    weights, inside = [], False
    for label in labels:
        text = "" if label == -100 else processor.tokenizer.convert_ids_to_tokens(label)
        inside = inside or text == "<think>"
        weights.append(0.0 if label == -100 else plw if inside else 1.0)
        inside = inside and text != "</think>"
    return weights


def hand_loss(model: SpeechLLM, processor: SpeechProcessor, examples: list[dict], plw: float) -> float:
    """Equation 2 over all `examples`, each run alone."""
    total, weight = 0.0, 0.0
    for example in examples:
        batch = processor.collate([example])
        labels = batch.pop("labels")[0].tolist()
        with torch.no_grad():
            scores = model(**batch).logits[0].double().log_softmax(-1)
        for position, (label, w) in enumerate(zip(labels, hand_weights(processor, labels, plw), strict=True)):
            if label != -100:
                total -= w * scores[position - 1, label].item()
                weight += w
    return total / weight


def answers(processor: SpeechProcessor, seed: int) -> list[dict]:
    """Six examples of random lengths and texts."""
    random = torch.Generator().manual_seed(seed)

    def words(most: int) -> str:
        return " ".join("yes" if torch.rand((), generator=random) < 0.5 else "là" for _ in range(draw(most)))

    def draw(most: int) -> int:
        return int(torch.randint(1, most, (), generator=random))

    examples = []
    for _ in range(6):
        tokens = draw(12)
        example = processor.encode_example(
            "French", "reasoning", audio_tokens=tokens, transcript=words(9), think=words(20)
        )
        examples.append(example | {"encoder_frames": torch.randn(5 * tokens, 32, generator=random)})
    return examples


@pytest.mark.parametrize("plw", [1.0, 0.37, 0.1, 0.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_loss_of_random_batches_is_that_of_a_hand_written_reference(built, plw: float, seed: int) -> None:
    model, processor = built
    examples = answers(processor, seed)
    batch = processor.collate(examples)
    weights = label_weights(processor, PromptLossWeight(first=plw, last=plw))(batch["labels"], step=3)
    expected = hand_loss(model, processor, examples, plw)
    with torch.no_grad():
        assert model(**batch, label_weights=weights).loss.item() == pytest.approx(expected, rel=1e-6)
        if plw == 1.0:
            assert model(**batch).loss.item() == pytest.approx(expected, rel=1e-6)


def label_weights(processor: SpeechProcessor, schedule: PromptLossWeight) -> LabelWeights:
    think, end_think = processor.tokenizer.convert_tokens_to_ids(["<think>", "</think>"])
    return LabelWeights(schedule, think, end_think)


def test_tags_of_the_reflection_are_weighted_like_it(built) -> None:
    _, processor = built
    example = processor.encode_example("French", "reasoning", audio_tokens=3, transcript="ça", think="là")
    labels = torch.tensor([example["labels"]])
    weights = label_weights(processor, PromptLossWeight(first=0.25, last=0.25))(labels, step=0)[0].tolist()
    rendered = {
        processor.tokenizer.convert_ids_to_tokens(label): weight
        for label, weight in zip(example["labels"], weights, strict=True)
        if label != -100
    }
    ones = ("<LANG_FR>", "<transcribe>", "</transcribe>", "<|im_end|>")
    assert {tag: rendered[tag] for tag in ones} == dict.fromkeys(ones, 1.0)
    assert (rendered["<think>"], rendered["</think>"]) == (0.25, 0.25)
    assert weights[: example["labels"].index(processor.tokenizer.convert_tokens_to_ids("<LANG_FR>"))] == [0.0] * (
        len(weights) - sum(label != -100 for label in example["labels"])
    )


def losses(folder: Path) -> list[float]:
    return pq.read_table(folder / "training_log.parquet")["loss"].to_pylist()


def test_each_step_has_the_weight_of_its_number(
    make_config, train: Callable[..., Path], tmp_path: Path, built, reasoning: Path, tones: Path
) -> None:
    """At a learning rate too small to change a weight, a step's loss is the untrained model's with that step's PLW."""
    weight = {"first": 0.9, "last": 0.3, "steps": 3}
    stage = STAGE | {"steps": 5, "batch_size": 6, "learning_rate": 1e-30, "prompt_loss_weight": weight}
    config = make_config({"heard": HEARD, "a": stage}, **SECTION)
    found = losses(train(config, "a", tmp_path, reasoning=reasoning))
    model, processor = built
    dataset = stage_module.UtteranceDataset(tones, processor, "reasoning", reasoning=reasoning)
    batches = [[dataset[key] for key in batch] for batch in BatchPlan(dataset.lengths, 6, 5, config.seed)]
    plws = [0.9, 0.7, 0.5, 0.3, 0.3]
    expected = [hand_loss(model, processor, batch, plw) for batch, plw in zip(batches, plws, strict=True)]
    assert found == pytest.approx(expected, rel=2e-6)


@pytest.fixture
def in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Optimiser steps of 16 utterances of mixed lengths, the same whatever the micro-batches."""

    class Pieces(BatchPlan):
        def __iter__(self):
            for batch in BatchPlan(self.lengths, 16, self.count, seed=0):
                mixed = batch[::2] + batch[1::2]
                yield from (mixed[i : i + self.size] for i in range(0, 16, self.size))

    monkeypatch.setattr(stage_module, "BatchPlan", Pieces)


@pytest.mark.usefixtures("in_pieces")
def test_1_x_16_and_2_x_8_and_4_x_4_are_one_step(
    make_config, train: Callable[..., Path], tmp_path: Path, reasoning: Path
) -> None:
    folders = []
    for size in (16, 8, 4):
        stage = STAGE | {"steps": 3, "batch_size": size, "accumulation": 16 // size}
        stage |= {"prompt_loss_weight": {"first": 0.8, "last": 0.1, "steps": 2}}
        config = make_config({"heard": HEARD, "a": stage}, **SECTION)
        folders.append(train(config, "a", tmp_path / str(size), reasoning=reasoning))
    for folder in folders[1:]:
        assert losses(folder) == pytest.approx(losses(folders[0]), rel=1e-6)
        assert_alike(folder, folders[0])


def assert_alike(found: Path, expected: Path) -> None:
    """Adam divides by the gradient's magnitude: weights with hardly any gradient may differ by rounding."""
    for file in ("projector.safetensors", "embedding.safetensors"):
        one, other = load_file(expected / file), load_file(found / file)
        assert all((other[name] - one[name]).abs().mean() < 1e-6 for name in one), file
        assert all((other[name] - one[name]).abs().max() < 1e-3 for name in one), file


@pytest.mark.usefixtures("forked_processes")
def test_two_processes_weigh_as_one(
    make_config, train: Callable[..., Path], tmp_path: Path, tones: Path, reasoning: Path
) -> None:
    from mlcslm.training.launch import launch_stage

    stage: dict[str, Any] = STAGE | {"steps": 3, "batch_size": 3}
    stage |= {"prompt_loss_weight": {"first": 0.8, "last": 0.1, "steps": 2}}
    stages = {"heard": HEARD, "a": stage | {"accumulation": 2}}
    one = train(make_config(stages, **SECTION), "a", tmp_path / "one", reasoning=reasoning)
    root = tmp_path / "two"
    paths = StagePaths(out=root / "a", work=root / "work" / "a", manifest=tones, reasoning=reasoning)
    launch_stage("a", make_config({"heard": HEARD, "a": stage | {"accumulation": 2}}, **SECTION), paths, processes=2)
    assert losses(root / "a") == pytest.approx(losses(one), rel=2e-6)
    assert_alike(root / "a", one)
