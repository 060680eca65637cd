"""What can be wrong with a corpus: one `Fault` each, listed together, recorded where they are left out."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from mlcslm.io.csv import guard
from mlcslm.io.files import atomic_path

COLUMNS = ("file", "line", "fault", "left_out", "message")


class FaultKind(StrEnum):
    """The kinds of fault; `docs/corpus.md` describes each."""

    UNKNOWN_GROUP = "unknown-group"
    MISPLACED_SESSION = "misplaced-session"
    SESSION_NAME = "session-name"
    DUPLICATE_SESSION = "duplicate-session"
    UNREADABLE_FOLDER = "unreadable-folder"
    MISSING_AUDIO = "missing-audio"
    UNREADABLE_AUDIO = "unreadable-audio"
    AUDIO_SOURCE = "audio-source"
    MISSING_TRANSCRIPT = "missing-transcript"
    UNREADABLE_TRANSCRIPT = "unreadable-transcript"
    EMPTY_TRANSCRIPT = "empty-transcript"
    ENCODING = "encoding"
    COLUMN_COUNT = "column-count"
    TIME = "time"
    NEGATIVE_START = "negative-start"
    END_BEFORE_START = "end-before-start"
    PAST_THE_END = "past-the-end"
    SPEAKER = "speaker"
    DUPLICATE_ID = "duplicate-id"


@dataclass(frozen=True)
class Fault:
    """One fault of a corpus.

    path: the file or folder at fault; line: its 1-based line, None where the fault is the whole file's;
    left_out: what going on without it leaves out ("line", "session" or "folder"); message: found, expected, remedy.
    """

    path: str
    line: int | None
    kind: FaultKind
    left_out: str
    message: str

    def __str__(self) -> str:
        place = self.path if self.line is None else f"{self.path}:{self.line}"
        return f"{place}: {self.message}"


def faults_path(manifest: str | os.PathLike[str]) -> Path:
    """Where the faults left out of `manifest` are recorded: `<manifest>.faults.tsv` beside it."""
    manifest = Path(manifest)
    return manifest.with_name(f"{manifest.name}.faults.tsv")


def write_faults(path: str | os.PathLike[str], faults: Iterable[Fault]) -> None:
    """Write faults as tab-separated lines under a header (`COLUMNS`), atomically; no faults, only the header."""
    out = {"encoding": "utf-8", "errors": "backslashreplace", "newline": ""}
    with atomic_path(path) as temporary, temporary.open("w", **out) as file:
        rows = csv.writer(file, delimiter="\t", lineterminator="\n")
        rows.writerow(COLUMNS)
        for fault in faults:
            line = "" if fault.line is None else fault.line
            rows.writerow(map(guard, (fault.path, line, fault.kind, fault.left_out, fault.message)))


def describe_faults(faults: Sequence[Fault]) -> str:
    """How many faults there are, in how many places: `3 faults in 2 files`."""
    files = len({fault.path for fault in faults})
    return f"{len(faults)} fault{'s' * (len(faults) != 1)} in {files} file{'s' * (files != 1)}"
