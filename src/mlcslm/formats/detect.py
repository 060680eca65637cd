"""Hypotheses of others, in whichever of six formats they come, as one kind of value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mlcslm.config.systems import FileFormat
from mlcslm.errors import FaultyInput, UserError, shortened
from mlcslm.formats.ctm import read_ctm
from mlcslm.formats.hypothesis_files import FORMATS, SUFFIXES, detect_format, say_notes
from mlcslm.formats.kaldi_text import read_kaldi_text
from mlcslm.formats.nemo import NemoEntry, read_nemo
from mlcslm.formats.rttm import merge_channels, read_rttm_channels
from mlcslm.formats.seglst import read_seglst
from mlcslm.formats.segments import Segment, Utterance
from mlcslm.formats.stm import read_nist_stm
from mlcslm.formats.timed_lines import SHOWN_FAULTS, counted
from mlcslm.io.reading import plain_suffix


@dataclass
class Given:
    """What a system's files hold: texts by utterance id (Kaldi), entries (NeMo), utterances of recordings (STM, SegLST
    and, a word each, CTM), and turns by recording (RTTM). Empty where no file is of that kind.

    notes: what was left out of the files.
    """

    texts: dict[str, str] = field(default_factory=dict)
    entries: list[NemoEntry] = field(default_factory=list)
    utterances: list[Utterance] = field(default_factory=list)
    turns: dict[str, list[Segment]] = field(default_factory=dict)
    formats: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

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

    White space in a speaker's name becomes `_`: names have to be words in STM and RTTM. What a format has that is not
    scored is left out, and a warning counts it. Raises UserError or FaultyInput as the formats' readers do, and for
    files of no content, folders without a file of a known name, and ids, or speakers of a recording, that two files
    have.
    """
    given = Given()
    said: dict[tuple[str, str], Path] = {}
    turned: dict[tuple[str, str], Path] = {}
    for path in _files(paths):
        chosen = detect_format(path) if file_format == "auto" else file_format
        given.formats.append(chosen)
        match chosen:
            case "kaldi":
                _add_texts(given, path)
            case "nemo":
                given.entries += read_nemo(path)
            case "rttm":
                by_recording, notes = merge_channels(read_rttm_channels(path))
                given.notes += say_notes(path, notes)
                for recording, turns in by_recording.items():
                    named = [replace(turn, speaker=_word(turn.speaker)) for turn in turns]
                    _check_new(turned, path, ((recording, turn.speaker) for turn in named))
                    given.turns.setdefault(recording, []).extend(named)
            case _:
                utterances = [replace(u, speaker=_word(u.speaker)) for u in _read_utterances(given, path, chosen)]
                _check_new(said, path, ((u.recording, u.speaker) for u in utterances))
                given.utterances += utterances
    if not (given.texts or given.entries or given.utterances or given.turns):
        raise UserError(f"{', '.join(map(str, paths))}: nothing in it; expected hypotheses ({', '.join(FORMATS)}).")
    return given


def _read_utterances(given: Given, path: Path, chosen: str) -> list[Utterance]:
    match chosen:
        case "stm":
            stm = read_nist_stm(path)
            given.notes += say_notes(path, stm.notes(zones_used=False))
            return stm.utterances
        case "ctm":
            ctm = read_ctm(path)
            given.notes += say_notes(path, ctm.notes())
            return ctm.words
    return read_seglst(path)


def _word(name: str) -> str:
    return "_".join(name.split())


def _check_new(seen: dict[tuple[str, str], Path], path: Path, speakers: Iterable[tuple[str, str]]) -> None:
    """Raise FaultyInput for speakers of recordings that another file has given; take the others into `seen`."""
    new = dict.fromkeys(speakers, path)
    if repeated := [
        f"{recording} {speaker}: given in {seen[recording, speaker]}"
        for recording, speaker in new
        if (recording, speaker) in seen
    ]:
        raise FaultyInput(
            f"{path}: {counted(len(repeated), 'speaker')} of recordings that another file has; keep one of each:",
            shortened(repeated, SHOWN_FAULTS),
        )
    seen.update(new)


def _files(paths: Sequence[Path]) -> list[Path]:
    files = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        found = sorted(child for child in path.iterdir() if plain_suffix(child) in {*SUFFIXES, ".json", ".jsonl"})
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
