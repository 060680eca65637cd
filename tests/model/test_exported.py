"""Exported models: the same weights, prompts and answers as the checkpoint's, from the folder alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from mlcslm.errors import UserError
from mlcslm.model.build import build_speech_llm
from mlcslm.model.checkpoint import save_checkpoint
from mlcslm.model.configuration import LoraSettings
from mlcslm.model.exported import load_export, read_export, save_export
from mlcslm.model.lora import merge_lora
from mlcslm.model.parts import set_trainable

pytestmark = pytest.mark.slow

SHEET = Path(__file__).parents[2] / "config" / "languages.tsv"


def export(folder: Path, encoder: str, language_model: str, languages):
    """An export of a model with adapters that do something, the model itself, merged, and its processor."""
    model, processor = build_speech_llm(
        encoder=encoder, language_model=language_model, languages=languages, projector_hidden=16
    )
    set_trainable(model, ["projector", "lm_lora", "encoder_lora"], lora=LoraSettings(rank=4, alpha=8), seed=3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_B." in name:
                parameter.normal_(0, 0.05, generator=torch.Generator().manual_seed(len(name)))
    info = save_checkpoint(
        folder / "checkpoint", model, name="a/b", parent="a", recipe={"template": "tagged"}, fingerprints={}
    )
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    merge_lora(model.eval())
    (folder / "export").mkdir()
    save_export(folder / "export", model, processor, info, languages=SHEET, decoding={"beams": 2, "method": "beam"})
    return folder / "export", model, processor, before


@pytest.fixture(scope="module")
def shared(encoder_folder, language_model_folder, languages, tmp_path_factory: pytest.TempPathFactory):
    return export(tmp_path_factory.mktemp("shared"), encoder_folder, language_model_folder, languages)


@pytest.fixture
def exported(shared, tmp_path: Path):
    """A copy of the folder, to be damaged."""
    folder, model, processor, _ = shared
    return Path(shutil.copytree(folder, tmp_path / "export")), model, processor


def test_an_export_gives_the_merged_model_back_from_its_folder_alone(exported, make_examples, monkeypatch) -> None:
    folder, model, processor = exported
    monkeypatch.setattr("mlcslm.model.build.load_encoder", None)  # no foundation model is requested
    again, again_processor, info = load_export(folder)
    weights = again.state_dict()
    assert weights.keys() == model.state_dict().keys()
    assert not any("lora" in name for name in weights)
    assert all(torch.equal(weights[name], weight) for name, weight in model.state_dict().items())
    batch = again_processor.collate(make_examples(again_processor, 4))
    assert torch.equal(again(**batch).loss, model(**processor.collate(make_examples(processor, 4))).loss)
    assert again.generation_config.suppress_tokens == model.generation_config.suppress_tokens
    assert again.generation_config.eos_token_id == model.generation_config.eos_token_id
    assert (info.checkpoint, info.parent, info.template) == ("a/b", "a", "tagged")
    assert info.decoding == {"beams": 2, "method": "beam"}
    assert not again.training


def test_adapters_are_in_the_weights(shared) -> None:
    folder, _, _, before = shared
    weights = load_export(folder)[0].state_dict()
    front = "model.language_model.layers.0.self_attn.q_proj"
    down, up = (before[f"{front}.lora_{half}.default.weight"] for half in "AB")
    merged = before[f"{front}.base_layer.weight"] + 8 / 4 * up @ down
    assert torch.allclose(weights[f"{front}.weight"], merged, atol=1e-6)
    assert not torch.allclose(weights[f"{front}.weight"], before[f"{front}.base_layer.weight"], atol=1e-3)


def test_tied_embeddings_stay_tied(encoder_folder, make_language_model, languages, tmp_path: Path) -> None:
    language_model = make_language_model(kind="llama", tied=True)
    folder, model, _, _ = export(tmp_path, encoder_folder, language_model, languages)
    again, _, _ = load_export(folder)
    assert again.lm_head.weight is again.get_input_embeddings().weight
    assert torch.equal(again.lm_head.weight, model.lm_head.weight)


@pytest.mark.parametrize("template", ["plain", "tagged", "tagged-own-language", "reasoning"])
def test_prompts_and_answers_are_tokenized_as_before(exported, template: str) -> None:
    folder, _, processor = exported
    _, again, _ = load_export(folder)
    assert list(again.groups) == list(processor.groups)
    for group in processor.groups:
        prompt = processor.encode_prompt(group, template, audio_tokens=3)
        assert again.encode_prompt(group, template, audio_tokens=3) == prompt
    think = "hm" if template == "reasoning" else None
    ids = processor.encode_target("French", template, "ça va ?", think)
    assert again.encode_target("French", template, "ça va ?", think) == ids
    assert again.parse(ids, template) == processor.parse(ids, template)


def test_transformers_loads_it_by_itself(exported) -> None:
    from transformers import AutoModelForCausalLM

    folder, model, _ = exported
    again = AutoModelForCausalLM.from_pretrained(folder)
    assert type(again) is type(model)
    assert torch.equal(again.lm_head.weight, model.lm_head.weight)


def test_it_reveals_no_local_paths_and_requests_no_code(exported, encoder_folder, language_model_folder) -> None:
    folder, _, _ = exported
    for path in folder.glob("*.json"):
        text = path.read_text(encoding="utf-8")
        assert encoder_folder not in text and language_model_folder not in text, path.name
        assert "auto_map" not in text, path.name
    assert not [path for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pkl", ".py")]


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "languages.tsv", "config.json"])
def test_a_changed_file_is_named(exported, name: str) -> None:
    folder, _, _ = exported
    path = folder / name
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=name):
        load_export(folder)
    path.unlink()
    with pytest.raises(UserError, match=f"{name}: no such file"):
        load_export(folder)


def test_the_card_may_be_edited(exported) -> None:
    folder, _, _ = exported
    (folder / "README.md").write_text("mine")
    read_export(folder)


def test_another_folder_is_not_an_export(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not an exported model"):
        read_export(tmp_path)
    (tmp_path / "mlcslm.json").write_text("{")
    with pytest.raises(UserError, match="not readable as JSON"):
        read_export(tmp_path)
    (tmp_path / "mlcslm.json").write_text(json.dumps({"format_version": 7}))
    with pytest.raises(UserError, match="format version 7 found"):
        read_export(tmp_path)
