from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mlcslm.errors import FaultyInput, UserError
from mlcslm.speaker_embedding.checkpoint import load_network, read_card, save_embedding
from mlcslm.speaker_embedding.embedding import SpeakerEmbedder, load_embedder, normalise
from mlcslm.speaker_embedding.fbank import fbank
from mlcslm.speaker_embedding.networks import build_network

SIZE = {"channels": 16, "growth": 8, "bottleneck": 2, "blocks": (2, 1, 2), "head_channels": 4, "embedding_size": 16}
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def audio() -> np.ndarray:
    """Eight seconds of noise whose colour changes."""
    noise = RNG.normal(0, 0.1, 8 * 16_000)
    return np.convolve(noise * np.repeat(RNG.uniform(0.1, 1, 80), 1600), [1, 0.9, 0.5]).astype(np.float32)


@pytest.fixture(scope="module")
def embedder() -> SpeakerEmbedder:
    torch.manual_seed(0)
    return SpeakerEmbedder(build_network("campplus", SIZE))


def test_windows_of_a_session_are_embedded_as_their_samples_are(embedder: SpeakerEmbedder, audio: np.ndarray) -> None:
    windows = [(0.0, 1.5), (0.75, 2.25), (3.1, 5.6), (4.0, 4.4), (7.97, 8.0)]
    samples = [audio[round(start * 16_000) : round(end * 16_000)] for start, end in windows]
    found = embedder.embed_windows(audio, windows)
    assert found.shape == (5, 16)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, embedder.embed(samples))
    assert embedder.embed_windows(audio, []).shape == (0, 16)


@pytest.mark.parametrize("network", ["campplus", "eres2net", "resnet101"])
def test_parts_of_a_window_are_pooled_from_what_the_network_hears_in_it(network: str, audio: np.ndarray) -> None:
    torch.manual_seed(0)
    size = SIZE if network == "campplus" else {"channels": 4, "blocks": (1, 1, 1, 1), "embedding_size": 8}
    embedder = SpeakerEmbedder(build_network(network, size))
    windows = [(0.0, 1.5), (0.75, 2.25), (4.0, 4.4), (5.0, 6.2)]
    whole, parts = embedder.embed_parts(audio, windows, 0.64, 0.16)
    np.testing.assert_array_equal(whole, embedder.embed_windows(audio, windows))
    counts = np.diff(parts.first).tolist()
    assert counts[0] == counts[1] > counts[3] >= 3 and counts[2] == 1
    assert parts.first[-1] == len(parts.embeddings) == len(parts.middles)
    # Too short for two parts: the window itself.
    np.testing.assert_array_equal(parts.embeddings[parts.first[2]], whole[2])
    assert parts.middles[parts.first[2]] == pytest.approx(4.2)
    for number in (0, 1, 3):
        start, end = windows[number]
        middles = parts.middles[parts.first[number] : parts.first[number + 1]]
        np.testing.assert_allclose(np.diff(middles), 0.16)
        assert start + 0.2 < middles[0] <= middles[-1] < end - 0.19
    # By hand: frames before pooling, of which a part is every stride-th 10 ms.
    features = torch.from_numpy(normalise(fbank(audio[:24_000])))[None]
    with torch.inference_mode():
        frames = embedder.network.frames(features)
        length, step = 64 // embedder.network.stride, 16 // embedder.network.stride
        second = embedder.network.pooled(frames[..., step : step + length])[0].numpy()
    np.testing.assert_allclose(parts.embeddings[1], second, atol=2e-5)
    assert frames.shape[-1] == -(-148 // embedder.network.stride)


def test_a_part_hears_what_is_in_it(embedder: SpeakerEmbedder) -> None:
    quiet, loud = RNG.normal(0, 0.01, 12_000), np.sin(np.arange(12_000) * 0.3) + RNG.normal(0, 0.01, 12_000)
    _, parts = embedder.embed_parts(np.concatenate([quiet, loud]).astype(np.float32), [(0.0, 1.5)], 0.5, 0.1)
    vectors = parts.embeddings / np.linalg.norm(parts.embeddings, axis=1, keepdims=True)
    nearer_to_last = vectors @ (vectors[-1] - vectors[0])
    crossing = parts.middles[np.argmax(nearer_to_last > 0)]
    assert crossing == pytest.approx(0.75, abs=0.15)
    assert embedder.embed_parts(np.zeros(16_000, np.float32), [], 0.5, 0.1)[1].first.tolist() == [0]


def test_a_window_between_frames_is_shifted_by_five_milliseconds_at_most(
    embedder: SpeakerEmbedder, audio: np.ndarray
) -> None:
    np.testing.assert_array_equal(
        embedder.embed_windows(audio, [(1.004, 2.504), (1.996, 3.496)]),
        embedder.embed_windows(audio, [(1.0, 2.5), (2.0, 3.5)]),
    )


@pytest.mark.slow
def test_an_embedding_is_bit_identical_whatever_else_is_in_the_batch(
    embedder: SpeakerEmbedder, audio: np.ndarray
) -> None:
    windows = [(0.1 * at, 0.1 * at + 1.5) for at in range(50)]
    expected = embedder.embed_windows(audio, windows)
    np.testing.assert_array_equal(embedder.embed_windows(audio, windows[::-1], 7)[::-1], expected)
    alone = np.concatenate([embedder.embed_windows(audio, [window], 1) for window in windows[::10]])
    np.testing.assert_array_equal(alone, expected[::10])


def test_short_speech_is_repeated_and_silence_is_finite(embedder: SpeakerEmbedder, audio: np.ndarray) -> None:
    found = embedder.embed([audio[:80], np.zeros(8000, np.float32), np.zeros(0, np.float32)])
    assert np.isfinite(found).all()


def test_a_saved_embedding_comes_back_the_same(embedder: SpeakerEmbedder, audio: np.ndarray, tmp_path: Path) -> None:
    size = {**SIZE, "blocks": list(SIZE["blocks"])}
    save_embedding(tmp_path / "e", embedder.network, network="campplus", size=size, origin="trained", seed=3)
    card = read_card(tmp_path / "e")
    assert (card.embedding_size, card.seed, card.origin) == (16, 3, "trained")
    again = load_embedder(tmp_path / "e", "campplus", device="cpu")
    np.testing.assert_array_equal(again.embed([audio]), embedder.embed([audio]))
    with pytest.raises(UserError, match="holds a campplus, expected a resnet101"):
        load_network(tmp_path / "e", "resnet101")
    (tmp_path / "e" / "model.safetensors").write_bytes(b"others")
    with pytest.raises(UserError, match=r"model\.safetensors: SHA-256 .* expected"):
        load_network(tmp_path / "e", "campplus")
    (tmp_path / "e" / "model.json").unlink()
    with pytest.raises(UserError, match=r"model\.json: no such file"):
        read_card(tmp_path / "e")


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt", "weights.bin"])
def test_public_checkpoints_load_strictly(embedder: SpeakerEmbedder, tmp_path: Path, name: str) -> None:
    state = {key: value.contiguous() for key, value in embedder.network.state_dict().items()}
    save(state, tmp_path / name)
    loaded = load_network(tmp_path, "campplus", SIZE).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())


