from __future__ import annotations

import pytest
import torch

from mlcslm.model.parts import set_trainable

pytestmark = pytest.mark.slow

DECODINGS = {
    "greedy": {},
    "beam": {"num_beams": 4},
    "beam, three answers": {"num_beams": 4, "num_return_sequences": 3},
    "greedy without cache": {"use_cache": False},
}


def completions(model, processor, examples: list[dict], **decoding) -> list[list[list[int]]]:
    """Generated ids up to the end token, by example and by returned sequence."""
    batch = processor.collate(examples, side="left")
    output = model.generate(**batch, max_new_tokens=16, do_sample=False, **decoding)
    answers = [processor.completion(ids)[0] for ids in output[:, batch["input_ids"].shape[1] :].tolist()]
    each = len(answers) // len(examples)
    return [answers[start : start + each] for start in range(0, len(answers), each)]


@pytest.mark.parametrize("decoding", DECODINGS.values(), ids=DECODINGS)
def test_a_batch_of_16_decodes_to_the_ids_of_16_batches_of_one(built, make_examples, decoding) -> None:
    model, processor = built
    prompts = make_examples(processor, prompt_only=True)
    together = completions(model, processor, prompts, **decoding)
    alone = [completions(model, processor, [prompt], **decoding)[0] for prompt in prompts]
    assert together == alone
    assert len({tuple(answers[0]) for answers in together}) > 3  # the audio makes the answers differ


@pytest.mark.parametrize("decoding", DECODINGS.values(), ids=DECODINGS)
def test_cached_encoder_frames_decode_to_the_same_ids(built, make_examples, decoding) -> None:
    model, processor = built
    prompts = make_examples(processor, 4, prompt_only=True)
    live = processor.collate(prompts)
    frames, mask = model.encode_audio(live["input_features"], live["input_features_mask"])
    cached = [
        {"input_ids": prompt["input_ids"], "encoder_frames": frames[row][mask[row]]}
        for row, prompt in enumerate(prompts)
    ]
    assert completions(model, processor, cached, **decoding) == completions(model, processor, prompts, **decoding)


def test_each_utterance_is_encoded_once_however_many_beams(built, make_examples) -> None:
    model, processor = built
    calls = []
    model.model.encoder.register_forward_hook(lambda _module, _inputs, output: calls.append(output[0].shape[0]))
    completions(model, processor, make_examples(processor, 3, prompt_only=True), num_beams=4)
    assert calls == [3]


@pytest.mark.parametrize("decoding", [{}, {"num_beams": 3}, {"do_sample": True}], ids=["greedy", "beam", "sampling"])
def test_the_placeholder_and_rows_without_a_token_are_never_generated(built, make_examples, decoding) -> None:
    """Even if the head favours nothing else."""
    model, processor = built
    head = model.lm_head
    never = [processor.audio_token_id, *range(len(processor.tokenizer), head.weight.shape[0])]
    assert len(never) > 1
    bias = torch.zeros(head.weight.shape[0])
    bias[never] = 1e4
    head.register_forward_hook(lambda _module, _inputs, output: output + bias)
    batch = processor.collate(make_examples(processor, 4, prompt_only=True), side="left")
    output = model.generate(**batch, max_new_tokens=10, **decoding)[:, batch["input_ids"].shape[1] :]
    assert not torch.isin(output, torch.tensor(never)).any()


def test_generating_ignores_the_language_models_own_sampling_settings(built) -> None:
    model, processor = built
    settings = model.generation_config
    assert settings.temperature is None
    assert settings.eos_token_id == processor.end_token_id


def test_training_on_two_utterances_teaches_their_answers(built, make_examples) -> None:
    """The whole loop: labels, loss, end token, generation and parsing fit together, and the audio matters."""
    model, processor = built
    torch.manual_seed(0)
    set_trainable(model, ["projector", "embedding", "head", "lm_lora", "encoder_lora"])
    prompts = make_examples(processor, 2, prompt_only=True)
    texts = ["oui", "non merci"]
    examples = []
    for prompt, text in zip(prompts, texts, strict=True):
        target = processor.encode_target("French", "tagged", text)
        labels = [-100] * len(prompt["input_ids"]) + target
        examples.append({**prompt, "input_ids": prompt["input_ids"] + target, "labels": labels})
    batch = processor.collate(examples)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    model.train()
    for _ in range(100):
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
    assert loss < 0.1
    model.eval()
    for text, (ids,) in zip(texts, completions(model, processor, prompts), strict=True):
        answer = processor.parse(ids, "tagged")
        assert (answer.language, answer.transcript, answer.well_formed) == ("<LANG_FR>", text, True)
