"""What the readers and writers of all formats share: lines, fields, names, times, and the reporting of faults."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from mlcslm.errors import FaultyInput, shortened
from mlcslm.io.reading import read_input

MAX_LISTED_FAULTS = 50
MAX_RENDERED_CHARACTERS = 60
LATEST = 1e8
"""Seconds (three years): no recording is longer, so a later time is not in seconds."""

_LINE_END = re.compile(rb"\r\n|\n|\r")
_SECONDS = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_SURROGATE = re.compile("[\ud800-\udfff]")


def read_bytes(path: Path, expected: str) -> bytes:
    """Content of a file without its byte order mark. expected: its format. Raises UserError as `read_input` does."""
    return read_input(path, expected).removeprefix(b"\xef\xbb\xbf")


def read_lines(path: Path, expected: str, *, comments: bool = True) -> tuple[list[tuple[int, str]], list[str]]:
    """Lines of a UTF-8 file with their 1-based numbers, and the faults of those that are not valid text.

    In every format, a line ends with LF, CR LF or CR; U+2028 and its like are white space within a transcript. Faults
    are bytes that are not UTF-8, and a byte order mark at the start of a line, as in concatenated files. Blank lines
    and, if the format has them, comments (`;;`) are skipped. Raises UserError if the file does not exist.
    """
    lines, faults = [], []
    for number, raw in enumerate(_LINE_END.split(read_bytes(path, expected)), start=1):
        try:
            line = raw.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            byte = raw[error.start]
            faults.append(f"{path}:{number}: found byte 0x{byte:02x} at column {error.start + 1}, expected UTF-8")
            continue
        if line.startswith("\ufeff"):
            faults.append(
                f"{path}:{number}: found a byte order mark (U+FEFF) before the line; remove it (joined files?)"
            )
        elif line and not (comments and line.startswith(";;")):
            lines.append((number, line))
    return lines, faults


def split_fields(line: str, counts: Collection[int]) -> list[str]:
    """Fields of a line: tab-separated if that gives one of `counts`, so that a name may contain a space; else words.

    >>> split_fields("a\\tSpeaker 1\\t0.5", {3}), split_fields("a Speaker 1", {3})
    (['a', 'Speaker 1', '0.5'], ['a', 'Speaker', '1'])
    """
    if "\t" in line:
        fields = [field.strip() for field in line.split("\t")]
        if len(fields) in counts and all(fields):
            return fields
    return line.split()


def rendered(value: object) -> str:
    """A value from a file as messages show it: quoted, truncated, invisible characters and lone surrogates escaped.

    >>> rendered("caf\\ufeff")
    "'caf\\\\ufeff'"
    """
    text = value if isinstance(value, str) else repr(value)
    text = text if len(text) <= MAX_RENDERED_CHARACTERS else f"{text[:MAX_RENDERED_CHARACTERS]}…"
    return repr(text) if isinstance(value, str) else text


def counted(count: int, noun: str) -> str:
    """A count with its noun.

    >>> counted(1, "region"), counted(1200, "stretch")
    ('1 region', '1,200 stretches')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}{'es' if noun.endswith('ch') else 's'}"


def text_fault(kind: str, text: str) -> str | None:
    """The fault of a text with a lone surrogate, such as `\\ud83d` alone in JSON. kind: what the message calls it."""
    if found := _SURROGATE.search(text):
        surrogate = f"\\u{ord(found[0]):04x}"
        return f"found a lone surrogate ({surrogate}) in the {kind} at column {found.start() + 1}; correct the text"
    return None


def name_fault(kind: str, name: str) -> str | None:
    """The fault of a name with a lone surrogate or an invisible byte order mark. kind: what is named."""
    if "\ufeff" in name:
        return f"found a byte order mark (U+FEFF) in the {kind} {rendered(name)}; remove it"
    return text_fault(kind, name)


def check_interval(start: float | None, end: float | None, found: tuple[object, object]) -> tuple[float, float] | str:
    """Start and end of an interval in seconds, or what is wrong with them. found: both as written in the file."""
    if start is None:
        return f"found the start {rendered(found[0])}, expected a time in seconds"
    if end is None:
        return f"found the end {rendered(found[1])}, expected a time in seconds"
    if start < 0:
        return f"found the start {found[0]} s, expected 0 or later"
    if end < start:
        return f"found the end {found[1]} s, expected no earlier than the start, {found[0]} s"
    if end > LATEST:
        return f"found the end {found[1]} s, later than in any recording; expected a time in seconds"
    return start, end


def parse_seconds(text: object) -> float | None:
    """A finite time in seconds from a text field or a JSON number; None for anything else, even if Python accepts it.

    >>> parse_seconds("1.5"), parse_seconds("1_0"), parse_seconds(True), parse_seconds("nan")
    (1.5, None, None, None)
    """
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        return None
    if isinstance(text, str) and not _SECONDS.fullmatch(text):
        return None
    try:
        time = float(text)
    except (ValueError, OverflowError):
        return None
    return time if math.isfinite(time) else None


def end_time(start: float | None, duration: float | None) -> float | None:
    """`start` + `duration` in seconds, rounded so that the sum of two decimals stays one; None if either is None.

    >>> end_time(0.1, 0.2), end_time(1.68027388648, 0.0)
    (0.3, 1.68027388648)
    """
    if start is None or duration is None:
        return None
    end = round(start + duration, 9)
    return max(start, end) if duration >= 0 else end


def raise_faults(path: Path, faults: Sequence[str]) -> None:
    """Raise FaultyInput with the first `MAX_LISTED_FAULTS` of `faults`, if there are any."""
    if faults:
        raise FaultyInput(
            f"{path}: {counted(len(faults), 'fault')}; correct or remove:", shortened(faults, MAX_LISTED_FAULTS)
        )


def check_written(path: Path, names: Sequence[str], start: float, end: float) -> None:
    """Raise ValueError for what a line cannot express: names that are empty or have white space, impossible times."""
    for name in names:
        if not name or len(name.split()) != 1 or name != name.strip():
            raise ValueError(f"{path}: cannot write the name {name!r}: expected one word")
    if not (math.isfinite(start) and math.isfinite(end) and 0 <= start <= end):
        raise ValueError(f"{path}: found {start} s to {end} s in {names[0]}, expected 0 <= start <= end")
