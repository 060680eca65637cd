from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from mlcslm.cli import corpus as command
from mlcslm.cli import main
from mlcslm.config.languages import read_languages
from mlcslm.corpus.layout import Utterance, write_session
from mlcslm.corpus.manifest import read_manifest
from mlcslm.errors import FaultyInput, UserError

SHEET = Path(__file__).parents[2] / "config" / "languages.tsv"


@pytest.fixture
def root(tmp_path):
    utterances = [Utterance("O1", 0.1, 0.5, "Hello."), Utterance("O2", 0.4, 1.9, "Hi!")]
    write_session(tmp_path / "dev", read_languages(SHEET)["French"], "a", np.zeros(32000), 16000, utterances)
    return tmp_path / "dev"


def run(*arguments: object):
    app = typer.Typer()
    app.callback()(lambda: None)
    command.register(app)
    return CliRunner().invoke(app, ["manifest", "--languages", str(SHEET), *map(str, arguments)])


def test_a_sound_corpus_becomes_a_manifest(root, tmp_path):
    out = tmp_path / "manifests" / "dev.parquet"
    result = run(root, "--out", out)
    assert result.exit_code == 0, result.output
    assert result.output == f"{out}: 2 utterances, 1 sessions, 1 groups, 0.00 h of segments\n"
    assert read_manifest(out)["text"].to_pylist() == ["Hello.", "Hi!"]
    assert list(out.parent.iterdir()) == [out]


def test_faults_end_it_with_nothing_written(root, tmp_path):
    with (root / "French" / "a.txt").open("a") as file:
        file.write("5\t4\tO1\tno\nx\t1\tO3\tno\n")
    out = tmp_path / "manifests" / "dev.parquet"
    result = run(root, "--out", out)
    assert result.exit_code == 1
    assert isinstance(result.exception, FaultyInput)
    title, *faults = str(result.exception).splitlines()
    assert "3 faults in 1 file. Nothing was written; correct them, or give --skip-faulty." in title
    assert [fault.split(": ")[0].strip() for fault in faults] == [f"{root}/French/a.txt:{line}" for line in (3, 4, 4)]
    assert not out.parent.exists()


def test_skipping_records_what_was_left_out(root, tmp_path):
    transcript = root / "French" / "a.txt"
    with transcript.open("a") as file:
        file.write("5\t4\tO1\tno\n")
    out = tmp_path / "dev.parquet"
    record = tmp_path / "dev.parquet.faults.tsv"
    result = run(root, "--out", out, "--skip-faulty")
    assert result.exit_code == 0, result.output
    assert f"{record}: left out 1 fault in 1 file" in result.output
    assert read_manifest(out).num_rows == 2
    with record.open(newline="") as file:
        header, row = csv.reader(file, delimiter="\t")
    assert header == ["file", "line", "fault", "left_out", "message"]
    assert row[:4] == [str(transcript), "3", "end-before-start", "line"]


def test_the_record_of_an_earlier_run_does_not_stay(root, tmp_path):
    out = tmp_path / "dev.parquet"
    record = tmp_path / "dev.parquet.faults.tsv"
    assert "left out 0 faults in 0 files" in run(root, "--out", out, "--skip-faulty").output
    assert record.read_text() == "file\tline\tfault\tleft_out\tmessage\n"
    run(root, "--out", out)
    assert not record.exists()


def test_the_command_itself_prints_faults_without_a_traceback(root, tmp_path, monkeypatch, capsys):
    (root / "French" / "a.wav").unlink()
    arguments = ["mlcslm", "manifest", root, "--out", tmp_path / "dev.parquet", "--languages", SHEET]
    monkeypatch.setattr("sys.argv", [str(argument) for argument in arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(f"mlcslm: {root}: 1 fault in 1 file. Nothing was written")
    assert f"{root}/French/a.txt: has no audio" in captured.err
    assert "Traceback" not in captured.err + captured.out


def test_a_missing_root_is_the_users_mistake(tmp_path):
    result = run(tmp_path / "none", "--out", tmp_path / "dev.parquet")
    assert result.exit_code == 1
    assert isinstance(result.exception, UserError)
    assert "no such folder" in str(result.exception)
