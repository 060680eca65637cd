"""The demo's language model: what it is pretrained on, and that the result is a causal language model that loads."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mlcslm.corpus.demo.grammar import load_grammar, split_of
from mlcslm.io.files import sha256
from mlcslm.model.build import build_speech_llm
from mlcslm.model.foundation import load_language_model
from mlcslm.pretraining.language_model import pretrain_language_model, train_tokenizer
from mlcslm.pretraining.noisy_text import END, LanguageModelRecipe, Phase, Writer, collate, embed
from mlcslm.text.protocols import normalise_reference
from mlcslm.text.reflection import FRAME, write_reflection
from mlcslm.text.templates import ENGLISH_PROMPT

pytestmark = pytest.mark.slow

TINY = LanguageModelRecipe(
    vocabulary=320,
    width=16,
    layers=1,
    heads=2,
    key_value_heads=1,
    feed_forward=32,
    phases=(
        Phase(steps=2, learning_rate=1e-3, spelled_share=0.0, loudest=1.0),
        Phase(steps=2, learning_rate=1e-3, spelled_share=0.8, loudest=5.0, markup_share=0.7, draft_share=0.5),
    ),
    batch=4,
    warmup_steps=1,
    context_share=0.6,
)


@pytest.fixture(scope="module")
def tokenizer(groups):
    return train_tokenizer(groups, TINY)


@pytest.fixture(scope="module")
def writer(tokenizer, groups) -> Writer:
    writer = Writer(tokenizer, groups, TINY)
    writer.phase = Phase(steps=1, learning_rate=1.0, spelled_share=0.5, loudest=1.0, markup_share=0.5)
    return writer


@pytest.fixture(scope="module")
def examples(writer: Writer) -> list:
    rng = np.random.default_rng(0)
    return [writer.example(rng) for _ in range(300)]


@pytest.fixture(scope="module")
def pretrained(groups, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained")
    pretrain_language_model(folder / "lm", folder / "log.jsonl", groups, TINY)
    return folder / "lm"


def test_every_text_can_be_written_and_read_back(tokenizer) -> None:
    assert len(tokenizer) == TINY.vocabulary + len(FRAME)
    for text in (" yes of course", "네 물론이죠", "ก็ดี", "\t\n x", "🙂 and so on"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer.eos_token == END
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hello"}], tokenize=False, add_generation_prompt=True
    )
    assert chat == "USER: hello ASSISTANT:"


def test_the_frame_of_reflections_has_tokens_of_its_own(tokenizer) -> None:
    """Around the hypothesis, a reflection without errors is four tokens; those that name errors read back too."""
    empty, *others = (
        f" {write_reflection(draft, text, 'word', longest=3)}"
        for draft, text in (("", ""), ("yes", "yes"), ("yes no", "yes of course"), ("no no", "no"), ("no", "no no"))
    )
    assert len(tokenizer(empty)["input_ids"]) == 4 + len(tokenizer(" ")["input_ids"])
    for text in (empty, *others):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert not {i for s in (" yes of course", " the arrow") for i in tokenizer(s)["input_ids"]} & set(
        tokenizer.convert_tokens_to_ids(list(FRAME))
    )


def spoken(text: str) -> bool:
    """Whether a sentence may be learnt from: in the training split, or a back-channel, which all conversations have."""
    always = {
        normalise_reference(t.fill({}))
        for language in ("en", "ko")
        for turns in load_grammar(language).exchanges
        for t in turns
        if not t.slots
    }
    return split_of(text) == "train" or text in always


def test_no_example_has_a_sentence_of_dev_or_test(tokenizer, examples: list, writer: Writer, groups) -> None:
    prompts = {ENGLISH_PROMPT, *(group.prompt for group in groups.values())}
    contexts = 0
    for example in examples:
        answer = without(example.ids[example.answer :], writer.reserved)
        assert answer[-1] == tokenizer.eos_token_id
        assert spoken(tokenizer.decode(answer[:-1]).removeprefix(" "))
        middle = tokenizer.decode(without(example.ids[example.noisy[1] : example.answer], writer.reserved))
        assert middle.endswith(" ASSISTANT:")
        prompt, *context = middle.removesuffix(" ASSISTANT:").split("\n")
        assert prompt.removeprefix(" ") in prompts
        assert len(context) <= 2
        assert all(map(spoken, context))
        contexts += bool(context)
        assert tokenizer.decode(without(example.ids[: example.noisy[0]], writer.reserved)) == "USER:"
    assert contexts > 30


def without(ids: list[int], reserved: list[int]) -> list[int]:
    return [i for i in ids if i not in reserved]


def test_reserved_tokens_are_in_no_text(tokenizer, writer: Writer, groups) -> None:
    for language in {group.language for group in groups.values()}:
        for sentence in itertools.islice(load_grammar(language).sentences(), 500):
            assert not set(tokenizer(sentence)["input_ids"]) & set(writer.reserved)


def test_markup_around_the_speech_is_answered_with_markup_of_the_language(
    writer: Writer, groups, examples: list
) -> None:
    """Either all of it or none: a language tag, an opening and a closing one; each language has its own."""
    seen: dict[tuple[int, ...], int] = {}
    for example in examples:
        tags = [i for i in example.ids[example.answer :] if i in writer.reserved]
        around = [i for i in example.ids[: example.answer] if i in writer.reserved]
        assert (len(around), len(tags)) in ((0, 0), (2, 3))
        if tags:
            assert example.ids[example.answer : example.answer + 2] == tags[:2]
            assert example.ids[-2] == tags[2]
        seen[tuple(tags)] = seen.get(tuple(tags), 0) + 1
    languages = {group.language for group in groups.values()}
    assert len(seen) == 1 + len(languages)
    assert min(seen.values()) > 20


def test_the_noisy_copy_resembles_its_sentence(tokenizer, examples: list, writer: Writer) -> None:
    """Most of its tokens come from the sentence: its pieces, or the bytes of its characters."""
    shares = []
    for example in examples:
        text = tokenizer.decode(without(example.ids[example.answer : -1], writer.reserved))
        heard = [tokenizer.decode([token]).strip() for _, token, _ in example.mixture]
        whole = [piece for piece in heard if piece and "�" not in piece]
        if whole:
            shares.append(np.mean([piece in text for piece in whole]))
        length = example.noisy[1] - example.noisy[0]
        assert {position for position, _, _ in example.mixture} == set(range(length))
        assert all(0 < weight <= 1 for _, _, weight in example.mixture)
    assert np.mean(shares) > 0.8


def test_batches_are_of_similar_length(writer: Writer) -> None:
    batches = writer.batches(np.random.default_rng(1), count=8)
    assert [len(batch) for batch in batches] == [TINY.batch] * 8
    lengths = sorted([len(example.ids) for example in batch] for batch in batches)
    flat = [length for batch in sorted(lengths, key=min) for length in sorted(batch)]
    assert flat == sorted(flat)


def test_only_the_answer_is_learnt(tokenizer, examples: list) -> None:
    chosen = examples[:6]
    batch = collate(chosen, tokenizer.pad_token_id)
    for row, example in enumerate(chosen):
        length = len(example.ids)
        assert batch.ids_BL[row, :length].tolist() == example.ids
        assert batch.mask_BL[row].tolist() == [1] * length + [0] * (batch.ids_BL.shape[1] - length)
        labels = batch.labels_BL[row].tolist()
        assert labels[: example.answer] == [-100] * example.answer
        assert labels[example.answer : length] == example.ids[example.answer :]
        assert set(labels[length:]) <= {-100}
        assert batch.noisy_BL[row].nonzero().flatten().tolist() == list(range(*example.noisy))


def test_a_clean_copy_without_noise_is_embedded_unchanged(
    tokenizer, examples: list, writer: Writer, monkeypatch
) -> None:
    """With all random shares at zero, the noisy positions are the weighted sums of their tokens' rows."""
    batch = collate(examples[:3], tokenizer.pad_token_id)
    table = torch.randn(len(tokenizer), 8)
    monkeypatch.setattr(torch, "rand", lambda *shape: torch.zeros(*shape))
    embedded = embed(batch, table, loudest=20.0, unknown=writer.reserved)
    for row, example in enumerate(examples[:3]):
        for position, token in enumerate(example.ids):
            if example.noisy[0] <= position < example.noisy[1]:
                heard = [(t, w) for p, t, w in example.mixture if p == position - example.noisy[0]]
                expected = sum(table[t] * w for t, w in heard)
            else:
                expected = table.mean(0) if token in writer.reserved else table[token]
            torch.testing.assert_close(embedded[row, position], expected)


