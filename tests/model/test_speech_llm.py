from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer

from mlcslm.model.build import build_speech_llm
from mlcslm.model.parts import set_trainable
from mlcslm.model.speech_llm import SpeechLLM, SpeechLLMModel


def test_the_loss_equals_hand_computed_cross_entropy(built, make_examples) -> None:
    model, processor = built
    batch = processor.collate(make_examples(processor, 5))
    labels = batch.pop("labels")
    logits = model(**batch).logits.double()
    losses = []
    for row in range(len(labels)):
        for position in range(1, labels.shape[1]):
            if labels[row, position] != -100:
                scores = logits[row, position - 1]
                losses.append(scores.exp().sum().log() - scores[labels[row, position]])
    losses = torch.stack(losses)
    assert len(losses) == (labels != -100).sum()
    output = model(**batch, labels=labels)
    assert output.logits is None
    torch.testing.assert_close(output.loss.double(), losses.mean(), atol=1e-5, rtol=1e-5)
    total = model(**batch, labels=labels, num_items_in_batch=torch.tensor(7)).loss
    torch.testing.assert_close(total.double(), losses.sum() / 7, atol=1e-5, rtol=1e-5)


def test_micro_batches_add_up_to_the_batch(built, make_examples) -> None:
    model, processor = built
    examples = make_examples(processor, 8)
    batch = processor.collate(examples)
    count = (batch["labels"] != -100).sum()
    parts = [model(**processor.collate(examples[i : i + 2]), num_items_in_batch=count).loss for i in range(0, 8, 2)]
    torch.testing.assert_close(sum(parts), model(**batch).loss, atol=1e-5, rtol=1e-5)


def test_the_head_sees_only_labelled_positions_in_training(built, make_examples) -> None:
    model, processor = built
    batch = processor.collate(make_examples(processor, 4))
    seen = []
    model.lm_head.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0].shape))
    model(**batch)
    assert seen == [((batch["labels"] != -100).sum(), 32)]


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_no_logits(built, make_examples, side) -> None:
    model, processor = built
    examples = make_examples(processor)
    batch = processor.collate(examples, side=side)
    batch.pop("labels")
    together = model(**batch).logits
    for row, example in enumerate(examples):
        one = processor.collate([example])
        one.pop("labels")
        alone = model(**one).logits[0]
        torch.testing.assert_close(together[row][batch["attention_mask"][row] == 1], alone, atol=1e-4, rtol=1e-4)


def test_cached_encoder_frames_equal_live_features(built, make_examples) -> None:
    model, processor = built
    live = processor.collate(make_examples(processor, 6))
    frames, mask = model.encode_audio(live["input_features"], live["input_features_mask"])
    examples = make_examples(processor, 6)
    for row, example in enumerate(examples):
        del example["input_features"]
        example["encoder_frames"] = frames[row][mask[row]]
    cached = processor.collate(examples)
    assert torch.equal(cached["encoder_frames"], frames)
    assert torch.equal(model(**live).loss, model(**cached).loss)
    torch.testing.assert_close(
        model(**{**live, "labels": None}).logits, model(**{**cached, "labels": None}).logits, atol=1e-6, rtol=1e-6
    )


def test_each_audio_token_replaces_its_placeholder(built, make_examples) -> None:
    """The language model receives, position by position, the output of the projector or the embedding."""
    model, processor = built
    batch = processor.collate(make_examples(processor, 3), side="left")
    seen = {}
    model.model.language_model.register_forward_pre_hook(
        lambda _module, _args, kwargs: seen.update(kwargs), with_kwargs=True
    )
    model(**{**batch, "labels": None})
    tokens, token_mask = model.model.projector(
        *model.encode_audio(batch["input_features"], batch["input_features_mask"])
    )
    for row, ids in enumerate(batch["input_ids"]):
        audio = iter(tokens[row][token_mask[row]])
        for position, token in enumerate(ids):
            expected = next(audio) if token == processor.audio_token_id else model.get_input_embeddings()(token)
            torch.testing.assert_close(seen["inputs_embeds"][row, position], expected)
        assert next(audio, None) is None


