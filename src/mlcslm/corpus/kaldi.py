"""Kaldi data folders: wav.scp, segments, text, utt2spk, spk2utt, utt2lang; reading and writing.

https://kaldi-asr.org/doc/data_prep.html. Nothing that a wav.scp asks to run is ever run.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlcslm.corpus.faults import FaultKind
from mlcslm.corpus.foreign import ForeignCorpus, ForeignSegment, Place, located, speaker_name
from mlcslm.corpus.notices import code_points
from mlcslm.corpus.transcripts import decode_lines, parse_seconds
from mlcslm.errors import FaultyInput, UserError
from mlcslm.io.files import atomic_folder
from mlcslm.io.places import check_output_folder
from mlcslm.io.reading import read_input

KIND = "Kaldi data folder"
_FILES = ("wav.scp", "segments", "text", "utt2spk", "utt2lang")
_DECODER = ("flac", "-c", "-d", "-s")
# Kaldi's own scripts separate at these alone: a no-break space is part of a word.
_WHITE = re.compile("[ \t]+")
# What Kaldi's validate_data_dir.sh refuses in `text`, by `grep -w`.
_ILLEGAL = re.compile(r"(?<!\w)(?:<s>|</s>|#0)(?!\w)", re.ASCII)
# Kaldi reads wav files, and of anything else what a command prints.
_COMMAND = " ".join(_DECODER)

Lines = dict[str, tuple[int, str]]


def is_kaldi_folder(root: Path) -> bool:
    """Whether `root` is a Kaldi data folder."""
    return any((root / name).is_file() for name in ("wav.scp", "wav.scp.gz"))


def read_kaldi_folder(root: Path) -> ForeignCorpus:
    """Recordings and segments of a data folder, with the faults of its lines. Raises UserError without utt2spk.

    Without `segments` each recording is an utterance; without `text` none has a transcript. Lines of `text` and
    `utt2lang` for utterances that are not there are passed over, as Kaldi's own scripts do.
    """
    for name in _FILES:
        if (root / f"{name}.gz").is_file() and not (root / name).is_file():
            raise UserError(f"{root / name}.gz: is gzipped, and Kaldi's own files are plain. Unpack it (gunzip).")
    corpus = ForeignCorpus()
    for name, (line, value) in _read(root / "wav.scp", corpus).items():
        place = Place(str(root / "wav.scp"), line)
        audio = _audio_of(value)
        if audio is None:
            message = f"found the command {value!r}, which is not run; expected a wav or flac file. Name its output."
            corpus.leave_out_recording(name, place, FaultKind.AUDIO_SOURCE, message)
            continue
        corpus.add_recording(name, located(audio, root), place)
    if not (root / "utt2spk").is_file():
        raise UserError(f"{root / 'utt2spk'}: no such file. Expected `<utterance> <speaker>` a line, as Kaldi does.")
    speakers, languages = _read(root / "utt2spk", corpus), _read(root / "utt2lang", corpus)
    texts = _read(root / "text", corpus) if (root / "text").is_file() else None
    for name, recording, start, end, place in _segments(root, corpus):
        if name not in speakers:
            corpus.faults.append(place.fault(FaultKind.SPEAKER, f"utterance {name} has no line in utt2spk; add one."))
        elif len(words := _WHITE.split(speakers[name][1])) != 1 or not words[0]:
            message = f"found {len(words) + bool(words[0])} fields, expected 2: utterance, speaker."
            at = Place(str(root / "utt2spk"), speakers[name][0])
            corpus.faults.append(at.fault(FaultKind.COLUMN_COUNT, message))
        elif texts is not None and name not in texts:
            message = f"utterance {name} has no line in text; add one, or remove the file text."
            corpus.faults.append(place.fault(FaultKind.MISSING_TRANSCRIPT, message))
        else:
            text = texts[name][1] if texts is not None else None
            language = languages[name][1] if name in languages else None
            speaker = speakers[name][1]
            corpus.segments.append(ForeignSegment(name, recording, speaker, start, end, text, language, place))
    return corpus


def write_kaldi_folder(
    rows: Iterable[Mapping[str, Any]], folder: Path, *, force: bool = False, inputs: Iterable[Path] = ()
) -> list[str]:
    """Write manifest rows as a data folder, whole or not at all, such that Kaldi's validate_data_dir.sh accepts it.

    Files are sorted by bytes, times written in full. Speakers are named as `speaker_name` does, groups are in utt2lang,
    audio paths absolute. Where no utterance has a transcript there is no `text`; where some have none, their lines are
    empty. Returns what was changed of the texts, a line for each kind of change. Raises UserError for ids with white
    space in them, and as `check_output_folder` does, which takes `force` and `inputs`.
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
    return [*changes.described(), *_unsorted_speakers(by_id)]


