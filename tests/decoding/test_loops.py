"""Repetition loops: which answers have them, and what is done about answers that never end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mlcslm.config.schema import DecodingConfig
from mlcslm.decoding.decoder import Decoder
from mlcslm.decoding.loops import ends_in_loop, has_loop
from mlcslm.model.checkpoint import load_checkpoint

SPEECH = list(range(100, 130))


@pytest.mark.parametrize(
    ("ids", "loop"),
    [
        ([], False),
        (SPEECH, False),
        ([7] * 23, False),
        ([7] * 24, True),
        ([7, 8, 9] * 7, False),
        ([7, 8, 9] * 8, True),
        (SPEECH + [7] * 24, True),
        (SPEECH * 3, False),
        (SPEECH * 4, True),
        ((SPEECH * 4)[:-1], False),
    ],
)
def test_what_a_loop_is(ids: list[int], loop: bool) -> None:
    assert ends_in_loop(ids) == loop
    assert has_loop(ids) == loop
    # What follows a loop does not undo it, but a search is then out of it.
    assert has_loop([*ids, 5, 6]) == loop
    assert not ends_in_loop([*ids, 5, 6])


@pytest.fixture
def endless(trained: Path, languages, tones: Path) -> Callable[..., list[dict]]:
    """Hypotheses of a model that cannot say the end token, or nothing but one token."""
    model, processor = load_checkpoint(trained, languages=languages)

    def decode(only: str | None = None, **settings: Any) -> list[dict]:
        never = {*model.generation_config.suppress_tokens, processor.end_token_id}
        if only is not None:
            never = set(range(model.config.text_config.vocab_size)) - {*processor.tokenizer(only)["input_ids"]}
        model.generation_config.suppress_tokens = sorted(never)
        decoder = Decoder(model, processor, "tagged", DecodingConfig(max_new_tokens=60, **settings))
        return decoder.decode(pq.read_table(tones).to_pylist())

    return decode


@pytest.mark.parametrize("method", [{}, {"method": "beam", "beams": 3}], ids=["greedy", "beam"])
def test_an_answer_that_never_ends_stops_at_the_limit_and_is_flagged(endless, method: dict) -> None:
    for row in endless(only="a", **method):
        assert (row["stop_reason"], row["tokens"], row["loop"]) == ("length", 60, True)
    for row in endless(only="a", stop_loops=True, **method):
        assert (row["stop_reason"], row["tokens"], row["loop"]) == ("length", 24, True)


def test_an_early_stop_changes_nothing_before_it(endless) -> None:
    for row, early in zip(endless(), endless(stop_loops=True), strict=True):
        assert (row["stop_reason"], row["tokens"]) == ("length", 60)
        assert row["raw_text"].startswith(early["raw_text"].rstrip("�"))
        assert early["loop"] == row["loop"] or early["tokens"] == 60
