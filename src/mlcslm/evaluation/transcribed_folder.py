"""A folder of recordings, each with a transcript beside it as other tools write them, as a corpus.

Transcripts are those of `mlcslm.formats.any_format`: TextGrid, ELAN, SRT, WebVTT, Audacity labels, STM, CTM, SegLST,
JSON of recognisers; or one table (`metadata.jsonl`, `metadata.csv`) of audio files and texts.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from mlcslm.config.languages import Group, read_languages
from mlcslm.config.schema import CorpusConfig
from mlcslm.corpus.audio import read_header
from mlcslm.corpus.external import ExternalCorpus, ExternalSegment, Location
from mlcslm.corpus.faults import FaultKind
from mlcslm.corpus.identifiers import one_word, recording_id, utterance_id
from mlcslm.corpus.kaldi import is_kaldi_folder
from mlcslm.corpus.layout import AUDIO_SUFFIXES
from mlcslm.corpus.lhotse import is_lhotse_folder
from mlcslm.errors import FaultyInput, UserError
from mlcslm.formats.any_format import read_transcripts
from mlcslm.formats.detect import detect_format
from mlcslm.formats.foreign import recording_of
from mlcslm.formats.nemo import NemoEntry, read_nemo, read_table
from mlcslm.formats.segments import Utterance

TRANSCRIPT_SUFFIXES = (".textgrid", ".eaf", ".srt", ".vtt", ".stm", ".ctm", ".json", ".jsonl", ".csv", ".tsv")
REGIONS = {"us": "American", "au": "Australian", "gb": "British", "ph": "Filipino", "in": "Indian"}
"""Accents of English by region, as the languages table names them."""


def is_transcribed_folder(root: Path, languages: Mapping[str, Group]) -> bool:
    """Whether `root` has transcripts as other tools write them, and none of the folders of the challenge's layout."""
    if any((root / group.folder).is_dir() for group in languages.values()):
        return False
    return any(path.suffix.lower() in TRANSCRIPT_SUFFIXES for path in _files(root))


def reader_of(
    root: Path, language: str | None, languages: Mapping[str, Group], *, option: str = "--language"
) -> Callable[[Path], ExternalCorpus] | None:
    """How to read the corpus at `root` if it is a transcribed folder, all of `language` (`group_of_code`).

    None for corpora of other layouts, which know their languages, and if there is no folder. option: what the language
    was given by, for messages. Raises UserError for a transcribed folder without a language, and for another corpus
    with one.
    """
    if not root.is_dir():
        return None
    other = is_kaldi_folder(root) or is_lhotse_folder(root)
    if other or not is_transcribed_folder(root, languages):
        if language is None:
            return None
        raise UserError(
            f"{root}: {option} is for a folder of recordings with transcripts beside them (TextGrid, SRT, …). "
            + ("Kaldi's and Lhotse's name the language of each utterance." if other else "It has none.")
        )
    if language is None and len(languages) > 1:
        example = f"Add {option}, e.g. de." if option.startswith("-") else f"Set {option}, e.g. to de."
        raise UserError(f"{root}: has recordings with transcripts beside them; which language? {example}")
    group = group_of_code(language, languages, option=option) if language else next(iter(languages.values()))
    return partial(read_transcribed_folder, group=group)


def check_folders(corpus: CorpusConfig, table: str | os.PathLike[str]) -> None:
    """Raise UserError if a folder of a configuration's corpus has no language, or another than the languages table's.

    table: that table. Folders that do not exist yet are not checked.
    """
    if corpus.kind != "folder":
        return
    languages = read_languages(table)
    for folder in corpus.folders.values():
        reader_of(Path(folder), corpus.language, languages, option="corpus.language")


def group_of_code(code: str, languages: Mapping[str, Group], *, option: str = "--language") -> Group:
    """The group that a BCP-47 code (`de`, `de-AT`, `en-US`) or a group's name means.

    option: what it was given by, for messages. Raises UserError if the table has none for it, or several.
    """
    wanted = code.casefold().replace("_", "-")
    for name, group in languages.items():
        if name.casefold() == code.casefold():
            return group
    language, *others = wanted.split("-")
    found = [group for group in languages.values() if group.language.casefold() == language]
    accents = {REGIONS[part] for part in others if part in REGIONS}
    if len(found) > 1:
        found = [group for group in found if group.recording_prefix in accents] or found
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(group.group for group in found)
        raise UserError(f"{option} {code}: may be {names}. Name one of them, or add the region (en-US, en-GB, …).")
    known = ", ".join(dict.fromkeys(group.language for group in languages.values()))
    raise UserError(
        f"{option} {code}: not in the languages table, which has {known}. Add a row for it (docs/corpus.md) and name "
        f"the table: {'--languages FILE' if option.startswith('-') else 'languages: FILE'}."
    )


