from __future__ import annotations

import pytest
import torch
from torch import nn

from mlcslm.errors import UserError
from mlcslm.model.build import build_speech_llm
from mlcslm.model.configuration import LoraSettings
from mlcslm.model.lora import add_lora, has_lora, lora_parameters, merge_lora
from mlcslm.model.parts import PARTS, is_tied, set_trainable

PREFIXES = {
    "projector": "model.projector.",
    "embedding": "model.language_model.embed_tokens.",
    "head": "lm_head.",
    "lm_lora": "model.language_model.layers.",
    "encoder_lora": "model.encoder.layers.",
}


def shake(model, parts=("lm_lora", "encoder_lora")) -> None:
    """Random weights in place of the adapters' zeros."""
    torch.manual_seed(1)
    for part in parts:
        for parameter in lora_parameters(model, part).values():
            nn.init.normal_(parameter, std=0.2)


@pytest.mark.parametrize(
    "parts",
    [["projector"], ["projector", "embedding", "head"], ["projector", "lm_lora"], ["encoder_lora"], list(PARTS)],
    ids=lambda parts: "+".join(parts),
)
def test_gradients_flow_to_the_chosen_parts_and_nowhere_else(built, make_examples, parts) -> None:
    model, processor = built
    names = set_trainable(model, parts)
    expected = {PREFIXES[part] for part in parts} - ({PREFIXES["head"]} if is_tied(model) else set())
    assert {prefix for prefix in PREFIXES.values() if any(name.startswith(prefix) for name in names)} == expected
    shake(model, [part for part in parts if part.endswith("lora")])
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.train()
    model(**processor.collate(make_examples(processor, 4))).loss.backward()
    optimizer.step()
    changed = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert changed == set(names)


def test_every_linear_layer_but_the_head_has_lora(built) -> None:
    model, _ = built
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    inside = [name for name in linear if ".layers." in name]
    names = set_trainable(model, ["lm_lora", "encoder_lora"])
    assert {name.split(".lora_")[0] for name in names} == set(inside)
    assert len(inside) == 2 * 7 + 2 * 6
    assert not any("lm_head" in name for name in names)


def test_new_adapters_depend_on_their_seed_only(encoder_folder, lm_folder, languages) -> None:
    weights = []
    for seed in (5, 5, 6):
        model, _ = build_speech_llm(encoder=encoder_folder, language_model=lm_folder, languages=languages)
        torch.randn(seed)
        set_trainable(model, ["lm_lora", "encoder_lora"], seed=seed)
        weights.append({part: lora_parameters(model, part) for part in ("lm_lora", "encoder_lora")})
    for part, of_first in weights[0].items():
        for name, weight in of_first.items():
            assert torch.equal(weight, weights[1][part][name])
            assert torch.equal(weight, weights[2][part][name]) == ("lora_B" in name)


def test_new_adapters_change_nothing(built, make_examples) -> None:
    model, processor = built
    batch = processor.collate(make_examples(processor, 2))
    before, state = model(**batch).loss, torch.get_rng_state()
    set_trainable(model, ["lm_lora", "encoder_lora"], lora=LoraSettings(rank=4, alpha=8), seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(model(**batch).loss, before)
    assert model.changed_parts == {"projector", "lm_lora", "encoder_lora"}


def test_existing_adapters_are_trained_further(built) -> None:
    model, _ = built
    set_trainable(model, ["lm_lora"])
    shake(model, ["lm_lora"])
    before = {name: parameter.clone() for name, parameter in lora_parameters(model, "lm_lora").items()}
    set_trainable(model, ["projector"])
    assert not any(parameter.requires_grad for parameter in lora_parameters(model, "lm_lora").values())
    set_trainable(model, ["lm_lora", "encoder_lora"])
    assert has_lora(model, "encoder_lora")
    for name, parameter in lora_parameters(model, "lm_lora").items():
        assert parameter.requires_grad
        assert torch.equal(parameter, before[name])


def test_trained_weights_are_float32_in_a_bfloat16_model(built, make_examples) -> None:
    model, processor = built
    model.to(torch.bfloat16)
    tied = is_tied(model)
    names = set_trainable(model, ["projector", "embedding", "head", "lm_lora"])
    assert is_tied(model) == tied
    for name, parameter in model.named_parameters():
        assert parameter.dtype == (torch.float32 if name in names else torch.bfloat16), name
    batch = processor.collate(make_examples(processor, 2))
    model.train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(**batch).loss
    loss.backward()
    assert loss.isfinite()
    assert all(model.get_parameter(name).grad.isfinite().all() for name in names)


def test_an_unknown_part_is_named(built) -> None:
    with pytest.raises(UserError, match="found 'projektor', expected some of: projector, embedding"):
        set_trainable(built[0], ["projektor"])


def test_merged_adapters_compute_the_same(built, make_examples) -> None:
    model, processor = built
    set_trainable(model, ["lm_lora", "encoder_lora"])
    shake(model)
    batch = processor.collate(make_examples(processor, 3))
    batch.pop("labels")
    before = model(**batch).logits
    merge_lora(model)
    torch.testing.assert_close(model(**batch).logits, before, atol=1e-3, rtol=1e-3)
    assert model.lora_is_merged


def test_adapters_are_added_with_the_models_own_settings(built) -> None:
    model, _ = built
    model.lora_settings = LoraSettings(rank=3, alpha=6)
    add_lora(model, "lm_lora", seed=0)
    weight = lora_parameters(model, "lm_lora")["layers.0.mlp.down_proj.lora_A.default.weight"]
    assert weight.shape == (3, 64)
    layer = model.get_submodule("model.language_model.layers.0.mlp.down_proj")
    assert layer.scaling["default"] == 2.0
    with pytest.raises(UserError, match=r"found .*rank=16.*, but the existing adapters have .*rank=3"):
        set_trainable(model, ["lm_lora"], lora=LoraSettings())
