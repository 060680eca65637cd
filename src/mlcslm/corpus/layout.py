"""The MLC-SLM folder layout: finding, reading and writing the sessions of a corpus."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mlcslm.config.languages import Group
from mlcslm.corpus.faults import Fault, FaultKind
from mlcslm.corpus.identifiers import recording_id
from mlcslm.corpus.transcripts import Utterance, read_transcript, write_transcript
from mlcslm.io.files import atomic_path

__all__ = ["Session", "Utterance", "find_sessions", "read_transcript", "write_session", "write_transcript"]

AUDIO_SUFFIXES = (".wav", ".flac")
DEMO_MARKER = "made-by-mlcslm"
"""File beside the splits of a demo corpus."""


@dataclass(frozen=True)
class Session:
    """One conversation: its group, its name (of its files, without suffix), its recording and its transcript.

    sound: False if it has a fault in the layout; it may then lack either file (None). A sound session
    lacks its transcript if none of the corpus has one.
    """

    group: Group
    name: str
    audio: Path | None
    transcript: Path | None
    sound: bool = True

    @property
    def recording(self) -> str:
        """Its official Track 2 name."""
        return recording_id(self.group, self.name)


def find_sessions(root: str | os.PathLike[str], languages: dict[str, Group]) -> tuple[list[Session], list[Fault]]:
    """Return the sessions below `root`, by group (in the order of `languages`) and name, and the layout's faults.

    A session is in its group's folder (dev, test) or one level below it (train). Links are followed; names beginning
    with a dot are skipped, and so is a text file without audio in `root` itself (a
    read-me). Without any transcript in the corpus, as in evaluation sets, a missing one is not a fault.
    """
    root = Path(root)
    sessions: list[Session] = []
    faults: list[Fault] = []
    strays: dict[Path, int] = {}
    for folder, names in _walk(root, frozenset(), faults):
        found = _sessions_of_folder(names)
        if folder == root:
            found = {name: files for name, files in found.items() if any(map(_is_audio, files))}
        parts = folder.relative_to(root).parts
        group = _group_of(parts, languages)
        if group is None and found:
            stray = root.joinpath(*_unknown_part(parts, languages))
            strays[stray] = strays.get(stray, 0) + len(found)
        elif group is not None and len(parts) > group.folder.count("/") + 2:
            faults += _misplaced(folder, group, found)
        elif group is not None:
            sessions += [_session(group, folder, name, files, faults) for name, files in sorted(found.items())]
    faults += [_unknown(stray, count, languages) for stray, count in strays.items()]
    order = {name: rank for rank, name in enumerate(languages)}
    sessions.sort(key=lambda session: (order[session.group.group], session.name))
    if all(session.transcript is None for session in sessions):
        sessions, faults = _untranscribed(sessions, faults)
    return _mark_duplicates(sessions, faults), faults


def write_session(
    root: str | os.PathLike[str],
    group: Group,
    session: str,
    audio: npt.NDArray[np.floating],
    sample_rate: int,
    utterances: Iterable[Utterance],
    subfolder: str = "",
) -> Path:
    """Write one session (16-bit wav and transcript) into its group's folder below `root`; return the wav's path.

    audio: (samples,) or (samples, channels), in -1..1; `subfolder`: the extra folder level of the train layout.
    """
    import soundfile

    folder = Path(root, group.folder, subfolder)
    audio_path = folder / f"{session}.wav"
    with atomic_path(audio_path) as temporary:
        soundfile.write(temporary, audio, sample_rate, subtype="PCM_16", format="WAV")
    write_transcript(folder / f"{session}.txt", utterances)
    return audio_path


def _walk(folder: Path, above: frozenset[str], faults: list[Fault]) -> Iterator[tuple[Path, list[str]]]:
    """Each folder with the names of its files, sorted; links to a parent folder are not followed."""
    above = above | {os.path.realpath(folder)}
    try:
        entries = sorted((e for e in os.scandir(folder) if not e.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        faults.append(Fault(str(folder), None, FaultKind.UNREADABLE_FOLDER, "folder", f"cannot be listed: {error}."))
        return
    yield folder, [entry.name for entry in entries if entry.is_file()]
    for entry in entries:
        if entry.is_dir() and os.path.realpath(entry.path) not in above:
            yield from _walk(folder / entry.name, above, faults)


def _sessions_of_folder(names: list[str]) -> dict[str, list[str]]:
    """Audio and transcript file names by session; other files are not part of the layout.

    Names that differ only in case, or in the encoding of an accent, belong to one session: some file systems, and later
    steps that look for a name, do not distinguish them.
    """
    sessions: dict[str, list[str]] = {}
    for name in names:
        if _is_audio(name) or name.lower().endswith(".txt"):
            sessions.setdefault(same_name(Path(name).stem), []).append(name)
    return {
        min((Path(f).stem for f in files if _is_audio(f)), default=Path(files[0]).stem): files
        for files in sessions.values()
    }


def same_name(name: str) -> str:
    """A key that is equal for names that differ only in case or in the encoding of an accent.

    >>> same_name("Caf\u00e9") == same_name("CAFE\u0301")
    True
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _is_audio(name: str) -> bool:
    return name.lower().endswith(AUDIO_SUFFIXES)


