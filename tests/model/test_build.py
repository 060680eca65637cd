from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from mlcslm.errors import UserError
from mlcslm.model.build import build_speech_llm
from mlcslm.model.foundation import fingerprint_of


def build(encoder: str, language_model: str, languages, **options):
    return build_speech_llm(
        encoder=encoder, language_model=language_model, languages=languages, projector_hidden=16, **options
    )


def test_spare_rows_are_used_and_never_shrunk(encoder_folder, make_language_model, languages) -> None:
    folder = make_language_model(spare=100)
    known = AutoModelForCausalLM.from_pretrained(folder)
    rows = known.get_input_embeddings().num_embeddings
    model, processor = build(encoder_folder, folder, languages)
    assert model.get_input_embeddings().num_embeddings == model.lm_head.out_features == rows
    new = sorted(model.config.added_tokens.values())
    assert len(new) == 18
    assert new[0] == rows - 100
    for own, theirs in (
        (model.get_input_embeddings().weight, known.get_input_embeddings().weight),
        (model.lm_head.weight, known.get_output_embeddings().weight),
    ):
        untouched = [row for row in range(rows) if row not in new]
        assert torch.equal(own[untouched], theirs[untouched])
        mean = theirs[: rows - 100].mean(0)
        assert (own[new] - mean).abs().max() < 0.1 * theirs.std()
        assert len(torch.unique(own[new], dim=0)) == 18
    assert model.generation_config.suppress_tokens == [processor.audio_token_id, *range(new[-1] + 1, rows)]


@pytest.mark.parametrize("tied", [False, True])
def test_rows_are_added_if_none_are_spare(encoder_folder, make_language_model, languages, tied: bool) -> None:
    folder = make_language_model(tied=tied)
    known = AutoModelForCausalLM.from_pretrained(folder).get_input_embeddings().weight
    model, processor = build(encoder_folder, folder, languages)
    weight = model.get_input_embeddings().weight
    assert (weight is model.lm_head.weight) == tied
    assert weight.shape[0] == 320 == model.lm_head.weight.shape[0] == model.config.text_config.vocab_size
    assert len(processor.tokenizer) == 318
    assert torch.equal(weight[:300], known)
    torch.testing.assert_close(weight[318:], known.mean(0).expand(2, -1))


def test_a_token_that_the_language_model_knows_keeps_its_row(encoder_folder, make_language_model, languages) -> None:
    """Qwen3 has <think> and </think> of its own."""
    folder = Path(make_language_model(spare=40))
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<think>", "</think>"])
    tokenizer.save_pretrained(folder)
    known = AutoModelForCausalLM.from_pretrained(folder).get_input_embeddings().weight
    model, _ = build(encoder_folder, str(folder), languages)
    assert model.config.added_tokens["<think>"] == 300
    assert model.config.added_tokens["<LANG_EN>"] == 302
    assert torch.equal(model.get_input_embeddings().weight[300:302], known[300:302])


