"""Inputs that the workflow cannot produce: each missing one is named, with what provides it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from mlcslm.config.diarization import FSMN_MODEL
from mlcslm.config.inputs import available, describe_missing_inputs, missing_inputs
from mlcslm.config.reading import parse_config, read_config
from mlcslm.config.schema import Config

REPOSITORY = Path(__file__).parents[2]
ASR = {"checkpoint": "a", "decoding": "greedy"}
VALUES: dict[str, Any] = {
    "preset": "mine",
    "corpus": {"kind": "folder", "folders": {"train": "data/train", "dev": "data/dev", "test": "data/test"}},
    "augmentation": {"noise": "data/musan", "room_responses": "data/rirs"},
    "models": {"encoder": "openai/whisper-large-v3-turbo", "language_model": "models/babel/9b"},
    "stages": {"a": {"parent": "foundation", "trains": ["projector"], "template": "plain", "steps": 1}},
    "decodings": {"greedy": {}},
    "speaker_corpora": {
        "used": {"folder": "data/CN-Celeb_flac", "source": "openslr.org/82"},
        "idle": {"folder": "data/idle"},
    },
    "embeddings": {
        "public": {"network": "campplus", "checkpoint": "models/campplus"},
        "ours": {"network": "resnet101", "training": {"steps": 1, "corpora": ["used"]}},
    },
    "diarizers": {
        "one": {"embedding": "public", "asr": ASR, "vad": "fsmn", "vad_model": "models/fsmn"},
        "two": {"embedding": "public", "asr": ASR},
        "three": {"embedding": "ours", "asr": ASR},
    },
}
KEYS = [
    *(f"corpus.folders.{split}" for split in ("train", "dev", "test")),
    *("augmentation.noise", "augmentation.room_responses", "models.encoder", "models.language_model"),
    *("speaker_corpora.used.folder", "embeddings.public.checkpoint", "diarizers.one.vad", "diarizers.one.vad_model"),
]


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with empty hub caches, on a machine without funasr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "modelscope"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    return tmp_path


def keys(config: Config) -> list[str]:
    return [missing.key for missing in missing_inputs(config)]


def test_every_missing_input_is_named_with_what_provides_it(elsewhere: Path) -> None:
    config = parse_config(VALUES)
    assert keys(config) == KEYS
    described = describe_missing_inputs(config).splitlines()
    assert described[0].startswith("missing 7 input(s) of preset 'mine'.")
    assert len(described) == 8
    lines = [f"  {one}" for one in missing_inputs(config)]
    assert described[1:] == lines[:7]  # what only diarizers need is left out, not missing
    for key, provider in (
        ("corpus.folders.train = data/train", "the challenge's training sessions from its organisers"),
        ("augmentation.noise = data/musan", "openslr.org/17"),
        ("models.encoder = openai/whisper-large-v3-turbo", "`hf download openai/whisper-large-v3-turbo`"),
        ("models.language_model = models/babel/9b", "config.json and *.safetensors in that folder"),
        ("speaker_corpora.used.folder = data/CN-Celeb_flac", "openslr.org/82; for embedding ours"),
        ("embeddings.public.checkpoint = models/campplus", "campplus_cn_en_common.pt"),
        ("diarizers.one.vad = fsmn", "pip install 'mlcslm[fsmn]'"),
    ):
        assert any(line.startswith(f"  {key}: ") and provider in line for line in lines), key


def test_present_inputs_are_not_named(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("data/train", "data/musan", "models/babel/9b", "data/CN-Celeb_flac"):
        (elsewhere / folder).mkdir(parents=True)
    (elsewhere / "models/campplus").touch()  # a checkpoint may be a file
    (elsewhere / "hub/models--openai--whisper-large-v3-turbo/snapshots").mkdir(parents=True)
    (elsewhere / "modelscope/hub/models/fsmn").mkdir(parents=True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert keys(parse_config(VALUES)) == ["corpus.folders.dev", "corpus.folders.test", "augmentation.room_responses"]


def test_unused_inputs_are_not_required(elsewhere: Path) -> None:
    values = VALUES | {"augmentation": VALUES["augmentation"] | {"probability": 0}, "diarizers": {}}
    left = [key for key in KEYS if key.startswith(("corpus", "models"))]
    assert keys(parse_config(values)) == left
    assert "data/idle" not in describe_missing_inputs(parse_config(values))


def lost(config: Config, done: tuple[str, ...] = ()) -> dict[str, tuple[str, ...]]:
    """Diarizers that wait for each missing input."""
    return {one.key: one.diarizers for one in available(config, done.__contains__)[1]}


def test_only_diarizers_that_lack_a_model_are_left_out(elsewhere: Path) -> None:
    config = parse_config(VALUES)
    assert available(config)[0].diarizers == {}
    assert available(config)[0].stages == config.stages
    assert lost(config) == {
        "speaker_corpora.used.folder": ("three",),
        "embeddings.public.checkpoint": ("one", "two"),
        "diarizers.one.vad": ("one",),
        "diarizers.one.vad_model": ("one",),
    }
    (elsewhere / "models/campplus").mkdir(parents=True)
    assert list(available(config)[0].diarizers) == ["two"]
    assert "embeddings.public.checkpoint" not in lost(config)


def test_a_diarizer_whose_segments_are_there_needs_its_models_no_more(elsewhere: Path) -> None:
    config = parse_config(VALUES)
    assert list(available(config, lambda name: name != "three")[0].diarizers) == ["one", "two"]
    assert lost(config, done=("one", "two")) == {"speaker_corpora.used.folder": ("three",)}


def test_a_machine_that_has_all_leaves_out_nothing(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("data/CN-Celeb_flac", "models/campplus", "models/fsmn"):
        (elsewhere / folder).mkdir(parents=True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    config = parse_config(VALUES)
    assert available(config) == (config, [])


def test_the_public_detector_is_looked_for_where_none_is_named(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    (elsewhere / "models/campplus").mkdir(parents=True)
    one = {"embedding": "public", "asr": ASR, "vad": "fsmn"}
    config = parse_config(VALUES | {"diarizers": {"one": one}})
    assert lost(config) == {"diarizers.one.vad_model": ("one",)}
    (elsewhere / "modelscope" / FSMN_MODEL).mkdir(parents=True)
    assert lost(config) == {}


def test_the_demo_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    assert describe_missing_inputs(read_config("config/demo.yaml")) == ""