def test_another_checkpoint_is_refused_naming_what_differs(tmp_path: Path) -> None:
    state = build_network("campplus", SIZE).state_dict()
    del state["head.bn1.weight"]
    state["classifier.weight"] = torch.zeros(3)
    state["xvector.dense.linear.weight"] = torch.zeros(20, 1, 1)
    save(state, tmp_path / "w.pt")
    with pytest.raises(FaultyInput) as refused:
        load_network(tmp_path / "w.pt", "campplus", SIZE)
    assert refused.value.faults[:2] == ("1 missing: head.bn1.weight", "1 unexpected: classifier.weight")
    assert "xvector.dense.linear.weight: shape (20, 1, 1), expected (16, " in refused.value.faults[2]
    with pytest.raises(FaultyInput, match=r"626 missing: conv1\.weight.* and 618 more"):
        load_network(tmp_path / "w.pt", "resnet101")


def test_the_classifier_left_in_wespeakers_checkpoints_is_ignored(tmp_path: Path) -> None:
    size = {"channels": 4, "blocks": (1, 1, 1, 1)}
    state = build_network("resnet101", size).state_dict()
    save({**state, "projection.weight": torch.zeros(7, 256)}, tmp_path / "avg_model.pt")
    loaded = load_network(tmp_path, "resnet101", size).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())


class Malice:
    def __reduce__(self) -> Any:
        return os.mkdir, ("made-by-a-pickle",)


def test_nothing_but_tensors_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Malice()}, tmp_path / "w.pt")
    with pytest.raises(UserError, match="not readable as weights"):
        load_network(tmp_path / "w.pt", "campplus")
    assert not (tmp_path / "made-by-a-pickle").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [({}, "none; expected one"), ({"a.pt": b"", "b.pt": b""}, "found weight files: a.pt, b.pt; expected one")],
)
def test_a_folder_without_one_checkpoint_is_refused(tmp_path: Path, content: dict[str, bytes], message: str) -> None:
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=message):
        load_network(tmp_path, "campplus")


def test_a_source_neither_local_nor_on_the_hub_is_refused() -> None:
    with pytest.raises(UserError, match="neither a file, a folder nor an available hub model"):
        load_network("no/such/folder/at/all", "campplus")


def test_a_damaged_card_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(json.dumps({"format_version": 7}))
    with pytest.raises(UserError, match="format version 7 found, expected 1"):
        load_network(tmp_path, "campplus")


@pytest.mark.skipif(
    not {"MLCSLM_CAMPPLUS", "MLCSLM_SESSION"} <= os.environ.keys(),
    reason="MLCSLM_CAMPPLUS names no CAM++ checkpoint, or MLCSLM_SESSION no recording with its transcript beside it",
)
def test_real_campplus_separates_human_voices() -> None:
    from mlcslm.corpus.audio import read_segment
    from mlcslm.speaker_embedding.verification import verify

    real = load_embedder(os.environ["MLCSLM_CAMPPLUS"], "campplus")
    session = Path(os.environ["MLCSLM_SESSION"])
    lines = [line.split("\t") for line in session.with_suffix(".txt").read_text("utf-8").splitlines()]
    found = verify(
        real.embed([read_segment(session, float(start), float(end)) for start, end, *_ in lines]),
        [session.stem] * len(lines),
        [speaker.strip() for _, _, speaker, *_ in lines],
    )
    assert found.eer < 0.1
    assert found.same_cosine > found.different_cosine + 0.2


def save(state: dict[str, torch.Tensor], path: Path) -> None:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
