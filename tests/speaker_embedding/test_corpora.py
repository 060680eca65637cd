"""Indices of speaker corpora, on the layouts of CN-Celeb and VoxBlink."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from mlcslm.config.diarization import SpeakerCorpusConfig
from mlcslm.errors import UserError
from mlcslm.speaker_embedding.corpora import index_speakers


def tree(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def listed(root: Path, out: Path, **options: Any) -> list[tuple[str, str]]:
    index_speakers("mine", SpeakerCorpusConfig(folder=str(root), **options), out)
    return [(row["speaker"], row["path"]) for row in pq.read_table(out).to_pylist()]


def test_cn_celeb_keeps_its_speakers_below_data(tmp_path: Path) -> None:
    root = tree(
        tmp_path / "CN-Celeb_flac",
        *("data/id00011/vlog-01-002.flac", "data/id00010/singing-01-002.flac", "data/id00010/singing-01-001.flac"),
        *("eval/test/id00999-drama-01-001.flac", "eval/enroll/id00998-enroll.flac", "README.TXT"),
    )
    assert listed(root, tmp_path / "index.parquet", speakers="data/*") == [
        ("data/id00010", "data/id00010/singing-01-001.flac"),
        ("data/id00010", "data/id00010/singing-01-002.flac"),
        ("data/id00011", "data/id00011/vlog-01-002.flac"),
    ]


def test_voxblink_keeps_a_speakers_videos_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tree(
        tmp_path / "VoxBlink2",
        *("id000000/DwgYRqnQZHM/00001.wav", "id000000/DwgYRqnQZHM/00000.wav", "id000000/A_b-cdefghi/00000.WAV"),
        *("id000001/DwgYRqnQZHM/00000.wav", "id000001/DwgYRqnQZHM/._00000.wav", "audio/nothing.txt", "list.wav"),
    )
    out = tmp_path / "speakers" / "index.parquet"
    assert index_speakers("mine", SpeakerCorpusConfig(folder=str(root)), out) == (2, 4)
    assert pq.read_table(out)["path"].to_pylist() == [
        "id000000/A_b-cdefghi/00000.WAV",
        "id000000/DwgYRqnQZHM/00000.wav",
        "id000000/DwgYRqnQZHM/00001.wav",
        "id000001/DwgYRqnQZHM/00000.wav",
    ]
    assert "skipped 1 folders without" in capsys.readouterr().err


def test_a_missing_corpus_is_named_with_its_source(tmp_path: Path) -> None:
    corpus = SpeakerCorpusConfig(folder=str(tmp_path / "gone"), source="openslr.org/82")
    with pytest.raises(UserError, match=r"gone: no such folder\. Expected the speaker corpus mine \(openslr\.org/82\)"):
        index_speakers("mine", corpus, tmp_path / "index.parquet")
    root = tree(tmp_path / "there", "data/id1/1.wav", "data/id2/2.wav")
    # One level too high, `data` is the only speaker.
    with pytest.raises(UserError, match=r"there: 1 speaker\(s\).*Correct speaker_corpora\.mine\.speakers"):
        listed(root, tmp_path / "index.parquet")
    assert not list(tmp_path.glob("*index*"))


@pytest.mark.parametrize("pattern", ["/data/*", "data/", "../*", "**", "data/**/x", ""])
def test_patterns_that_leave_the_folder_or_never_end_are_refused(pattern: str) -> None:
    with pytest.raises(ValidationError):
        SpeakerCorpusConfig(folder="x", speakers=pattern)
