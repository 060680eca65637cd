"""Export and transcribe: what the workflow's decoder wrote, from the exported folder alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from mlcslm.config.schema import DecodingConfig
from mlcslm.decoding.generation import DecodingPaths, decode_split
from mlcslm.decoding.transcription import Transcriber
from mlcslm.errors import UserError
from mlcslm.export.checkpoint import export_checkpoint

LANGUAGES = Path(__file__).parents[2] / "config" / "languages.tsv"


@pytest.fixture(scope="module")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "model"
    export_checkpoint(trained, folder, languages=LANGUAGES)
    return folder


@pytest.fixture(scope="module")
def decoded(trained: Path, tones: Path, languages, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The workflow's hypotheses."""
    out = tmp_path_factory.mktemp("decoded") / "hypotheses.parquet"
    decode_split(DecodingPaths(trained, tones, out), DecodingConfig(), languages)
    return pq.read_table(out).to_pylist()


def cut(utterance: dict[str, Any], path: Path) -> Path:
    """An utterance's audio as a file of its own, sample by sample."""
    audio, rate = soundfile.read(utterance["audio"], dtype="int16")
    soundfile.write(path, audio[round(utterance["start"] * rate) : round(utterance["end"] * rate)], rate)
    return path


def run(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    code = "from mlcslm.cli import main; main()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_an_export_transcribes_a_manifest_as_the_workflow_did(exported: Path, decoded, tones: Path) -> None:
    rows = pq.read_table(tones).to_pylist()
    found = {one["utterance_id"]: one for one in Transcriber.load(exported).decode(rows)}
    assert [found[one["utterance_id"]]["raw_text"] for one in decoded] == [one["raw_text"] for one in decoded]
    assert len({one["raw_text"] for one in decoded}) > 3  # answers that differ, or the check would say nothing


def test_a_checkpoint_transcribes_like_its_export(trained: Path, exported: Path, tones: Path, tmp_path, languages):
    wav = cut(pq.read_table(tones).to_pylist()[3], tmp_path / "a.wav")
    assert Transcriber.load(trained, languages=languages)(wav) == Transcriber.load(exported)(wav)


def test_the_command_needs_the_folder_and_the_package_alone(exported: Path, decoded, tones: Path, tmp_path: Path):
    """In a folder with nothing else in it, and with the export moved to where it was not written."""
    rows = pq.read_table(tones).to_pylist()[:3]
    wavs = [cut(row, tmp_path / f"{number}.wav") for number, row in enumerate(rows)]
    shutil.copytree(exported, tmp_path / "moved")
    done = run("transcribe", "moved", *wavs, "--group", "en", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    texts = [one["transcript"] for one in decoded[:3]]
    assert done.stdout.splitlines() == [f"{wav}\t{text}" for wav, text in zip(wavs, texts, strict=True)]


def test_lines_of_a_manifest_are_kaldi_text_and_json_has_the_rest(exported: Path, tones: Path, monkeypatch, capsys):
    from mlcslm.cli.transcribe import transcribe

    transcribe(exported, [tones], as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" ")[0] for line in lines] == pq.read_table(tones)["utterance_id"].to_pylist()
    transcribe(exported, [tones], as_json=True)
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert lines[0].split(" ", 1)[1] == first["transcript"]
    assert first["raw_text"].startswith("<LANG_") and first["stop_reason"] in ("end", "length", "malformed")


def test_long_recordings_are_cut_where_nobody_speaks(exported: Path, tmp_path: Path) -> None:
    model = Transcriber.load(exported)
    soundfile.write(tmp_path / "long.wav", np.zeros(16_000 * 31), 16_000)
    assert model.rows_of(tmp_path / "long.wav") == []
    assert model(tmp_path / "long.wav") == ""
    soundfile.write(tmp_path / "short.wav", np.zeros(8_000 * 2), 8_000)
    (row,) = model.rows_of(tmp_path / "short.wav")
    assert (row["start"], row["end"]) == (0.0, 2.0)


@pytest.mark.parametrize(
    ("name", "group"), [("French", "French"), ("french", "French"), ("fr", "French"), ("EN", "English-American")]
)
def test_groups_are_found_by_name_or_language(exported: Path, name: str, group: str) -> None:
    assert Transcriber.load(exported).find_group(name) == group


def test_an_unknown_group_and_a_missing_one_are_told(exported: Path) -> None:
    model = Transcriber.load(exported)
    with pytest.raises(UserError, match="'Klingon': expected one of: English-American, "):
        model.find_group("Klingon")
    assert model.find_group(None) in model.processor.groups  # its prompt is English whatever is spoken
    model.recipe["template"] = "reasoning"
    with pytest.raises(UserError, match="name it: English-American, "):
        model.find_group(None)


def test_a_folder_that_is_no_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"found neither mlcslm\.json nor checkpoint\.json"):
        Transcriber.load(tmp_path)


def test_an_export_replaces_an_export_and_nothing_else(exported: Path, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="holds other files than an export"):
        export_checkpoint(trained, tmp_path, languages=LANGUAGES)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    before = (exported / "model.safetensors").read_bytes()
    export_checkpoint(trained, exported, languages=LANGUAGES)
    assert (exported / "model.safetensors").read_bytes() == before
