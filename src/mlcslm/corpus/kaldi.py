"""Kaldi data folders: wav.scp, segments, text, utt2spk, spk2utt, utt2lang; reading and writing.

https://kaldi-asr.org/doc/data_prep.html. Nothing that a wav.scp asks to run is ever run.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mlcslm.corpus.faults import FaultKind
from mlcslm.corpus.foreign import ForeignCorpus, ForeignSegment, Place, check_folder, speaker_name
from mlcslm.errors import FaultyInput, UserError
from mlcslm.io.files import atomic_path

FILES = ("wav.scp", "segments", "text", "utt2spk", "spk2utt", "utt2lang")
_DECODER = ("flac", "-c", "-d", "-s")
# Kaldi reads wav files, and of anything else what a command prints.
_COMMAND = " ".join(_DECODER)

Lines = dict[str, tuple[int, str]]


def is_kaldi_folder(root: Path) -> bool:
    """Whether `root` is a Kaldi data folder."""
    return (root / "wav.scp").is_file()


def read_kaldi_folder(root: Path) -> ForeignCorpus:
    """Recordings and segments of a data folder, with the faults of its lines. Raises UserError without utt2spk.

    Without `segments` each recording is an utterance; without `text` none has a transcript. Lines of `text` and
    `utt2lang` for utterances that are not there are passed over, as Kaldi's own scripts do.
    """
    corpus = ForeignCorpus()
    for name, (line, value) in _read(root / "wav.scp", corpus).items():
        place = Place(str(root / "wav.scp"), line)
        audio = _audio_of(value)
        if audio is None:
            message = f"found the command {value!r}, which is not run; expected a wav or flac file. Name its output."
            corpus.faults.append(place.fault(FaultKind.AUDIO_SOURCE, message))
            continue
        beside = root / audio
        corpus.add_recording(name, beside if not audio.exists() and beside.exists() else audio, place)
    if not (root / "utt2spk").is_file():
        raise UserError(f"{root / 'utt2spk'}: no such file. Expected `<utterance> <speaker>` a line, as Kaldi does.")
    speakers, languages = _read(root / "utt2spk", corpus), _read(root / "utt2lang", corpus)
    texts = _read(root / "text", corpus) if (root / "text").is_file() else None
    for name, recording, start, end, place in _segments(root, corpus):
        if name not in speakers:
            corpus.faults.append(place.fault(FaultKind.SPEAKER, f"utterance {name} has no line in utt2spk; add one."))
        elif texts is not None and name not in texts:
            message = f"utterance {name} has no line in text; add one, or remove the file text."
            corpus.faults.append(place.fault(FaultKind.MISSING_TRANSCRIPT, message))
        else:
            text = texts[name][1] if texts is not None else None
            language = languages[name][1] if name in languages else None
            speaker = speakers[name][1]
            corpus.segments.append(ForeignSegment(name, recording, speaker, start, end, text, language, place))
    return corpus


def write_kaldi_folder(rows: Iterable[Mapping[str, Any]], folder: Path) -> None:
    """Write manifest rows as a data folder, whole or not at all; sorted by bytes, as Kaldi wants it.

    Times are written in full. Speakers are named as `speaker_name` does, groups are in utt2lang, audio paths absolute.
    `text` has no line for utterances without a transcript, and is not there where none has one. Raises UserError for
    ids with white space in them, and for a folder with other files.
    """
    check_folder(folder, FILES)
    rows = list(rows)
    _check_ids(rows)
    utterances: dict[str, dict[str, str]] = {name: {} for name in ("segments", "text", "utt2spk", "utt2lang")}
    recordings, spoken = {}, {}
    for row in rows:
        name, speaker = row["utterance_id"], speaker_name(row)
        recordings[row["session_id"]] = _source(Path(row["audio"]))
        spoken.setdefault(speaker, []).append(name)
        utterances["segments"][name] = f"{row['session_id']} {row['start']!r} {row['end']!r}"
        utterances["utt2spk"][name] = speaker
        utterances["utt2lang"][name] = row["grp"]
        if row["text"] is not None:
            utterances["text"][name] = _one_line(row["text"])
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        _write(temporary / "wav.scp", recordings)
        _write(temporary / "spk2utt", {speaker: " ".join(sorted(names, key=_key)) for speaker, names in spoken.items()})
        for file, lines in utterances.items():
            if lines:
                _write(temporary / file, lines)


def _segments(root: Path, corpus: ForeignCorpus) -> Iterator[tuple[str, str, float, float | None, Place]]:
    path = root / "segments"
    if not path.is_file():
        for recording in corpus.recordings.values():
            yield recording.name, recording.name, 0.0, None, recording.place
        return
    for name, (line, value) in _read(path, corpus).items():
        place, fields = Place(str(path), line), value.split()
        if len(fields) != 3:
            message = f"found {len(fields) + 1} fields, expected 4: utterance, recording, start, end."
            corpus.faults.append(place.fault(FaultKind.COLUMN_COUNT, message))
            continue
        times = [_seconds(field) for field in fields[1:]]
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
    for number, raw in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        place = Place(str(path), number)
        try:
            fields = raw.decode("utf-8").strip().split(maxsplit=1)
        except UnicodeDecodeError as error:
            message = f"byte {error.start + 1} is {raw[error.start]:#04x}, not UTF-8; save the file as UTF-8."
            corpus.faults.append(place.fault(FaultKind.ENCODING, message))
            continue
        if not fields:
            continue
        if fields[0] in lines:
            message = f"{fields[0]} is already on line {lines[fields[0]][0]}; remove one."
            corpus.faults.append(place.fault(FaultKind.DUPLICATE_ID, message))
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


def _one_line(text: str) -> str:
    return " ".join(text.splitlines()).strip()


def _write(path: Path, lines: Mapping[str, str]) -> None:
    content = "".join(f"{name} {lines[name]}\n" for name in sorted(lines, key=_key))
    path.write_bytes(content.encode("utf-8"))


def _key(name: str) -> bytes:
    """Sorted by bytes, as LC_ALL=C sorts."""
    return name.encode("utf-8")


def _seconds(field: str) -> float | None:
    try:
        time = float(field)
    except ValueError:
        return None
    return time if math.isfinite(time) and "_" not in field else None
