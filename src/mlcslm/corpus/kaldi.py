"""Kaldi data folders: wav.scp, segments, text, utt2spk, spk2utt, utt2lang; reading and writing.

https://kaldi-asr.org/doc/data_prep.html. Commands in a wav.scp are never run.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlcslm.corpus.external import ExternalCorpus, ExternalSegment, Location, resolve_audio, speaker_name
from mlcslm.corpus.faults import FaultKind
from mlcslm.corpus.notices import code_points
from mlcslm.corpus.transcripts import decode_lines, parse_seconds
from mlcslm.errors import FaultyInput, UserError
from mlcslm.io.files import atomic_folder
from mlcslm.io.places import check_output_folder
from mlcslm.io.reading import read_input

KIND = "Kaldi data folder"
_FILES = ("wav.scp", "segments", "text", "utt2spk", "utt2lang")
_DECODER = ("flac", "-c", "-d", "-s")
# Kaldi's own scripts split only at these: a no-break space is part of a word.
_WHITE = re.compile("[ \t]+")
# What Kaldi's validate_data_dir.sh rejects in `text`, with `grep -w`.
_ILLEGAL = re.compile(r"(?<!\w)(?:<s>|</s>|#0)(?!\w)", re.ASCII)
# Kaldi reads wav files; anything else has to be the output of a command.
_COMMAND = " ".join(_DECODER)

Lines = dict[str, tuple[int, str]]


def is_kaldi_folder(root: Path) -> bool:
    """Whether `root` is a Kaldi data folder."""
    return any((root / name).is_file() for name in ("wav.scp", "wav.scp.gz"))


def read_kaldi_folder(root: Path) -> ExternalCorpus:
    """Recordings and segments of a data folder, with the faults of its lines. Raises UserError without utt2spk.

    Without `segments` each recording is an utterance; without `text` none has a transcript. Lines of `text` and
    `utt2lang` for unknown utterances are skipped, as in Kaldi's own scripts.
    """
    for name in _FILES:
        if (root / f"{name}.gz").is_file() and not (root / name).is_file():
            raise UserError(f"{root / name}.gz: is gzipped, but Kaldi's own files are plain. Unpack it (gunzip).")
    corpus = ExternalCorpus()
    for name, (line, value) in _read(root / "wav.scp", corpus).items():
        location = Location(str(root / "wav.scp"), line)
        audio = _audio_of(value)
        if audio is None:
            message = (
                f"found the command {value!r}; commands are not run. Expected a wav or flac file: list its output."
            )
            corpus.skip_recording(name, location, FaultKind.AUDIO_SOURCE, message)
            continue
        corpus.add_recording(name, resolve_audio(audio, root), location)
    if not (root / "utt2spk").is_file():
        raise UserError(f"{root / 'utt2spk'}: no such file. Kaldi requires it, with `<utterance> <speaker>` per line.")
    speakers, languages = _read(root / "utt2spk", corpus), _read(root / "utt2lang", corpus)
    texts = _read(root / "text", corpus) if (root / "text").is_file() else None
    for name, recording, start, end, location in _segments(root, corpus):
        if name not in speakers:
            corpus.faults.append(
                location.fault(FaultKind.SPEAKER, f"utterance {name} has no line in utt2spk; add one.")
            )
        elif len(words := _WHITE.split(speakers[name][1])) != 1 or not words[0]:
            message = f"found {len(words) + bool(words[0])} fields, expected 2: utterance, speaker."
            at = Location(str(root / "utt2spk"), speakers[name][0])
            corpus.faults.append(at.fault(FaultKind.COLUMN_COUNT, message))
        elif texts is not None and name not in texts:
            message = f"utterance {name} has no line in text; add one, or remove the file `text`."
            corpus.faults.append(location.fault(FaultKind.MISSING_TRANSCRIPT, message))
        else:
            text = texts[name][1] if texts is not None else None
            language = languages[name][1] if name in languages else None
            speaker = speakers[name][1]
            corpus.segments.append(ExternalSegment(name, recording, speaker, start, end, text, language, location))
    return corpus


def write_kaldi_folder(
    rows: Iterable[Mapping[str, Any]], folder: Path, *, force: bool = False, inputs: Iterable[Path] = ()
) -> list[str]:
    """Write manifest rows as a data folder that Kaldi's validate_data_dir.sh accepts, completely or not at all.

    Files are sorted by bytes, times written in full precision. Speakers are named by `speaker_name`, groups are in
    utt2lang, audio paths are absolute. If no utterance has a transcript there is no `text`; if some have none, their
    lines are empty. Returns one line per kind of change to the texts. Raises UserError for ids with white space, and as
    `check_output_folder` does, to which `force` and `inputs` are passed.
    """
    rows = list(rows)
    inputs = [*inputs, *{Path(row["audio"]) for row in rows}]
    check_output_folder(folder, KIND, force=force, inputs=inputs)
    _check_ids(rows)
    utterances: dict[str, dict[str, str]] = {name: {} for name in ("segments", "text", "utt2spk", "utt2lang")}
    recordings: dict[str, str] = {}
    spoken: dict[str, list[str]] = {}
    changes = _Changes()
    with_text = any(row["text"] is not None for row in rows)
    for row in rows:
        name, speaker = row["utterance_id"], speaker_name(row)
        recordings[row["session_id"]] = _source(Path(row["audio"]))
        spoken.setdefault(speaker, []).append(name)
        utterances["segments"][name] = f"{row['session_id']} {row['start']!r} {row['end']!r}"
        utterances["utt2spk"][name] = speaker
        utterances["utt2lang"][name] = row["grp"]
        if with_text:
            utterances["text"][name] = changes.accepted(name, row["text"])
    with atomic_folder(folder, KIND, force=force, inputs=inputs) as temporary:
        _write(temporary / "wav.scp", recordings)
        _write(temporary / "spk2utt", {speaker: " ".join(sorted(names, key=_key)) for speaker, names in spoken.items()})
        for file, lines in utterances.items():
            if lines:
                _write(temporary / file, lines)
    by_id = sorted(utterances["utt2spk"].items(), key=lambda item: _key(item[0]))
    return [*changes.describe(), *_unsorted_speakers(by_id)]


def _segments(root: Path, corpus: ExternalCorpus) -> Iterator[tuple[str, str, float, float | None, Location]]:
    path = root / "segments"
    if not path.is_file():
        for recording in corpus.recordings.values():
            yield recording.name, recording.name, 0.0, None, recording.location
        return
    for name, (line, value) in _read(path, corpus).items():
        location, fields = Location(str(path), line), _WHITE.split(value)
        if len(fields) != 3:
            message = f"found {len(fields) + 1} fields, expected 4: utterance, recording, start, end."
            corpus.faults.append(location.fault(FaultKind.COLUMN_COUNT, message))
            continue
        start, end = parse_seconds(fields[1]), parse_seconds(fields[2])
        for what, found, time in zip(("start", "end"), fields[1:], (start, end), strict=True):
            if time is None:
                message = f"the {what} is {found!r}, expected a time in seconds."
                corpus.faults.append(location.fault(FaultKind.TIME, message))
        if start is not None and end is not None:
            # -1 is Kaldi's notation for the end of the recording.
            yield name, fields[0], start, None if end == -1 else end, location


def _read(path: Path, corpus: ExternalCorpus) -> Lines:
    """Line number and rest of the line by its first word; faults are added to `corpus`. Empty without the file."""
    lines: Lines = {}
    if not path.is_file():
        return lines
    decoded, faults = decode_lines(str(path), read_input(path, "a file of a Kaldi data folder"))
    corpus.faults += faults
    for number, line in decoded:
        fields = _WHITE.split(line.strip(" \t"), maxsplit=1)
        if fields[0] in lines:
            message = f"{fields[0]} is already on line {lines[fields[0]][0]}; remove one."
            corpus.faults.append(Location(str(path), number).fault(FaultKind.DUPLICATE_ID, message))
            continue
        lines[fields[0]] = number, fields[1] if len(fields) > 1 else ""
    return lines


def _audio_of(value: str) -> Path | None:
    """The file named by an entry of wav.scp, also through flac's decoder; None for any other command."""
    if not value.endswith("|"):
        return Path(value)
    try:
        words = shlex.split(value.removesuffix("|"))
    except ValueError:
        return None
    is_decoder = words[:1] == [_DECODER[0]] and set(words[1:-1]) <= {*_DECODER[1:], "-cd", "-dc", "-cds", "--silent"}
    return Path(words[-1]) if is_decoder and len(words) > 2 else None


