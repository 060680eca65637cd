"""Which format a file is in, by its name or its content."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast, get_args

from mlcslm.config.systems import FileFormat
from mlcslm.errors import UserError
from mlcslm.formats.nemo import AUDIO_KEYS, ID_KEYS, TRN, table_delimiter
from mlcslm.formats.parsing import parse_seconds
from mlcslm.formats.rttm import TYPES as RTTM_TYPES
from mlcslm.io.reading import check_input, plain_suffix, read_input

SUFFIXES = {".stm": "stm", ".ctm": "ctm", ".rttm": "rttm"}
"""Suffixes that settle the format; files with any other suffix, or none, are recognised by their content."""
FORMATS = (
    "Kaldi text",
    "STM",
    "CTM",
    "SegLST",
    "NeMo JSON lines",
    "RTTM",
    "or what another tool writes (docs/scoring.md)",
)
_BYTES_TO_INSPECT = 16384
_MOSS = re.compile(rb"\[[0-9:.]+\]\[S\d+\]")
_AUDACITY = re.compile(r"\d+\.\d+\t\d+\.\d+(\t[^\t]*)?$", re.ASCII)
_MARKS = (
    (re.compile(rb"WEBVTT\b"), "vtt"),
    (re.compile(rb"\d+\s*\r?\n\d+:\d\d:\d\d[,.]\d+ *-->"), "srt"),
    (re.compile(rb'File type = "ooTextFile|ooTextFile|\xff\xfe|\xfe\xff|"ooTextFile'), "textgrid"),
    (re.compile(rb"(<\?xml[^>]*\?>\s*)?<ANNOTATION_DOCUMENT\b"), "elan"),
)
"""How files of other tools begin."""


def named_format(name: str) -> FileFormat:
    """The format called `name` on a command line. Raises UserError if there is none.

    >>> named_format("textgrid")
    'textgrid'
    """
    known = get_args(FileFormat)
    if name not in known:
        raise UserError(f"--format {name}: expected one of {', '.join(known)}.")
    return cast(FileFormat, name)


def detect_format(path: Path, *, timed: bool = False) -> str:
    """Format of a file, by its suffix or else by its first lines. Raises UserError if the file does not exist.

    JSON is recognised by its first character and its keys, RTTM by its line types, STM and CTM by where their times
    are, files of other tools (`foreign.TITLES`) by how they begin; anything else is Kaldi text. timed: only formats
    with times are expected, so any number in the position of a time will do.
    """
    expected = f"hypotheses: {', '.join(FORMATS)}"
    check_input(path, expected)
    if plain_suffix(path) in SUFFIXES:
        return SUFFIXES[plain_suffix(path)]
    start = read_input(path, expected)[:_BYTES_TO_INSPECT].removeprefix(b"\xef\xbb\xbf").lstrip()
    if _MOSS.match(start):
        return "moss"
    if start[:1] in (b"[", b"{"):
        return _json_format(path, start, expected)
    if found_by_mark := next((name for mark, name in _MARKS if mark.match(start)), None):
        return found_by_mark
    lines = start.decode("utf-8", "replace").splitlines()
    if len(lines) > 1:
        lines.pop()  # it may be incomplete
    fields = [line.split() for line in lines if line.strip() and not line.startswith(";;")]
    texts = [line.strip() for line in lines if line.strip() and not line.startswith(";;")]
    if texts and all(TRN.fullmatch(line) for line in texts):
        return "trn"
    if texts and all(_AUDACITY.match(line) for line in texts if not line.startswith("\\")):
        return "audacity"
    if len(texts) > 1 and table_delimiter(texts[0]):
        return "table"
    return next(
        (name for name, test in _TESTS.items() if fields and all(test(line, timed) for line in fields)), "kaldi"
    )


def _json_format(path: Path, start: bytes, expected: str) -> str:
    """`seglst`, `nemo` (lines), or `json` for any other JSON; what is not JSON is left to the reader of its kind."""
    usual = {b"[": "seglst", b"{": "nemo"}[start[:1]]
    try:
        value = json.loads(read_input(path, expected).removeprefix(b"\xef\xbb\xbf").decode("utf-8"))
    except (ValueError, RecursionError):
        return usual
    if isinstance(value, list):
        objects = [one for one in value if isinstance(one, dict)]
        theirs = objects and not any(key in one for one in objects for key in ("session_id", "words", "start_time"))
        return "json" if theirs else usual
    return "nemo" if any(key in value for key in (*ID_KEYS, *AUDIO_KEYS)) and not _has_list(value) else "json"


def _has_list(value: Mapping[str, object]) -> bool:
    return any(isinstance(one, list) and one and isinstance(one[0], dict) for one in value.values())


def _is_rttm(fields: list[str], timed: bool) -> bool:
    return fields[0] in RTTM_TYPES and len(fields) > 7


def _is_stm(fields: list[str], timed: bool) -> bool:
    return len(fields) > 4 and _has_times(fields[1], fields[3:5], timed) and float(fields[3]) <= float(fields[4])


def _is_ctm(fields: list[str], timed: bool) -> bool:
    return 5 <= len(fields) <= 8 and _has_times(fields[1], fields[2:4], timed)


def _has_times(channel: str, times: list[str], timed: bool) -> bool:
    # A transcript may well contain two integers in a row, but hardly two decimals after what could be a channel.
    return None not in map(parse_seconds, times) and (
        timed or (all("." in time for time in times) and re.fullmatch("[0-9]{1,2}|[A-Za-z]", channel) is not None)
    )


_TESTS: Mapping[str, Callable[[list[str], bool], bool]] = {"rttm": _is_rttm, "stm": _is_stm, "ctm": _is_ctm}