def test_the_result_loads_and_makes_a_speech_llm(pretrained: Path, encoder_folder: str, groups) -> None:
    model, tokenizer = load_language_model(str(pretrained), dtype=torch.float32)
    assert (model.config.model_type, model.config.hidden_size) == ("qwen2", 16)
    assert model.config.vocab_size == len(tokenizer) == TINY.vocabulary + len(FRAME)
    assert tokenizer.chat_template
    built, processor = build_speech_llm(
        encoder=encoder_folder, language_model=str(pretrained), languages=groups, projector_hidden=8
    )
    prompt = processor.encode_prompt("Korean", "tagged-own-language", audio_tokens=3)
    frames = torch.zeros(1, 15, 32)
    output = built.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        encoder_frames=frames,
        encoder_frames_mask=torch.ones(1, 15, dtype=torch.bool),
        max_new_tokens=4,
    )
    assert len(prompt) < output.shape[1] <= len(prompt) + 4


def test_pretraining_is_the_same_each_time(pretrained: Path, groups, tmp_path: Path) -> None:
    pretrain_language_model(tmp_path / "lm", tmp_path / "log.jsonl", groups, TINY)
    for file in ("model.safetensors", "tokenizer.json"):
        assert sha256(tmp_path / "lm" / file) == sha256(pretrained / file), file


def test_pretraining_lowers_the_loss(groups, tmp_path: Path) -> None:
    phase = Phase(steps=100, learning_rate=5e-3, spelled_share=0.5, loudest=2.0)
    recipe = dataclasses.replace(TINY, phases=(phase,))
    pretrain_language_model(tmp_path / "lm", tmp_path / "log.jsonl", groups, recipe)
    first, last = (json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines())
    assert (first["step"], last["step"]) == (50, 100)
    assert last["loss"] < first["loss"] < 2 * np.log(TINY.vocabulary)
