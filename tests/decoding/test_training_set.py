"""Decoding the training set for the reasoning data: with noise, unseen folds alone, and on after a kill."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mlcslm.config import DecodingConfig
from mlcslm.corpus.augmentation import Augmenter, generate_noises
from mlcslm.decoding import generation
from mlcslm.decoding.generation import Decoder, DecodingPaths, Noise, decode_split
from mlcslm.decoding.partial import PartialHypotheses


@pytest.fixture
def decode(trained: Path, tones: Path, tmp_path: Path, languages) -> Callable[..., list[dict]]:
    """Rows of the hypotheses, without times."""

    def run(checkpoint: Path = trained, batch_size: int = 5, **options: Any) -> list[dict]:
        paths = DecodingPaths(checkpoint, tones, tmp_path / "hypotheses.parquet")
        decode_split(paths, DecodingConfig(max_new_tokens=30, batch_size=batch_size), languages, **options)
        return pq.read_table(paths.out).drop_columns("seconds").to_pylist()

    return run


def test_noise_is_the_utterances_own(decode, tmp_path: Path) -> None:
    """Whatever batch it is in; and it is not that of the seed's other runs."""
    generate_noises(tmp_path / "noise", seed=0, count=3)
    augmenter = Augmenter(1.0, tmp_path / "noise", None, (-10.0, -10.0))
    clean, noisy, again, other = (
        decode(batch_size=size, noise=noise)
        for size, noise in [(24, None), (24, Noise(augmenter, 1)), (7, Noise(augmenter, 1)), (24, Noise(augmenter, 2))]
    )
    assert noisy == again
    assert noisy != clean
    assert noisy != other
    assert b"noise" in pq.read_schema(tmp_path / "hypotheses.parquet").metadata


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
