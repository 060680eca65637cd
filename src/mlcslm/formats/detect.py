"""Which of six formats a file is in, by its name or its first lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from mlcslm.formats.parsing import parse_seconds
from mlcslm.formats.rttm import TYPES as RTTM_TYPES
from mlcslm.io.reading import check_input, plain_suffix, read_input

SUFFIXES = {".stm": "stm", ".ctm": "ctm", ".rttm": "rttm"}
"""Suffixes that settle the format; files with any other suffix, or none, are recognised by their content."""
FORMATS = ("Kaldi text", "STM", "CTM", "SegLST", "NeMo JSON lines", "RTTM")
_BYTES_TO_INSPECT = 16384


def detect_format(path: Path, *, timed: bool = False) -> str:
    """Format of a file, by its suffix or else by its first lines. Raises UserError if the file does not exist.

    JSON is recognised by its first character, RTTM by its line types, STM and CTM by where their times are; anything
    else is Kaldi text. timed: only formats with times are expected, so any number in the position of a time will do.
    """
    expected = f"hypotheses: {', '.join(FORMATS)}"
    check_input(path, expected)
    if plain_suffix(path) in SUFFIXES:
        return SUFFIXES[plain_suffix(path)]
    start = read_input(path, expected)[:_BYTES_TO_INSPECT].removeprefix(b"\xef\xbb\xbf").lstrip()
    if start[:1] in (b"[", b"{"):
        return {b"[": "seglst", b"{": "nemo"}[start[:1]]
    lines = start.decode("utf-8", "replace").splitlines()
    if len(lines) > 1:
        lines.pop()  # it may be incomplete
    fields = [line.split() for line in lines if line.strip() and not line.startswith(";;")]
    return next(
        (name for name, test in _TESTS.items() if fields and all(test(line, timed) for line in fields)), "kaldi"
    )


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
