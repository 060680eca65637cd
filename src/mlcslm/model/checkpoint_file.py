"""`checkpoint.json`: what a checkpoint contains, and the check that its files are intact.

Needs neither torch nor transformers.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlcslm.errors import FaultyInput, UserError
from mlcslm.io.files import write_json
from mlcslm.io.metadata import changed_files, read_metadata

CHECKPOINT_FILE = "checkpoint.json"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class CheckpointInfo:
    """Contents of `checkpoint.json`.

    name, parent: the stage's and its parent's name ("foundation" for the first); recipe: how it was trained;
    fingerprints: of the configuration and the data; foundation: source and fingerprint of the encoder and of the
    language model; parts: those changed; lora: rank, alpha and dropout of the adapters; tokens: added token -> id;
    projector_hidden, encoder_window: how the model was built; files: SHA-256 by file name.
    """

    name: str
    parent: str
    recipe: dict[str, Any]
    fingerprints: dict[str, Any]
    foundation: dict[str, dict[str, str]]
    parts: list[str]
    lora: dict[str, Any]
    tokens: dict[str, int]
    projector_hidden: int
    encoder_window: str
    files: dict[str, str]
    format_version: int = FORMAT_VERSION


def write_checkpoint_file(folder: str | os.PathLike[str], info: CheckpointInfo) -> None:
    """Write `checkpoint.json` into `folder` atomically, which completes the checkpoint."""
    write_json(Path(folder) / CHECKPOINT_FILE, asdict(info))


def read_checkpoint(folder: str | os.PathLike[str], *, verify: bool = True) -> CheckpointInfo:
    """Contents of `checkpoint.json` in `folder`; with `verify`, after checking each file's SHA-256.

    Raises UserError naming the file at fault: no `checkpoint.json` (an unfinished checkpoint), an unreadable one, one
    of another format version, a file that is missing or has changed since it was written.
    """
    folder = Path(folder)
    path = folder / CHECKPOINT_FILE
    if not path.is_file():
        raise UserError(
            f"{path}: no such file, so {folder} is not a finished checkpoint (the file is written last). "
            "Run the workflow again to train the stage."
        )
    info = read_metadata(CheckpointInfo, path, FORMAT_VERSION, _remedy(path))
    if verify and (faults := changed_files(folder, info.files)):
        raise FaultyInput(f"{folder}: not the checkpoint that was written. {_remedy(path)}", faults)
    return info


def _remedy(path: Path) -> str:
    return f"Restore a copy of the folder, or delete {path} and run the workflow again to retrain the stage."
