"""Packed weights: the same products, and the same weights when saved."""

from __future__ import annotations

import pytest
import torch

from mlcslm.model.build import build_speech_llm
from mlcslm.model.packed import PackedLinear, pack_language_model


@pytest.fixture(scope="module")
def model(encoder_folder: str, make_language_model, languages):
    model, _ = build_speech_llm(
        encoder=encoder_folder, language_model=make_language_model(width=512), languages=languages
    )
    return model


def test_products_and_weights_are_the_same(model) -> None:
    ids = torch.arange(90).view(1, 90) + 2
    few = ids[:, :20]
    with torch.inference_mode():
        expected = [model(input_ids=one).logits for one in (ids, few)]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    pack_language_model(model)
    packed = {name for name, layer in model.named_modules() if isinstance(layer, PackedLinear)}
    assert "model.language_model.layers.0.self_attn.q_proj" in packed
    assert not any("encoder" in name or "projector" in name or "gate_proj" in name for name in packed)
    with torch.inference_mode():
        for one, logits in zip((ids, few), expected, strict=True):
            assert (model(input_ids=one).logits - logits).abs().max() < 1e-4 * logits.abs().max()
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_model_in_bfloat16_is_left_as_it_is(encoder_folder: str, make_language_model, languages) -> None:
    model, _ = build_speech_llm(
        encoder=encoder_folder, language_model=make_language_model(width=512), languages=languages, dtype="bfloat16"
    )
    pack_language_model(model)
    assert not any(isinstance(layer, PackedLinear) for layer in model.modules())
