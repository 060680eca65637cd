"""Our search against transformers' own, which reads the prompt for each beam and moves keys and values about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.hooks import RemovableHandle

from mlcslm.config.schema import DecodingConfig
from mlcslm.decoding import prefix_tree
from mlcslm.decoding.decoder import Decoder
from mlcslm.decoding.kv_cache import layer_states
from mlcslm.decoding.sampling import UtteranceStreams
from mlcslm.decoding.search import search
from mlcslm.errors import UserError
from mlcslm.model.checkpoint import load_checkpoint

LIMIT = 40
SEED = 3
METHODS = {
    "greedy": {},
    "multinomial": {"method": "multinomial", "temperature": 1.3},
    "beam": {"method": "beam", "beams": 5},
    "beam+sampling": {"method": "beam+sampling", "beams": 4, "temperature": 1.5},
}


@pytest.fixture
def prompts(decoder: Decoder, tones: Path) -> dict[str, Any]:
    rows = pq.read_table(tones).to_pylist()
    examples, _ = decoder.examples(rows)
    return {"names": [row["utterance_id"] for row in rows], "batch": decoder.processor.collate(examples, side="left")}


def transformers_search(decoder: Decoder, prompts: dict[str, Any], decoding: DecodingConfig, monkeypatch) -> list:
    """What `generate` answers, its draws replaced by the utterances' own noise."""
    streams = UtteranceStreams(prompts["names"], decoding.seed)
    steps = []

    def multinomial(shares: torch.Tensor, num_samples: int) -> torch.Tensor:
        # At first there is one beam, though transformers has others whose share is nothing.
        drawn = shares.shape[1] // (1 if steps else decoding.beams)
        noise = torch.zeros_like(shares)
        noise[:, :drawn] = streams.gumbel(drawn)
        steps.append(drawn)
        return (shares.log() + noise).topk(num_samples).indices

    monkeypatch.setattr(torch, "multinomial", multinomial)
    sampled = decoding.method in ("multinomial", "beam+sampling")
    options = {"temperature": decoding.temperature, "top_k": 0, "top_p": 1.0} if sampled else {}
    decoder.model.model.language_model.set_attn_implementation("sdpa")
    with torch.inference_mode():
        output = decoder.model.generate(
            **prompts["batch"],
            max_new_tokens=decoding.max_new_tokens,
            num_beams=decoding.beams,
            do_sample=sampled,
            **options,
        )
    answers = output[:, prompts["batch"]["input_ids"].shape[1] :].tolist()
    return [decoder.processor.completion(ids)[0][: decoding.max_new_tokens] for ids in answers]


@pytest.mark.parametrize("settings", METHODS.values(), ids=METHODS)
def test_hypotheses_are_those_of_transformers(decoder, prompts, settings, monkeypatch: pytest.MonkeyPatch) -> None:
    decoding = DecodingConfig(max_new_tokens=LIMIT, seed=SEED, **settings)
    theirs = transformers_search(decoder, prompts, decoding, monkeypatch)
    ours = search(decoder.model, prompts["batch"], prompts["names"], decoding)
    assert ours == theirs
    # The fixture's purpose: answers that end at different times, so that utterances leave on the way.
    assert len({len(ids) for ids in ours}) > 3


def test_the_prompt_is_read_once_however_many_beams(decoder, prompts) -> None:
    """And answers that are known are read no further."""
    shapes = []

    def record(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        shapes.append(tuple(kwargs["inputs_embeds"].shape[:2]))

    hook: RemovableHandle = decoder.model.model.language_model.register_forward_pre_hook(record, with_kwargs=True)
    try:
        decoding = DecodingConfig(max_new_tokens=LIMIT, method="beam", beams=5)
        search(decoder.model, prompts["batch"], prompts["names"], decoding)
    finally:
        hook.remove()
    lengths = prompts["batch"]["attention_mask"].sum(1)
    read = [shape for shape in shapes if shape[1] != 5]
    assert shapes[: len(read)] == read
    assert sum(count for count, _ in read) == len(lengths)
    assert lengths.sum() <= sum(count * length for count, length in read) < prompts["batch"]["input_ids"].numel()
    searched = [count for count, _ in shapes[len(read) :]]
    assert searched == sorted(searched, reverse=True)
    assert searched[0] == len(lengths) > searched[-1]


def test_prompts_read_a_few_at_a_time_are_those_read_at_once(decoder, prompts, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for tokens in (10**6, 200, 1):
        monkeypatch.setattr(prefix_tree, "_PROMPT_TOKENS", tokens)
        with torch.inference_mode():
            tree, hidden = prefix_tree.read_prompts(decoder.model, prompts["batch"])
        seen = prompts["batch"]["attention_mask"].bool()
        states = [states.transpose(1, 2)[seen] for pair in layer_states(tree.cache) for states in pair]
        found.append([hidden, *states])
    for others in found[1:]:
        torch.testing.assert_close(others, found[0])


def test_keys_and_values_of_beams_that_died_are_cleared(decoder, prompts) -> None:
    """Five beams of forty tokens have at most 200 positions; living ones share most of theirs."""
    positions = []

    def record(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        positions.append(kwargs["attention_mask"].shape[-1])

    hook: RemovableHandle = decoder.model.model.language_model.register_forward_pre_hook(record, with_kwargs=True)
    try:
        decoding = DecodingConfig(max_new_tokens=LIMIT, method="beam", beams=5)
        search(decoder.model, prompts["batch"], prompts["names"], decoding)
    finally:
        hook.remove()
    prompt = prompts["batch"]["input_ids"].shape[1]
    assert max(positions) - prompt < 5 * (len(positions) - 1)


def test_a_window_shorter_than_the_answer_is_refused(decoder, prompts, monkeypatch: pytest.MonkeyPatch) -> None:
    config = decoder.model.config.text_config
    monkeypatch.setattr(config, "layer_types", ["full_attention", "sliding_attention"])
    monkeypatch.setattr(config, "sliding_window", 50)
    with pytest.raises(UserError, match="spans 50 tokens"):
        search(decoder.model, prompts["batch"], prompts["names"], DecodingConfig(max_new_tokens=LIMIT))


def test_layers_without_attention_are_refused(decoder, prompts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder.model.config.text_config, "layer_types", ["linear_attention", "full_attention"])
    with pytest.raises(UserError, match="of kind linear_attention"):
        search(decoder.model, prompts["batch"], prompts["names"], DecodingConfig())


def test_a_model_in_bfloat16_answers_too(decoder, prompts, trained: Path, tones: Path, languages) -> None:
    """As on a GPU: encoder outputs are kept as they are, and masks have the model's type."""
    model, processor = load_checkpoint(trained, languages=languages, dtype="bfloat16")
    settings = DecodingConfig(max_new_tokens=LIMIT, method="beam", beams=3)
    rows = pq.read_table(tones).to_pylist()
    rough = Decoder(model, processor, "tagged", settings).decode(rows)
    decoder.decoding = settings
    same = [one["language"] == other["language"] for one, other in zip(rough, decoder.decode(rows), strict=True)]
    assert sum(same) > len(same) / 2
