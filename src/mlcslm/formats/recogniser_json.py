"""JSON of recognisers and diarizers, each in a form of its own; and MOSS's text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlcslm.errors import UserError
from mlcslm.formats.nemo import AUDIO_KEYS, ID_KEYS, NemoEntry, entries_of
from mlcslm.formats.parsing import end_time, parse_seconds, read_bytes, rendered
from mlcslm.formats.spoken import Spoken

LISTS = ("segments", "chunks", "transcription", "diarization", "exclusive_diarization", "content", "utterances")
"""Under which keys tools put what was said when; the first that holds a list is read."""
NESTED = ("output", "result", "results")
START = ("start", "start_time", "Start", "begin")
END = ("end", "end_time", "End")
SPEAKER = ("speaker", "speaker_id", "Speaker", "label", "speaker_label")
TEXT = ("text", "words", "Content", "transcript", "transcription", "sentence", "pred_text")
RECORDING = ("session_id", "recording", "recording_id", "uri")
EXPECTED = (
    "JSON with `segments` (Whisper, WhisperX, VibeVoice), `chunks` (transformers), `transcription` (whisper.cpp), "
    "`diarization` (pyannote), a list of objects with start, end and text, one with id or audio and text, or {id: text}"
)


def read_recogniser_json(path: Path) -> list[Spoken] | list[NemoEntry]:
    """What was said when; or texts by name, from a list of objects with an id or an audio file, or from {id: text}.

    Raises UserError, saying what it looks like, for JSON of another form, FaultyInput listing faulty entries.
    """
    try:
        value = json.loads(read_bytes(path, EXPECTED).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON in UTF-8 ({str(error)[:200]}). Expected {EXPECTED}.") from None
    for key in NESTED:
        if isinstance(value, dict) and isinstance(value.get(key), dict | list) and not _list_of(value):
            value = value[key]
    found = _list_of(value) if isinstance(value, dict) else value
    if isinstance(found, list):
        objects = [one for one in found if isinstance(one, dict)]
        if (
            len(objects) == len(found)
            and all(_is_timed(one) for one in objects)
            and (objects or isinstance(value, dict))
        ):
            return [_spoken(number, one) for number, one in enumerate(objects, start=1)]
        if (
            objects
            and len(objects) == len(found)
            and any(one.get(key) for one in objects for key in ID_KEYS + AUDIO_KEYS)
        ):
            return entries_of(path, [(f"entry {number}", one) for number, one in enumerate(objects, start=1)])
    if isinstance(value, dict) and value and (texts := list(_texts(value))):
        return entries_of(path, [(f"entry {number}", one) for number, one in enumerate(texts, start=1)])
    raise UserError(f"{path}: looks like {_description(value)}. Expected {EXPECTED}.")


def _list_of(value: Mapping[str, Any]) -> list[Any] | None:
    return next((value[key] for key in LISTS if isinstance(value.get(key), list)), None)


def _texts(value: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Entries of {id: text} or {id: {"text": …}}; none if any value is something else."""
    pairs = []
    for name, one in value.items():
        text = next((one[key] for key in TEXT if isinstance(one.get(key), str)), None) if isinstance(one, dict) else one
        if not isinstance(text, str):
            return
        pairs.append((name, text))
    yield from ({"id": name, "text": text} for name, text in pairs)


def _is_timed(one: Mapping[str, Any]) -> bool:
    return (
        any(key in one for key in START)
        or isinstance(one.get("timestamp"), list)
        or isinstance(one.get("offsets"), dict)
        or isinstance(one.get("segment"), dict)
    )


def _spoken(number: int, one: Mapping[str, Any]) -> Spoken:
    place = f"entry {number}"
    start, end = _times(one)
    text = _first(one, TEXT)
    speaker = _first(one, SPEAKER)
    return Spoken(
        place,
        start,
        end,
        text if isinstance(text, str) else None,
        "" if speaker is None else str(speaker),
        str(_first(one, RECORDING) or ""),
    )


def _times(one: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Start and end in seconds; the end that transformers leaves open is the start."""
    if isinstance(one.get("timestamp"), list) and len(one["timestamp"]) == 2:
        start, end = map(parse_seconds, one["timestamp"])
        return start, start if one["timestamp"][1] is None else end
    if isinstance(one.get("offsets"), dict):
        ends = [parse_seconds(one["offsets"].get(side)) for side in ("from", "to")]
        start, end = (None if time is None else time / 1000 for time in ends)
        return start, end
    if isinstance(one.get("segment"), dict):
        return parse_seconds(one["segment"].get("start")), parse_seconds(one["segment"].get("end"))
    start = parse_seconds(_first(one, START))
    if any(key in one for key in END):
        return start, parse_seconds(_first(one, END))
    return start, end_time(start, parse_seconds(one.get("duration")))


def _first(one: Mapping[str, Any], keys: Sequence[str]) -> Any:
    """The first value under any of `keys` that is not None; lists, such as WhisperX's words, are not texts."""
    return next((one[key] for key in keys if one.get(key) is not None and not isinstance(one[key], list)), None)


def _description(value: Any) -> str:
    if isinstance(value, dict):
        return f"a JSON object with the keys {', '.join(map(rendered, list(value)[:8])) or 'none'}"
    if isinstance(value, list):
        return f"a JSON list of {len(value)} entries" + (
            f", the first of them {_description(value[0])}" if value else ""
        )
    return f"a JSON {type(value).__name__}"


_MOSS = re.compile(r"\[([0-9:.]+)\]\[(S\d+)\](.*?)\[([0-9:.]+)\]", re.DOTALL)


def read_moss(path: Path) -> list[Spoken]:
    """What MOSS-Transcribe-Diarize answers: `[start][S01]text[end]`, times in seconds, or with minutes and hours."""
    text = read_bytes(path, "MOSS's transcript").decode("utf-8", "replace")
    return [
        Spoken(f"segment {number}", _clock(match[1]), _clock(match[4]), match[3], match[2])
        for number, match in enumerate(_MOSS.finditer(text), start=1)
    ]


def _clock(text: str) -> float | None:
    """Seconds of `75.5` or `1:15.5`."""
    seconds = 0.0
    for part in text.split(":"):
        value = parse_seconds(part)
        if value is None:
            return None
        seconds = 60 * seconds + value
    return seconds
