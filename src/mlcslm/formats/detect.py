"""Hypotheses of others, in whichever of six formats they come, as one kind of value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mlcslm.config.systems import FileFormat
from mlcslm.errors import FaultyInput, UserError, shortened
from mlcslm.formats.ctm import read_ctm
from mlcslm.formats.kaldi_text import read_kaldi_text
from mlcslm.formats.nemo import NemoEntry, read_nemo
from mlcslm.formats.rttm import read_rttm
from mlcslm.formats.seglst import read_seglst
from mlcslm.formats.segments import Segment, Utterance
from mlcslm.formats.stm import read_stm
from mlcslm.formats.timed_lines import SHOWN_FAULTS

SUFFIXES = {".stm": "stm", ".ctm": "ctm", ".rttm": "rttm"}
"""Formats told by a name's end; JSON's two are told by how they begin, and all else is Kaldi text."""


@dataclass
class Given:
    """What a system's files hold: texts by utterance id (Kaldi), entries (NeMo), utterances of recordings (STM, SegLST
    and, a word each, CTM), and turns by recording (RTTM). Empty where no file is of that kind.
    """

    texts: dict[str, str] = field(default_factory=dict)
    entries: list[NemoEntry] = field(default_factory=list)
    utterances: list[Utterance] = field(default_factory=list)
    turns: dict[str, list[Segment]] = field(default_factory=dict)
    formats: list[str] = field(default_factory=list)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Formats of the files, each once, by name."""
        return tuple(sorted(set(self.formats)))

    @property
    def has_transcripts(self) -> bool:
        """Whether any file was of a format that has words."""
        return any(name != "rttm" for name in self.formats)


def read_given(paths: Sequence[Path], file_format: FileFormat = "auto") -> Given:
    """What `paths` hold: files, or folders of files of one format (RTTM or STM, one a recording).

    Raises UserError or FaultyInput as the formats' readers do, and for files of no content, folders without a file of a
    known name, and ids that two files have.
    """
    given = Given()
    for path in _files(paths):
        chosen = detect_format(path) if file_format == "auto" else file_format
        given.formats.append(chosen)
        match chosen:
            case "kaldi":
                _add_texts(given, path)
            case "nemo":
                given.entries += read_nemo(path)
            case "rttm":
                for recording, turns in read_rttm(path).items():
                    given.turns.setdefault(recording, []).extend(turns)
            case "stm":
                given.utterances += read_stm(path)
            case "ctm":
                given.utterances += read_ctm(path)
            case "seglst":
                # Names that are free here have to be words in STM and RTTM.
                given.utterances += [replace(u, speaker="_".join(u.speaker.split())) for u in read_seglst(path)]
    if not (given.texts or given.entries or given.utterances or given.turns):
        raise UserError(f"{', '.join(map(str, paths))}: nothing in it; expected hypotheses ({', '.join(FORMATS)}).")
    return given


FORMATS = ("Kaldi text", "STM", "CTM", "SegLST", "NeMo JSON lines", "RTTM")


def detect_format(path: Path) -> str:
    """Format of a file by its name, and of JSON by its first character. Raises UserError where there is no file."""
    if not path.is_file():
        raise UserError(f"{path}: no such file. Expected hypotheses: {', '.join(FORMATS)}.")
    if path.suffix.lower() in SUFFIXES:
        return SUFFIXES[path.suffix.lower()]
    with open(path, "rb") as file:
        start = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    return {b"[": "seglst", b"{": "nemo"}.get(start, "kaldi")


def _files(paths: Sequence[Path]) -> list[Path]:
    files = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        found = sorted(child for child in path.iterdir() if child.suffix.lower() in {*SUFFIXES, ".json", ".jsonl"})
        if not found:
            raise UserError(f"{path}: no file in it that ends in {', '.join(SUFFIXES)}, .json or .jsonl.")
        files += found
    return files


def _add_texts(given: Given, path: Path) -> None:
    texts = read_kaldi_text(path)
    if repeated := [name for name in texts if name in given.texts]:
        raise FaultyInput(
            f"{path}: {len(repeated)} utterances that another file has given already; keep one of each:",
            shortened(repeated, SHOWN_FAULTS),
        )
    given.texts |= texts
