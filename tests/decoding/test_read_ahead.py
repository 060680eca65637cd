"""Decoding reads the next batch while the model is busy, and with one decoding writes nothing but hypotheses."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mlcslm.config.decoding import DecodingConfig
from mlcslm.corpus.audio import read_segment
from mlcslm.decoding import read_ahead
from mlcslm.decoding.batching import with_next
from mlcslm.decoding.decoder import Decoder
from mlcslm.decoding.generation import DecodingPaths, decode_split, decode_with_all
from mlcslm.decoding.read_ahead import FeatureReader
from mlcslm.errors import UserError

GREEDY = DecodingConfig(max_new_tokens=20, batch_size=5)


@pytest.fixture
def decode(trained: Path, tones: Path, tmp_path: Path, languages) -> Callable[[str], list[dict]]:
    def run(name: str) -> list[dict]:
        paths = DecodingPaths(trained, tones, tmp_path / "out" / name)
        decode_split(paths, GREEDY, languages)
        return pq.read_table(paths.out).drop_columns("seconds").to_pylist()

    return run


@pytest.fixture
def peak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The largest size of each file in the output folder after any batch; "" for files without a name."""
    sizes: dict[str, int] = {}
    decode = Decoder.decode

    def looking(self: Decoder, rows: Sequence[dict]) -> list[dict[str, Any]]:
        hypotheses = decode(self, rows)
        for name, size in _files(tmp_path / "out"):
            sizes[name] = max(sizes.get(name, 0), size)
        return hypotheses

    monkeypatch.setattr(Decoder, "decode", looking)
    return sizes


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    yield from ((path.name, path.stat().st_size) for path in folder.iterdir())
    device = folder.stat().st_dev
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            status = os.fstat(int(descriptor.name))
        except OSError:  # that of the listing
            continue
        if stat.S_ISREG(status.st_mode) and status.st_nlink == 0 and status.st_dev == device:
            yield "", status.st_size


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="lists open files as Linux does")
def test_with_one_decoding_only_hypotheses_are_on_disk(
    decode, trained: Path, tones: Path, languages, tmp_path: Path, peak: dict[str, int]
) -> None:
    (tmp_path / "out").mkdir()
    before = max((size for name, size in _files(tmp_path / "out") if not name), default=0)
    whole = decode("one.parquet")
    partial = peak.pop(".one.parquet.partial")
    assert partial < 1000 * len(whole)  # bytes
    assert max(peak.pop("", 0), before) == before
    assert set(peak) == {"one.lock"}
    peak.clear()
    several = [(tmp_path / "out" / name, GREEDY) for name in ("two.parquet", "three.parquet")]
    decode_with_all(trained, tones, several, languages)
    assert peak[""] > before  # several decodings keep the frames for each other


def test_reading_ahead_changes_no_hypothesis(decode, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = decode("ahead.parquet")
    monkeypatch.setattr(FeatureReader, "prepare", lambda self, rows: None)
    assert decode("when_needed.parquet") == ahead


def test_the_next_batch_is_read_while_the_model_is_busy(decode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each batch's answer waits until all of the next batch is read: a reader that waits for the model never ends."""
    progress = threading.Condition()
    count, batches = 0, 0

    def counted(*of: Any) -> Any:
        nonlocal count
        samples = read_segment(*of)
        with progress:
            count += 1
            progress.notify_all()
        return samples

    decode_batch = Decoder.decode

    def waiting(self: Decoder, rows: Sequence[dict]) -> list[dict[str, Any]]:
        nonlocal batches
        batches += 1
        expected = min(GREEDY.batch_size * (batches + 1), total)
        with progress:
            assert progress.wait_for(lambda: count >= expected, timeout=20), f"{count} read, {expected} expected"
        return decode_batch(self, rows)

    total = len(decode("undisturbed.parquet"))
    monkeypatch.setattr(read_ahead, "read_segment", counted)
    monkeypatch.setattr(Decoder, "decode", waiting)
    assert len(decode("waiting.parquet")) == total
    assert count == total  # nothing is read twice


def test_a_recording_that_cannot_be_read_is_named(decode, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(path: str, *_: Any) -> Any:
        raise UserError(f"{path}: damaged")

    monkeypatch.setattr(read_ahead, "read_segment", failing)
    with pytest.raises(UserError, match=r"\.(wav|flac): damaged"):
        decode("out.parquet")


def test_each_batch_comes_with_the_next() -> None:
    assert list(with_next([[{"n": 1}], [{"n": 2}]])) == [([{"n": 1}], [{"n": 2}]), ([{"n": 2}], [])]
    assert list(with_next([])) == []
