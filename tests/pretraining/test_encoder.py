"""The demo's encoder: what it is pretrained on, what its head spells, and that the result is a Whisper checkpoint."""

from __future__ import annotations

import dataclasses
import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mlcslm.corpus.demo.grammar import load_grammar, split_of
from mlcslm.errors import UserError
from mlcslm.io.files import sha256
from mlcslm.model.foundation import load_encoder
from mlcslm.pretraining.encoder import (
    CtcEncoder,
    EncoderPhase,
    EncoderRecipe,
    SpeechPool,
    pretrain_encoder,
    vary_voices,
)
from mlcslm.pretraining.speech_pool import write_speech_pool
from mlcslm.text.characters import characters

pytestmark = pytest.mark.slow

TINY = EncoderRecipe(
    width=16,
    layers=1,
    heads=2,
    phases=(EncoderPhase(2, 1e-3, falling_steps=1), EncoderPhase(2, 1e-3, falling_steps=1, varied_share=0.8)),
    warmup_steps=1,
    batch=4,
    seed=3,
)


@pytest.fixture(scope="module")
def pool(groups, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("speech") / "pool"
    write_speech_pool(folder, groups, hours=0.02, seed=5, workers=2)
    return folder


@pytest.fixture(scope="module")
def pretrained(pool: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained")
    pretrain_encoder(pool, folder / "encoder", folder / "log.jsonl", TINY)
    return folder


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Yes, of course!", "yes of course"),
        ("네, 물론이죠.", unicodedata.normalize("NFD", "네") + " " + unicodedata.normalize("NFD", "물론이죠")),
        ("Ça va? Très bien.", "ça va très bien"),  # accents stay on their letters
        ("さくら", "さくら"),
        ("ก็ดี", "ก็ดี"),
    ],
)
def test_the_head_spells_references_with_korean_decomposed(text: str, expected: str) -> None:
    assert characters(text) == expected


def test_korean_needs_dozens_of_characters_instead_of_hundreds_of_syllables() -> None:
    sentences = [s for s in load_grammar("ko").sentences() if split_of(s) == "train"]
    assert len(set("".join(map(characters, sentences)))) < 70


def test_the_pool_is_training_sentences_with_their_frames(pool: Path, groups) -> None:
    utterances = [json.loads(line) for line in (pool / "index.jsonl").read_text(encoding="utf-8").splitlines()]
    frames = [u["frames"] for u in utterances]
    assert [u["first"] for u in utterances] == np.cumsum([0, *frames[:-1]]).tolist()
    assert (pool / "mels.f16").stat().st_size == sum(frames) * 80 * 2
    # A hundred frames per second; no more speech than requested, except the rest of the last voice's sentences.
    assert 0.02 * 3600 <= sum(frames) / 100 <= 0.02 * 3600 + 20 * 8
    assert {u["group"] for u in utterances} == set(groups)
    always = {
        t.fill({}) for lang in ("en", "ko") for turns in load_grammar(lang).exchanges for t in turns if not t.slots
    }
    assert all(split_of(u["text"]) == "train" or u["text"] in always for u in utterances)


def test_the_pool_is_the_same_each_time(pool: Path, groups, tmp_path: Path) -> None:
    write_speech_pool(tmp_path / "again", groups, hours=0.02, seed=5, workers=1)
    for file in ("index.jsonl", "mels.f16"):
        assert sha256(tmp_path / "again" / file) == sha256(pool / file), file


def test_batches_hold_each_utterance_with_its_own_frames_and_labels(pool: Path) -> None:
    speech = SpeechPool(pool, 80)
    members = np.array([3, 0, 7])
    mels, frames, labels, lengths = speech.batch(members)
    assert mels.shape == (3, 80, int(frames.max()))
    assert labels.shape == (int(lengths.sum()),)
    raw = np.fromfile(pool / "mels.f16", np.float16).reshape(-1, 80)
    for row, member in enumerate(members):
        u = speech.utterances[member]
        assert np.array_equal(
            mels[row, :, : u["frames"]].numpy().T, raw[u["first"] :][: u["frames"]].astype(np.float32)
        )
        assert not mels[row, :, u["frames"] :].any()
        own = labels[int(lengths[:row].sum()) :][: int(lengths[row])]
        assert "".join(speech.vocabulary[i - 1] for i in own.tolist()) == characters(u["text"])
    assert labels.min() >= 1  # 0 is the blank


