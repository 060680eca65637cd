"""Hypotheses: the same whatever the batch, one an utterance, and what stopped each."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mlcslm.config.schema import DecodingConfig
from mlcslm.decoding.batching import length_buckets
from mlcslm.decoding.generation import SCHEMA, Decoder, DecodingPaths, decode_split
from mlcslm.errors import UserError
from mlcslm.io.files import sha256
from mlcslm.model.encoder_cache import write_encoder_cache


@pytest.fixture
def decode(trained: Path, tones: Path, tmp_path: Path, languages) -> Callable[..., list[dict]]:
    """Rows of the hypotheses that a decoding with the given settings writes."""

    def run(checkpoint: Path = trained, cache: Path | None = None, groups: Any = None, **settings: Any) -> list[dict]:
        paths = DecodingPaths(checkpoint, tones, tmp_path / "hypotheses.parquet", cache)
        decode_split(paths, DecodingConfig(**({"max_new_tokens": 40} | settings)), languages, groups=groups)
        return pq.read_table(paths.out).to_pylist()

    return run


def without_times(rows: list[dict]) -> list[dict]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def texts(rows: list[dict]) -> list[str]:
    return [row["raw_text"] for row in rows]


def test_every_utterance_has_a_hypothesis_in_the_manifests_order(decode, tones: Path, trained: Path) -> None:
    rows = decode(batch_size=7)
    manifest = pq.read_table(tones).to_pylist()
    assert [row["utterance_id"] for row in rows] == [row["utterance_id"] for row in manifest]
    for row, utterance in zip(rows, manifest, strict=True):
        # One audio token a tenth of a second, the last one begun.
        assert row["audio_tokens"] == -(-round((utterance["end"] - utterance["start"]) * 100) // 10)
        assert row["seconds"] > 0
        assert row["think"] is None
    # The fixture's purpose: answers of several lengths, most of them ended.
    assert len({row["tokens"] for row in rows}) > 2
    assert sum(row["stop_reason"] == "end" for row in rows) > len(rows) / 2


def test_well_formed_answers_are_parsed(decode) -> None:
    ended = [row for row in decode() if row["stop_reason"] == "end"]
    for row in ended:
        language, rest = row["raw_text"].split("<transcribe>")
        transcript, end = rest.split("</transcribe>")
        assert (row["language"], row["transcript"]) == (language.strip(), " ".join(transcript.split()))
        assert end.strip() == "<|im_end|>"


def test_what_hypotheses_were_made_by_is_in_the_file(decode, trained: Path, tmp_path: Path) -> None:
    decode(batch_size=5)
    metadata = pq.read_schema(tmp_path / "hypotheses.parquet").metadata
    assert pq.read_schema(tmp_path / "hypotheses.parquet").remove_metadata() == SCHEMA
    assert metadata[b"checkpoint"].decode() == sha256(trained / "checkpoint.json")
    assert json.loads(metadata[b"decoding"])["batch_size"] == 5


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"method": "beam", "beams": 4},
        {"method": "multinomial", "temperature": 1.3, "seed": 5},
        {"method": "beam+sampling", "beams": 3, "temperature": 1.3, "seed": 5},
    ],
    ids=lambda settings: settings.get("method", "greedy"),
)
def test_the_batch_an_utterance_is_in_changes_nothing(decode, settings: dict) -> None:
    alone = decode(batch_size=1, **settings)
    assert len(set(texts(alone))) > 3
    for size in (7, 24):
        assert without_times(decode(batch_size=size, **settings)) == without_times(alone)


@pytest.mark.parametrize(
    ("sampled", "searched"),
    [
        ({"method": "multinomial"}, {}),
        ({"method": "beam+sampling", "beams": 3, "temperature": 1.5}, {"method": "beam", "beams": 3}),
    ],
    ids=["multinomial", "beam+sampling"],
)
def test_sampling_is_by_seed(decode, sampled: dict, searched: dict) -> None:
    first, again, other = (decode(**sampled, seed=seed) for seed in (1, 1, 2))
    assert without_times(first) == without_times(again)
    assert texts(first) != texts(other)
    assert texts(first) != texts(decode(**searched))


def test_cached_and_live_encoder_outputs_decode_the_same(
    decode, tones: Path, encoder_folder: str, tmp_path: Path
) -> None:
    write_encoder_cache(tmp_path / "cache", tones, encoder=encoder_folder)
    assert without_times(decode(cache=tmp_path / "cache")) == without_times(decode())


def test_a_cache_of_another_encoder_is_refused(decode, tones: Path, make_encoder, tmp_path: Path) -> None:
    write_encoder_cache(tmp_path / "cache", tones, encoder=make_encoder(seed=7))
    with pytest.raises(UserError, match="another encoder than"):
        decode(cache=tmp_path / "cache")


def test_a_damaged_checkpoint_is_refused(decode, trained: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(trained, tmp_path / "broken"))
    content = (broken / "projector.safetensors").read_bytes()
    (broken / "projector.safetensors").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserError, match=r"projector\.safetensors: SHA-256"):
        decode(checkpoint=broken)
    assert not (tmp_path / "hypotheses.parquet").exists()


def test_a_shard_has_its_groups_alone(decode, tones: Path) -> None:
    whole = decode()
    groups = {row["utterance_id"]: row["grp"] for row in pq.read_table(tones).to_pylist()}
    french = decode(groups=["French"])
    assert without_times(french) == [r for r in without_times(whole) if groups[r["utterance_id"]] == "French"]
    assert decode(groups=["Thai"]) == []


def test_a_short_limit_cuts_answers_and_says_so(decode) -> None:
    whole, cut = decode(), decode(max_new_tokens=3)
    assert {row["stop_reason"] for row in cut} == {"length"}
    assert {row["tokens"] for row in cut} == {3}
    for row, full in zip(cut, whole, strict=True):
        assert full["raw_text"].startswith(row["raw_text"].rstrip("�"))
        assert row["language"] == full["language"]


def test_buckets_are_of_one_size_the_longest_first() -> None:
    rows = [{"utterance_id": f"u{i}", "start": 1.0, "end": 1.0 + length} for i, length in enumerate([1, 5, 3, 5, 2])]
    buckets = [[row["utterance_id"] for row in bucket] for bucket in length_buckets(rows, 2)]
    assert buckets == [["u1", "u3"], ["u2", "u4"], ["u0"]]


@pytest.mark.parametrize(
    ("answer", "reason", "language", "transcript"),
    [
        ("<LANG_EN> <transcribe> yes no </transcribe><|im_end|>", "end", "<LANG_EN>", "yes no"),
        ("<LANG_FR><transcribe></transcribe><|im_end|>", "end", "<LANG_FR>", ""),
        ("<LANG_EN> <transcribe> yes no", "length", "<LANG_EN>", "yes no"),
        ("<LANG_EN> <transcribe> yes no</transcribe>", "length", "<LANG_EN>", "yes no"),
        ("<LANG_EN> <transcribe> yes no<|im_end|>", "malformed", "<LANG_EN>", "yes no"),
        ("<transcribe> yes </transcribe><|im_end|>", "malformed", None, "yes"),
        ("yes no<|im_end|>", "malformed", None, "yes no"),
        ("<|im_end|>", "malformed", None, ""),
    ],
)
def test_why_an_answer_stopped(
    decoder: Decoder, tones: Path, monkeypatch: pytest.MonkeyPatch, answer, reason, language, transcript
) -> None:
    """Beside a longer answer, so that this one is padded as generate pads."""
    tokenizer = decoder.processor.tokenizer
    longer = "<LANG_EN> <transcribe> hello hello hello hello there </transcribe><|im_end|>"
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (answer, longer)]
    width = max(map(len, ids)) if reason != "length" else len(ids[0])

    def search(*_: Any) -> list[list[int]]:
        return [(row + [tokenizer.pad_token_id] * width)[:width] for row in ids]

    monkeypatch.setattr("mlcslm.decoding.decoder.search", search)
    rows = pq.read_table(tones).to_pylist()[:2]
    hypothesis = decoder.decode(rows)[0]
    assert hypothesis["utterance_id"] == rows[0]["utterance_id"]
    found = hypothesis["stop_reason"], hypothesis["language"], hypothesis["transcript"], hypothesis["tokens"]
    assert found == (reason, language, transcript, len(ids[0]))
    assert "<|endoftext|>" not in hypothesis["raw_text"]
    assert hypothesis["raw_text"].count("<|im_end|>") == (reason != "length")
