"""What a system's files contain, in any of six formats, as one value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mlcslm.config.systems import FileFormat
from mlcslm.errors import FaultyInput, UserError, shortened
from mlcslm.formats.any_format import log_notes
from mlcslm.formats.ctm import read_ctm
from mlcslm.formats.detect import FORMATS, SUFFIXES, detect_format
from mlcslm.formats.foreign import TITLES as FOREIGN
from mlcslm.formats.foreign import read_foreign
from mlcslm.formats.kaldi_text import read_kaldi_text
from mlcslm.formats.nemo import NemoEntry, read_nemo
from mlcslm.formats.parsing import MAX_LISTED_FAULTS, counted
from mlcslm.formats.rttm import merge_channels, read_rttm_channels
from mlcslm.formats.seglst import read_seglst
from mlcslm.formats.segments import Segment, Utterance
from mlcslm.formats.stm import read_nist_stm
from mlcslm.io.reading import plain_suffix

OTHER_SUFFIXES = (".json", ".jsonl", ".srt", ".vtt", ".textgrid", ".eaf", ".trn", ".csv", ".tsv")
"""Suffixes of files in folders, besides those that settle the format."""


@dataclass
class SystemOutput:
    """What a system's files contain; empty where no file is of that kind.

    texts: by utterance id (Kaldi); entries: NeMo; utterances: of recordings (STM, SegLST and, one per word, CTM);
    turns: by recording (RTTM); formats: of the files; notes: on ignored content.
    """

    texts: dict[str, str] = field(default_factory=dict)
    entries: list[NemoEntry] = field(default_factory=list)
    utterances: list[Utterance] = field(default_factory=list)
    turns: dict[str, list[Segment]] = field(default_factory=dict)
    formats: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Distinct formats of the files, sorted."""
        return tuple(sorted(set(self.formats)))

    @property
    def has_transcripts(self) -> bool:
        """Whether any file is of a format with words."""
        return any(name != "rttm" for name in self.formats)


def read_system_output(paths: Sequence[Path], file_format: FileFormat = "auto") -> SystemOutput:
    """Read a system's `paths`: files, or folders of files of one format (RTTM or STM, one per recording).

    White space in speaker names becomes `_`, since STM and RTTM need names to be single words. Content that is not
    scored is ignored, and a warning counts it. Raises UserError or FaultyInput as the readers of the formats do, and
    for files without content, folders without a file of a known suffix, and ids, or speakers of a recording, that
    occur in two files.
    """
    output = SystemOutput()
    transcribed: dict[tuple[str, str], Path] = {}
    diarized: dict[tuple[str, str], Path] = {}
    for path in _files(paths):
        chosen = detect_format(path) if file_format == "auto" else file_format
        output.formats.append(chosen)
        match chosen:
            case "kaldi":
                _add_texts(output, path)
            case "nemo":
                output.entries += read_nemo(path)
            case "rttm":
                by_recording, notes = merge_channels(read_rttm_channels(path))
                output.notes += log_notes(path, notes)
                for recording, turns in by_recording.items():
                    named = [replace(turn, speaker=_single_word(turn.speaker)) for turn in turns]
                    _check_new(diarized, path, ((recording, turn.speaker) for turn in named))
                    output.turns.setdefault(recording, []).extend(named)
            case _ if chosen in FOREIGN:
                _add_foreign(output, path, chosen, transcribed, diarized)
            case _:
                read = _read_utterances(output, path, chosen)
                utterances = [replace(utterance, speaker=_single_word(utterance.speaker)) for utterance in read]
                _check_new(transcribed, path, ((u.recording, u.speaker) for u in utterances))
                output.utterances += utterances
    if not (output.texts or output.entries or output.utterances or output.turns):
        raise UserError(f"{', '.join(map(str, paths))}: empty; expected hypotheses ({', '.join(FORMATS)}).")
    return output


def _add_foreign(
    output: SystemOutput,
    path: Path,
    chosen: str,
    transcribed: dict[tuple[str, str], Path],
    diarized: dict[tuple[str, str], Path],
) -> None:
    found = read_foreign(path, chosen)
    output.notes += log_notes(path, found.notes)
    output.entries += found.entries
    utterances = [replace(utterance, speaker=_single_word(utterance.speaker)) for utterance in found.utterances]
    _check_new(transcribed, path, ((one.recording, one.speaker) for one in utterances))
    output.utterances += utterances
    for recording, turns in found.turns.items():
        named = [replace(turn, speaker=_single_word(turn.speaker)) for turn in turns]
        _check_new(diarized, path, ((recording, turn.speaker) for turn in named))
        output.turns.setdefault(recording, []).extend(named)
        output.formats[-1] = "rttm"


def _read_utterances(output: SystemOutput, path: Path, chosen: str) -> list[Utterance]:
    match chosen:
        case "stm":
            stm = read_nist_stm(path)
            output.notes += log_notes(path, stm.notes(zones_used=False))
            return stm.utterances
        case "ctm":
            ctm = read_ctm(path)
            output.notes += log_notes(path, ctm.notes())
            return ctm.words
    return read_seglst(path)


def _single_word(name: str) -> str:
    return "_".join(name.split())


def _check_new(seen: dict[tuple[str, str], Path], path: Path, speakers: Iterable[tuple[str, str]]) -> None:
    """Raise FaultyInput for speakers of a recording that another file has too; add the others to `seen`."""
    new = dict.fromkeys(speakers, path)
    if repeated := [
        f"{recording} {speaker}: already in {seen[recording, speaker]}"
        for recording, speaker in new
        if (recording, speaker) in seen
    ]:
        raise FaultyInput(
            f"{path}: found {counted(len(repeated), 'speaker')} that another file has for that recording; keep one:",
            shortened(repeated, MAX_LISTED_FAULTS),
        )
    seen.update(new)


def _files(paths: Sequence[Path]) -> list[Path]:
    files = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        found = sorted(child for child in path.iterdir() if plain_suffix(child) in {*SUFFIXES, *OTHER_SUFFIXES})
        if not found:
            raise UserError(f"{path}: no file in it ends in {', '.join([*SUFFIXES, *OTHER_SUFFIXES])}.")
        files += found
    return files


def _add_texts(output: SystemOutput, path: Path) -> None:
    texts = read_kaldi_text(path)
    if repeated := [name for name in texts if name in output.texts]:
        raise FaultyInput(
            f"{path}: found {len(repeated)} utterances that another file has too; keep one of each:",
            shortened(repeated, MAX_LISTED_FAULTS),
        )
    output.texts |= texts
