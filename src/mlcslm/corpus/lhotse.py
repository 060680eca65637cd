"""Lhotse manifests: recordings and supervisions as JSON lines, plain or gzipped; reading and writing, without Lhotse.

https://lhotse.readthedocs.io/en/latest/corpus.html. Only files are read as audio sources: no command is run, nothing is
fetched.
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
from mlcslm.corpus.external import ExternalCorpus, ExternalSegment, Location, resolve_audio, speaker_name
from mlcslm.corpus.faults import FaultKind
from mlcslm.corpus.transcripts import LONGEST_TIME
from mlcslm.errors import UserError
from mlcslm.io.files import atomic_folder

KIND = "folder of Lhotse manifests"
FILES = ("recordings.jsonl.gz", "supervisions.jsonl.gz")
_SURROGATE = re.compile("[\ud800-\udfff]")


def is_lhotse_folder(root: Path) -> bool:
    """Whether `root` has Lhotse manifests: recordings, supervisions or cuts."""
    return any(_files(root, kind) for kind in ("recordings", "supervisions", "cuts"))


def read_lhotse_folder(root: Path) -> ExternalCorpus:
    """Recordings and segments of the manifests in `root`, with the faults of their lines.

    Raises UserError unless there is one `*recordings*.jsonl` and one `*supervisions*.jsonl`, or `.jsonl.gz`. The
    channels of a recording are averaged, whichever channel a supervision belongs to.
    """
    if (cuts := _files(root, "cuts")) and not (_files(root, "recordings") and _files(root, "supervisions")):
        raise UserError(
            f"{cuts[0]}: found Lhotse cuts, expected recordings and supervisions. Create them: "
            f"`lhotse cut decompose {cuts[0].name} FOLDER`."
        )
    corpus = ExternalCorpus()
    for location, entry in _entries(_only(root, "recordings"), corpus, ("id", "sources")):
        audio, name = _audio_of(entry["sources"]), str(entry["id"])
        if audio is None:
            message = "found sources other than a single file, which are not read; expected one of type `file`."
            corpus.skip_recording(name, location, FaultKind.AUDIO_SOURCE, message)
            continue
        if entry.get("transforms"):
            message = (
                f"recording {name} is transformed ({_transforms(entry['transforms'])}), so its times do not fit "
                f"{audio}; expected recordings as they are on disk. Save the transformed audio, or use the original."
            )
            corpus.skip_recording(name, location, FaultKind.TRANSFORMED_AUDIO, message)
            continue
        found = resolve_audio(audio, root)
        corpus.add_recording(name, found, location, _seconds(entry.get("sampling_rate")), _declared_seconds(entry))
    for location, entry in _entries(_only(root, "supervisions"), corpus, ("id", "recording_id", "start", "duration")):
        start, duration = _seconds(entry["start"]), _seconds(entry["duration"])
        if start is None or duration is None:
            message = f"start {entry['start']!r}, duration {entry['duration']!r}: expected times in seconds."
            corpus.faults.append(location.fault(FaultKind.TIME, message))
            continue
        custom = entry["custom"] if isinstance(entry.get("custom"), dict) else {}
        language = custom.get("group") or entry.get("language")
        corpus.segments.append(
            ExternalSegment(
                utterance_id=str(entry["id"]),
                recording=str(entry["recording_id"]),
                speaker=str(entry.get("speaker") or entry["recording_id"]),
                start=start,
                end=_end(start, duration, custom.get("end")),
                text=None if entry.get("text") is None else str(entry["text"]),
                language=None if language is None else str(language),
                location=location,
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
    """Write manifest rows as recordings and supervisions, completely or not at all.

    languages: ISO 639-1 code by group. The group is in `custom["group"]`; `custom["end"]` is set if start + duration
    differs from the end in floating point. Speakers are named by `speaker_name`, audio paths are absolute. Raises
    UserError for audio that cannot be read, and as `check_output_folder` does with `force` and `inputs`.
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
    """Gzipped JSON lines, without a timestamp, so that the same entries give the same bytes."""
    with path.open("wb") as file, gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as packed:
        for entry in entries:
            packed.write(json.dumps(entry, ensure_ascii=False).encode("utf-8") + b"\n")


def _files(root: Path, kind: str) -> list[Path]:
    return sorted(path for end in ("jsonl", "jsonl.gz") for path in root.glob(f"*{kind}*.{end}"))


def _only(root: Path, kind: str) -> Path:
    files = _files(root, kind)
    if len(files) != 1:
        found = ", ".join(path.name for path in files) or "none"
        raise UserError(f"{root}: found {found}, expected one file of {kind} (one folder per split).")
    return files[0]


def _entries(path: Path, corpus: ExternalCorpus, keys: Iterable[str]) -> Iterator[tuple[Location, dict[str, Any]]]:
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
        location = Location(str(path), number)
        surrogate = None
        try:
            entry = json.loads(line.decode("utf-8-sig"))  # json itself lets surrogates pass in bytes
            if b"\\ud" in line.lower():
                surrogate = _SURROGATE.search(json.dumps(entry, ensure_ascii=False))
        except (ValueError, RecursionError) as error:
            corpus.faults.append(
                location.fault(FaultKind.ENCODING, f"is not JSON ({error}); expected one object per line.")
            )
            continue
        missing = [key for key in keys if key not in entry] if isinstance(entry, dict) else list(keys)
        if missing:
            message = f"lacks {', '.join(missing)}; expected an entry of a Lhotse manifest."
            corpus.faults.append(location.fault(FaultKind.COLUMN_COUNT, message))
            continue
        if surrogate:
            message = f"contains a lone surrogate (U+{ord(surrogate[0]):04X}), which is not text; correct or remove it."
            corpus.faults.append(location.fault(FaultKind.ENCODING, message))
            continue
        if no_names := [key for key in keys if key.endswith("id") and not isinstance(entry[key], str | int)]:
            message = f"{', '.join(no_names)}: found {entry[no_names[0]]!r}, expected a name."
            corpus.faults.append(location.fault(FaultKind.COLUMN_COUNT, message))
            continue
        yield location, entry


def _audio_of(sources: Any) -> Path | None:
    """The file of a recording that has exactly one; None for commands, URLs and several files."""
    if not isinstance(sources, list) or len(sources) != 1 or not isinstance(sources[0], dict):
        return None
    source = sources[0]
    return Path(source["source"]) if source.get("type") == "file" and isinstance(source.get("source"), str) else None


def _end(start: float, duration: float, end: Any) -> float:
    """The exact end, if it is given and agrees with `start` and `duration`."""
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
    """The declared duration of a recording, or else its samples divided by its rate."""
    duration, rate, samples = (_seconds(entry.get(key)) for key in ("duration", "sampling_rate", "num_samples"))
    if duration is None and rate and samples is not None:
        return samples / rate
    return duration


def _seconds(value: Any) -> float | None:
    """A number within `LONGEST_TIME`; None for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) <= LONGEST_TIME else None
