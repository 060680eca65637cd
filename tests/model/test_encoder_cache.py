"""Cached encoder outputs equal the live encoder's, one utterance at a time."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from mlcslm.corpus.audio import read_segment
from mlcslm.corpus.augmentation import Augmenter, generate_noises
from mlcslm.errors import UserError
from mlcslm.io.files import sha256
from mlcslm.model.distortions import Distortions, augmentation_rng
from mlcslm.model.encoder_cache import EncoderCache, moved_boundaries, write_encoder_cache
from mlcslm.model.foundation import fingerprint_of, load_encoder
from mlcslm.model.log_mel import LogMel

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rows(tones: Path) -> list[dict]:
    return pq.read_table(tones).to_pylist()


@pytest.fixture(scope="module")
def plain(tones: Path, encoder_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache") / "plain"
    write_encoder_cache(folder, tones, encoder=encoder_folder)
    return folder


@pytest.fixture(scope="module")
def augmenter(tmp_path_factory: pytest.TempPathFactory) -> Augmenter:
    folder = tmp_path_factory.mktemp("noise")
    generate_noises(folder, seed=0, count=3)
    return Augmenter(1.0, folder, None)


@pytest.fixture(scope="module")
def augmented(tones: Path, encoder_folder: str, augmenter: Augmenter, plain: Path) -> Path:
    folder = plain.with_name("augmented")
    write_encoder_cache(
        folder, tones, encoder=encoder_folder, distortions=Distortions(augmenter), variants=3, seed=5, dtype="float16"
    )
    return folder


def encode(encoder_folder: str, audio: np.ndarray) -> np.ndarray:
    """Frames (T, d) of one utterance alone."""
    encoder, extractor = load_encoder(encoder_folder, dtype=torch.float32)
    log_mel = LogMel(extractor, max_mel_frames=encoder.max_mel_frames)
    with torch.inference_mode():
        return encoder.eval()(*log_mel([audio]))[0][0].numpy()


def test_frames_are_the_live_encoders_of_the_utterance_alone(
    plain: Path, tones: Path, rows: list[dict], encoder_folder: str
) -> None:
    cache = EncoderCache(plain, tones)
    assert len({round(row["end"] - row["start"], 3) for row in rows}) > 1  # so batches do pad
    for row in rows:
        audio = read_segment(row["audio"], row["start"], row["end"])
        cached = cache.read(row["utterance_id"])
        assert cached.samples == len(audio)
        assert cached.frames.dtype == np.float32
        np.testing.assert_allclose(cached.frames, encode(encoder_folder, audio), atol=2e-5)


def test_a_full_window_is_cached_whole(tones: Path, rows: list[dict], make_encoder, tmp_path: Path) -> None:
    small = make_encoder(positions=100)  # a window of 2 s
    write_encoder_cache(tmp_path / "full", tones, encoder=small, encoder_window="full")
    cache = EncoderCache(tmp_path / "full", tones)
    assert {cache.read(row["utterance_id"]).frames.shape for row in rows} == {(100, 32)}


def test_each_variant_is_augmented_differently(
    augmented: Path, tones: Path, rows: list[dict], encoder_folder: str, augmenter: Augmenter
) -> None:
    cache = EncoderCache(augmented, tones)
    assert cache.variants == 3
    row = rows[3]
    frames = [cache.read(row["utterance_id"], variant).frames for variant in range(4)]
    assert not any(np.array_equal(frames[a], frames[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
    assert np.array_equal(frames[3], frames[0])  # the fourth pass has the first variant again
    audio = read_segment(row["audio"], row["start"], row["end"])
    for variant in range(3):
        noisy = augmenter(audio, augmentation_rng(5, variant, row["utterance_id"]))
        expected = encode(encoder_folder, noisy)
        assert frames[variant].dtype == np.float16
        np.testing.assert_allclose(frames[variant], expected, rtol=2e-3, atol=2e-3)


def test_writing_again_gives_the_same_bytes(
    augmented: Path, tones: Path, encoder_folder: str, augmenter: Augmenter, tmp_path: Path
) -> None:
    again = tmp_path / "again"
    write_encoder_cache(
        again, tones, encoder=encoder_folder, distortions=Distortions(augmenter), variants=3, seed=5, dtype="float16"
    )
    for file in ("frames.bin", "index.parquet", "cache.json"):
        assert sha256(again / file) == sha256(augmented / file), file


def test_augmentation_depends_only_on_the_seed_the_pass_and_the_utterance() -> None:
    draws = {
        (seed, number, name): augmentation_rng(seed, number, name).random()
        for seed in (0, 1)
        for number in (0, 1)
        for name in ("a", "b")
    }
    assert len(set(draws.values())) == 8
    assert augmentation_rng(1, 0, "b").random() == draws[1, 0, "b"]


def test_half_of_the_boundaries_move_outwards_and_never_inwards() -> None:
    rows = [{"utterance_id": f"u{number}", "start": 5.0, "end": 7.0} for number in range(2000)]
    moved = np.array([moved_boundaries(row, 0.2, 1, 0, 30.0) for row in rows]) - (5.0, 7.0)
    before, after = -moved[:, 0], moved[:, 1]
    for shift in (before, after):
        assert shift.min() == 0 and 0.19 < shift.max() <= 0.2
        # 2,000 fair coins: five standard deviations are 0.056; a mean of 0.1 where moved.
        assert np.mean(shift > 0) == pytest.approx(0.5, abs=0.056)
        assert np.mean(shift[shift > 0]) == pytest.approx(0.1, abs=0.01)
    assert abs(np.corrcoef(before, after)[0, 1]) < 0.12
    assert moved_boundaries(rows[0], 0.0, 1, 0, 30.0) == (5.0, 7.0)


def test_moved_boundaries_stay_in_the_recording_and_the_encoders_window() -> None:
    first = [{"utterance_id": f"u{number}", "start": 0.05, "end": 29.9} for number in range(200)]
    for row in first:
        start, end = moved_boundaries(row, 0.5, 1, 0, 30.0)
        assert start >= 0 and end >= row["end"] and end - start <= max(30.0, row["end"] - start)
    longer = first[0] | {"end": 40.0}
    assert moved_boundaries(longer, 0.5, 1, 0, 30.0)[1] == 40.0  # what was too long before is not cut


def test_each_variant_has_boundaries_of_its_own(tones: Path, rows: list[dict], encoder_folder: str, tmp_path: Path):
    write_encoder_cache(tmp_path / "moved", tones, encoder=encoder_folder, boundaries_s=0.2, variants=2, seed=3)
    cache = EncoderCache(tmp_path / "moved", tones)
    samples = {}
    for row in rows:
        for variant in range(2):
            start, end = moved_boundaries(row, 0.2, 3, variant, 30.0)
            audio = read_segment(row["audio"], start, end)  # which ends with the recording
            cached = cache.read(row["utterance_id"], variant)
            assert cached.samples == len(audio)
            np.testing.assert_allclose(cached.frames, encode(encoder_folder, audio), atol=2e-5)
            samples[row["utterance_id"], variant] = len(audio)
    assert any(samples[row["utterance_id"], 0] != samples[row["utterance_id"], 1] for row in rows)


@pytest.fixture
def broken(plain: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(plain, tmp_path / "broken"))


def test_a_cache_of_another_manifest_is_refused(broken: Path, tones: Path, tmp_path: Path) -> None:
    table = pq.read_table(tones)
    pq.write_table(table.slice(1), tmp_path / "other.parquet")
    with pytest.raises(UserError, match=r"another manifest than .*other\.parquet; delete the folder"):
        EncoderCache(broken, tmp_path / "other.parquet")


def test_a_cache_of_another_encoder_or_window_is_refused(plain: Path, tones: Path, make_encoder) -> None:
    provenance = json.loads((plain / "cache.json").read_text())["encoder"]
    EncoderCache(plain, tones, encoder=provenance, encoder_window="true_length")
    with pytest.raises(UserError, match="another encoder than"):
        other, _ = load_encoder(make_encoder(seed=9), dtype=torch.float32)
        EncoderCache(plain, tones, encoder=fingerprint_of(other))
    with pytest.raises(UserError, match="another encoder window than full"):
        EncoderCache(plain, tones, encoder_window="full")


def test_truncated_frames_are_refused(broken: Path, tones: Path) -> None:
    whole = (broken / "frames.bin").read_bytes()
    (broken / "frames.bin").write_bytes(whole[:-4])
    with pytest.raises(UserError, match=rf"found {len(whole) - 4} bytes, expected {len(whole)}"):
        EncoderCache(broken, tones)


@pytest.mark.parametrize("missing", ["cache.json", "frames.bin", "index.parquet"])
def test_a_missing_file_is_named(broken: Path, tones: Path, missing: str) -> None:
    (broken / missing).unlink()
    with pytest.raises(UserError, match=missing):
        EncoderCache(broken, tones)


@pytest.mark.parametrize("torn", ["cache.json", "index.parquet"])
def test_damaged_metadata_is_named(broken: Path, tones: Path, torn: str) -> None:
    content = (broken / torn).read_bytes()
    (broken / torn).write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=torn):
        EncoderCache(broken, tones)


def test_a_changed_bit_of_the_frames_is_noticed(broken: Path, tones: Path, rows: list[dict]) -> None:
    cache = EncoderCache(broken, tones)
    content = bytearray((broken / "frames.bin").read_bytes())
    content[-1] ^= 1
    (broken / "frames.bin").write_bytes(content)
    found = []
    for row in rows:
        try:
            cache.read(row["utterance_id"])
        except UserError as error:
            found.append(row["utterance_id"])
            assert f"frames.bin: the frames of {row['utterance_id']} have changed since they were written" in str(error)
    assert len(found) == 1


def test_an_older_cache_without_checksums_is_read(broken: Path, tones: Path, rows: list[dict]) -> None:
    index = pq.read_table(broken / "index.parquet").drop_columns("crc32")
    pq.write_table(index, broken / "index.parquet")
    cache = EncoderCache(broken, tones)
    assert all(len(cache.read(row["utterance_id"]).frames) for row in rows)


def test_a_killed_write_leaves_no_cache(tones: Path, encoder_folder: str, tmp_path: Path) -> None:
    def stop(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_encoder_cache(tmp_path / "cache", tones, encoder=encoder_folder, distortions=Distortions(stop))  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_cache_records_its_provenance(plain: Path, tones: Path) -> None:
    metadata = json.loads((plain / "cache.json").read_text())
    assert metadata["manifest"] == sha256(tones)
    assert metadata["encoder_window"] == "true_length"
    assert len(metadata["encoder"]) == 64
