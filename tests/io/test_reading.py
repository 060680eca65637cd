"""Files that a user named: gzipped ones and pipes are read, and what is not read is refused with the true reason."""

from __future__ import annotations

import bz2
import gzip
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mlcslm.corpus.kaldi import read_kaldi_folder
from mlcslm.corpus.transcripts import parse_transcript
from mlcslm.errors import UserError
from mlcslm.formats.detect import detect_format
from mlcslm.formats.kaldi_text import read_kaldi_text
from mlcslm.formats.system_output import read_system_output
from mlcslm.io import reading
from mlcslm.io.parquet import read_table, write_table
from mlcslm.io.reading import read_input
from mlcslm.runtime.machine_faults import check_interpreter

ROOT = Path(__file__).parents[2]
FILES = {
    "h.txt": "a-1 ça va\n",
    "h.stm": "a 1 s 0 1 ça va\n",
    "h.ctm": "a 1 0 1 ça\n",
    "h.rttm": "SPEAKER a 1 0 1 <NA> <NA> s <NA> <NA>\n",
    "h.json": '[{"session_id": "a", "speaker": "s", "start_time": 0, "end_time": 1, "words": "ça va"}]',
    "h.jsonl": '{"utterance_id": "a-1", "pred_text": "ça va"}\n',
}
MAIN = "import sys; from mlcslm.cli import main; main()"


def given_of(path: Path) -> tuple[Any, ...]:
    found = read_system_output([path])
    return found.kinds, found.texts, found.entries, found.utterances, found.turns


@pytest.mark.parametrize("name", FILES)
def test_a_gzipped_file_is_read_as_the_plain_one(name: str, tmp_path: Path) -> None:
    plain, packed = tmp_path / name, tmp_path / f"{name}.gz"
    plain.write_text(FILES[name], encoding="utf-8")
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert given_of(packed) == given_of(plain)
    (tmp_path / "folder").mkdir()
    packed.rename(tmp_path / "folder" / packed.name)
    if name != "h.txt":
        assert given_of(tmp_path / "folder") == given_of(plain)


@pytest.mark.parametrize("name", ["h.txt", "h.json", "h.jsonl"])
def test_a_pipe_is_read_once_however_often_it_is_asked(name: str, tmp_path: Path) -> None:
    read, written = os.pipe()
    os.write(written, FILES[name].encode())
    os.close(written)
    path, plain = Path(f"/dev/fd/{read}"), tmp_path / name
    plain.write_text(FILES[name], encoding="utf-8")
    reading._streams.pop(str(path), None)
    assert detect_format(path) == detect_format(plain)
    assert given_of(path) == given_of(plain)
    os.close(read)
    reading._streams.pop(str(path), None)


def test_what_is_not_read_is_told_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = gzip.compress(b"a-1 word\n" * 100)
    for content, told in (
        (bz2.compress(b"a-1 word"), "is compressed with bzip2. Decompress it first"),
        (packed[:-9], "is a damaged gzip file"),
        (packed[:5] + b"\x00" * 30, "is a damaged gzip file"),
    ):
        (tmp_path / "h.txt").write_bytes(content)
        with pytest.raises(UserError, match=re.escape(told)):
            read_kaldi_text(tmp_path / "h.txt")
    with pytest.raises(UserError, match=r"is a folder\. Expected a Kaldi text file"):
        read_kaldi_text(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        read_input(tmp_path / "none", "a text")
    monkeypatch.setattr(reading, "LONGEST", 899)
    (tmp_path / "bomb").write_bytes(packed)
    with pytest.raises(UserError, match="too much for a text file"):
        read_input(tmp_path / "bomb", "a text")


def test_gzipped_files_where_plain_ones_belong(tmp_path: Path) -> None:
    write_table(pa.table({"a": [1]}), tmp_path / "m.parquet")
    (tmp_path / "m.gz").write_bytes(gzip.compress((tmp_path / "m.parquet").read_bytes()))
    with pytest.raises(UserError, match=r"m\.gz: is gzipped, expected plain Parquet"):
        read_table(tmp_path / "m.gz")
    (tmp_path / "a.txt").write_bytes(gzip.compress(b"0\t1\tO1\tword\n"))
    assert [fault.message for fault in parse_transcript(tmp_path / "a.txt")[1]] == [
        "is gzipped, expected plain text. Unpack it (gunzip)."
    ]
    (tmp_path / "wav.scp").write_text("a a.wav\n")
    (tmp_path / "utt2spk").write_text("a a\n")
    (tmp_path / "text.gz").write_bytes(gzip.compress(b"a word\n"))
    with pytest.raises(UserError, match=r"text\.gz: is gzipped"):
        read_kaldi_folder(tmp_path)


@pytest.mark.parametrize("name", ["my proj", "my proj's", "a$b", "a(b)"])
def test_a_python_that_shells_misread_is_told(name: str) -> None:
    with pytest.raises(UserError, match="Clone mlcslm into a folder without one"):
        check_interpreter(f"/users/me/{name}/.venv/bin/python")
    check_interpreter("/users/mé/my-proj_1.2+3,4@5/.venv/bin/python")


def test_make_says_so_too(tmp_path: Path) -> None:
    for name, said in (("my proj's", True), ("mé", False)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
        made = subprocess.run(["make", "-n", "clean"], cwd=tmp_path / name, capture_output=True, text=True, check=False)
        assert (made.returncode != 0, "is in this folder's name" in made.stderr) == (said, said), made.stderr


def test_a_tilde_behind_an_option_is_the_home_folder(tmp_path: Path) -> None:
    (tmp_path / "ref.txt").write_text("French-0001_001-O1-000000-000100 oui\n")
    line = [sys.executable, "-c", MAIN, "score", "wer", "~/ref.txt", "~/ref.txt", "--languages=~/languages.tsv"]
    (tmp_path / "languages.tsv").write_bytes((ROOT / "config" / "languages.tsv").read_bytes())
    run = subprocess.run(line, cwd=tmp_path, env=os.environ | {"HOME": str(tmp_path)}, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr
    assert b'"errors": 0' in run.stdout