def _segments(root: Path, corpus: ForeignCorpus) -> Iterator[tuple[str, str, float, float | None, Place]]:
    path = root / "segments"
    if not path.is_file():
        for recording in corpus.recordings.values():
            yield recording.name, recording.name, 0.0, None, recording.place
        return
    for name, (line, value) in _read(path, corpus).items():
        place, fields = Place(str(path), line), _WHITE.split(value)
        if len(fields) != 3:
            message = f"found {len(fields) + 1} fields, expected 4: utterance, recording, start, end."
            corpus.faults.append(place.fault(FaultKind.COLUMN_COUNT, message))
            continue
        times = [parse_seconds(field) for field in fields[1:]]
        for what, found, time in zip(("start", "end"), fields[1:], times, strict=True):
            if time is None:
                message = f"the {what} is {found!r}, expected a time in seconds."
                corpus.faults.append(place.fault(FaultKind.TIME, message))
        if None not in times:
            # Kaldi's own mark for "up to the recording's end" is -1.
            yield name, fields[0], times[0], None if times[1] == -1 else times[1], place  # type: ignore[misc]


def _read(path: Path, corpus: ForeignCorpus) -> Lines:
    """Line number and rest of the line by the line's first word; faults go to `corpus`. Empty without the file."""
    lines: Lines = {}
    if not path.is_file():
        return lines
    decoded, faults = decode_lines(str(path), read_input(path, "a file of a Kaldi data folder"))
    corpus.faults += faults
    for number, line in decoded:
        fields = _WHITE.split(line.strip(" \t"), maxsplit=1)
        if fields[0] in lines:
            message = f"{fields[0]} is already on line {lines[fields[0]][0]}; remove one."
            corpus.faults.append(Place(str(path), number).fault(FaultKind.DUPLICATE_ID, message))
            continue
        lines[fields[0]] = number, fields[1] if len(fields) > 1 else ""
    return lines


def _audio_of(value: str) -> Path | None:
    """The file that an entry of wav.scp names, also through flac's decoder; None for any other command."""
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
        raise UserError(f"{path!s:.200}: its name cannot be written to wav.scp; rename the file.")
    return f"{_COMMAND} {shlex.quote(str(path))} |" if path.suffix.lower() == ".flac" else str(path)


def _check_ids(rows: Iterable[Mapping[str, Any]]) -> None:
    names = dict.fromkeys(str(row[key]) for row in rows for key in ("utterance_id", "session_id", "speaker"))
    if faulty := [f"{name!r}" for name in names if not name or any(c.isspace() for c in name)]:
        raise FaultyInput("Kaldi files have no place for names with white space in them; rename:", faulty[:20])


class _Changes:
    """Texts as Kaldi's check accepts them, and what was done to which of them."""

    def __init__(self) -> None:
        self._characters: Counter[str] = Counter()
        self._names: dict[str, list[str]] = {}

    def accepted(self, name: str, text: str | None) -> str:
        """The text of utterance `name` with plain spaces alone, none at its ends, and without Kaldi's own symbols."""
        if text is None:
            self._note("no transcript: its line is empty", name)
            return ""
        if white := [c for c in text if c.isspace() and c != " "]:
            self._characters.update(white)
            self._note("white space other than a space became one", name)
            text = "".join(" " if c.isspace() else c for c in text)
        if text != (inner := text.strip(" ")):
            self._note("spaces at the beginning or the end were dropped", name)
        if inner != (legal := _ILLEGAL.sub(lambda found: found[0].strip("<>#"), inner)):
            self._note("<s>, </s> and #0, which are Kaldi's own, became s, /s and 0", name)
        return legal

    def described(self) -> list[str]:
        """A line for each kind of change: what, how often, and the first utterances."""
        lines = []
        for what, names in self._names.items():
            found = ""
            if what.startswith("white"):
                found = f" ({code_points(self._characters)})"
            some = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
            lines.append(f"{len(names):,} {'text' if len(names) == 1 else 'texts'} changed: {what}{found}: {some}")
        return lines

    def _note(self, what: str, name: str) -> None:
        self._names.setdefault(what, []).append(name)


def _unsorted_speakers(by_id: Sequence[tuple[str, str]]) -> list[str]:
    """Kaldi wants utterances that are sorted by id to be sorted by speaker, too, or --no-spk-sort."""
    if by_id == sorted(by_id, key=lambda item: _key(f"{item[1]} {item[0]}")):
        return []
    return ["speakers are not what utterance ids begin with: give validate_data_dir.sh --no-spk-sort"]


def _write(path: Path, lines: Mapping[str, str]) -> None:
    content = "".join(f"{name} {lines[name]}\n" for name in sorted(lines, key=_key))
    path.write_bytes(content.encode("utf-8"))


def _key(name: str) -> bytes:
    """Sorted by bytes, as LC_ALL=C sorts."""
    return name.encode("utf-8")
