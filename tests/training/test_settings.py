"""Where in the training set a stage begins, and which weights Muon steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mlcslm.model.build import build_speech_llm
from mlcslm.model.parts import set_trainable
from mlcslm.training.settings import part_options, utterances_before

STAGES = {
    "a": {"steps": 10, "batch_size": 4},
    "b": {"parent": "a", "steps": 5, "batch_size": 2, "accumulation": 3},
    "c": {"parent": "b", "steps": 7},
    "other": {"parent": "a", "steps": 1},
}


@pytest.mark.parametrize(("name", "before"), [("a", 0), ("b", 40), ("c", 70), ("other", 40)])
def test_a_stage_begins_after_what_its_parents_have_drawn(
    make_config: Callable[..., Any], name: str, before: int
) -> None:
    assert utterances_before(name, make_config(STAGES)) == before
    assert utterances_before(name, make_config(STAGES, augmentation={"order": "anew"})) == 0


def test_which_utterances_are_drawn_is_no_matter_of_cached_outputs(make_config: Callable[..., Any]) -> None:
    usual = make_config(STAGES, augmentation={}).augmentation
    drawn = make_config(STAGES, augmentation={"order": "anew", "language_temperature": 2.0}).augmentation
    louder = make_config(STAGES, augmentation={"snr_db": [0, 5]}).augmentation
    assert drawn.model_dump(mode="json") != usual.model_dump(mode="json")
    assert drawn.of_sound() == usual.of_sound() != louder.of_sound()


def test_muon_steps_the_matrices_of_projector_and_adapters_alone(
    make_config: Callable[..., Any], languages: dict[str, Any]
) -> None:
    trains = ["projector", "embedding", "head", "lm_lora"]
    config = make_config(
        {"a": {"steps": 1, "trains": trains, "optimizer": "muon", "part_learning_rates": {"lm_lora": 0.5}}}
    )
    model, _ = build_speech_llm(
        encoder=config.models.encoder,
        language_model=config.models.language_model,
        languages=languages,
        projector_hidden=32,
    )
    set_trainable(model, config.stages["a"].trains, seed=1)
    options = part_options(model, config.stages["a"])
    matrices = {name for name, values in options.items() if values.get("matrices")}
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    expected = {name for name, weight in trained.items() if ".lora_" in name}
    expected |= {name for name, weight in trained.items() if "projector" in name and name.endswith("weight")}
    assert matrices == expected
    assert {options[name].get("lr") for name in matrices} == {0.5, None}
