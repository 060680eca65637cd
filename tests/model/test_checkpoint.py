from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mlcslm.errors import UserError
from mlcslm.io.files import sha256
from mlcslm.model.build import build_speech_llm
from mlcslm.model.checkpoint import load_checkpoint, save_checkpoint
from mlcslm.model.checkpoint_file import read_checkpoint
from mlcslm.model.configuration import LoraSettings
from mlcslm.model.lora import merge_lora
from mlcslm.model.parts import PARTS, is_tied, part_parameters, set_trainable

pytestmark = pytest.mark.slow

STAGES = {
    "stage 1": ["projector"],
    "stage 2": ["projector", "embedding", "head"],
    "baseline-2": ["projector", "lm_lora"],
    "stage 3": list(PARTS),
}


def train(model, processor, make_examples, parts) -> None:
    """Train with a large learning rate, so that every trained weight moves."""
    set_trainable(model, parts, lora=LoraSettings(rank=4, alpha=8), seed=3)
    for _ in range(2):  # the second step moves LoRA's first matrices too
        model.zero_grad()
        model(**processor.collate(make_examples(processor, 4))).loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter -= 0.1 * parameter.grad


def save(folder: Path, model):
    return save_checkpoint(
        folder, model, name="ckpt-1", parent="foundation", recipe={"steps": 1}, fingerprints={"config": "ab"}
    )


@pytest.fixture
def saved(built, make_examples, tmp_path, languages):
    model, processor = built
    train(model, processor, make_examples, STAGES["stage 3"])
    save(tmp_path, model)
    return tmp_path, model, processor, languages


@pytest.mark.parametrize("parts", STAGES.values(), ids=STAGES)
def test_a_checkpoint_gives_the_model_back(built, make_examples, tmp_path, languages, parts) -> None:
    model, processor = built
    train(model, processor, make_examples, parts)
    info = save(tmp_path, model)
    again, again_processor = load_checkpoint(tmp_path, languages=languages)
    weights = again.state_dict()
    assert weights.keys() == model.state_dict().keys()
    assert all(torch.equal(weights[name], weight) for name, weight in model.state_dict().items())
    assert is_tied(again) == is_tied(model)
    assert again.changed_parts == {"projector", *parts}
    batch = processor.collate(make_examples(processor, 4))
    assert torch.equal(again(**batch).loss, model(**batch).loss)
    assert again_processor.encode_target("Thai", "tagged", "ก") == processor.encode_target("Thai", "tagged", "ก")
    assert (info.name, info.parent, info.recipe, info.fingerprints) == (
        "ckpt-1",
        "foundation",
        {"steps": 1},
        {"config": "ab"},
    )
    assert read_checkpoint(tmp_path) == info


def test_only_what_differs_is_stored(built, make_examples, tmp_path) -> None:
    model, processor = built
    train(model, processor, make_examples, STAGES["stage 1"])
    assert save(tmp_path, model).files.keys() == {"projector.safetensors", "embedding.safetensors"}
    rows = load_file(tmp_path / "embedding.safetensors")
    assert {tuple(tensor.shape) for tensor in rows.values()} == {(18, 32)}
    train(model, processor, make_examples, STAGES["stage 2"])
    save(tmp_path, model)
    full = load_file(tmp_path / "embedding.safetensors")
    assert full.keys() == ({"embedding.weight"} if is_tied(model) else {"embedding.weight", "head.weight"})
    assert full["embedding.weight"].shape == (320, 32)


def test_a_part_trained_once_stays_in_later_checkpoints(built, make_examples, tmp_path, languages) -> None:
    """ckpt-4000 unfreezes the embedding; ckpt-7000, which may freeze it again, still needs it."""
    model, processor = built
    train(model, processor, make_examples, STAGES["stage 2"])
    save(tmp_path / "parent", model)
    child, _ = load_checkpoint(tmp_path / "parent", languages=languages, training=True)
    train(child, processor, make_examples, ["lm_lora"])
    save(tmp_path / "child", child)
    again, _ = load_checkpoint(tmp_path / "child", languages=languages)
    assert all(torch.equal(again.state_dict()[name], weight) for name, weight in child.state_dict().items())
    assert torch.equal(again.get_input_embeddings().weight, model.get_input_embeddings().weight)


def test_a_later_stage_trains_the_same_adapters_further(saved, make_examples) -> None:
    folder, model, processor, languages = saved
    child, _ = load_checkpoint(folder, languages=languages, training=True)
    for each in (model, child):
        train(each, processor, make_examples, list(PARTS))
    assert all(torch.equal(child.state_dict()[name], weight) for name, weight in model.state_dict().items())


def test_the_same_weights_give_the_same_bytes(saved) -> None:
    folder, _, _, languages = saved
    again, _ = load_checkpoint(folder, languages=languages)
    save(folder / "again", again)
    files = sorted(path.name for path in folder.iterdir() if path.is_file())
    assert files == sorted(path.name for path in (folder / "again").iterdir())
    assert len(files) == 5
    for name in files:
        assert sha256(folder / name) == sha256(folder / "again" / name), name


def test_saving_keeps_other_files_but_no_old_part(saved, encoder_folder, lm_folder) -> None:
    folder, _, _, languages = saved
    (folder / "training_log.parquet").write_bytes(b"log")
    model, _ = build_speech_llm(encoder=encoder_folder, language_model=lm_folder, languages=languages)
    save(folder, model)
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoint.json",
        "embedding.safetensors",
        "projector.safetensors",
        "training_log.parquet",
    ]
    load_checkpoint(folder, languages=languages)


