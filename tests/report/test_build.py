"""What the report is built of: data files, audio, pages that are left out, and what happens when it cannot be built."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import toy_report

from mlcslm.errors import UserError
from mlcslm.io.files import atomic_folder
from mlcslm.report.audio import SOURCES, copy_audio
from mlcslm.report.build import build_report
from mlcslm.report.data_files import write_data
from mlcslm.results.database import open_database

pytestmark = pytest.mark.slow


def read_data(folder: Path, key: str) -> Any:
    """A data file's value. Its string is JSON and Python alike: both know the escapes that it may have."""
    text = (folder / "data" / f"{key}.js").read_text(encoding="utf-8")
    start, end = f"mlcslm.put('{key}', ", ");\n"
    assert text.startswith(start) and text.endswith(end)
    return json.loads(ast.literal_eval(text.removeprefix(start).removesuffix(end)))


def test_data_files_hold_any_text(tmp_path: Path) -> None:
    value = {"text": 'it\'s "quoted" \\ back </script> \u2028 \u2029 \n \r end', "numbers": [1, 0.5, None]}
    write_data(tmp_path, "a/b", value)
    text = (tmp_path / "data/a/b.js").read_text(encoding="utf-8")
    assert len(text.splitlines()) == 1, "a line break would end the string"
    assert read_data(tmp_path, "a/b") == value
    with pytest.raises(ValueError, match="JSON"):
        write_data(tmp_path, "x", float("nan"))


def test_answers_are_the_databases(report: Path, toy_database: Path) -> None:
    systems = [system["name"] for system in read_data(report, "splits")["dev"]["systems"]]
    index = read_data(report, "dev/utterances")
    with open_database(toy_database) as connection:
        for number, system in enumerate(systems):
            answers = read_data(report, f"dev/{number}/answers")
            expected = connection.execute(
                "SELECT errors, length FROM primary_counts JOIN utterances AS u USING (split, utterance_id) "
                "WHERE system = ? AND split = 'dev' ORDER BY u.rowid",
                [system],
            ).fetchall()
            assert list(zip(answers["errors"], answers["length"], strict=True)) == expected
            for steps, tokens, reference in zip(answers["steps"], answers["tokens"], index["tokens"], strict=True):
                assert len(tokens.split()) == len(steps) - steps.count("D")
                assert len(reference.split()) == len(steps) - steps.count("I")


def test_alignment_has_the_errors_that_were_counted(report: Path) -> None:
    """The toy answers of these systems were written to fit their counts."""
    systems = [system["name"] for system in read_data(report, "splits")["dev"]["systems"]]
    answers = read_data(report, f"dev/{systems.index(toy_report.BEST)}/answers")
    counted = [len(steps) - steps.count("=") for steps in answers["steps"]]
    # The hostile text was not there when the toy counts were made.
    assert [errors for n, errors in enumerate(counted) if n != 2] == [
        errors for n, errors in enumerate(answers["errors"]) if n != 2
    ]


def test_audio_is_lossless_and_used_again(tmp_path: Path) -> None:
    source = toy_report.write_wav(tmp_path / "a.wav", 2.0)
    broken = tmp_path / "b.wav"
    broken.write_bytes(b"RIFF")
    sessions = {"dev": {"../../evil": str(source), "broken": str(broken), "missing": str(tmp_path / "c.wav")}}
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    found = copy_audio(first, tmp_path / "none", sessions, threads=2)
    assert found == {"dev": {"../../evil": "audio/dev/0.flac"}}, "a session's name is no path"
    np.testing.assert_array_equal(
        soundfile.read(first / "audio/dev/0.flac", dtype="int16")[0], soundfile.read(source, dtype="int16")[0]
    )
    assert copy_audio(second, first, sessions, threads=1) == found
    assert (second / "audio/dev/0.flac").samefile(first / "audio/dev/0.flac")
    toy_report.write_wav(source, 1.0)
    third = tmp_path / "third"
    third.mkdir()
    copy_audio(third, second, sessions, threads=1)
    assert soundfile.info(third / "audio/dev/0.flac").duration == pytest.approx(1.0)
    (third / SOURCES).write_text("{", encoding="utf-8")
    assert copy_audio(first, third, {"test": {"x": str(source)}}, threads=1) == {"test": {"x": "audio/test/0.flac"}}


def test_a_full_disk_is_no_fault_of_the_audio(tmp_path: Path) -> None:
    source = toy_report.write_wav(tmp_path / "a.wav", 1.0)
    (tmp_path / "out/audio/dev").mkdir(parents=True)
    (tmp_path / "out/audio/dev/0.flac").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"0\.flac: cannot be written .* Is the disk full"):
        copy_audio(tmp_path / "out", tmp_path / "none", {"dev": {"a": str(source)}}, threads=1)


def test_pages_without_anything_to_show_are_left_out(tmp_path: Path) -> None:
    inputs = toy_report.toy.make_inputs(tmp_path / "results")
    database = inputs.build(training_logs=[])
    with atomic_folder(tmp_path / "report", "report") as earlier:
        (earlier / "training.html").write_text("of an earlier report", encoding="utf-8")
    build_report(database, tmp_path / "report", audio=False)
    pages = {path.name for path in (tmp_path / "report").glob("*.html")}
    assert pages == {"index.html", "groups.html", "words.html", "utterances.html"}
    assert not (tmp_path / "report" / "audio").exists()
    assert "diarization.html" not in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")


def test_published_numbers_can_be_hidden(toy_database: Path, report: Path, tmp_path: Path) -> None:
    build_report(toy_database, tmp_path / "report", audio=False, published=False)
    for page, sign in (("index.html", 'class="number published"'), ("decoding.html", '"name": "published"')):
        own, without = ((folder / page).read_text(encoding="utf-8") for folder in (report, tmp_path / "report"))
        assert sign in own and sign not in without
    assert "15.48" not in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_that_is_no_report_or_holds_the_database_stays(tmp_path: Path, force: bool) -> None:
    database = toy_report.toy.make_inputs(tmp_path / "results").build(training_logs=[])
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "index.html").write_text("my own pages", encoding="utf-8")
    for out, told in ((tmp_path / "www", "not a report written by mlcslm"), (database.parent, "contains an input")):
        with pytest.raises(UserError, match=told):
            build_report(database, out, audio=False, force=force)
    assert (tmp_path / "www" / "index.html").read_text(encoding="utf-8") == "my own pages"
    assert database.is_file()


def test_without_a_database_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"results\.duckdb: no such file"):
        build_report(tmp_path / "results.duckdb", tmp_path / "report")
    assert not (tmp_path / "report").exists()
