"""Whatever stops a stage, its state remains to resume from, with the same recipe and no other."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from mlcslm.errors import UserError
from mlcslm.io.files import sha256
from mlcslm.model.speech_llm import SpeechLLM
from mlcslm.training import stage as stage_module

pytestmark = pytest.mark.slow


def log_of(folder: Path) -> dict[str, list]:
    return pq.read_table(folder / "training_log.parquet").to_pydict()


def part_files(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path) for path in folder.glob("*.safetensors")}


def failing_at(monkeypatch: pytest.MonkeyPatch, step: int, damage: Callable[[SpeechLLM, torch.Tensor], torch.Tensor]):
    """Pass the loss of a step through `damage`; returns a list that will hold the model."""
    models: list[SpeechLLM] = []
    forward = SpeechLLM.forward
    calls = iter(range(1, 10_000))

    def damaged(self: SpeechLLM, *arguments: Any, **options: Any) -> Any:
        output = forward(self, *arguments, **options)
        if next(calls) == step:
            models.append(self)
            output.loss = damage(self, output.loss)
        return output

    monkeypatch.setattr(SpeechLLM, "forward", damaged)
    return models


def overflow(model: SpeechLLM, loss: torch.Tensor) -> torch.Tensor:
    """The loss stays finite, but the last trained weight's gradient becomes infinite."""
    last = [parameter for parameter in model.parameters() if parameter.requires_grad][-1]
    last.register_hook(lambda gradient: gradient + math.inf)
    return loss


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda _, loss: loss * math.nan, "The loss of step 5 is not finite"),
        (lambda _, loss: loss * math.inf, "The loss of step 5 is not finite"),
        (overflow, "The gradient of step 5 is not finite"),
    ],
    ids=["nan", "infinite", "gradient"],
)
def test_a_non_finite_value_stops_a_stage_before_a_weight_changes(
    make_config, train: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage, expected: str
) -> None:
    config = make_config({"a": {"trains": ["projector", "head"], "steps": 6, "save_steps": 2, "warmup_steps": 0}})
    undisturbed = train(config, "a", tmp_path / "undisturbed")
    with monkeypatch.context() as patch:
        models = failing_at(patch, 5, damage)
        with pytest.raises(UserError, match=expected):
            train(config, "a", tmp_path)
    assert not (tmp_path / "a").exists()
    (work,) = (path for path in (tmp_path / "work" / "a").iterdir() if path.is_dir())
    assert sorted(path.parent.name for path in work.glob("*/whole")) == ["checkpoint-2", "checkpoint-4"]
    state = load_file(work / "checkpoint-4" / "trained.safetensors")
    weights = dict(models[0].named_parameters())
    assert set(state) == {name for name, weight in weights.items() if weight.requires_grad}
    assert all(torch.equal(tensor, weights[name]) for name, tensor in state.items())
    # Without the fault, the same stage resumes from there.
    assert part_files(train(config, "a", tmp_path)) == part_files(undisturbed)


def test_a_state_of_another_recipe_is_never_resumed(
    make_config, train: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = {"steps": 6, "save_steps": 2, "warmup_steps": 0}
    with monkeypatch.context() as patch:
        failing_at(patch, 5, lambda _, loss: loss * math.nan)
        with pytest.raises(UserError):
            train(make_config({"a": stage}), "a", tmp_path)
    left = {path for path in (tmp_path / "work" / "a").iterdir() if path.is_dir()}
    for change in ({"stages": {"a": stage | {"learning_rate": 2e-3}}}, {"seed": 1}, {"models": {"lora": {"rank": 8}}}):
        config = make_config(**({"stages": {"a": stage}} | change))
        changed = train(config, "a", tmp_path)
        assert part_files(changed) == part_files(train(config, "a", tmp_path / "fresh"))
        assert log_of(changed)["step"] == list(range(1, 7))
    assert {path for path in (tmp_path / "work" / "a").iterdir() if path.is_dir()} == left


def test_a_stage_stopped_after_its_last_step_only_writes_its_checkpoint(
    make_config, train: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config({"a": {"steps": 4, "save_steps": 3}})
    undisturbed = train(config, "a", tmp_path / "undisturbed")

    def full_disk(*_: Any, **__: Any) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(stage_module, "save_checkpoint", full_disk)
        with pytest.raises(OSError, match="No space"):
            train(config, "a", tmp_path)
    with monkeypatch.context() as patch:
        failing_at(patch, 1, lambda *_: pytest.fail("a step was repeated"))
        again = train(config, "a", tmp_path)
    assert part_files(again) == part_files(undisturbed)
    assert log_of(again)["step"] == [1, 2, 3, 4]
    assert log_of(again)["loss"] == log_of(undisturbed)["loss"]
