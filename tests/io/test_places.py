"""Whatever lies where a user told a command to write stays, unless it is a file or folder of ours."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mlcslm.errors import UserError
from mlcslm.io import files
from mlcslm.io.files import atomic_folder, atomic_path, write_json
from mlcslm.io.parquet import read_table, write_table
from mlcslm.io.places import MARKER, check_output_file, check_output_folder, expand_tildes

TABLE = pa.table({"a": [1, 2]})


def tree(folder: Path) -> dict[str, Any]:
    """Everything below a folder: kind, content or target, by path."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        content = path.read_bytes() if stat.S_ISREG(mode) else str(path.readlink()) if stat.S_ISLNK(mode) else None
        found[path.relative_to(folder).as_posix()] = stat.S_IFMT(mode), content
    return found


def write_folder(path: Path, **options: Any) -> None:
    with atomic_folder(path, "test", **options) as temporary:
        (temporary / "ours").write_text("ours")


WRITERS: dict[str, Callable[[Path], None]] = {
    "Parquet": lambda path: write_table(TABLE, path),
    "JSON": lambda path: write_json(path, {}),
    "folder": write_folder,
    "folder, forced": lambda path: write_folder(path, force=True),
    "folder of the results": lambda path: write_folder(path, own=["ours"]),
}


@pytest.fixture(params=WRITERS)
def write(request: pytest.FixtureRequest) -> Callable[[Path], None]:
    return WRITERS[request.param]


@pytest.mark.parametrize("through", ["itself", "a link"])
def test_a_folder_of_others_stays(write: Callable[[Path], None], through: str, tmp_path: Path) -> None:
    (tmp_path / "results" / "checkpoints").mkdir(parents=True)
    (tmp_path / "results" / "checkpoints" / "weights").write_text("days of work")
    (tmp_path / "link").symlink_to("results")
    before = tree(tmp_path)
    with pytest.raises(UserError, match=r"folder|holds"):
        write(tmp_path / ("results" if through == "itself" else "link"))
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", ["Parquet", "JSON"])
def test_a_file_goes_where_a_link_points(name: str, tmp_path: Path) -> None:
    (tmp_path / "other disk").mkdir()
    (tmp_path / "link").symlink_to("other disk/file")
    for _ in range(2):  # the link dangles at first
        WRITERS[name](tmp_path / "link")
        assert str((tmp_path / "link").readlink()) == "other disk/file"
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "link", "other disk"]


