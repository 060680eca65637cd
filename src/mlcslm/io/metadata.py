"""Folders with a JSON metadata file: its content as a dataclass, and whether the files still match it.

Needs neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

from mlcslm.errors import UserError
from mlcslm.io.files import read_json, sha256

Metadata = TypeVar("Metadata")


def read_metadata(kind: type[Metadata], path: Path, version: int, remedy: str) -> Metadata:
    """The JSON of `path` as `kind`, a dataclass; unknown keys are ignored, those with a default may be absent.

    Raises UserError, ending with `remedy`, if the file is not JSON, has another `format_version` or lacks a key.
    """
    content: Any = read_json(path, remedy)
    found = content.get("format_version") if isinstance(content, dict) else None
    if found != version:
        raise UserError(
            f"{path}: format version {found!r} found, expected {version}. "
            f"Another version of mlcslm wrote it: use that version, or else: {remedy}"
        )
    entries = fields(kind)  # type: ignore[arg-type]
    if missing := sorted(one.name for one in entries if one.name not in content and one.default is MISSING):
        raise UserError(f"{path}: lacks {', '.join(missing)}. {remedy}")
    return kind(**{one.name: content[one.name] for one in entries if one.name in content})


def changed_files(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Files of `folder` that are missing or whose SHA-256 differs from that in `files` (by file name), a line each."""
    faults = []
    for name, expected in files.items():
        path = folder / Path(name).name
        if not path.is_file():
            faults.append(f"{path}: no such file")
        elif (found := sha256(path)) != expected:
            size = path.stat().st_size
            faults.append(f"{path}: SHA-256 {found[:12]}… found ({size} bytes), expected {expected[:12]}…")
    return faults