def _source(audio: Path) -> str:
    path = audio if audio.is_absolute() else Path.cwd() / audio
    if any(character in str(path) for character in "\n\r") or str(path).endswith("|"):
        raise UserError(f"{path!s:.200}: cannot write its name to wav.scp; rename the file.")
    return f"{_COMMAND} {shlex.quote(str(path))} |" if path.suffix.lower() == ".flac" else str(path)


def _check_ids(rows: Iterable[Mapping[str, Any]]) -> None:
    names = dict.fromkeys(str(row[key]) for row in rows for key in ("utterance_id", "session_id", "speaker"))
    if faulty := [f"{name!r}" for name in names if not name or any(c.isspace() for c in name)]:
        raise FaultyInput("Kaldi files cannot hold names that are empty or contain white space; rename:", faulty[:20])


class _Changes:
    """Makes texts acceptable to Kaldi's check, and records what was changed in which of them."""

    def __init__(self) -> None:
        self._characters: Counter[str] = Counter()
        self._names: dict[str, list[str]] = {}

    def accepted(self, name: str, text: str | None) -> str:
        """The text of utterance `name` with only plain spaces, none at its ends, and without Kaldi's own symbols."""
        if text is None:
            self._note("no transcript: its line is empty", name)
            return ""
        if white := [c for c in text if c.isspace() and c != " "]:
            self._characters.update(white)
            self._note("other white space became spaces", name)
            text = "".join(" " if c.isspace() else c for c in text)
        if text != (inner := text.strip(" ")):
            self._note("leading or trailing spaces were dropped", name)
        if inner != (legal := _ILLEGAL.sub(lambda found: found[0].strip("<>#"), inner)):
            self._note("Kaldi's own symbols <s>, </s> and #0 became s, /s and 0", name)
        return legal

    def describe(self) -> list[str]:
        """One line per kind of change: what, how often, and the first utterances."""
        lines = []
        for what, names in self._names.items():
            found = ""
            if what.startswith("other white space"):
                found = f" ({code_points(self._characters)})"
            some = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
            lines.append(f"{len(names):,} {'text' if len(names) == 1 else 'texts'} changed: {what}{found}: {some}")
        return lines

    def _note(self, what: str, name: str) -> None:
        self._names.setdefault(what, []).append(name)


def _unsorted_speakers(by_id: Sequence[tuple[str, str]]) -> list[str]:
    """Kaldi requires utterances sorted by id to be sorted by speaker as well, unless given --no-spk-sort."""
    if by_id == sorted(by_id, key=lambda item: _key(f"{item[1]} {item[0]}")):
        return []
    return ["utterance ids do not begin with their speakers: run validate_data_dir.sh with --no-spk-sort"]


def _write(path: Path, lines: Mapping[str, str]) -> None:
    content = "".join(f"{name} {lines[name]}\n" for name in sorted(lines, key=_key))
    path.write_bytes(content.encode("utf-8"))


def _key(name: str) -> bytes:
    """Sorted by bytes, as LC_ALL=C sorts."""
    return name.encode("utf-8")
