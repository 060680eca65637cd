"""SegLST, meeteval's segment list: a JSON array of objects with session_id, speaker, start_time, end_time, words."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mlcslm.errors import UserError
from mlcslm.formats.parsing import (
    check_interval,
    check_written,
    name_fault,
    parse_seconds,
    raise_faults,
    read_bytes,
    rendered,
    text_fault,
)
from mlcslm.formats.segments import Utterance
from mlcslm.io.files import write_json

KEYS = ("session_id", "speaker", "start_time", "end_time", "words")
_SPACE = re.compile(r"[ \t\n\r]*")
_FORMAT = f"a SegLST file, a JSON array of objects with {', '.join(KEYS)}"


def read_seglst(path: str | os.PathLike[str]) -> list[Utterance]:
    """Utterances in file order. They may overlap, even for one speaker, and their text may be empty.

    Other keys are ignored. Raises UserError if the file does not exist or, naming the line, is not a JSON array in
    UTF-8; FaultyInput listing every faulty entry by its first line: missing keys, names and words that are not text or
    contain lone surrogates, invalid times, an end before the start.
    """
    path = Path(path)
    try:
        text = read_bytes(path, _FORMAT).decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error}); save it as UTF-8.") from None
    utterances, faults = [], []
    for number, entry in _entries(path, text):
        utterance = _utterance(entry)
        if isinstance(utterance, str):
            faults.append(f"{path}:{number}: {utterance}")
        else:
            utterances.append(utterance)
    raise_faults(path, faults)
    return utterances


def write_seglst(path: str | os.PathLike[str], utterances: Iterable[Utterance]) -> None:
    """Write utterances in the given order, with unchanged texts.

    Raises ValueError for names that are empty or contain white space and for utterances that end before they start.
    """
    entries = []
    for utterance in utterances:
        names = (utterance.recording, utterance.speaker)
        check_written(Path(path), names, utterance.start, utterance.end)
        values = (*names, float(utterance.start), float(utterance.end), utterance.text)
        entries.append(dict(zip(KEYS, values, strict=True)))
    write_json(path, entries)


def _entries(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    """Entries of the array with their first lines; decoded one at a time, since json.loads does not report lines."""
    decoder = json.JSONDecoder()
    line, counted, position, closed = 1, 0, _skip(text, 0), False
    if text[position : position + 1] != "[":
        raise UserError(f"{path}:{_line(text, position)}: expected {_FORMAT}.")
    position = _skip(text, position + 1)
    if text[position : position + 1] == "]":
        closed, position = True, position + 1
    while not closed:
        try:
            entry, after = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            found = f", found {rendered(text[error.pos])}" if error.pos < len(text) else ""
            raise UserError(f"{path}:{error.lineno}: not JSON ({error.msg}{found}). Expected {_FORMAT}.") from None
        except (ValueError, RecursionError) as error:  # numbers of thousands of digits, brackets nested thousands deep
            raise UserError(f"{path}:{_line(text, position)}: not readable ({error}). Expected {_FORMAT}.") from None
        line, counted = line + text.count("\n", counted, position), position
        yield line, entry
        position = _skip(text, after)
        if text[position : position + 1] not in (",", "]"):
            message = "not JSON (expected , or ] after an entry)"
            raise UserError(f"{path}:{_line(text, position)}: {message}. Expected {_FORMAT}.")
        closed = text[position] == "]"
        position = position + 1 if closed else _skip(text, position + 1)
    position = _skip(text, position)
    if position < len(text):
        raise UserError(f"{path}:{_line(text, position)}: found text after the array; remove it.")


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _skip(text: str, position: int) -> int:
    space = _SPACE.match(text, position)
    return space.end() if space else position


def _utterance(entry: Any) -> Utterance | str:
    """The utterance of an entry, or what is wrong with it."""
    if not isinstance(entry, dict):
        return f"found {rendered(entry)}, expected an object with {', '.join(KEYS)}"
    if missing := [key for key in KEYS if key not in entry]:
        return f"found no {', '.join(missing)}, expected {', '.join(KEYS)}"
    for key in ("session_id", "speaker", "words"):
        if not isinstance(entry[key], str) or (key != "words" and not entry[key].split()):
            return f"found the {key} {rendered(entry[key])}, expected text"
    if fault := name_fault("session_id", entry["session_id"]) or name_fault("speaker", entry["speaker"]):
        return fault
    if fault := text_fault("words", entry["words"]):
        return fault
    times = entry["start_time"], entry["end_time"]
    interval = check_interval(parse_seconds(times[0]), parse_seconds(times[1]), times)
    if isinstance(interval, str):
        return interval
    return Utterance(entry["session_id"], entry["speaker"], *interval, entry["words"])
