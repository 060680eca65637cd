"""A user's mistake ends the workflow with our message, exit status 1 and no traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlcslm.config.languages import read_languages
from mlcslm.corpus.layout import Utterance, write_session

pytestmark = pytest.mark.slow


@pytest.fixture
def own(toy_config: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """A configuration with recordings of the user's own: one sound session in French a split."""
    french = read_languages(toy_config["languages"])["French"]
    for split in ("train", "dev", "test"):
        audio = np.random.default_rng(0).normal(0, 0.1, 32_000)
        utterances = [Utterance("O1", 0.1, 0.9, "oui"), Utterance("O2", 1.0, 1.8, "non")]
        write_session(tmp_path / "own" / split, french, "0001_001", audio, 16_000, utterances)
    folders = {split: str(tmp_path / "own" / split) for split in ("train", "dev", "test")}
    return toy_config | {"corpus": {"kind": "folder", "folders": folders}}


def refused(toy: Any, target: str) -> str:
    """Output of a run that has to fail."""
    done = toy.run(toy.results / target, check=False)
    assert done.returncode != 0, done.stdout
    assert "Traceback" not in done.stdout, done.stdout
    return done.stdout


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"stages.ckpt-2000.stepz": 3}, "stages.ckpt-2000.stepz: unknown key; expected one of parent, trains"),
        ({"stages.ckpt-2000.steps": 0}, "stages.ckpt-2000.steps: Input should be greater than or equal to 1; found 0"),
        ({"stages.ckpt-4000.parent": "ckpt-1"}, "stages.ckpt-4000.parent is 'ckpt-1': expected another stage"),
        ({"languages": "nowhere.tsv"}, "nowhere.tsv: no such file. Expected the languages table"),
    ],
    ids=["unknown-key", "impossible-value", "unknown-parent", "missing-table"],
)
def test_in_the_configuration(make_toy: Any, toy_config: dict, tmp_path: Path, changes: dict, expected: str) -> None:
    output = refused(make_toy(tmp_path, toy_config).changed(changes), "tables/table6.csv")
    assert expected in output
    if "languages" not in changes:
        assert f"{tmp_path}/config.yaml: 1 fault(s)" in output
    assert not (tmp_path / "results").exists()


def test_calls_in_no_language_of_the_table_are_refused_before_anything_runs(
    make_toy: Any, toy_config: dict, tmp_path: Path
) -> None:
    calls = tmp_path / "calls"
    calls.mkdir()
    (calls / "a.wav").touch()
    (calls / "a.srt").touch()
    corpus = {"kind": "folder", "folders": dict.fromkeys(("train", "dev"), str(calls)), "language": "nl"}
    toy = make_toy(tmp_path, toy_config | {"corpus": corpus})
    assert "corpus.language nl: not in the languages table, which has " in refused(toy, "tables/table6.csv")
    assert not (tmp_path / "results").exists()


def test_a_missing_corpus_folder(make_toy: Any, own: dict, tmp_path: Path) -> None:
    toy = make_toy(tmp_path, own).changed({"corpus.folders.dev": str(tmp_path / "nowhere")})
    output = refused(toy, "manifests/dev.parquet")
    assert f"mlcslm: {tmp_path}/nowhere: no such folder. Expected one split of a corpus" in output
    assert "no such folder" in (toy.results / "logs" / "manifest" / "dev.log").read_text()


def test_faulty_recordings(make_toy: Any, own: dict, tmp_path: Path) -> None:
    """All faults in one go; with `skip_faulty` on without them."""
    folder = tmp_path / "own" / "dev" / "French"
    audio, transcript = folder / "0001_001.wav", folder / "0001_001.txt"
    (folder / "0002_002.wav").write_bytes(audio.read_bytes()[:20_000])
    (folder / "0002_002.txt").write_bytes(transcript.read_bytes())
    (folder / "0003_003.wav").write_bytes(audio.read_bytes())
    (folder / "0003_003.txt").write_text("0.1\t0.9\tO1\toui\n1.0\t9.9\tO2\tnon\n")
    toy = make_toy(tmp_path, own)
    output = refused(toy, "manifests/dev.parquet")
    assert "0002_002.wav: is truncated" in output
    assert "0003_003.txt:2: " in output
    assert not (toy.results / "manifests" / "dev.parquet").exists()
    skipping = toy.changed({"corpus.skip_faulty": True})
    assert "skipped 2 faulty lines or sessions" in skipping.run(toy.results / "manifests" / "dev.parquet").stdout


def test_a_missing_model(make_toy: Any, own: dict, tmp_path: Path) -> None:
    toy = make_toy(tmp_path, own).changed({"models.encoder": str(tmp_path / "whisper")})
    output = refused(toy, "features/foundation/dev/cache.json")
    assert f"mlcslm: encoder {tmp_path}/whisper: no such folder" in output
