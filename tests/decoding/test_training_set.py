"""Decoding the training set for the reasoning data: with noise, unseen folds alone, and on after a kill."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from mlcslm.config.schema import DecodingConfig
from mlcslm.corpus.augmentation import Augmenter, generate_noises
from mlcslm.decoding import generation
from mlcslm.decoding.generation import Decoder, DecodingPaths, Noise, decode_split
from mlcslm.decoding.hypothesis_files import PartialHypotheses
from mlcslm.model.distortions import augmentation_rng


@pytest.fixture
def decode(trained: Path, tones: Path, tmp_path: Path, languages) -> Callable[..., list[dict]]:
    """Rows of the hypotheses, without times."""

    def run(checkpoint: Path = trained, batch_size: int = 5, **options: Any) -> list[dict]:
        paths = DecodingPaths(checkpoint, tones, tmp_path / "hypotheses.parquet")
        decode_split(paths, DecodingConfig(max_new_tokens=30, batch_size=batch_size), languages, **options)
        return pq.read_table(paths.out).drop_columns("seconds").to_pylist()

    return run


class Shorter:
    """Stands for an augmenter: cuts audio to a random share, which shows in the number of audio tokens."""

    snr_db = (0.0, 0.0)

    def __call__(self, audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return audio[: int(len(audio) * rng.uniform(0.2, 0.9))]


def test_noise_is_the_utterances_own(decode, tmp_path: Path) -> None:
    """Whatever batch it is in, and by the seed."""
    clean = decode()
    noisy, again, other = (
        decode(batch_size=size, noise=Noise(Shorter(), seed)) for size, seed in [(24, 1), (7, 1), (24, 2)]
    )
    assert noisy == again
    assert noisy != other
    shares = [short["audio_tokens"] / whole["audio_tokens"] for short, whole in zip(noisy, clean, strict=True)]
    assert len(set(shares)) > 5
    assert max(shares) <= 1
    assert json.loads(pq.read_schema(tmp_path / "hypotheses.parquet").metadata[b"noise"]) == [[0.0, 0.0], 2]


def test_noise_is_not_that_of_a_training_pass(tmp_path: Path) -> None:
    generate_noises(tmp_path, seed=0, count=3)
    augmenter = Augmenter(1.0, tmp_path, None)
    audio = np.ones(1600, dtype=np.float32)
    noisy = Noise(augmenter, 1)(audio, "a")
    assert len(noisy) == len(audio)
    assert np.array_equal(noisy, Noise(augmenter, 1)(audio, "a"))
    assert not any(np.array_equal(noisy, augmenter(audio, augmentation_rng(1, number, "a"))) for number in range(5))


def test_of_a_fold_only_what_it_has_not_seen_is_decoded(
    decode, make_config, train: Callable[..., Path], tmp_path: Path, tones: Path
) -> None:
    """Each group of the tone corpus has one session: the first of three folds has it, the others nothing."""
    config = make_config({"a": {"steps": 1, "fold": [1, 3]}})
    checkpoint = train(config, "a", tmp_path)
    assert len(decode(checkpoint)) == len(pq.read_table(tones))
    assert decode(checkpoint, unseen=True) == []


def test_a_killed_decoding_goes_on_where_it_was(
    decode, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = decode()
    (tmp_path / "hypotheses.parquet").unlink()
    batches: list[list[str]] = []
    decode_batch = Decoder.decode

    def dying(self: Decoder, rows: list[dict]) -> list[dict]:
        if len(batches) == 2:
            raise KeyboardInterrupt
        batches.append([row["utterance_id"] for row in rows])
        return decode_batch(self, rows)

    monkeypatch.setattr(generation.Decoder, "decode", dying)
    with pytest.raises(KeyboardInterrupt):
        decode()
    (partial,) = tmp_path.glob(".hypotheses*")
    partial.write_text(partial.read_text() + '{"utterance_id": "cut sh')

    def counting(self: Decoder, rows: list[dict]) -> list[dict]:
        batches.append([row["utterance_id"] for row in rows])
        return decode_batch(self, rows)

    monkeypatch.setattr(generation.Decoder, "decode", counting)
    assert decode() == undisturbed
    decoded = [name for batch in batches for name in batch]
    assert len(decoded) == len(set(decoded)) == len(pq.read_table(tones))
    assert {path.name for path in tmp_path.glob("*")} >= {"hypotheses.parquet"}
    assert not list(tmp_path.glob(".hypotheses*"))


def test_what_another_decoding_has_left_is_dropped(tmp_path: Path) -> None:
    first = PartialHypotheses(tmp_path / "out.parquet", {"checkpoint": "1"})
    first.add([{"utterance_id": "a", "transcript": "ça"}])
    assert PartialHypotheses(tmp_path / "out.parquet", {"checkpoint": "1"}).rows == first.rows
    assert PartialHypotheses(tmp_path / "out.parquet", {"checkpoint": "2"}).rows == {}