def read_transcribed_folder(root: Path, group: Group) -> ExternalCorpus:
    """Recordings and utterances of a folder and its subfolders, all of one group, with the faults of their files.

    Recordings without a transcript, and transcripts without a recording, are faults. Speakers may have any names.
    """
    corpus = ExternalCorpus()
    audio: dict[str, Path] = {}
    for path in _files(root):
        if path.suffix.lower() in AUDIO_SUFFIXES:
            corpus.add_recording(recording_id(group, path.stem), path, Location(str(path), None))
            audio.setdefault(path.stem, path)
    said: dict[str, list[tuple[Location, Utterance | NemoEntry]]] = defaultdict(list)
    sources: dict[str, Path] = {}
    for path in _files(root):
        own = recording_of(path)
        if not (path.suffix.lower() in TRANSCRIPT_SUFFIXES or (path.suffix.lower() == ".txt" and own in audio)):
            continue
        location = Location(str(path), None)
        try:
            found = list(_said(path, audio))
        except UserError as error:
            messages = error.faults if isinstance(error, FaultyInput) else [str(error)]
            corpus.faults += [
                location.fault(FaultKind.UNREADABLE_TRANSCRIPT, message.removeprefix(f"{path}").lstrip(": "))
                for message in messages
            ]
            corpus.faulty.add(recording_id(group, own))
            continue
        if not found and own in audio:
            corpus.faults.append(location.fault(FaultKind.EMPTY_TRANSCRIPT, "holds no utterance."))
        for session, one in found:
            if sources.setdefault(session, path) == path:
                said[session].append((location, one))
        if taken := sorted({session for session, _ in found if sources[session] != path}):
            message = f"{sources[taken[0]]} is a transcript of {taken[0]} too; keep one."
            corpus.faults.append(location.fault(FaultKind.DUPLICATE_SESSION, message))
    _add_segments(corpus, said, audio, group)
    return corpus


def _add_segments(
    corpus: ExternalCorpus,
    said: Mapping[str, list[tuple[Location, Utterance | NemoEntry]]],
    audio: Mapping[str, Path],
    group: Group,
) -> None:
    for session, found in said.items():
        name = recording_id(group, session)
        if session not in audio:
            message = f"has no recording {session}{AUDIO_SUFFIXES[0]} or {AUDIO_SUFFIXES[1]} in the folder."
            corpus.skip_recording(name, found[0][0], FaultKind.MISSING_AUDIO, message)
        for location, one in found:
            speaker = one_word("_".join((one.speaker or "unknown").split())).replace("-", "_")
            start = one.start if isinstance(one, Utterance) else one.offset or 0.0
            end = one.end if isinstance(one, Utterance) else None if one.duration is None else start + one.duration
            if isinstance(one, NemoEntry) and one.offset is None:
                end = None  # the whole file, whatever duration a table rounds it to
            times = start, _seconds(audio.get(session)) or start if end is None else end
            corpus.segments.append(
                ExternalSegment(
                    utterance_id(group.group, session, speaker, *times),
                    name,
                    speaker,
                    start,
                    end,
                    one.text,
                    group.group,
                    location,
                )
            )
    for session, path in audio.items():
        if session not in said and recording_id(group, session) not in corpus.faulty:
            message = f"has no transcript; expected {session}.TextGrid, .eaf, .srt or the like in the folder."
            corpus.faults.append(Location(str(path), None).fault(FaultKind.MISSING_TRANSCRIPT, message))


def _seconds(recording: Path | None) -> float | None:
    """A recording's length; None if it cannot be read, which is a fault named elsewhere."""
    try:
        return None if recording is None else read_header(recording).duration
    except UserError:
        return None


def _said(path: Path, audio: Mapping[str, Path]) -> Iterator[tuple[str, Utterance | NemoEntry]]:
    """Session and utterances, or texts of whole files, of a transcript."""
    chosen = detect_format(path, timed=True)
    if chosen in ("nemo", "table"):
        for entry in read_nemo(path, "reference") if chosen == "nemo" else read_table(path, "reference"):
            yield (Path(entry.audio).stem if entry.audio else entry.name), entry
        return
    for one in read_transcripts(path, "reference").utterances:
        yield (one.recording if one.recording in audio else recording_of(path)), one


def _files(root: Path) -> list[Path]:
    """Files of a folder and its subfolders in order, without hidden ones."""
    return [path for path in sorted(root.rglob("*")) if path.is_file() and not path.name.startswith(".")]
