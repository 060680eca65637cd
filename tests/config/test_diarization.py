"""Embeddings and diarizers in the configuration: what they refer to must exist."""

from __future__ import annotations

from typing import Any

import pytest

from mlcslm.config.reading import parse_config
from mlcslm.errors import FaultyInput

ASR = {"checkpoint": "a", "decoding": "greedy"}
ANSWERING = {"embedding": "ours", "stretch_s": 20, "asr": ASR | {"checkpoint": "answers"}}
TRAINED = {"network": "resnet101", "training": {"steps": 1}}


def trained(**changes: Any) -> dict[str, Any]:
    """An embedding whose training differs."""
    return TRAINED | {"training": {"steps": 1, **changes}}


VALUES: dict[str, Any] = {
    "models": {"encoder": "some/encoder", "language_model": "some/lm"},
    "stages": {
        "a": {"parent": "foundation", "trains": ["projector"], "template": "plain", "steps": 1},
        "answers": {"parent": "a", "trains": ["projector"], "template": "diarized", "steps": 1},
    },
    "decodings": {"greedy": {}},
    "speaker_corpora": {"cnceleb": {"folder": "some/folder"}},
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
        ("diarizers", "one", {"embedding": "ours", "asr": ASR, "vad": "fsmn", "onset": 0.5}, "answers with segments"),
        ("diarizers", "one", {"embedding": "ours", "asr": ASR, "onset": 0.2, "offset": 0.3}, "expected at most onset"),
        ("diarizers", "one", {"embedding": "ours", "asr": ASR, "padding_s": -1}, "diarizers.one.padding_s"),
        ("diarizers", "one", {"embedding": "ours", "asr": ASR, "num_speakers": 2, "max_speakers": 3}, "or bounds"),
        ("diarizers", "one", {"embedding": "ours", "asr": ASR, "min_speakers": 3, "max_speakers": 2}, "at most max_sp"),
        ("diarizers", "one", ANSWERING | {"asr": ASR}, "expected both stretch_s and template 'diarized'"),
        ("diarizers", "one", ANSWERING | {"stretch_s": None}, "expected both stretch_s and template 'diarized'"),
        ("diarizers", "one", ANSWERING | {"resegment": False}, "resegment false with stretch_s: the answers say"),
        ("diarizers", "one", ANSWERING | {"max_segment_s": 60}, "max_segment_s is 60; expected at most stretch_s, 20"),
        ("embeddings", "ours", {"network": "campplus"}, "expected either checkpoint .* or training"),
        ("embeddings", "ours", TRAINED | {"checkpoint": "x"}, "expected either checkpoint .* or training"),
        ("embeddings", "ours", trained(corpora=["voxblink"]), "ours.training.corpora names 'voxblink'; .*: cnceleb"),
        ("embeddings", "ours", trained(corpora=["cnceleb", "cnceleb"]), "expected each only once"),
        ("embeddings", "ours", trained(conversations=False), "there are no speakers to train on"),
        ("speaker_corpora", "cnceleb", {"folder": "x", "speakers": "../*"}, "expected a pattern of folders"),
    ],
)
def test_impossible_diarizers_are_rejected(section: str, name: str, value: dict[str, Any], message: str) -> None:
    values = VALUES | {section: VALUES[section] | {name: value}}
    with pytest.raises(FaultyInput, match=message):
        parse_config(values)


def test_an_embedding_is_trained_on_the_corpora_it_names() -> None:
    values = VALUES | {"embeddings": VALUES["embeddings"] | {"ours": trained(corpora=["cnceleb"], conversations=False)}}
    embeddings = parse_config(values).embeddings
    assert {name: embedding.corpora for name, embedding in embeddings.items()} == {"public": (), "ours": ("cnceleb",)}


def test_an_answering_diarizer_may_know_how_many_speak() -> None:
    known = ANSWERING | {"min_speakers": 2, "max_speakers": 4}
    assert parse_config(VALUES | {"diarizers": {"one": known}}).diarizers["one"].stretch_s == 20