def test_a_wrong_number_of_placeholders_is_refused(built, make_examples) -> None:
    model, processor = built
    batch = processor.collate(make_examples(processor, 2))
    frames = batch["input_features"][:, :, :-10], batch["input_features_mask"][:, :-10]
    with pytest.raises(ValueError, match=r"placeholders by row: \[39, 1\]; audio tokens: \[38, 1\]"):
        model(**batch | {"input_features": frames[0], "input_features_mask": frames[1]})
    del batch["input_features"], batch["input_features_mask"]
    with pytest.raises(ValueError, match="neither input_features nor encoder_frames"):
        model(**batch)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("qwen2", {}),
        ("llama", {"tie_word_embeddings": True}),
        ("qwen3", {"head_dim": 8}),
        ("gemma2", {"head_dim": 8, "final_logit_softcapping": 2.0, "query_pre_attn_scalar": 8}),
        ("granite", {"logits_scaling": 3.0}),
        ("cohere", {"logit_scale": 0.25}),
        ("phi", {}),
        ("gpt2", {"n_positions": 256}),
    ],
)
def test_any_causal_language_model_keeps_its_own_logits(
    kind: str, options: dict, encoder_folder, make_language_model, languages, tmp_path
) -> None:
    sizes = {
        "vocab_size": 320,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "initializer_range": 0.3,
    }
    config = AutoConfig.for_model(kind, **sizes, **options, pad_token_id=0, bos_token_id=1, eos_token_id=1)
    torch.manual_seed(0)
    reference = AutoModelForCausalLM.from_config(config).eval()
    reference.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(make_language_model()).save_pretrained(tmp_path)
    model, _ = build_speech_llm(
        encoder=encoder_folder, language_model=str(tmp_path), languages=languages, projector_hidden=16
    )
    ids = torch.randint(2, 290, (2, 9))
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    torch.testing.assert_close(logits[..., :300], reference(ids).logits[..., :300], atol=1e-5, rtol=1e-5)
    padded = nn.functional.pad(ids, (4, 0))  # absolute positions (GPT-2) must not count the padding
    mask = nn.functional.pad(torch.ones_like(ids), (4, 0))
    torch.testing.assert_close(model(input_ids=padded, attention_mask=mask).logits[:, 4:], logits, atol=1e-4, rtol=1e-4)
    generated = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=3)
    assert generated.shape[1] <= 12
    assert set(set_trainable(model, ["lm_lora"])) == {name for name, _ in model.named_parameters() if "lora_" in name}


def test_a_full_window_costs_300_tokens_whatever_the_length(
    encoder_folder, lm_folder, languages, make_examples
) -> None:
    model, processor = build_speech_llm(
        encoder=encoder_folder, language_model=lm_folder, languages=languages, encoder_window="full"
    )
    batch = processor.collate(make_examples(processor, 2))
    assert (batch["input_ids"] == processor.audio_token_id).sum(1).tolist() == [300, 300]
    assert model(**batch).loss.isfinite()


def test_a_frozen_encoder_stays_in_eval_mode_and_builds_no_graph(built, make_examples) -> None:
    model, processor = built
    set_trainable(model, ["projector"])
    model.train()
    assert model.training
    assert not model.model.encoder.training
    batch = processor.collate(make_examples(processor, 2))
    frames, _ = model.encode_audio(batch["input_features"], batch["input_features_mask"])
    assert not frames.requires_grad
    set_trainable(model, ["projector", "encoder_lora"])
    assert model.model.encoder.training
    assert model.encode_audio(batch["input_features"], batch["input_features_mask"])[0].requires_grad


def test_gradient_checkpointing_gives_the_same_gradients(built, make_examples) -> None:
    model, processor = built
    batch = processor.collate(make_examples(processor, 3))
    names = set_trainable(model, ["projector", "lm_lora", "encoder_lora"])
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            model.activation_checkpointing_enable()
        model.train()
        model.zero_grad()
        model(**batch, use_cache=False).loss.backward()
        gradients.append({name: model.get_parameter(name).grad.clone() for name in names})
    for name in names:
        torch.testing.assert_close(gradients[0][name], gradients[1][name])


def test_transformers_saves_and_loads_it_as_a_whole(built, make_examples, tmp_path) -> None:
    model, processor = built
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert isinstance(again, SpeechLLM)
    assert isinstance(AutoModel.from_pretrained(tmp_path), SpeechLLMModel)
    assert again.config.added_tokens == model.config.added_tokens
    assert isinstance(again.config.auto_map, dict)
    assert again.config.get_text_config().vocab_size == model.get_input_embeddings().num_embeddings
    batch = processor.collate(make_examples(processor, 2))
    assert torch.equal(again(**batch).loss, model(**batch).loss)
