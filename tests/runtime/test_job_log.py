"""A job's log has what the job prints; where it cannot be written, the job goes on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mlcslm.runtime.job_log import ONLY_TO_LOG, logged


def test_both_streams_and_what_is_for_the_log_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout, sys.stderr
    with logged(tmp_path / "a.log") as log:
        print("out")
        print("err", file=sys.stderr)
        print("log", file=log)
    assert (sys.stdout, sys.stderr) == before
    assert (tmp_path / "a.log").read_text() == "out\nerr\nlog\n"
    assert capsys.readouterr() == ("out\n", "err\n")


@pytest.mark.parametrize(
    ("path", "reason"), [("/dev/full", "No space left on device"), ("nowhere/a.log", "No such file or directory")]
)
def test_a_log_that_cannot_be_written_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], path: str, reason: str
) -> None:
    file = tmp_path / path
    with logged(file) as log:
        for number in range(3):
            print(number)
            print("more", file=log)
    captured = capsys.readouterr()
    assert captured.out == "0\n1\n2\n"
    assert captured.err == f"mlcslm: {file}: logging stopped ({reason}); the job continues\n"


def test_where_only_the_log_has_what_is_printed_it_is_printed_once_the_log_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ONLY_TO_LOG, "1")
    with logged(tmp_path / "a.log"):
        print("kept")
    assert capsys.readouterr() == ("", "")
    with logged("/dev/full"):
        print("lost with the log")
        print("printed")
    out, err = capsys.readouterr()
    assert out.endswith("printed\n")
    assert err.startswith("mlcslm: /dev/full: logging stopped (No space left on device)")


def test_bytes_of_names_that_are_no_text_do_not_end_a_job(tmp_path: Path) -> None:
    with logged(tmp_path / "a.log") as log:
        print("caf\udce9", file=log)
    assert (tmp_path / "a.log").read_text() == "caf\\udce9\n"
