"""Files that a user named, read whole: plain or gzipped, from disk or once through a pipe, or refused in words."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from pathlib import Path

from mlcslm.errors import UserError
from mlcslm.io.places import is_stream

LONGEST = 1 << 31
"""Bytes of a text that are read at most, unpacked: no corpus's transcripts are as long, and a gzip bomb is longer."""
GZIP = b"\x1f\x8b"
_PACKED = {b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip"}
_streams: dict[str, bytes] = {}


def read_input(path: str | os.PathLike[str], expected: str) -> bytes:
    """Content of a file that a user named, unpacked if it is gzipped. expected: its format, for messages.

    A pipe (/dev/stdin, <(command)) is read to its end; asked for again, the same content is returned. Raises UserError
    where there is no file, for a folder, for content that is packed otherwise or damaged, and for more than `LONGEST`.
    """
    path = Path(path)
    check_input(path, expected)
    content = read_stream(path) if is_stream(path) else path.read_bytes()
    if content.startswith(GZIP):
        return _unpacked(path, content)
    for begins, name in _PACKED.items():
        if content.startswith(begins):
            raise UserError(f"{path}: is packed with {name}. Unpack it first. Expected {expected}, plain or gzipped.")
    return content


def check_input(path: Path, expected: str) -> None:
    """Raise UserError where `path` is no file, device or pipe."""
    if path.is_dir():
        raise UserError(f"{path}: is a folder. Expected {expected}.")
    if not path.is_file() and not is_stream(path):
        raise UserError(f"{path}: no such file. Expected {expected}.")


def read_stream(path: Path) -> bytes:
    """All that comes out of a device or pipe, which can be read once only: it is kept for whoever asks again."""
    if str(path) not in _streams:
        with path.open("rb") as file:
            _streams[str(path)] = _bounded(path, file)
    return _streams[str(path)]


def plain_suffix(path: Path) -> str:
    """End of a file's name, in lower case, without that of gzip.

    >>> plain_suffix(Path("dev.STM.gz"))
    '.stm'
    """
    return Path(path.stem if path.suffix.lower() == ".gz" else path.name).suffix.lower()


def _unpacked(path: Path, content: bytes) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            return _bounded(path, file)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: is gzipped, and damaged ({error}). Copy it again.") from None


def _bounded(path: Path, file: io.BufferedIOBase) -> bytes:
    content = file.read(LONGEST + 1)
    if len(content) > LONGEST:
        raise UserError(f"{path}: holds more than {LONGEST >> 30} GiB, expected less of a text. Is it the right one?")
    return content