@pytest.mark.parametrize("parts", STAGES.values(), ids=STAGES)
def test_bfloat16_keeps_the_trained_weights_precise_for_training(
    built, make_examples, tmp_path, languages, parts
) -> None:
    model, processor = built
    train(model, processor, make_examples, parts)
    save(tmp_path, model)
    trained, _ = load_checkpoint(tmp_path, languages=languages, dtype="bfloat16", training=True)
    for part in parts:
        own = part_parameters(model, part)
        for name, parameter in part_parameters(trained, part).items():
            assert parameter.dtype == torch.float32
            assert torch.equal(parameter, own[name])
    assert trained.model.encoder.conv1.weight.dtype == torch.bfloat16
    decoding, _ = load_checkpoint(tmp_path, languages=languages, dtype="bfloat16")
    assert {parameter.dtype for parameter in decoding.parameters()} == {torch.bfloat16}
    prompts = processor.collate(make_examples(processor, 2, prompt_only=True), side="left")
    decoding.generate(**prompts, max_new_tokens=2)


class TestRefusals:
    def test_an_unfinished_checkpoint(self, saved) -> None:
        folder, _, _, languages = saved
        (folder / "checkpoint.json").unlink()
        with pytest.raises(UserError, match=r"checkpoint.json: no such file, so .* is not a finished checkpoint"):
            load_checkpoint(folder, languages=languages)

    @pytest.mark.parametrize("content", ["", "{", '{"name": "x"'])
    def test_an_unreadable_marker(self, saved, content: str) -> None:
        folder, _, _, languages = saved
        (folder / "checkpoint.json").write_text(content)
        with pytest.raises(UserError, match=r"checkpoint.json: not readable as JSON"):
            load_checkpoint(folder, languages=languages)

    def test_another_format_version(self, saved) -> None:
        folder, _, _, languages = saved
        content = json.loads((folder / "checkpoint.json").read_text()) | {"format_version": 99}
        (folder / "checkpoint.json").write_text(json.dumps(content))
        with pytest.raises(UserError, match="format version 99 found, expected 1"):
            load_checkpoint(folder, languages=languages)

    def test_a_key_missing(self, saved) -> None:
        folder, _, _, languages = saved
        content = json.loads((folder / "checkpoint.json").read_text())
        del content["files"]
        (folder / "checkpoint.json").write_text(json.dumps(content))
        with pytest.raises(UserError, match=r"checkpoint.json: lacks files"):
            load_checkpoint(folder, languages=languages)

    def test_truncated_and_missing_files_are_all_named(self, saved) -> None:
        folder, _, _, languages = saved
        path = folder / "lm_lora.safetensors"
        path.write_bytes(path.read_bytes()[:-5])
        (folder / "projector.safetensors").unlink()
        with pytest.raises(UserError) as raised:
            load_checkpoint(folder, languages=languages)
        assert f"{folder}/projector.safetensors: no such file" in str(raised.value)
        assert f"{folder}/lm_lora.safetensors: SHA-256" in str(raised.value)

    def test_one_flipped_bit(self, saved) -> None:
        folder, _, _, languages = saved
        path = folder / "embedding.safetensors"
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"embedding.safetensors: SHA-256 .* found .* expected"):
            load_checkpoint(folder, languages=languages)

    def test_tensors_of_another_shape(self, saved) -> None:
        folder, _, _, languages = saved
        path = folder / "projector.safetensors"
        tensors = load_file(path)
        tensors["linear1.bias"] = torch.zeros(5)
        save_file(tensors, path)
        content = json.loads((folder / "checkpoint.json").read_text())
        content["files"]["projector.safetensors"] = sha256(path)
        (folder / "checkpoint.json").write_text(json.dumps(content))
        with pytest.raises(UserError, match=r"linear1.bias: found \(5,\), expected \(16,\)"):
            load_checkpoint(folder, languages=languages)

    def test_other_foundation_models(self, saved, make_encoder, make_language_model) -> None:
        folder, _, _, languages = saved
        other = make_encoder(seed=9)
        with pytest.raises(UserError, match=rf"encoder: found {other} .*, trained with"):
            load_checkpoint(folder, languages=languages, encoder=other)
        with pytest.raises(UserError, match=r"language_model: found"):
            load_checkpoint(folder, languages=languages, language_model=make_language_model(seed=9))

    def test_other_languages(self, saved) -> None:
        folder, _, _, languages = saved
        fewer = {name: group for name, group in languages.items() if name != "Thai"}
        with pytest.raises(UserError, match="added tokens: the languages table gives"):
            load_checkpoint(folder, languages=fewer)

    def test_a_moved_foundation_is_found_by_its_new_path(self, saved, encoder_folder, tmp_path) -> None:
        folder, model, _, languages = saved
        (tmp_path / "elsewhere").symlink_to(encoder_folder)
        again, _ = load_checkpoint(folder, languages=languages, encoder=str(tmp_path / "elsewhere"))
        assert again.foundation["encoder"]["fingerprint"] == model.foundation["encoder"]["fingerprint"]

    def test_a_merged_model_is_not_saved(self, saved) -> None:
        folder, model, *_ = saved
        merge_lora(model)
        with pytest.raises(ValueError, match="merged"):
            save(folder, model)
