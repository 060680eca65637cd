"""Texts by id or audio file: NeMo's JSON lines and their like, tables (CSV), and sclite's `.trn`.

NeMo writes `audio_filepath` and `pred_text`; others call the same by other names.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mlcslm.errors import UserError
from mlcslm.formats.parsing import (
    LATEST,
    name_fault,
    parse_seconds,
    raise_faults,
    read_bytes,
    read_lines,
    rendered,
    text_fault,
)

ID_KEYS = ("utterance_id", "id", "utt_id", "uttid", "key")
AUDIO_KEYS = ("audio_filepath", "audio", "audio_path", "audio_file", "file_name", "filename", "file", "path", "wav")
HYPOTHESIS_KEYS = (
    "pred_text",
    "prediction",
    "predicted_text",
    "hypothesis",
    "hyp",
    "transcription",
    "transcript",
    "text",
)
"""The first that any entry has is the recognised text: beside it, `text` is the reference."""
REFERENCE_KEYS = ("text", "reference", "ref", "transcription", "transcript", "sentence")
_DELIMITERS = ",\t;|"


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


Side = Literal["reference", "hypothesis"]


def read_nemo(path: str | os.PathLike[str], side: Side = "hypothesis") -> list[NemoEntry]:
    """Entries in file order.

    An entry's name is its `utterance_id` or `id`, otherwise its audio file's name. Its text is `pred_text` (or another
    of `HYPOTHESIS_KEYS`), or `text` in a file without any; next to `pred_text`, `text` is the reference, which `side`
    selects. Raises
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
    return entries_of(path, [(str(number), value) for number, value in objects], side, faults)


def read_table(path: Path, side: Side = "hypothesis") -> list[NemoEntry]:
    """Entries of a table, separated by commas, tabs, semicolons or bars, whose first line names the columns.

    Columns are those of JSON lines. Raises UserError without such a line, FaultyInput listing faulty rows.
    """
    try:
        text = read_bytes(path, "a table with an id or audio column and a text column").decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error}); save it as UTF-8.") from None
    lines = re.split("\r\n|\n|\r", text)
    delimiter = table_delimiter(lines[0])
    if delimiter is None:
        raise UserError(f"{path}:1: found {rendered(lines[0])}, expected names of columns: an id or audio, and a text.")
    names = [name.strip().lower() for name in next(csv.reader([lines[0]], delimiter=delimiter))]
    try:
        rows = [
            (str(number), dict(zip(names, row, strict=False)))
            for number, row in enumerate(csv.reader(lines[1:], delimiter=delimiter), start=2)
            if any(row)
        ]
    except csv.Error as error:
        raise UserError(f"{path}: cannot be read as a table ({error}).") from None
    return entries_of(path, rows, side)


def table_delimiter(line: str) -> str | None:
    """What separates the columns of a table with an id or audio column and a text column; None for any other line.

    >>> table_delimiter("id;Transcription"), table_delimiter("French-1 id text")
    (';', None)
    """
    for delimiter in _DELIMITERS:
        names = {name.strip().strip('"').lower() for name in line.split(delimiter)}
        if names & {*ID_KEYS, *AUDIO_KEYS} and names & {*HYPOTHESIS_KEYS, *REFERENCE_KEYS}:
            return delimiter
    return None


def read_trn(path: Path) -> list[NemoEntry]:
    """Entries of sclite's `.trn`: a text, and the utterance's id in parentheses, on each line."""
    lines, faults = read_lines(path, "a .trn file, `<text> (<utterance id>)` per line")
    found = []
    for number, line in lines:
        match = TRN.fullmatch(line)
        if match is None:
            faults.append(f"{path}:{number}: found no id in parentheses at the end of the line")
        elif fault := name_fault("id", match[2]):
            faults.append(f"{path}:{number}: {fault}")
        else:
            found.append(NemoEntry(match[2], match[1].strip()))
    raise_faults(path, faults)
    return found


TRN = re.compile(r"(.*?)\s*\(([^\s()]+)\)")
"""A line of `.trn`."""


def entries_of(
    path: Path,
    objects: Iterable[tuple[str, Mapping[str, Any]]],
    side: Side = "hypothesis",
    faults: Iterable[str] = (),
) -> list[NemoEntry]:
    """Entries of objects, each with its line or place in the file. faults: found before. Raises FaultyInput for any."""
    objects, faults = list(objects), list(faults)
    keys = HYPOTHESIS_KEYS if side == "hypothesis" else REFERENCE_KEYS
    key = next((key for key in keys if any(key in value for _, value in objects)), keys[0])
    entries = []
    for place, value in objects:
        entry = _entry(value, key)
        if isinstance(entry, str):
            faults.append(f"{path}:{place}: {entry}")
        else:
            entries.append(entry)
    raise_faults(path, faults)
    return entries


def _entry(value: Mapping[str, Any], key: str) -> NemoEntry | str:
    """The entry of a line, or what is wrong with it."""
    given = next((value[name] for name in ID_KEYS if value.get(name)), None)
    audio = next((_path_of(value[name]) for name in AUDIO_KEYS if value.get(name)), None)
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
    if times == [None, None]:
        start, end = (parse_seconds(value.get(name)) for name in ("start", "end"))
        times = [start, None if start is None or end is None else round(end - start, 9)]
        if start is not None and not 0 <= start <= (end if end is not None else start) <= LATEST:
            return f"found {rendered(value['start'])} to {rendered(value.get('end'))}, expected times in seconds"
    speaker = None if value.get("speaker") is None else str(value["speaker"])
    path = None if given is not None else str(audio).replace("\\", "/")
    name = str(given) if path is None else Path(path).stem
    if not name:
        return f"found {rendered(audio)} under audio_filepath, expected the path of a file"
    if fault := name_fault("name", name) or name_fault("speaker", speaker or ""):
        return fault
    return NemoEntry(name, value[key], times[0], times[1], speaker, path)


def _path_of(audio: Any) -> Any:
    """The path of an audio column, which datasets give as {"path": …, "array": …}."""
    return audio.get("path") if isinstance(audio, dict) else audio
