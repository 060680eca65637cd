"""SegLST, meeteval's segment list: a JSON array of objects with session_id, speaker, start_time, end_time, words."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mlcslm.errors import UserError
from mlcslm.formats.segments import Utterance
from mlcslm.formats.timed_lines import (
    check_written,
    interval_fault,
    name_fault,
    parse_seconds,
    raise_faults,
    read_bytes,
    rendered,
    text_fault,
)
from mlcslm.io.files import write_json

KEYS = ("session_id", "speaker", "start_time", "end_time", "words")
_SPACE = re.compile(r"[ \t\n\r]*")
_FORMAT = f"a SegLST file, a JSON array of objects with {', '.join(KEYS)}"


def read_seglst(path: str | os.PathLike[str]) -> list[Utterance]:
    """Utterances in the order of the file. They may overlap, a speaker's own too, and their text may be empty.

    Other keys are let pass. Raises UserError where there is no file or no JSON array in UTF-8, naming the line at
    fault, FaultyInput listing every faulty entry by the line it begins on: keys that are missing, names and words that
    are no text or hold half a character, times that are none, an end before the start.
    """
    path = Path(path)
    try:
        text = read_bytes(path, _FORMAT).decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error}); save it as UTF-8.") from None
    utterances, faults = [], []
    for number, entry in _entries(path, text):
        fault = _fault(entry)
        if fault:
            faults.append(f"{path}:{number}: {fault}")
            continue
        recording, speaker, start, end, words = (entry[key] for key in KEYS)
        utterances.append(Utterance(recording, speaker, float(start), float(end), words))
    raise_faults(path, faults)
    return utterances


def write_seglst(path: str | os.PathLike[str], utterances: Iterable[Utterance]) -> None:
    """Write utterances in the order given, texts as they are.

    Raises ValueError for names that are empty or hold white space and for utterances that end before they start.
    """
    entries = []
    for utterance in utterances:
        names = (utterance.recording, utterance.speaker)
        check_written(Path(path), names, utterance.start, utterance.end)
        values = (*names, float(utterance.start), float(utterance.end), utterance.text)
        entries.append(dict(zip(KEYS, values, strict=True)))
    write_json(path, entries)


def _entries(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    """Entries of the array with the line each begins on; one is decoded at a time, as json.loads tells no lines."""
    decoder = json.JSONDecoder()
    line, counted, place, closed = 1, 0, _skip(text, 0), False
    if text[place : place + 1] != "[":
        raise UserError(f"{path}:{_line(text, place)}: expected {_FORMAT}.")
    place = _skip(text, place + 1)
    if text[place : place + 1] == "]":
        closed, place = True, place + 1
    while not closed:
        try:
            entry, after = decoder.raw_decode(text, place)
        except json.JSONDecodeError as error:
            found = f", found {rendered(text[error.pos])}" if error.pos < len(text) else ""
            raise UserError(f"{path}:{error.lineno}: not JSON ({error.msg}{found}). Expected {_FORMAT}.") from None
        except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets thousands deep
            raise UserError(f"{path}:{_line(text, place)}: not readable ({error}). Expected {_FORMAT}.") from None
        line, counted = line + text.count("\n", counted, place), place
        yield line, entry
        place = _skip(text, after)
        if text[place : place + 1] not in (",", "]"):
            message = "not JSON (expected , or ] behind an entry)"
            raise UserError(f"{path}:{_line(text, place)}: {message}. Expected {_FORMAT}.")
        closed = text[place] == "]"
        place = place + 1 if closed else _skip(text, place + 1)
    place = _skip(text, place)
    if place < len(text):
        raise UserError(f"{path}:{_line(text, place)}: found text behind the array; remove it.")


def _line(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1


def _skip(text: str, place: int) -> int:
    return _SPACE.match(text, place).end()  # type: ignore[union-attr]


def _fault(entry: Any) -> str | None:
    if not isinstance(entry, dict):
        return f"found {rendered(entry)}, expected an object with {', '.join(KEYS)}"
    if lacking := [key for key in KEYS if key not in entry]:
        return f"found no {', '.join(lacking)}, expected {', '.join(KEYS)}"
    for key in ("session_id", "speaker", "words"):
        if not isinstance(entry[key], str) or (key != "words" and not entry[key].split()):
            return f"found the {key} {rendered(entry[key])}, expected text"
    if fault := name_fault("session_id", entry["session_id"]) or name_fault("speaker", entry["speaker"]):
        return fault
    if fault := text_fault("words", entry["words"]):
        return fault
    times = entry["start_time"], entry["end_time"]
    return interval_fault(parse_seconds(times[0]), parse_seconds(times[1]), times)
