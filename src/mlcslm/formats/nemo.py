"""NeMo's JSON lines: one object per line, with `audio_filepath` and the recognised text, `pred_text`."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mlcslm.formats.parsing import LATEST, name_fault, parse_seconds, raise_faults, read_lines, rendered, text_fault

ID_KEYS = ("utterance_id", "id")


@dataclass(frozen=True)
class NemoEntry:
    """What was recognised in a file, or in a segment of it.

    name: the utterance's id, or the audio file's name without suffix; offset, duration: seconds, None if missing;
    speaker: None if missing; audio: path of the audio file, with `/`, if `name` comes from it.
    """

    name: str
    text: str
    offset: float | None = None
    duration: float | None = None
    speaker: str | None = None
    audio: str | None = None


def read_nemo(path: str | os.PathLike[str], side: Literal["reference", "hypothesis"] = "hypothesis") -> list[NemoEntry]:
    """Entries in file order.

    An entry's name is its `utterance_id` or `id`, otherwise its audio file's name. Its text is `pred_text`, or `text`
    in a file without any `pred_text`; next to `pred_text`, `text` is the reference, which `side` selects. Raises
    UserError if the file does not exist, FaultyInput listing every faulty line: not a JSON object, no name, no text,
    lone surrogates, impossible times, bytes that are not UTF-8.
    """
    path = Path(path)
    lines, faults = read_lines(
        path, "a NeMo manifest, one JSON object with `audio_filepath` and `pred_text` per line", comments=False
    )
    objects: list[tuple[int, dict[str, Any]]] = []
    for number, line in lines:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:  # the latter from brackets nested thousands deep
            faults.append(f"{path}:{number}: not JSON ({error}), expected one object per line")
            continue
        if isinstance(value, dict):
            objects.append((number, value))
        else:
            faults.append(f"{path}:{number}: found {type(value).__name__}, expected an object with `audio_filepath`")
    recognised = side == "hypothesis" and any("pred_text" in value for _, value in objects)
    key = "pred_text" if recognised else "text"
    entries = []
    for number, value in objects:
        entry = _entry(value, key)
        if isinstance(entry, str):
            faults.append(f"{path}:{number}: {entry}")
        else:
            entries.append(entry)
    raise_faults(path, faults)
    return entries


def _entry(value: dict[str, Any], key: str) -> NemoEntry | str:
    """The entry of a line, or what is wrong with it."""
    given = next((value[name] for name in ID_KEYS if value.get(name)), None)
    audio = value.get("audio_filepath")
    if not isinstance(given if given is not None else audio, str) or not (given or audio):
        return f"found no text under {', '.join(ID_KEYS)} or audio_filepath; expected one that names the utterance"
    if not isinstance(value.get(key), str):
        return f"found {rendered(value.get(key))} under {key}, expected the recognised text"
    if fault := text_fault(key, value[key]):
        return fault
    times: list[float | None] = []
    for name in ("offset", "duration"):
        seconds = parse_seconds(value[name]) if value.get(name) is not None else None
        if value.get(name) is not None and (seconds is None or not 0 <= seconds <= LATEST):
            return f"found the {name} {rendered(value[name])}, expected a time in seconds"
        times.append(seconds)
    speaker = None if value.get("speaker") is None else str(value["speaker"])
    path = None if given is not None else str(audio).replace("\\", "/")
    name = str(given) if path is None else Path(path).stem
    if not name:
        return f"found {rendered(audio)} under audio_filepath, expected the path of a file"
    if fault := name_fault("name", name) or name_fault("speaker", speaker or ""):
        return fault
    return NemoEntry(name, value[key], times[0], times[1], speaker, path)
