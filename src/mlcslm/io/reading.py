"""Reads files that a user named completely: plain or gzipped, from disk or once through a pipe."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from pathlib import Path

from mlcslm.errors import UserError
from mlcslm.io.places import is_stream

LONGEST = 1 << 31
"""Maximum bytes read from a text, decompressed: more than any corpus's transcripts, less than a gzip bomb."""
GZIP = b"\x1f\x8b"
_OTHER_COMPRESSION = {b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip"}
_streams: dict[str, bytes] = {}


def read_input(path: str | os.PathLike[str], expected: str) -> bytes:
    """Content of a file that a user named, decompressed if it is gzipped. expected: its format, for messages.

    A pipe (/dev/stdin, <(command)) is read to its end once; later calls return the same content. Raises UserError for a
    missing file, a folder, content that is compressed otherwise or damaged, and more than `LONGEST` bytes.
    """
    path = Path(path)
    check_input(path, expected)
    content = read_stream(path) if is_stream(path) else path.read_bytes()
    if content.startswith(GZIP):
        return _decompressed(path, content)
    for begins, name in _OTHER_COMPRESSION.items():
        if content.startswith(begins):
            raise UserError(
                f"{path}: is compressed with {name}. Decompress it first. Expected {expected}, plain or gzipped."
            )
    return content


def check_input(path: Path, expected: str) -> None:
    """Raise UserError if `path` is not a file, device or pipe."""
    if path.is_dir():
        raise UserError(f"{path}: is a folder. Expected {expected}.")
    if not path.is_file() and not is_stream(path):
        raise UserError(f"{path}: no such file. Expected {expected}.")


def read_stream(path: Path) -> bytes:
    """The whole content of a device or pipe, cached because it can only be read once."""
    if str(path) not in _streams:
        with path.open("rb") as file:
            _streams[str(path)] = _bounded(path, file)
    return _streams[str(path)]


def plain_suffix(path: Path) -> str:
    """A file's suffix in lower case, ignoring that of gzip.

    >>> plain_suffix(Path("dev.STM.gz"))
    '.stm'
    """
    return Path(path.stem if path.suffix.lower() == ".gz" else path.name).suffix.lower()


def _decompressed(path: Path, content: bytes) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            return _bounded(path, file)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: is a damaged gzip file ({error}). Copy it again.") from None


def _bounded(path: Path, file: io.BufferedIOBase) -> bytes:
    content = file.read(LONGEST + 1)
    if len(content) > LONGEST:
        raise UserError(f"{path}: has more than {LONGEST >> 30} GiB, too much for a text file. Is it the right one?")
    return content
