from __future__ import annotations

import csv
import json
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
    assert result.stdout == f"{out}: 2 utterances, 1 sessions, 1 groups, 0.00 h of segments\n"
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
    assert "3 faults in 1 file. Nothing was written; correct them, or add --skip-faulty." in title
    assert [fault.split(": ")[0].strip() for fault in faults] == [f"{root}/French/a.txt:{line}" for line in (3, 4, 4)]
    assert not out.parent.exists()


def test_many_faults_of_one_kind_are_one_line_and_each_where_asked(root, tmp_path):
    with (root / "French" / "a.txt").open("a") as file:
        file.writelines(f"{number}\t1\tO3\tno\n" for number in range(2, 182))
    out = tmp_path / "dev.parquet"
    _, *faults = str(run(root, "--out", out).exception).splitlines()
    assert [fault.split(": ")[0] for fault in faults] == ["  180 of kind end-before-start", "  180 of kind speaker"]
    assert all("and 175 more (--every-fault)." in fault for fault in faults)
    _, *faults = str(run(root, "--out", out, "--every-fault").exception).splitlines()
    assert sum("the speaker is 'O3'" in fault for fault in faults) == 180


def test_statistics_are_printed_and_written(root, tmp_path):
    run(root, "--out", tmp_path / "train.parquet")
    result = run(root, "--out", tmp_path / "dev.parquet", "--stats", "--other", tmp_path / "train.parquet")
    assert result.exit_code == 0, result.output
    assert "session in two splits: 1\n  French_a: " in result.output
    assert "silent utterance: 2\n  French-a-O1-000010-000050: digital silence" in result.output
    found = json.loads((tmp_path / "dev.parquet.stats.json").read_text(encoding="utf-8"))
    assert [group["group"] for group in found["groups"]] == ["French"]
    assert found["groups"][0]["silence"] == 1.0


def test_skipping_records_what_was_left_out(root, tmp_path):
    transcript = root / "French" / "a.txt"
    with transcript.open("a") as file:
        file.write("5\t4\tO1\tno\n")
    out = tmp_path / "dev.parquet"
    record = tmp_path / "dev.parquet.faults.tsv"
    result = run(root, "--out", out, "--skip-faulty")
    assert result.exit_code == 0, result.output
    assert f"{record}: skipped 1 fault in 1 file" in result.output
    assert read_manifest(out).num_rows == 2
    with record.open(newline="") as file:
        header, row = csv.reader(file, delimiter="\t")
    assert header == ["file", "line", "fault", "left_out", "message"]
    assert row[:4] == [str(transcript), "3", "end-before-start", "line"]


def test_the_record_of_an_earlier_run_does_not_stay(root, tmp_path):
    out = tmp_path / "dev.parquet"
    record = tmp_path / "dev.parquet.faults.tsv"
    assert "skipped 0 faults in 0 files" in run(root, "--out", out, "--skip-faulty").output
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


def test_the_languages_table_is_found_from_another_folder(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    app.callback()(lambda: None)
    command.register(app)
    result = CliRunner().invoke(app, ["manifest", "dev", "--out", "dev.parquet"], catch_exceptions=False)
    assert result.exit_code == 0


@pytest.mark.parametrize("skip", [[], ["--skip-faulty"]])
def test_no_record_lies_beside_a_device_and_no_file_of_others_goes(root, tmp_path, skip):
    out = tmp_path / "null"
    out.symlink_to("/dev/null")
    theirs = tmp_path / "null.faults.tsv"
    theirs.write_text("mine")
    assert run(root, "--out", out, *skip).exit_code == 0
    assert theirs.read_text() == "mine"
    (tmp_path / "dev.parquet.faults.tsv").write_text("mine")
    run(root, "--out", tmp_path / "dev.parquet")
    assert (tmp_path / "dev.parquet.faults.tsv").read_text() == "mine"


def test_an_out_that_cannot_be_written_is_told_before_the_corpus_is_read(root, tmp_path):
    (root / "French" / "a.wav").unlink()
    result = run(root, "--out", root)
    assert isinstance(result.exception, UserError)
    assert "is an existing folder, expected a file's name" in str(result.exception)
    assert (root / "French" / "a.txt").is_file()


def test_a_missing_root_is_the_users_mistake(tmp_path):
    result = run(tmp_path / "none", "--out", tmp_path / "dev.parquet")
    assert result.exit_code == 1
    assert isinstance(result.exception, UserError)
    assert "no such folder" in str(result.exception)