def test_another_voice_has_its_formants_elsewhere_and_nothing_in_the_padding() -> None:
    """A spectral peak moves by a factor of its frequency, as with a longer or shorter vocal tract."""
    mels = torch.zeros(200, 80, 50)
    mels[:, 40, :30] = 1.0
    frames = torch.full((200,), 30)
    varied = vary_voices(mels, frames, 1.0, np.random.default_rng(0))
    assert not varied[:, :, 30:].any()
    peaks = varied[:, :, 0].argmax(1)
    hertz = mel_frequencies(80)
    factors = hertz[peaks] / hertz[40]
    assert 0.65 < factors.min() < 0.85
    assert 1.2 < factors.max() < 1.5
    assert abs(np.log(factors).mean()) < 0.05
    assert torch.equal(vary_voices(mels, frames, 0.0, np.random.default_rng(0)), mels)


def mel_frequencies(bins: int) -> np.ndarray:
    """Centres of Slaney's mel scale up to 8 kHz: linear to 1 kHz, 15 mel there, then logarithmic (Auditory Toolbox)."""
    highest = 15 + 27 * np.log(8) / np.log(6.4)
    mel = np.linspace(0, highest, bins)
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))


def test_the_result_loads_as_a_whisper_encoder(pretrained: Path, pool: Path) -> None:
    encoder, extractor = load_encoder(str(pretrained / "encoder"), dtype=torch.float32)
    assert (encoder.config.d_model, encoder.config.encoder_layers, extractor.feature_size) == (16, 1, 80)
    fresh = CtcEncoder(TINY, SpeechPool(pool, 80).vocabulary).encoder
    assert {name: w.shape for name, w in encoder.state_dict().items()} == {
        name: w.shape for name, w in fresh.state_dict().items()
    }
    stored = load_file(pretrained / "encoder" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    frames, mask = encoder(torch.zeros(1, 80, 90), torch.ones(1, 90, dtype=torch.bool))
    assert frames.shape == (1, 45, 16)
    assert torch.isfinite(frames).all()
    assert mask.all()


def test_pretraining_changes_weights_and_is_the_same_each_time(pretrained: Path, pool: Path, tmp_path: Path) -> None:
    pretrain_encoder(pool, tmp_path / "encoder", tmp_path / "log.jsonl", TINY)
    for file in ("model.safetensors", "config.json", "preprocessor_config.json"):
        assert sha256(tmp_path / "encoder" / file) == sha256(pretrained / "encoder" / file), file
    torch.manual_seed(TINY.seed)
    fresh = CtcEncoder(TINY, SpeechPool(pool, 80).vocabulary).encoder.state_dict()
    encoder, _ = load_encoder(str(pretrained / "encoder"), dtype=torch.float32)
    moved = {name for name, w in encoder.state_dict().items() if not torch.equal(w, fresh[name].half().float())}
    # Whisper's positions are fixed sinusoids; everything else learns.
    assert moved == set(fresh) - {"embed_positions.weight"}


def test_a_pool_that_fills_no_batch_is_refused(pool: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="but a batch needs 5000"):
        pretrain_encoder(pool, tmp_path / "encoder", tmp_path / "log.jsonl", dataclasses.replace(TINY, batch=5000))


def test_a_little_pretraining_lowers_the_loss(pool: Path, tmp_path: Path) -> None:
    phase = EncoderPhase(100, 1.5e-3, falling_steps=60)
    recipe = dataclasses.replace(TINY, phases=(phase,), warmup_steps=10)
    pretrain_encoder(pool, tmp_path / "encoder", tmp_path / "log.jsonl", recipe)
    first, last = (json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines())
    assert (first["step"], last["step"]) == (50, 100)
    assert last["loss"] < first["loss"]
