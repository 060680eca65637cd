"""Consensus: hand-worked choices, and decodings whose candidates, choice and probabilities are checked from outside."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from mlcslm.config.decoding import DecodingConfig
from mlcslm.decoding.consensus import candidate_requests, candidate_weights, choose
from mlcslm.decoding.context import decode_with_hypothesis_context
from mlcslm.decoding.decoder import SCHEMA, Decoder
from mlcslm.decoding.generation import DecodingPaths, decode_split
from mlcslm.decoding.long_utterances import _joined
from mlcslm.decoding.search import Samples, ScoredAnswer, search_candidates
from mlcslm.scoring.oracle import score_oracle
from mlcslm.scoring.wer_counts import score_hypotheses
from mlcslm.text.context import context_lines
from mlcslm.text.protocols import get_protocol

LANGUAGES = Path(__file__).parents[2] / "config" / "languages.tsv"


def answers(*texts: str | None, reasons: str = "") -> list[dict[str, Any]]:
    """Hypotheses; reasons: e, m or l for each: end, malformed, length."""
    kinds = {"e": "end", "m": "malformed", "l": "length"}
    reasons = reasons or "e" * len(texts)
    return [{"transcript": text, "stop_reason": kinds[one]} for text, one in zip(texts, reasons, strict=True)]


def uniform(candidates: list[dict[str, Any]]) -> list[float]:
    return [1.0] * len(candidates)


def test_the_middle_one_of_three_wins(languages) -> None:
    """Errors between them: 1 (first, second), 2 (first, third), 1 (second, third); so 3, 2 and 3 in all."""
    three = answers("on a red boat", "on a red goat", "on a bed goat")
    assert choose(three, uniform(three), languages["English-American"]) == 1


def test_probabilities_are_weights(languages) -> None:
    """With 0.6, 0.2 and 0.2 the first expects 0.2 + 0.4 errors, the second 0.6 + 0.2, the third 1.2 + 0.2."""
    three = answers("on a red boat", "on a red goat", "on a bed goat")
    assert choose(three, [0.6, 0.2, 0.2], languages["English-American"]) == 0


def test_the_unit_is_the_groups(languages) -> None:
    """As words, all three differ by one and the first would win the tie; as characters they are as above."""
    three = answers("日本語です", "日本語でし", "日本誤でし")
    assert choose(three, uniform(three), languages["Japanese"]) == 1
    assert choose(three, uniform(three), languages["English-American"]) == 0


def test_errors_count_rather_than_rates(languages) -> None:
    """The empty answer has no error rate; it is two errors from each of the others, which are one apart."""
    three = answers("", "yes please", "yes pleased")
    assert choose(three, uniform(three), languages["English-American"]) == 1


@pytest.mark.parametrize(
    ("texts", "reasons", "expected"),
    [
        (("a", "b"), "ee", 0),
        (("a", "b"), "me", 1),
        (("a", "b"), "lm", 1),
        (("a", "a", "a"), "lme", 2),
        (("a", "a", "b"), "mme", 0),  # fewer expected errors come before form
        ((None, None), "lm", 1),
    ],
)
def test_form_breaks_ties_then_order(texts, reasons, expected, languages) -> None:
    tied = answers(*texts, reasons=reasons)
    assert choose(tied, uniform(tied), languages["French"]) == expected


def test_repeated_answers_share_one_probability() -> None:
    one, other = ScoredAnswer([5, 6], math.log(1e-200)), ScoredAnswer([7], math.log(3e-200))
    assert candidate_weights([one, other, one], "probability") == pytest.approx([0.25, 0.75, 0.0])


def test_what_was_heard_weighs_candidates() -> None:
    one, other = ScoredAnswer([5, 6], -1.0), ScoredAnswer([7], -1.0)
    assert candidate_weights([one, other, one], "ctc", [-900.0, -900.0 + math.log(3), -900.0]) == pytest.approx(
        [0.25, 0.75, 0.0]
    )
    assert candidate_weights([one, other], "ctc", [-math.inf, -50.0]) == [0.0, 1.0]
    assert candidate_weights([one, other], "ctc", [-math.inf, -math.inf]) == [1.0, 1.0]


def test_candidates_of_pieces_are_joined_in_order() -> None:
    piece = {"raw_text": "", "language": None, "think": None, "tokens": 1, "audio_tokens": 1, "stop_reason": "end"}
    piece |= {"loop": False, "seconds": 0.0}
    pieces = [
        piece | {"transcript": "a", "candidates": ["a", "b"]},
        piece | {"transcript": "d", "candidates": ["c", "d"]},
    ]
    assert _joined("u", pieces)["candidates"] == ["a c", "b d", "a d"]
    pieces[1] = piece | {"transcript": "c", "candidates": ["c"]}
    assert _joined("u", pieces)["candidates"] == ["a c", "b c"]
    pieces[1] = piece | {"transcript": "", "candidates": [None, ""]}
    assert _joined("u", pieces)["candidates"] == ["a", "b"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "consensus"}, "needs one, such as `consensus: {candidates: 8}`"),
        ({"consensus": {"candidates": 2}}, "method 'greedy' with a `consensus` section"),
        ({"method": "consensus", "consensus": {}, "beams": 4}, "among samples with beams 4"),
        ({"method": "consensus", "consensus": {"source": "beams"}, "beams": 4}, "needs 8 or more"),
        ({"method": "consensus", "consensus": {"candidates": 1, "source": "beams"}}, "needs 2 or more"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        DecodingConfig(**settings)


def test_other_decodings_keep_their_provenance() -> None:
    """Their hypotheses, made before there was a consensus, would be redone otherwise."""
    assert "consensus" not in DecodingConfig(method="beam", beams=3).model_dump(mode="json")
    decoding = DecodingConfig(method="consensus", consensus={"candidates": 3})
    assert decoding.model_dump(mode="json")["consensus"]["candidates"] == 3
    assert DecodingConfig(**decoding.model_dump(mode="json")) == decoding


def test_rows_are_what_a_batch_holds() -> None:
    """The plan sizes memory by them: samples are generated side by side, and so are beams."""
    for settings, rows in (
        ({}, 1),
        ({"method": "beam", "beams": 4}, 4),
        ({"method": "consensus", "consensus": {"candidates": 6}}, 6),
        ({"method": "consensus", "beams": 5, "consensus": {"candidates": 3, "source": "beams"}}, 5),
    ):
        assert DecodingConfig(**settings).rows == rows


# Decodings of a real, tiny model.

SAMPLES = {"method": "consensus", "temperature": 1.3, "seed": 5}


@pytest.fixture
def decode(trained: Path, tones: Path, tmp_path: Path, languages) -> Callable[..., list[dict]]:
    def run(**settings: Any) -> list[dict]:
        paths = DecodingPaths(trained, tones, tmp_path / "hypotheses.parquet")
        decode_split(paths, DecodingConfig(**({"max_new_tokens": 40} | settings)), languages)
        return [row | {"seconds": 0} for row in pq.read_table(paths.out).to_pylist()]

    return run


def without_candidates(rows: list[dict]) -> list[dict]:
    return [{name: value for name, value in row.items() if name != "candidates"} for row in rows]


def test_one_candidate_is_the_search_itself(decode) -> None:
    one = decode(**SAMPLES, consensus={"candidates": 1})
    assert without_candidates(one) == decode(**(SAMPLES | {"method": "multinomial"}))
    assert [row["candidates"] for row in one] == [[row["transcript"]] for row in one]
    greedy = decode(**SAMPLES, consensus={"candidates": 1, "greedy": True})
    assert without_candidates(greedy) == decode()
    beam = decode(method="consensus", beams=4, consensus={"candidates": 1, "source": "beams"})
    assert without_candidates(beam) == decode(method="beam", beams=4)


def test_further_candidates_leave_the_first_as_they_are(decode) -> None:
    two, four = (decode(**SAMPLES, consensus={"candidates": count}) for count in (2, 4))
    assert [row["candidates"] for row in two] == [row["candidates"][:2] for row in four]
    assert any(len(set(row["candidates"])) > 2 for row in four)
    for row in four:
        assert row["transcript"] in row["candidates"]
    greedy = decode(**SAMPLES, consensus={"candidates": 3, "greedy": True})
    assert [row["candidates"][1:] for row in greedy] == [row["candidates"] for row in two]
    assert [row["candidates"][0] for row in greedy] == [row["transcript"] for row in decode()]


@pytest.mark.parametrize(
    "settings",
    [
        SAMPLES | {"consensus": {"candidates": 4}},
        SAMPLES | {"consensus": {"candidates": 4, "greedy": True, "weights": "probability"}},
        {
            "method": "consensus",
            "beams": 4,
            "consensus": {"candidates": 3, "source": "beams", "weights": "probability"},
        },
    ],
    ids=["samples", "samples by probability", "beams by probability"],
)
def test_the_batch_an_utterance_is_in_changes_nothing(decode, settings: dict) -> None:
    alone = decode(batch_size=1, **settings)
    assert len({row["raw_text"] for row in alone}) > 3
    for size in (7, 24):
        assert decode(batch_size=size, **settings) == alone


def test_no_choice_is_better_than_its_oracle(decode, tones: Path, tmp_path: Path) -> None:
    decode(**SAMPLES, consensus={"candidates": 6, "greedy": True})
    assert pq.read_schema(tmp_path / "hypotheses.parquet").names == [*SCHEMA.names, "candidates"]
    scored = {"system": "s", "split": "dev", "protocol": "mlcslm-2025", "normalise_hypothesis": False}
    files = (tones, tmp_path / "hypotheses.parquet", tmp_path / "counts.parquet")
    score_hypotheses(*files, **scored, languages=LANGUAGES)
    chosen = pq.read_table(tmp_path / "counts.parquet").to_pylist()
    oracles = {n: score_oracle(*files[:2], get_protocol("mlcslm-2025"), LANGUAGES, first=n) for n in (1, 3, None)}
    for row in chosen:
        first, few, best = (oracles[n][row["utterance_id"]].errors for n in (1, 3, None))
        assert row["errors"] >= best
        assert first >= few >= best
    assert sum(one.errors for one in oracles[None].values()) < sum(one.errors for one in oracles[1].values())


@pytest.mark.parametrize("source", ["samples", "beams"])
def test_log_probabilities_are_those_of_a_forward_pass(decoder: Decoder, tones: Path, source: str) -> None:
    rows = pq.read_table(tones).to_pylist()[:5]
    examples, _ = decoder.examples(rows)
    beams = 4 if source == "beams" else 1
    consensus = {"candidates": 3, "source": source, "greedy": True}
    settings = SAMPLES | {"beams": beams, "consensus": consensus, "max_new_tokens": 20}
    names = [row["utterance_id"] for row in rows]
    batch = decoder.processor.collate(examples, side="left")
    found = search_candidates(decoder.model, batch, names, candidate_requests(DecodingConfig(**settings)), seed=5)
    decoder.model.model.language_model.set_attn_implementation("sdpa")
    for example, group in zip(examples, found, strict=True):
        assert len(group) == 3
        for answer in group:
            ids = example["input_ids"] + answer.ids
            one = decoder.processor.collate([example | {"input_ids": ids}], side="left")
            with torch.inference_mode():
                logits = decoder.model.eval()(**one).logits[0, -len(answer.ids) - 1 : -1].float()
            expected = logits.log_softmax(-1)[torch.arange(len(answer.ids)), answer.ids].sum().item()
            assert answer.log_prob == pytest.approx(expected, abs=1e-3)


def test_streams_are_not_shared_by_requests(decoder: Decoder) -> None:
    twice = [Samples(DecodingConfig(method="multinomial"), 2)] * 2
    with pytest.raises(ValueError, match="same streams"):
        search_candidates(decoder.model, {}, [], twice, seed=0)


def test_chosen_transcripts_are_the_context_of_the_next(decoder: Decoder, tones: Path) -> None:
    rows = pq.read_table(tones).to_pylist()
    decoder.decoding = DecodingConfig(
        **SAMPLES, max_new_tokens=40, batch_size=4, context="hypotheses", consensus={"candidates": 3}
    )
    found = {
        one["utterance_id"]: one for group in decode_with_hypothesis_context(decoder, rows, 1, {}) for one in group
    }
    second = next(row for row in rows if row["turn"] == 1)
    first = next(row for row in rows if row["turn"] == 0 and row["session_id"] == second["session_id"])
    before = found[first["utterance_id"]]
    said = before["transcript"] if before["stop_reason"] != "length" else ""
    alone = decoder.decode([second | {"context": context_lines([said])}])[0]
    assert alone["candidates"] == found[second["utterance_id"]]["candidates"]
