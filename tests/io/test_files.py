"""Files are whole or not there, whatever happens while they are written."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from mlcslm.io.files import atomic_folder, atomic_path, fingerprint, sha256, write_json


def test_a_file_appears_whole_and_makes_its_folder(tmp_path: Path) -> None:
    target = tmp_path / "new" / "deep" / "a.txt"
    with atomic_path(target) as temporary:
        assert temporary.parent == target.parent
        temporary.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert [path.name for path in target.parent.iterdir()] == ["a.txt"]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_path(target) as temporary:
        temporary.write_text("half")
        1 / 0  # noqa: B018
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_replaces_the_one_before_whole(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    with atomic_folder(target, "test") as temporary:
        (temporary / "sub").mkdir()
        (temporary / "sub" / "old").write_text("old")
    with atomic_folder(target, "test") as temporary:
        (temporary / "new").write_text("new")
        assert (target / "sub" / "old").exists()
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert found == ["folder", "folder/.mlcslm", "folder/new"]


def test_nothing_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_process_that_is_killed_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    program = f"""
        import os, signal
        from mlcslm.io.files import atomic_path
        with atomic_path({str(target)!r}) as temporary:
            temporary.write_text("half")
            temporary.with_name(temporary.name + ".wal").write_text("what DuckDB has not yet put into its file")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert target.read_text() == "old"
    # What is left has a hidden name, which corpus and glob pass over.
    left = [path for path in tmp_path.iterdir() if path != target]
    assert len(left) == 2
    assert all(path.name.startswith(".") for path in left)
    with atomic_path(target) as temporary:  # the next one tidies up, but for what a living process is writing
        alive = temporary.with_name(temporary.name.replace(f".{os.getpid()}.", f".{os.getppid()}."))
        alive.write_text("half")
        assert not [path for path in left if path.exists()]
        with atomic_path(target) as another:
            another.write_text("new")
        assert alive.exists()
        temporary.write_text("newer")


def test_json_is_readable_as_it_stands(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"text": "ça 上"})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "text": "ça 上"\n}\n'


def test_sha256_is_the_standard_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_fingerprint_is_of_the_value_not_of_its_order() -> None:
    assert fingerprint({"b": [1, 2], "a": "é"}) == hashlib.sha256('{"a": "é", "b": [1, 2]}'.encode()).hexdigest()
    assert fingerprint({"b": [2, 1], "a": "é"}) != fingerprint({"b": [1, 2], "a": "é"})


def test_what_an_ended_process_has_left_is_removed_before_its_parent_asks_after_it(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    ended.stdout.read()  # it ends, and is not waited for
    time.sleep(0.2)
    left = tmp_path / f".file.{socket.gethostname()}.{ended.pid}.tmp"
    left.touch()
    with atomic_path(tmp_path / "file") as temporary:
        temporary.write_text("new")
    assert not left.exists()
    ended.wait()
