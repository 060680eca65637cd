"""`config/evaluate.yaml` on a folder of recordings with random recognisers: one command, from audio to the report."""

from __future__ import annotations

import csv
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import soundfile
import yaml

from mlcslm.io.parquet import read_table

REPOSITORY = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def save_recognizer(family: str, folder: Path) -> str:
    spec = importlib.util.spec_from_file_location(
        "tiny_models", REPOSITORY / "tests" / "recognition" / "tiny_models.py"
    )
    assert spec is not None and spec.loader is not None
    models: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(models)
    return str(models.save(family, folder))


def test_one_command_leads_to_tables_comparisons_and_report(tmp_path: Path, languages, make_tones) -> None:
    groups = {name: languages[name] for name in ("English-American", "French")}
    make_tones(tmp_path / "calls", groups, turns=4)
    mine = {
        "results": str(tmp_path / "results"),
        "corpus": {"folders": {"dev": str(tmp_path / "calls")}},
        "recognizers": {
            "whisper-base": {"model": str(tmp_path / "no-such-model")},
            "whisper-base-language-found": None,
            "hubert": {"model": save_recognizer("hubert", tmp_path / "hubert")},
            "wav2vec2": {"model": save_recognizer("wav2vec2", tmp_path / "wav2vec2")},
        },
        "report": {"audio": False},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(mine))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--cores", "2", "--directory", str(tmp_path)),
            *("--configfile", str(REPOSITORY / "config" / "evaluate.yaml"), str(tmp_path / "mine.yaml")),
        ],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "1 of 3 recognizers, whisper-base" in done.stdout
    tables = tmp_path / "results" / "tables"
    with open(tables / "table6.csv", encoding="utf-8", newline="") as file:
        assert [row["checkpoint"] for row in csv.DictReader(file)] == ["hubert", "wav2vec2"]
    with open(tables / "systems.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["system"] for row in rows} == {"hubert/greedy", "wav2vec2/greedy"}
    assert all(row["English-American"] and row["French"] for row in rows)
    page = (tables / "systems.md").read_text(encoding="utf-8")
    assert "| dev | hubert/greedy | wav2vec2/greedy |" in page
    assert not (tables / "table7.csv").exists()
    with duckdb.connect(tmp_path / "results" / "results.duckdb", read_only=True) as database:
        systems = database.execute("SELECT system, checkpoint, method, parameters > 1000 FROM systems").fetchall()
        answers = database.execute(
            "SELECT system, count(*), min(seconds) > 0 FROM hypotheses GROUP BY ALL ORDER BY ALL"
        )
        assert answers.fetchall() == [("hubert/greedy", 8, True), ("wav2vec2/greedy", 8, True)]
    assert sorted(systems) == [(name, None, "ready recogniser", True) for name in ("hubert/greedy", "wav2vec2/greedy")]
    speed = (tmp_path / "results" / "report" / "speed.html").read_text(encoding="utf-8")
    assert "hubert/greedy" in speed and "M parameters" in speed


def test_recordings_with_transcripts_beside_them_are_a_corpus(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    calls.mkdir()
    for name in ("a", "b"):
        soundfile.write(calls / f"{name}.wav", 0.1 * np.random.default_rng(0).uniform(-1, 1, 40_000), 16_000)
        (calls / f"{name}.srt").write_text("1\n00:00:00,500 --> 00:00:01,500\nguten Tag\n", encoding="utf-8")
    manifest = tmp_path / "results" / "manifests" / "dev.parquet"
    settings = [f"results={tmp_path / 'results'}", f"corpus={{folders: {{dev: {calls}}}, language: de}}"]
    command = [
        *(sys.executable, "-m", "snakemake", str(manifest), "--cores", "1", "--directory", str(tmp_path)),
        *("--configfile", str(REPOSITORY / "config" / "evaluate.yaml"), "--config", *settings),
    ]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = read_table(manifest).to_pylist()
    assert [(row["session_id"], row["grp"], row["text"]) for row in found] == [
        ("German_a", "German", "guten Tag"),
        ("German_b", "German", "guten Tag"),
    ]