def test_a_folder_goes_where_a_link_points(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("folder")
    for _ in range(2):
        write_folder(tmp_path / "link")
        assert str((tmp_path / "link").readlink()) == "folder"
        assert (tmp_path / "folder" / "ours").read_text() == "ours"


def test_a_link_to_itself_is_refused(write: Callable[[Path], None], tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UserError, match="leads back to itself"):
        write(tmp_path / "loop")


@pytest.mark.parametrize("name", ["Parquet", "JSON"])
def test_a_pipe_is_written_through(name: str, tmp_path: Path) -> None:
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    with pytest.raises(UserError, match="a pipe without a reader"):
        WRITERS[name](pipe)
    handle = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(handle, True)
    reader = threading.Thread(target=lambda: got.append(os.read(handle, 1 << 16)))
    WRITERS[name](pipe)
    reader.start()
    reader.join()
    os.close(handle)
    WRITERS[name](tmp_path / "file")
    assert got == [(tmp_path / "file").read_bytes()]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_device_stays_one(tmp_path: Path) -> None:
    device = tmp_path / "null"
    try:
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        device = Path("/dev/null")  # nobody but root could harm it
    write_table(TABLE, device)
    assert stat.S_ISCHR(device.stat().st_mode)
    assert not [path for path in device.parent.iterdir() if path.name.startswith(".null")]
    with pytest.raises(UserError, match="is a file, expected a new folder"):
        write_folder(device)


def test_files_that_are_protected_or_of_others_are_not_replaced(tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    with pytest.raises(UserError, match=r"notes\.txt: exists, and was not written by mlcslm"):
        write_table(TABLE, notes)
    notes.chmod(0o444)
    with pytest.raises(UserError, match="write-protected"):
        write_json(notes, {})
    assert notes.read_text() == "mine"
    with pytest.raises(UserError, match="is a file, expected a new folder"):
        write_folder(notes)
    with pytest.raises(UserError, match="one of its parent folders is a file"):
        write_json(notes / "a.json", {})


def test_what_is_read_is_not_overwritten(tmp_path: Path) -> None:
    write_folder(tmp_path / "data")
    (tmp_path / "data" / "input").write_text("input")
    (tmp_path / "link").symlink_to("data/input")
    with pytest.raises(UserError, match="contains an input"):
        write_folder(tmp_path / "data", force=True, inputs=[tmp_path / "link"])
    with pytest.raises(UserError, match="is an input, and would be overwritten"):
        check_output_file(tmp_path / "data" / "input", inputs=[tmp_path / "link"])


def test_an_earlier_folder_is_replaced_and_with_files_of_others_only_by_force(tmp_path: Path) -> None:
    write_folder(tmp_path / "www")
    write_folder(tmp_path / "www")
    (tmp_path / "www" / "CNAME").write_text("example.org")
    with pytest.raises(UserError, match="added or changed since: CNAME"):
        write_folder(tmp_path / "www")
    write_folder(tmp_path / "www", force=True)
    assert sorted(tree(tmp_path / "www")) == [MARKER, "ours"]
    (tmp_path / "www" / "ours").write_text("edited")
    with pytest.raises(UserError, match="added or changed since: ours"):
        write_folder(tmp_path / "www")
    with pytest.raises(UserError, match="not a report written by mlcslm"):
        check_output_folder(tmp_path / "www", "report", force=True)


def test_a_folder_of_an_earlier_version_is_replaced_by_force_alone(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mlcslm.json").write_text("{}")
    with pytest.raises(UserError, match="--force"):
        write_folder(tmp_path / "model", sign="mlcslm.json")
    write_folder(tmp_path / "model", sign="mlcslm.json", force=True)
    assert sorted(tree(tmp_path / "model")) == [MARKER, "ours"]


def test_an_empty_folder_is_nobodys_loss(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    write_folder(tmp_path / "new")
    assert (tmp_path / "new" / "ours").is_file()


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_folder_is_there_at_every_moment(exchanges: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where two folders cannot be exchanged, the old one is put back by whoever comes after a kill."""
    write_folder(tmp_path / "folder")
    if not exchanges:
        monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    write_folder(tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    (tmp_path / "folder").rename(tmp_path / f".folder.{os.uname().nodename}.4194304.old")
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "folder", "test"):
        1 / 0  # noqa: B018
    assert (tmp_path / "folder" / "ours").is_file()


def test_a_tilde_is_expanded_or_refused(write: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/users/me")
    values = {"results": "~/runs", "files": ["~", "a~b", "~nobody-here/x"], "model": "remote-code:~/lm", "steps": 5}
    assert expand_tildes(values) == {
        "results": "/users/me/runs",
        "files": ["/users/me", "a~b", "~nobody-here/x"],
        "model": "remote-code:/users/me/lm",
        "steps": 5,
    }
    with pytest.raises(UserError, match=r"~/out: `~` is not expanded here.*/users/me/out"):
        write(Path("~/out"))


def test_a_pipe_of_parquet_is_read(tmp_path: Path) -> None:
    write_table(TABLE, tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    handle = os.open(tmp_path / "pipe", os.O_RDWR)
    os.write(handle, (tmp_path / "file").read_bytes())
    threading.Timer(0.2, os.close, [handle]).start()
    for _ in range(2):
        assert read_table(tmp_path / "pipe") == TABLE


def test_an_output_at_standard_output_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    read, written = os.pipe()
    place = Path(f"/dev/fd/{written}")
    status = place.stat()
    with monkeypatch.context() as patched:
        patched.setattr(os, "fstat", lambda number: status)
        with pytest.raises(UserError, match="messages are printed there"), atomic_path(place):
            pass
    os.close(read)
    os.close(written)
