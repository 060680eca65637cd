"""Merged exports: transformers' own class answers exactly as the speech LLM does, from the folder alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from mlcslm.config.decoding import DecodingConfig
from mlcslm.decoding.search import search
from mlcslm.errors import UserError
from mlcslm.model.build import build_speech_llm
from mlcslm.model.checkpoint import save_checkpoint
from mlcslm.model.configuration import LoraSettings
from mlcslm.model.exported import load_export
from mlcslm.model.merged import SpeechPrompts, save_merged
from mlcslm.model.parts import set_trainable

pytestmark = pytest.mark.slow

SHEET = Path(__file__).parents[2] / "config" / "languages.tsv"
GROUPS = ["French", "English-American", "Thai"]


def export(folder: Path, encoder: str, language_model: str, languages):
    """A merged export of a model with adapters that do something, the model itself, merged, and its processor."""
    model, processor = build_speech_llm(
        encoder=encoder, language_model=language_model, languages=languages, projector_hidden=16
    )
    set_trainable(model, ["projector", "lm_lora", "encoder_lora"], lora=LoraSettings(rank=4, alpha=8), seed=3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_B." in name:
                parameter.normal_(0, 0.05, generator=torch.Generator().manual_seed(len(name)))
    info = save_checkpoint(
        folder / "checkpoint", model, name="a", parent="foundation", recipe={"template": "tagged"}, fingerprints={}
    )
    (folder / "merged").mkdir()
    save_merged(folder / "merged", model.eval(), processor, info, languages=SHEET, decoding={})
    return folder / "merged", model, processor


@pytest.fixture(scope="module")
def merged(encoder_folder, language_model_folder, languages, tmp_path_factory: pytest.TempPathFactory):
    return export(tmp_path_factory.mktemp("merged"), encoder_folder, language_model_folder, languages)


def recordings() -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    return [rng.normal(0, 0.1, samples).astype(np.float32) for samples in (16_000, 30_000, 9_000)]


def own_answers(model, processor, limit: int) -> list[list[int]]:
    """By this package's search, in one batch."""
    audio = recordings()
    features, mask = processor.log_mel(audio)
    with torch.inference_mode():
        frames, frames_mask = model.encode_audio(features, mask)
    examples = [
        {
            "input_ids": processor.encode_prompt(
                group, "tagged", audio_tokens=processor.audio_token_count(len(samples))
            ),
            "encoder_frames": one[:count],
        }
        for group, samples, one, count in zip(GROUPS, audio, frames, frames_mask.sum(1).tolist(), strict=True)
    ]
    return search(model, processor.collate(examples, side="left"), GROUPS, DecodingConfig(max_new_tokens=limit))


def check_answers(folder: Path, model, processor) -> None:
    prompts, plain = SpeechPrompts.load(folder), AutoModelForCausalLM.from_pretrained(folder)
    expected = own_answers(model, processor, 24)
    assert len({tuple(ids) for ids in expected}) == 3
    for prompt, ids in zip(prompts(recordings(), GROUPS), expected, strict=True):
        (found,) = plain.generate(inputs_embeds=prompt[None], max_new_tokens=24, do_sample=False).tolist()
        assert found == ids
        assert prompts.parse(found) == processor.parse(ids, "tagged")


def test_the_plain_language_model_answers_token_by_token_as_ours(merged) -> None:
    folder, model, processor = merged
    plain = AutoModelForCausalLM.from_pretrained(folder)
    assert type(plain).__module__.startswith("transformers.models.qwen2")
    assert not any("encoder" in name or "projector" in name or "lora" in name for name in plain.state_dict())
    check_answers(folder, model, processor)


def test_tied_embeddings(encoder_folder, make_language_model, languages, tmp_path: Path) -> None:
    folder, model, processor = export(tmp_path, encoder_folder, make_language_model(kind="llama", tied=True), languages)
    check_answers(folder, model, processor)


def test_a_merged_export_is_checked_and_named(merged, encoder_folder, language_model_folder, tmp_path: Path) -> None:
    folder, _, _ = merged
    with pytest.raises(UserError, match="a merged export, for engines"):
        load_export(folder)
    for path in folder.rglob("*.json"):
        text = path.read_text(encoding="utf-8")
        assert encoder_folder not in text and language_model_folder not in text and "auto_map" not in text, path
    assert not list(folder.glob("audio*.safetensors"))  # engines read every such file beside the config
    weights = folder / "audio" / "audio.safetensors"
    content = bytearray(weights.read_bytes())
    content[-2] ^= 1
    original = weights.read_bytes()
    weights.write_bytes(content)
    try:
        with pytest.raises(UserError, match=r"audio\.safetensors"):
            SpeechPrompts.load(folder)
    finally:
        weights.write_bytes(original)
    assert json.loads((folder / "audio" / "audio.json").read_text("utf-8"))["embedding"] == "model.embed_tokens.weight"
