"""Folders that a JSON file describes: what it says as a dataclass, and whether the files are those it was written of.

Needs neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from mlcslm.errors import UserError
from mlcslm.io.files import read_json, sha256

Description = TypeVar("Description")


def read_metadata(kind: type[Description], path: Path, version: int, remedy: str) -> Description:
    """The JSON of `path` as `kind`, a dataclass; keys that it does not have are passed over.

    Raises UserError, ending with `remedy`, where the file is no JSON, was written as another `format_version` or lacks
    a key.
    """
    content: Any = read_json(path, remedy)
    found = content.get("format_version") if isinstance(content, dict) else None
    if found != version:
        raise UserError(
            f"{path}: format version {found!r} found, expected {version}. "
            f"It was written by another version of mlcslm: use that one, or else: {remedy}"
        )
    names = {entry.name for entry in fields(kind)}  # type: ignore[arg-type]
    if missing := sorted(names - set(content)):
        raise UserError(f"{path}: without {', '.join(missing)}. {remedy}")
    return kind(**{name: content[name] for name in names})


def changed_files(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Files of `folder` that are missing or whose SHA-256 is not the one of `files` (by file name), a line each."""
    faults = []
    for name, expected in files.items():
        path = folder / Path(name).name
        if not path.is_file():
            faults.append(f"{path}: no such file")
        elif (found := sha256(path)) != expected:
            size = path.stat().st_size
            faults.append(f"{path}: SHA-256 {found[:12]}… found ({size} bytes), expected {expected[:12]}…")
    return faults
