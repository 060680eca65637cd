"""Files and folders that are either complete or absent, and that never replace what is not ours.

Everything that mlcslm writes is written here: to a temporary name, flushed to disk, renamed. `mlcslm.io.places` decides
what may already be there, and is always consulted, so that no command can forget it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import glob
import hashlib
import json
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mlcslm.errors import UserError
from mlcslm.io.places import MARKER, check_output_file, check_output_folder, is_stream, write_marker

_EXCHANGE = 2  # RENAME_EXCHANGE of linux/fs.h
_HERE = -100  # AT_FDCWD of fcntl.h


@contextlib.contextmanager
def atomic_path(
    path: str | os.PathLike[str], *, begins: bytes = b"", inputs: Iterable[str | os.PathLike[str]] = ()
) -> Iterator[Path]:
    """Yield a temporary path for the file `path`; on success it is flushed and renamed, on any error removed.

    begins, inputs: as for `check_output_file`, which is called before anything is written. A link keeps its target, and
    the file there is replaced; finished content is written into a device or pipe. Leftovers of this machine's
    processes that were killed while writing `path` are removed.
    """
    target = check_output_file(path, begins=begins, inputs=inputs)
    if is_stream(target):
        with tempfile.TemporaryDirectory() as folder:
            temporary = Path(folder, target.name)
            yield temporary
            _write_through(temporary, target)
        return
    with _temporary_beside(target) as temporary:
        yield temporary
        _flush(temporary)
        temporary.replace(target)
        _flush_entry(target.parent)


@contextlib.contextmanager
def atomic_folder(
    path: str | os.PathLike[str],
    kind: str,
    *,
    own: Sequence[str] = (),
    sign: str = MARKER,
    force: bool = False,
    inputs: Sequence[str | os.PathLike[str]] = (),
) -> Iterator[Path]:
    """Yield a new, empty temporary folder; on success it is flushed and replaces `path`, on any error removed.

    Arguments are those of `check_output_folder`, which is called first. Without `own` the folder gets a marker. A
    replaced folder is never missing: the two are exchanged, and only then the old one is removed.
    """
    check = partial(check_output_folder, path, kind, own=own, sign=sign, force=force, inputs=inputs)
    target = check()
    with _temporary_beside(target) as temporary:
        _restore(target)
        temporary.mkdir()
        yield temporary
        if not own:
            write_marker(temporary, kind)
        _flush(temporary)
        check()  # again, since the block may have taken hours
        _put_in_place(temporary, target)
        _flush_entry(target.parent)


@contextlib.contextmanager
def temporary_folder(beside: Path, ending: str) -> Iterator[Path]:
    """Yield a new hidden folder on the disk of the file `beside`, for what is too large for the system's own.

    ending: of its name, one for each use. Leftovers of this machine's killed processes are removed.
    """
    with _temporary_beside(beside, ending) as temporary:
        temporary.mkdir()
        yield temporary


@contextlib.contextmanager
def restored_on_error(folder: Path) -> Iterator[None]:
    """If the block raises, restore a folder of ours as it was before, or remove it if it did not exist."""
    with _temporary_beside(folder, "before") as before:
        existed = folder.exists()
        if existed:
            shutil.copytree(folder, before)
        try:
            yield
        except BaseException:
            if existed:
                _put_in_place(before, folder)
            elif folder.exists():
                _remove(folder)
            raise


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: str | os.PathLike[str], remedy: str) -> Any:
    """The value of a JSON file. Raises UserError, ending with `remedy`, if it is damaged."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:  # a JSON or a UTF-8 one
        raise UserError(f"{path}: not readable as JSON ({error}). {remedy}") from None


def sha256(path: str | os.PathLike[str]) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(value: Any) -> str:
    """SHA-256 of `value` as canonical JSON: equal values, whatever their key order, give equal fingerprints.

    >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _write_through(content: Path, target: Path) -> None:
    try:
        # Non-blocking, so that a pipe without a reader is an error instead of an endless wait.
        handle = os.open(target, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise UserError(f"{target}: is a pipe without a reader. Start the reader first, or name a file.") from None
        raise
    os.set_blocking(handle, True)
    try:
        with open(content, "rb") as source, open(handle, "wb") as out:
            shutil.copyfileobj(source, out)
    except BrokenPipeError:
        raise UserError(f"{target}: its reader closed it before everything was written.") from None


@contextlib.contextmanager
def _temporary_beside(target: Path, ending: str = "tmp") -> Iterator[Path]:
    """A free hidden name beside `target`; afterwards its leftovers and those of killed processes are removed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _hidden(target, ending)
    log = temporary.with_name(f"{temporary.name}.wal")  # DuckDB's, of a database that was not closed
    for left in (*_leftovers(target, ending), temporary, log):
        _remove(left)
    try:
        yield temporary
    except OSError as error:
        if error.errno is not None and (error.filename is None or str(temporary) in (error.filename, error.filename2)):
            error.filename, error.filename2 = str(target), None  # name the file itself, not the temporary one
        raise
    finally:
        _remove(temporary)
        _remove(log)


def _hidden(target: Path, ending: str) -> Path:
    return target.with_name(f".{target.name}.{socket.gethostname()}.{os.getpid()}.{ending}")


def _leftovers(target: Path, ending: str) -> list[Path]:
    """Leftovers under a hidden name of `target` from ended processes on this machine, and of what they had beside them.

    Beside them: with a further ending, such as the write-ahead log (.wal) of a database.
    """
    name = re.compile(rf"\.{re.escape(target.name)}\.{re.escape(socket.gethostname())}\.(\d+)\.{ending}(\..+)?")
    found = ((left, name.fullmatch(left.name)) for left in target.parent.glob(f".{glob.escape(target.name)}.*"))
    return [left for left, own in found if own and not _is_running(int(own[1]))]


def _restore(target: Path) -> None:
    """Move back a folder that a killed process had moved away, where folders cannot be exchanged."""
    for left in _leftovers(target, "old"):
        if target.exists():
            _remove(left)
        else:
            left.rename(target)


def _put_in_place(temporary: Path, target: Path) -> None:
    """Rename a folder to `target`; the previous content ends up at `temporary`, or is removed."""
    try:
        if not target.exists() or not any(target.iterdir()):
            temporary.rename(target)
        elif not _exchange(temporary, target):
            old = _hidden(target, "old")
            target.rename(old)
            try:
                temporary.rename(target)
            except BaseException:
                old.rename(target)
                raise
            _remove(old)
    except OSError as error:
        if error.errno in (errno.EBUSY, errno.EXDEV):
            raise UserError(f"{target}: is a mount point, which cannot be replaced. Name a folder in it.") from None
        raise


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two paths atomically; False if the system or file system cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    return rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's process
        return True
    with contextlib.suppress(OSError):  # an ended one stays a zombie until its parent reaps it
        return Path(f"/proc/{process}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0] != "Z"
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    for file in [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]:
        with open(file, "rb") as handle:
            os.fsync(handle.fileno())


def _flush_entry(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a log, up to the first line that is damaged or was truncated by a kill."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            break
        if not isinstance(row, dict):
            break
        rows.append(row)
    return rows
