"""Lhotse manifests: recordings and supervisions as JSON lines, plain or gzipped; reading and writing, without Lhotse.

https://lhotse.readthedocs.io/en/latest/corpus.html. Files are the only audio sources that are read: no command is run,
nothing is fetched.
"""

from __future__ import annotations

import gzip
import json
import math
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mlcslm.corpus.audio import read_header
from mlcslm.corpus.faults import FaultKind
from mlcslm.corpus.foreign import ForeignCorpus, ForeignSegment, Place, located, speaker_name
from mlcslm.corpus.transcripts import LONGEST_TIME
from mlcslm.errors import UserError
from mlcslm.io.files import atomic_folder

KIND = "folder of Lhotse manifests"
FILES = ("recordings.jsonl.gz", "supervisions.jsonl.gz")
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


def is_lhotse_folder(root: Path) -> bool:
    """Whether `root` has manifests of Lhotse's: recordings, supervisions or cuts."""
    return any(_files(root, kind) for kind in ("recordings", "supervisions", "cuts"))


def read_lhotse_folder(root: Path) -> ForeignCorpus:
    """Recordings and segments of the manifests in `root`, with the faults of their lines.

    There has to be one `*recordings*.jsonl` and one `*supervisions*.jsonl`, or `.jsonl.gz`; raises UserError else. Of a
    recording of several channels all are averaged, whichever channel a supervision is of.
    """
    if (cuts := _files(root, "cuts")) and not (_files(root, "recordings") and _files(root, "supervisions")):
        raise UserError(
            f"{cuts[0]}: found Lhotse cuts, expected recordings and supervisions. Make them: "
            f"`lhotse cut decompose {cuts[0].name} FOLDER`."
        )
    corpus = ForeignCorpus()
    for place, entry in _entries(_only(root, "recordings"), corpus, ("id", "sources")):
        audio, name = _audio_of(entry["sources"]), str(entry["id"])
        if audio is None:
            message = "found sources that are not one file, which are not read; expected one of type `file`."
            corpus.leave_out_recording(name, place, FaultKind.AUDIO_SOURCE, message)
            continue
        if entry.get("transforms"):
            message = (
                f"recording {name} is transformed ({_transforms(entry['transforms'])}), so its times are not those of "
                f"{audio}; expected recordings as they are on disk. Save the transformed audio, or take the original."
            )
            corpus.leave_out_recording(name, place, FaultKind.TRANSFORMED_AUDIO, message)
            continue
        found = located(audio, root)
        corpus.add_recording(name, found, place, _seconds(entry.get("sampling_rate")), _declared_seconds(entry))
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


def write_lhotse_folder(
    rows: Iterable[Mapping[str, Any]],
    folder: Path,
    languages: Mapping[str, str],
    *,
    force: bool = False,
    inputs: Iterable[Path] = (),
) -> None:
    """Write manifest rows as recordings and supervisions, whole or not at all.

    languages: ISO 639-1 code by group. The group is `custom["group"]`; `custom["end"]` is there where start + duration
    is another number in floating point. Speakers are named as `speaker_name` does, audio paths are absolute. Raises
    UserError for audio that cannot be read, and as `check_output_folder` does, which takes `force` and `inputs`.
    """
    rows = list(rows)
    audio = {row["session_id"]: Path.cwd() / row["audio"] for row in rows}
    with atomic_folder(folder, KIND, force=force, inputs=[*inputs, *audio.values()]) as temporary:
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
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        place = Place(str(path), number)
        half = None
        try:
            entry = json.loads(line)
            if b"\\ud" in line.lower():
                half = _HALF_CHARACTER.search(json.dumps(entry, ensure_ascii=False))
        except (ValueError, RecursionError) as error:
            corpus.faults.append(place.fault(FaultKind.ENCODING, f"is no JSON ({error}); expected an object a line."))
            continue
        missing = [key for key in keys if key not in entry] if isinstance(entry, dict) else list(keys)
        if missing:
            message = f"lacks {', '.join(missing)}; expected an entry of Lhotse's."
            corpus.faults.append(place.fault(FaultKind.COLUMN_COUNT, message))
            continue
        if half:
            message = f"holds half a character (U+{ord(half[0]):04X}), which is no text; write the whole, or remove it."
            corpus.faults.append(place.fault(FaultKind.ENCODING, message))
            continue
        if no_names := [key for key in keys if key.endswith("id") and not isinstance(entry[key], str | int)]:
            message = f"{', '.join(no_names)}: {entry[no_names[0]]!r} found, expected a name."
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


def _transforms(transforms: Any) -> str:
    """Names and values of a recording's transforms: `Speed 1.1`."""
    entries = transforms if isinstance(transforms, list) else [transforms]
    words = []
    for entry in entries:
        known = entry if isinstance(entry, dict) else {}
        values = known.get("kwargs")
        words.append(
            " ".join(map(str, [known.get("name", entry), *(values.values() if isinstance(values, dict) else ())]))
        )
    return ", ".join(words)


def _declared_seconds(entry: Mapping[str, Any]) -> float | None:
    """How long a recording is said to be: its duration, or else by its samples."""
    duration, rate, samples = (_seconds(entry.get(key)) for key in ("duration", "sampling_rate", "num_samples"))
    if duration is None and rate and samples is not None:
        return samples / rate
    return duration


def _seconds(value: Any) -> float | None:
    """A number within `LONGEST_TIME`; None for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) <= LONGEST_TIME else None
