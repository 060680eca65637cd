"""Lhotse manifests: recordings and supervisions as JSON lines, plain or gzipped; reading and writing, without Lhotse.

https://lhotse.readthedocs.io/en/latest/corpus.html. Files are the only audio sources that are read: no command is run,
nothing is fetched.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mlcslm.corpus.audio import read_header
from mlcslm.corpus.faults import FaultKind
from mlcslm.corpus.foreign import ForeignCorpus, ForeignSegment, Place, check_folder, speaker_name
from mlcslm.errors import UserError
from mlcslm.io.files import atomic_path

FILES = ("recordings.jsonl.gz", "supervisions.jsonl.gz")


def is_lhotse_folder(root: Path) -> bool:
    """Whether `root` has Lhotse's recordings and supervisions."""
    return all(_files(root, kind) for kind in ("recordings", "supervisions"))


def read_lhotse_folder(root: Path) -> ForeignCorpus:
    """Recordings and segments of the manifests in `root`, with the faults of their lines.

    There has to be one `*recordings*.jsonl` and one `*supervisions*.jsonl`, or `.jsonl.gz`; raises UserError else. Of a
    recording of several channels all are averaged, whichever channel a supervision is of.
    """
    corpus = ForeignCorpus()
    for place, entry in _entries(_only(root, "recordings"), corpus, ("id", "sources")):
        audio = _audio_of(entry["sources"])
        if audio is None:
            message = "found sources that are not one file, which are not read; expected one of type `file`."
            corpus.faults.append(place.fault(FaultKind.AUDIO_SOURCE, message))
            continue
        beside = root / audio
        name = str(entry["id"])
        corpus.add_recording(name, beside if not audio.exists() and beside.exists() else audio, place)
    for place, entry in _entries(_only(root, "supervisions"), corpus, ("id", "recording_id", "start", "duration")):
        times = [_seconds(entry[key]) for key in ("start", "duration")]
        if None in times:
            message = f"start {entry['start']!r}, duration {entry['duration']!r}: expected times in seconds."
            corpus.faults.append(place.fault(FaultKind.TIME, message))
            continue
        custom = entry["custom"] if isinstance(entry.get("custom"), dict) else {}
        language = custom.get("group") or entry.get("language")
        corpus.segments.append(
            ForeignSegment(
                utterance_id=str(entry["id"]),
                recording=str(entry["recording_id"]),
                speaker=str(entry.get("speaker") or entry["recording_id"]),
                start=times[0],  # type: ignore[arg-type]
                end=_end(*times, custom.get("end")),  # type: ignore[arg-type]
                text=None if entry.get("text") is None else str(entry["text"]),
                language=None if language is None else str(language),
                place=place,
            )
        )
    return corpus


def write_lhotse_folder(rows: Iterable[Mapping[str, Any]], folder: Path, languages: Mapping[str, str]) -> None:
    """Write manifest rows as recordings and supervisions, whole or not at all.

    languages: ISO 639-1 code by group. The group is `custom["group"]`; `custom["end"]` is there where start + duration
    is another number in floating point. Speakers are named as `speaker_name` does, audio paths are absolute. Raises
    UserError for audio that cannot be read, and for a folder with other files.
    """
    check_folder(folder, FILES)
    rows = list(rows)
    audio = {row["session_id"]: Path.cwd() / row["audio"] for row in rows}
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        _write(temporary / FILES[0], (_recording(name, path) for name, path in audio.items()))
        _write(temporary / FILES[1], (_supervision(row, languages) for row in rows))


def _recording(name: str, audio: Path) -> dict[str, Any]:
    header = read_header(audio)
    channels = list(range(header.channels))
    return {
        "id": name,
        "sources": [{"type": "file", "channels": channels, "source": str(audio)}],
        "sampling_rate": header.sample_rate,
        "num_samples": header.frames,
        "duration": header.duration,
        "channel_ids": channels,
    }


def _supervision(row: Mapping[str, Any], languages: Mapping[str, str]) -> dict[str, Any]:
    duration = row["end"] - row["start"]
    return {
        "id": row["utterance_id"],
        "recording_id": row["session_id"],
        "start": row["start"],
        "duration": duration,
        "channel": 0,
        **({} if row["text"] is None else {"text": row["text"]}),
        "language": languages[row["grp"]],
        "speaker": speaker_name(row),
        "custom": {"group": row["grp"], **({} if row["start"] + duration == row["end"] else {"end": row["end"]})},
    }


def _write(path: Path, entries: Iterable[Mapping[str, Any]]) -> None:
    """Gzipped JSON lines; without the time, so that the same entries give the same bytes."""
    with path.open("wb") as file, gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as packed:
        for entry in entries:
            packed.write(json.dumps(entry, ensure_ascii=False).encode("utf-8") + b"\n")


def _files(root: Path, kind: str) -> list[Path]:
    return sorted(path for end in ("jsonl", "jsonl.gz") for path in root.glob(f"*{kind}*.{end}"))


def _only(root: Path, kind: str) -> Path:
    files = _files(root, kind)
    if len(files) != 1:
        found = ", ".join(path.name for path in files) or "none"
        raise UserError(f"{root}: found {found}, expected one file of {kind}: a folder for each split.")
    return files[0]


def _entries(path: Path, corpus: ForeignCorpus, keys: Iterable[str]) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Entries that have the `keys`, with their lines."""
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error}). Copy the file again.") from None
    for number, line in enumerate(io.BytesIO(content), start=1):
        if not line.strip():
            continue
        place = Place(str(path), number)
        try:
            entry = json.loads(line)
        except ValueError as error:
            corpus.faults.append(place.fault(FaultKind.ENCODING, f"is no JSON ({error}); expected an object a line."))
            continue
        missing = [key for key in keys if key not in entry] if isinstance(entry, dict) else list(keys)
        if missing:
            message = f"lacks {', '.join(missing)}; expected an entry of Lhotse's."
            corpus.faults.append(place.fault(FaultKind.COLUMN_COUNT, message))
            continue
        yield place, entry


def _audio_of(sources: Any) -> Path | None:
    """The file of a recording that has one; None for commands, addresses, and several files."""
    if not isinstance(sources, list) or len(sources) != 1 or not isinstance(sources[0], dict):
        return None
    source = sources[0]
    return Path(source["source"]) if source.get("type") == "file" and isinstance(source.get("source"), str) else None


def _end(start: float, duration: float, end: Any) -> float:
    """The end in full, where it is given and no other than `start` and `duration` tell."""
    same = isinstance(end, float) and math.isclose(end, start + duration, abs_tol=1e-6)
    return end if same else start + duration


def _seconds(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