def _group_of(parts: tuple[str, ...], languages: dict[str, Group]) -> Group | None:
    """The group whose folder begins the path `parts`; the deepest, if one group's folder contains another's."""
    holding = [g for g in languages.values() if parts[: len(folder := tuple(g.folder.split("/")))] == folder]
    return max(holding, key=lambda group: len(group.folder), default=None)


def _unknown_part(parts: tuple[str, ...], languages: dict[str, Group]) -> tuple[str, ...]:
    """The path down to the first folder that leads to no group, so that one fault covers everything below it."""
    folders = [tuple(group.folder.split("/")) for group in languages.values()]
    for depth in range(1, len(parts) + 1):
        if not any(folder[:depth] == parts[:depth] for folder in folders):
            return parts[:depth]
    return parts


def _unknown(folder: Path, count: int, languages: dict[str, Group]) -> Fault:
    known = ", ".join(group.folder for group in languages.values())
    message = f"contains {count} session(s) but is not a group's folder; expected one of {known}. Move or rename it, \
or add the group to the languages table."
    return Fault(str(folder), None, FaultKind.UNKNOWN_GROUP, "folder", message)


def _misplaced(folder: Path, group: Group, found: dict[str, list[str]]) -> list[Fault]:
    if not found:
        return []
    message = f"contains {len(found)} session(s) too deep; expected them in {group.folder} or one level below it."
    return [Fault(str(folder), None, FaultKind.MISPLACED_SESSION, "folder", message)]


def _session(group: Group, folder: Path, name: str, files: list[str], faults: list[Fault]) -> Session:
    """The session of these files; their faults are added to `faults`."""
    audio = [folder / file for file in files if _is_audio(file)]
    transcript = [folder / file for file in files if not _is_audio(file)]
    first = str((audio or transcript)[0])
    if any("\ud800" <= character <= "\udfff" for character in name):  # how Python represents such bytes
        message = "has bytes in its name that are not UTF-8, so it cannot have ids; rename the session."
        first = os.fsencode(first).decode(errors="backslashreplace")
        faults.append(Fault(first, None, FaultKind.SESSION_NAME, "session", message))
        return Session(group, Path(first).stem, None, None, sound=False)  # no audio library can open it
    problems = []
    if not audio:
        message = f"has no audio; expected {name}.wav next to it. Add it, or remove the transcript."
        problems.append((FaultKind.MISSING_AUDIO, first, message))
    if not transcript:
        message = f"has no transcript; expected {name}.txt next to it. Add it, or remove the audio."
        problems.append((FaultKind.MISSING_TRANSCRIPT, first, message))
    for what, found in (("recordings", audio), ("transcripts", transcript)):
        if len(found) > 1:
            message = f"is one of {len(found)} {what} of one session ({', '.join(p.name for p in found)}); keep one."
            problems.append((FaultKind.DUPLICATE_SESSION, str(found[0]), message))
    faults += [Fault(at, None, kind, "session", message) for kind, at, message in problems]
    return Session(group, name, next(iter(audio), None), next(iter(transcript), None), sound=not problems)


def _untranscribed(sessions: list[Session], faults: list[Fault]) -> tuple[list[Session], list[Fault]]:
    """Sessions and faults of a corpus that has no transcript: that one lacks it is no fault."""
    faults = [fault for fault in faults if fault.kind is not FaultKind.MISSING_TRANSCRIPT]
    faulty = {fault.path for fault in faults}
    return [replace(one, sound=one.audio is not None and str(one.audio) not in faulty) for one in sessions], faults


def _mark_duplicates(sessions: list[Session], faults: list[Fault]) -> list[Session]:
    """The sessions; of several with the same Track 2 name, all but the first are marked as not sound.

    Names that differ only in case count as the same (see `same_name`).
    """
    first: dict[str, Session] = {}
    for session in sessions:
        if (other := first.setdefault(same_name(session.recording), session)) is not session:
            path, original = session.audio or session.transcript, other.audio or other.transcript
            but = "" if session.recording == other.recording else f" (except for case: {other.recording})"
            message = f"is a second session named {session.recording}{but}; the first is {original}. Rename one."
            faults.append(Fault(str(path), None, FaultKind.DUPLICATE_SESSION, "session", message))
    return [s if first[same_name(s.recording)] is s else replace(s, sound=False) for s in sessions]
