from __future__ import annotations

from pathlib import Path

import pytest

from mlcslm.errors import FaultyInput, UserError
from mlcslm.formats.kaldi_text import read_kaldi_text


def test_reads_ids_and_texts(tmp_path: Path):
    path = tmp_path / "text"
    path.write_bytes("\ufeffb first  text \r\n\n  \na\nc\tไม่ é \u2028 x\nd \nlast no-newline".encode())
    assert read_kaldi_text(path) == {
        "b": "first  text",
        "a": "",
        "c": "ไม่ é \u2028 x",
        "d": "",
        "last": "no-newline",
    }
    assert list(read_kaldi_text(path)) == ["b", "a", "c", "d", "last"]


def test_lists_every_fault_with_its_line(tmp_path: Path):
    path = tmp_path / "text"
    path.write_bytes(b"a x\nb caf\xe9\na y\nc z\na\n")
    with pytest.raises(FaultyInput) as caught:
        read_kaldi_text(path)
    assert caught.value.faults == (
        f"{path}:2: found byte 0xe9 at column 6, expected UTF-8",
        f"{path}:3: a is already on line 1",
        f"{path}:5: a is already on line 1",
    )


def test_long_lists_of_faults_are_cut(tmp_path: Path):
    path = tmp_path / "text"
    path.write_text("same x\n" * 62)
    with pytest.raises(FaultyInput) as caught:
        read_kaldi_text(path)
    assert len(caught.value.faults) == 51
    assert caught.value.faults[-1] == "… and 11 more"


def test_missing_file_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"nothing: no such file"):
        read_kaldi_text(tmp_path / "nothing")
