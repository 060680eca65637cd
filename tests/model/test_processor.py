from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor

from mlcslm.errors import UserError
from mlcslm.model.processor import SpeechProcessor
from mlcslm.text.templates import Answer


@pytest.fixture
def processor(built) -> SpeechProcessor:
    return built[1]


def test_log_mel_equals_whispers_on_the_true_frames(processor, audio) -> None:
    features, mask = processor.log_mel(audio)
    reference = WhisperFeatureExtractor(feature_size=80)(audio, sampling_rate=16_000, return_tensors="pt")
    for row, samples in enumerate(audio):
        frames = len(samples) // 160
        assert mask[row].sum() == frames
        assert not features[row, :, frames:].any()
        torch.testing.assert_close(
            features[row, :, :frames], reference["input_features"][row, :, :frames], atol=1e-5, rtol=1e-5
        )


def test_log_mel_does_not_depend_on_the_batch(processor, audio) -> None:
    features, mask = processor.log_mel(audio)
    for row, samples in enumerate(audio):
        alone, _ = processor.log_mel([samples])
        assert torch.equal(alone[0], features[row][:, mask[row]])


def test_a_full_window_equals_whispers(processor, audio) -> None:
    full = SpeechProcessor(processor.tokenizer, processor.feature_extractor, processor.groups, encoder_window="full")
    features, mask = full.log_mel([*audio, np.ones(31 * 16_000, dtype=np.float32)])
    reference = WhisperFeatureExtractor(feature_size=80)(
        [*audio, np.ones(30 * 16_000, dtype=np.float32)], sampling_rate=16_000, return_tensors="pt"
    )
    assert mask.all()
    torch.testing.assert_close(features, reference["input_features"], atol=1e-5, rtol=1e-5)
    assert full.audio_token_count(62_400) == 300


@pytest.mark.parametrize("samples", [0, 1, 159, 200, 401])
def test_the_shortest_audio_still_gives_a_token(processor, samples: int) -> None:
    features, mask = processor.log_mel([np.zeros(samples, dtype=np.float32)])
    assert features.shape[2] == mask.sum() >= 1
    assert torch.isfinite(features).all()
    assert processor.audio_token_count(samples) == 1


def test_audio_tokens_are_those_of_the_true_length(processor) -> None:
    assert processor.audio_token_count(62_400) == 39
    assert processor.audio_token_count(40 * 16_000) == 300  # cut to the window, as Whisper does


@pytest.mark.parametrize("template", ["plain", "tagged", "tagged-own-language", "reasoning"])
@pytest.mark.parametrize("group", ["English-Indian", "French", "Thai", "Japanese", "Korean", "Russian"])
def test_prompt_ids_are_the_prefix_of_training_ids(processor, template, group) -> None:
    think = "The speech sounds like: x" if template == "reasoning" else None
    context = ["deux mots", "上の音声"]
    for transcript in ("", "a", " 上の 音声", "ça va"):
        prompt = processor.encode_prompt(group, template, audio_tokens=7, context=context)
        example = processor.encode_example(
            group, template, audio_tokens=7, transcript=transcript, context=context, think=think
        )
        assert example["input_ids"][: len(prompt)] == prompt
        assert example["labels"] == [-100] * len(prompt) + example["input_ids"][len(prompt) :]
        assert example["labels"][-1] == processor.tokenizer.eos_token_id
        assert prompt.count(processor.audio_token_id) == 7
        answer = processor.parse(example["input_ids"][len(prompt) :], template)
        assert answer.well_formed
        assert answer.transcript == transcript.strip()


def test_tags_are_one_token_each_and_cost_no_spaces(processor) -> None:
    ids = processor.encode_target("French", "tagged", "oui")
    tokens = processor.tokenizer.convert_ids_to_tokens(ids)
    assert tokens[:2] == ["<LANG_FR>", "<transcribe>"]
    assert tokens[-2:] == ["</transcribe>", "<|im_end|>"]
    assert "".join(tokens[2:-2]) == "oui"
    assert processor.tokenizer.decode(ids, skip_special_tokens=True) == "<LANG_FR><transcribe>oui</transcribe>"


def test_completions_end_at_the_end_token(processor) -> None:
    target = processor.encode_target("French", "tagged", "ça va")
    ids, ended = processor.completion([*target, processor.pad_token_id, processor.pad_token_id])
    assert ended
    assert ids == target
    assert processor.completion(target[:-1]) == (target[:-1], False)
    assert processor.parse(target, "tagged") == Answer("<LANG_FR>", "ça va", None, True)
    assert processor.decode(target).endswith("</transcribe><|im_end|>")


def test_a_begin_token_is_set_once_and_end_tokens_only_last(processor) -> None:
    from tokenizers.processors import TemplateProcessing

    end, begin = processor.end_token_id, processor.pad_token_id
    processor.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A <|im_end|>", special_tokens=[("<|endoftext|>", begin), ("<|im_end|>", end)]
    )
    example = processor.encode_example("French", "plain", audio_tokens=2, transcript="oui")
    assert example["input_ids"][0] == begin
    assert example["input_ids"].count(begin) == example["input_ids"].count(end) == 1
    assert example["input_ids"][-1] == end


@pytest.mark.parametrize("side", ["left", "right"])
def test_collate_pads_on_either_side(processor, side) -> None:
    examples = [
        {"input_ids": [5, 6, 7], "labels": [-100, 6, 7], "encoder_frames": torch.ones(4, 2, dtype=torch.bfloat16)},
        {"input_ids": [8], "labels": [8], "encoder_frames": torch.ones(1, 2, dtype=torch.bfloat16)},
    ]
    batch = processor.collate(examples, side=side)
    pad = processor.pad_token_id
    short = [8, pad, pad] if side == "right" else [pad, pad, 8]
    assert batch["input_ids"].tolist() == [[5, 6, 7], short]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [int(i == 8) for i in short]]
    assert batch["labels"].tolist() == [[-100, 6, 7], [8 if i == 8 else -100 for i in short]]
    assert batch["encoder_frames"].shape == (2, 4, 2)
    assert batch["encoder_frames"].dtype == torch.bfloat16
    assert batch["encoder_frames_mask"].tolist() == [[True] * 4, [True, False, False, False]]


def test_an_unknown_window_is_named(processor) -> None:
    with pytest.raises(UserError, match="'30s' found, expected one of: true_length, full"):
        SpeechProcessor(processor.tokenizer, processor.feature_extractor, {}, encoder_window="30s")
