from __future__ import annotations

import pytest
import torch

from mlcslm.model.processor import SpeechProcessor
from mlcslm.text.templates import Answer


@pytest.fixture
def processor(built) -> SpeechProcessor:
    return built[1]


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
    assert tokens[2:-2] == processor.tokenizer.tokenize(" oui")  # as in running text
    assert processor.tokenizer.decode(ids, skip_special_tokens=True) == "<LANG_FR><transcribe> oui</transcribe>"


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
