"""Embeddings and diarizers in the configuration: what they name has to be there."""

from __future__ import annotations

from typing import Any

import pytest

from mlcslm.config import parse_config
from mlcslm.errors import FaultyInput

ASR = {"checkpoint": "a", "decoding": "greedy"}
TRAINED = {"network": "resnet101", "training": {"steps": 1}}
VALUES: dict[str, Any] = {
    "models": {"encoder": "some/encoder", "language_model": "some/lm"},
    "stages": {"a": {"parent": "foundation", "trains": ["projector"], "template": "plain", "steps": 1}},
    "decodings": {"greedy": {}},
    "embeddings": {"public": {"network": "campplus", "checkpoint": "some/folder"}, "ours": TRAINED},
    "diarizers": {"one": {"embedding": "public", "asr": ASR}, "two": {"embedding": "ours", "asr": ASR}},
}


@pytest.mark.parametrize(
    ("section", "name", "value", "message"),
    [
        ("diarizers", "one", {"embedding": "none", "asr": ASR}, "diarizers.one.embedding is 'none'; expected one of"),
        ("diarizers", "one", {"embedding": "ours", "asr": ASR | {"checkpoint": "b"}}, "asr.checkpoint is 'b'"),
        ("diarizers", "one", {"embedding": "ours", "asr": ASR | {"decoding": "b"}}, "asr.decoding is 'b'"),
        ("diarizers", "one", {"embedding": "ours", "asr": ASR, "vad_model": "x"}, "vad is 'silero'"),
        ("diarizers", "one", {"embedding": "ours", "asr": ASR, "max_segment_s": 0}, "diarizers.one.max_segment_s"),
        ("embeddings", "ours", {"network": "campplus"}, "expected checkpoint .* or training"),
        ("embeddings", "ours", TRAINED | {"checkpoint": "x"}, "expected checkpoint .* or training"),
    ],
)
def test_impossible_diarizers_are_refused(section: str, name: str, value: dict[str, Any], message: str) -> None:
    values = VALUES | {section: VALUES[section] | {name: value}}
    with pytest.raises(FaultyInput, match=message):
        parse_config(values)
