"""What can be wrong with a corpus: faults, listed together, and recorded if they are skipped."""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from mlcslm.io.csv import guard
from mlcslm.io.files import atomic_path

MAX_LISTED = 5
"""Up to this many faults of a kind are listed individually; more are summarised in one line."""
COLUMNS = ("file", "line", "fault", "left_out", "message")
_HEADER = "\t".join(COLUMNS).encode()


class FaultKind(StrEnum):
    """The kinds of fault; `docs/corpus.md` describes each."""

    UNKNOWN_GROUP = "unknown-group"
    MISPLACED_SESSION = "misplaced-session"
    SESSION_NAME = "session-name"
    DUPLICATE_SESSION = "duplicate-session"
    UNREADABLE_FOLDER = "unreadable-folder"
    MISSING_AUDIO = "missing-audio"
    UNREADABLE_AUDIO = "unreadable-audio"
    SAMPLES = "samples"
    CANCELLING_CHANNELS = "cancelling-channels"
    SPEAKER_CHANNELS = "speaker-channels"
    DECLARED_AUDIO = "declared-audio"
    TRANSFORMED_AUDIO = "transformed-audio"
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

    path: the file or folder at fault; line: its 1-based line, None if the whole file is at fault;
    left_out: what is skipped with it ("line", "session" or "folder"); message: found, expected, remedy.
    """

    path: str
    line: int | None
    kind: FaultKind
    left_out: str
    message: str

    @property
    def location(self) -> str:
        """`file:line`, or the file."""
        return self.path if self.line is None else f"{self.path}:{self.line}"

    def __str__(self) -> str:
        return visible(f"{self.location}: {self.message}")


def visible(text: str) -> str:
    """Text with unprintable characters escaped, so that it can neither move the cursor nor end a line.

    >>> visible("a\\x1b[2Jb")
    'a\\\\x1b[2Jb'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def faults_path(manifest: str | os.PathLike[str]) -> Path:
    """Where the faults skipped in `manifest` are recorded: `<manifest>.faults.tsv` next to it."""
    manifest = Path(manifest)
    return manifest.with_name(f"{manifest.name}.faults.tsv")


def write_faults(path: str | os.PathLike[str], faults: Iterable[Fault]) -> None:
    """Write faults as tab-separated lines under a header (`COLUMNS`), atomically; without faults, only the header."""
    with (
        atomic_path(path, begins=_HEADER) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        rows = csv.writer(file, delimiter="\t", lineterminator="\n")
        rows.writerow(COLUMNS)
        for fault in faults:
            line = "" if fault.line is None else fault.line
            rows.writerow(map(guard, (fault.path, line, fault.kind, fault.left_out, fault.message)))


def record_faults(manifest: str | os.PathLike[str], faults: Sequence[Fault] | None) -> Path | None:
    """Record the faults skipped in a manifest next to it, and return the path. faults: None if none may be skipped.

    The record of an earlier run is removed. A manifest written to a device or pipe has none.
    """
    path = faults_path(manifest)
    if Path(manifest).exists() and not Path(manifest).is_file():
        return None
    if faults is not None:
        write_faults(path, faults)
        return path
    if path.is_file() and path.read_bytes().startswith(_HEADER):
        path.unlink()
    return None


def list_faults(faults: Iterable[Fault], *, every: bool = False) -> list[str]:
    """One line per fault, or one line per kind with more than `MAX_LISTED` faults. every: list all individually.

    >>> many = [Fault(f"{n}.txt", 1, FaultKind.TIME, "line", "the end is 'x'.") for n in range(180)]
    >>> print(*list_faults(many))
    180 of kind time: 0.txt:1: the end is 'x'. Also 1.txt:1, 2.txt:1, 3.txt:1, 4.txt:1 and 175 more (--every-fault).
    """
    kinds: defaultdict[FaultKind, list[Fault]] = defaultdict(list)
    for fault in faults:
        kinds[fault.kind].append(fault)
    alone = {kind for kind, found in kinds.items() if every or len(found) <= MAX_LISTED}
    lines = [str(fault) for fault in sorted((f for kind in alone for f in kinds[kind]), key=_by_location)]
    for kind, found in kinds.items():
        if kind not in alone:
            others = visible(", ".join(fault.location for fault in found[1:MAX_LISTED]))
            more = len(found) - MAX_LISTED
            lines.append(f"{len(found):,} of kind {kind}: {found[0]} Also {others} and {more:,} more (--every-fault).")
    return lines


def _by_location(fault: Fault) -> tuple[str, int]:
    return fault.path, fault.line or 0


def describe_faults(faults: Sequence[Fault]) -> str:
    """How many faults there are, in how many files: `3 faults in 2 files`."""
    files = len({fault.path for fault in faults})
    return f"{len(faults)} fault{'s' * (len(faults) != 1)} in {files} file{'s' * (files != 1)}"
