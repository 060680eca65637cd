from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from mlcslm.config.diarization import SpeakerCorpusConfig
from mlcslm.config.reading import parse_config
from mlcslm.config.schema import Config
from mlcslm.errors import UserError
from mlcslm.io.files import sha256
from mlcslm.speaker_embedding import training as embedding_training
from mlcslm.speaker_embedding.checkpoint import load_network
from mlcslm.speaker_embedding.corpora import index_speakers
from mlcslm.speaker_embedding.embedding import load_embedder
from mlcslm.speaker_embedding.training import EmbeddingPaths, train_embedding
from mlcslm.speaker_embedding.verification import verify_manifest

pytestmark = pytest.mark.slow

SIZES: dict[str, dict[str, Any]] = {
    "campplus": {"channels": 16, "growth": 8, "blocks": (1, 1, 1), "head_channels": 4, "embedding_size": 16},
    "eres2net": {"channels": 4, "blocks": (1, 1, 1, 1), "embedding_size": 16},
    "resnet101": {"channels": 4, "blocks": (1, 1, 1, 1), "embedding_size": 16},
}


def config(network: str, **changes: Any) -> Config:
    training = {"steps": 8, "batch_size": 8, "crop_s": 0.5, "learning_rate": 5e-3, "speeds": [], "augmentation": 0}
    return parse_config(
        {
            "models": {"encoder": "e", "language_model": "l"},
            "stages": {"s": {"parent": "foundation", "trains": ["projector"], "template": "plain", "steps": 1}},
            "decodings": {"greedy": {}},
            "speaker_corpora": {"cnceleb1": {"folder": "CN-Celeb_flac", "speakers": "data/*"}},
            "embeddings": {"mine": {"network": network, "size": SIZES[network], "training": {**training, **changes}}},
        }
    )


def paths(voices: dict[str, Path], folder: Path) -> EmbeddingPaths:
    return EmbeddingPaths(folder / "out", folder / "work", voices["train"], voices["dev"])


@pytest.mark.parametrize("network", list(SIZES))
def test_training_separates_unseen_voices(voices: dict[str, Path], tmp_path: Path, network: str) -> None:
    torch.manual_seed(config(network).seed)
    untrained = embedding_training.build_network(network, SIZES[network])
    before = verify_manifest(embedding_training.SpeakerEmbedder(untrained), voices["dev"])
    train_embedding("mine", config(network, steps=80, batch_size=12, scale=10, margin=0.1), paths(voices, tmp_path))
    card = json.loads((tmp_path / "out" / "model.json").read_text("utf-8"))
    assert card["network"] == network
    assert card["speakers"] == 12
    assert card["verification"]["speakers"] == 8
    after = verify_manifest(load_embedder(tmp_path / "out", network), voices["dev"])
    assert after.eer == card["verification"]["eer"]
    assert before.same_cosine - before.different_cosine < 0.15
    assert after.same_cosine - after.different_cosine > 0.3
    assert not list((tmp_path / "work").glob("*"))


class Killed(BaseException):
    """Stands in for `kill -9`: no clean-up runs."""


def test_killed_training_resumes_to_the_same_weights(
    voices: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = config("campplus", save_steps=3)
    train_embedding("mine", recipe, paths(voices, tmp_path / "whole"))
    save = embedding_training._save_state

    def save_and_die(*arguments: Any) -> None:
        save(*arguments)
        if arguments[-1] == 6:
            raise Killed

    monkeypatch.setattr(embedding_training, "_save_state", save_and_die)
    with pytest.raises(Killed):
        train_embedding("mine", recipe, paths(voices, tmp_path / "cut"))
    assert not (tmp_path / "cut" / "out").exists()
    monkeypatch.setattr(embedding_training, "_save_state", save)
    seen = []
    monkeypatch.setattr(
        embedding_training, "margin_at", lambda step, *rest: seen.append(step) or 0.2 * min(1, step / 4)
    )
    train_embedding("mine", recipe, paths(voices, tmp_path / "cut"))
    assert seen == [6, 7]
    whole, cut = (load_file(tmp_path / name / "out" / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_a_state_of_another_recipe_is_not_touched(voices: dict[str, Path], tmp_path: Path) -> None:
    train_embedding("mine", config("campplus", steps=2), paths(voices, tmp_path / "a"))
    train_embedding("mine", config("campplus", steps=2, margin=0.4, margin_warmup=0), paths(voices, tmp_path / "b"))
    first, second = (load_file(tmp_path / name / "out" / "model.safetensors") for name in ("a", "b"))
    assert any(not torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(("conversations", "speakers"), [(True, 12 + 2), (False, 2)])
def test_speaker_corpora_extend_or_replace_conversations(
    voices: dict[str, Path], tmp_path: Path, conversations: bool, speakers: int
) -> None:
    rng = np.random.default_rng(0)
    for name in ("id00010/singing-01-001.flac", "id00011/play-01-001.flac"):
        path = tmp_path / "CN-Celeb_flac" / "data" / name
        path.parent.mkdir(parents=True)
        soundfile.write(path, rng.normal(0, 0.1, 16_000), 16_000)
    index = tmp_path / "cnceleb1.parquet"
    corpus = SpeakerCorpusConfig(folder=str(tmp_path / "CN-Celeb_flac"), speakers="data/*")
    index_speakers("cnceleb1", corpus, index)
    recipe = config("campplus", steps=2, corpora=["cnceleb1"], conversations=conversations)
    train_embedding("mine", recipe, replace(paths(voices, tmp_path), corpora=(index,)))
    card = json.loads((tmp_path / "out" / "model.json").read_text("utf-8"))
    assert card["speakers"] == speakers
    assert card["fingerprints"]["corpus cnceleb1"] == sha256(index)


def test_a_public_checkpoint_is_converted_and_verified(voices: dict[str, Path], tmp_path: Path) -> None:
    model = embedding_training.build_network("resnet101", SIZES["resnet101"])
    torch.save(model.state_dict(), tmp_path / "avg_model.pt")
    public = {"network": "resnet101", "size": SIZES["resnet101"], "checkpoint": str(tmp_path / "avg_model.pt")}
    values = {**config("campplus").model_dump(), "embeddings": {"public": public}}
    train_embedding("public", parse_config(values), paths(voices, tmp_path))
    assert json.loads((tmp_path / "out" / "model.json").read_text("utf-8"))["origin"].endswith("avg_model.pt")
    found = load_network(tmp_path / "out", "resnet101").state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in model.state_dict().items())


def test_a_loss_that_is_not_finite_stops_the_training(
    voices: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding_training, "margin_at", lambda *_: float("nan"))
    with pytest.raises(UserError, match=r"loss of step 1 is not finite \(nan\)"):
        train_embedding("mine", config("campplus"), paths(voices, tmp_path))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("size", "message"),
    [({"depth": 3}, "size.depth: no such argument of campplus"), ({"blocks": 3}, "is 3; expected 3 numbers")],
)
def test_sizes_that_a_network_does_not_have_are_refused(size: dict[str, Any], message: str) -> None:
    values = config("campplus").model_dump()
    values["embeddings"]["mine"]["size"] = size
    with pytest.raises(UserError, match=message):
        parse_config(values)