def test_the_seed_decides_what_is_not_pretrained(encoder_folder, lm_folder, languages) -> None:
    state = torch.get_rng_state()
    one, again, other = (build(encoder_folder, lm_folder, languages, seed=seed)[0].state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    different = {name for name in one if not torch.equal(one[name], other[name])}
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert {name.split(".")[1] for name in different if "embed_tokens" not in name and "lm_head" not in name} == {
        "projector"
    }
    assert any("embed_tokens" in name for name in different)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_dtypes_and_fingerprints(encoder_folder, lm_folder, languages, dtype) -> None:
    model, _ = build(encoder_folder, lm_folder, languages, dtype=dtype)
    assert {parameter.dtype for parameter in model.parameters()} == {getattr(torch, dtype)}
    again, _ = build(encoder_folder, lm_folder, languages)
    assert model.foundation == again.foundation


def test_fingerprints_tell_models_of_one_shape_apart(make_encoder, make_language_model) -> None:
    one, other = (AutoModelForCausalLM.from_pretrained(make_language_model(seed=seed)) for seed in (2, 3))
    assert fingerprint_of(one) != fingerprint_of(other)


class TestUnusableSources:
    def test_no_such_folder(self, encoder_folder, lm_folder, languages) -> None:
        with pytest.raises(UserError, match=r"encoder /no/where: no such folder. Specify a folder with config.json"):
            build("/no/where", lm_folder, languages)
        with pytest.raises(UserError, match=r"language model \./nowhere: no such folder"):
            build(encoder_folder, "./nowhere", languages)

    def test_files_missing(self, encoder_folder, languages, tmp_path) -> None:
        (tmp_path / "config.json").write_text("{}")
        with pytest.raises(UserError, match=r"language model .*: \*.safetensors not found"):
            build(encoder_folder, str(tmp_path), languages)

    def test_a_pickle_is_not_read(self, encoder_folder, lm_folder, languages, tmp_path) -> None:
        shutil.copytree(lm_folder, tmp_path / "lm")
        torch.save(load_file(tmp_path / "lm" / "model.safetensors"), tmp_path / "lm" / "pytorch_model.bin")
        (tmp_path / "lm" / "model.safetensors").unlink()
        with pytest.raises(UserError, match=r"\*.safetensors not found"):
            build(encoder_folder, str(tmp_path / "lm"), languages)

    def test_another_kind_of_model(self, encoder_folder, lm_folder, languages) -> None:
        with pytest.raises(UserError, match=r"found a model of type '.*', expected a Whisper checkpoint"):
            build(lm_folder, lm_folder, languages)

    @pytest.mark.slow
    def test_no_causal_language_model(self, encoder_folder, languages, lm_folder, tmp_path) -> None:
        shutil.copytree(lm_folder, tmp_path / "lm")
        (tmp_path / "lm" / "config.json").write_text(json.dumps({"model_type": "vit"}))
        with pytest.raises(UserError, match=r"language model .*lm: cannot be loaded"):
            build(encoder_folder, str(tmp_path / "lm"), languages)

    def test_a_truncated_file(self, encoder_folder, languages, lm_folder, tmp_path) -> None:
        shutil.copytree(lm_folder, tmp_path / "lm")
        path = tmp_path / "lm" / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-1000])
        with pytest.raises(UserError, match=r"language model .*lm: cannot be loaded"):
            build(encoder_folder, str(tmp_path / "lm"), languages)

    def test_weights_missing_or_of_another_shape(self, encoder_folder, languages, lm_folder, tmp_path) -> None:
        shutil.copytree(encoder_folder, tmp_path / "encoder")
        path = tmp_path / "encoder" / "model.safetensors"
        weights = load_file(path)
        del weights["model.encoder.conv1.bias"]
        save_file(weights, path, metadata={"format": "pt"})
        with pytest.raises(UserError, match=r"do not match its config.json.\n  conv1.bias: no such weight"):
            build(str(tmp_path / "encoder"), lm_folder, languages)
        weights["model.encoder.conv1.bias"] = torch.zeros(7)
        save_file(weights, path, metadata={"format": "pt"})
        with pytest.raises(UserError, match=r"conv1.bias: found \(7,\), expected \(32,\)"):
            build(str(tmp_path / "encoder"), lm_folder, languages)

    def test_another_number_of_mel_bins(self, make_encoder, lm_folder, languages, tmp_path) -> None:
        shutil.copytree(make_encoder(mels=128), tmp_path / "encoder")
        path = tmp_path / "encoder" / "preprocessor_config.json"
        path.write_text(path.read_text().replace("128", "80"))
        with pytest.raises(UserError, match=r"makes 80 mel bins, its config.json says 128"):
            build(str(tmp_path / "encoder"), lm_folder, languages)

    def test_an_unknown_dtype(self, encoder_folder, lm_folder, languages) -> None:
        with pytest.raises(UserError, match="dtype: found 'fp8', expected one of: float32"):
            build(encoder_folder, lm_folder, languages, dtype="fp8")
