"""What the readers and writers of hypothesis files share: lines, fields, names, times, and how faults are told."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from mlcslm.errors import FaultyInput, shortened
from mlcslm.io.reading import read_input

SHOWN_FAULTS = 50
SHOWN_CHARACTERS = 60
LATEST = 1e8
"""Seconds, three years: no recording is longer, and a time beyond it is no time in seconds."""

_LINE_END = re.compile(rb"\r\n|\n|\r")
_SECONDS = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_HALF = re.compile("[\ud800-\udfff]")


def read_bytes(path: Path, expected: str) -> bytes:
    """Content of a file without its byte order mark; raises UserError as `read_input` does. expected: its format."""
    return read_input(path, expected).removeprefix(b"\xef\xbb\xbf")


def read_lines(path: Path, expected: str, *, comments: bool = True) -> tuple[list[tuple[int, str]], list[str]]:
    """Lines of a UTF-8 file with their numbers, from 1, and the faults of those that hold what no text should.

    A line ends with LF, CR LF or CR, in every format alike; U+2028 and its like are white space within a text, which a
    transcript may hold. Faults are bytes that are not UTF-8, and a byte order mark at the start of a line, which files
    joined end to end have. Blank lines are left out, and comments (`;;`) where the format has them. Raises UserError
    where there is no file.
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
    """Fields of a line: between tabs where that gives one of `counts`, so that a name may hold a space; else words.

    >>> split_fields("a\\tSpeaker 1\\t0.5", {3}), split_fields("a Speaker 1", {3})
    (['a', 'Speaker 1', '0.5'], ['a', 'Speaker', '1'])
    """
    if "\t" in line:
        fields = [field.strip() for field in line.split("\t")]
        if len(fields) in counts and all(fields):
            return fields
    return line.split()


def rendered(value: object) -> str:
    """A value from a file as a message shows it: quoted, invisible characters and halves of one escaped, not too long.

    >>> shown("caf\\ufeff")
    "'caf\\\\ufeff'"
    """
    text = value if isinstance(value, str) else repr(value)
    text = text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
    return repr(text) if isinstance(value, str) else text


def counted(count: int, noun: str) -> str:
    """A count with its noun.

    >>> counted(1, "region"), counted(1200, "stretch")
    ('1 region', '1,200 stretches')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}{'es' if noun.endswith('ch') else 's'}"


def text_fault(kind: str, text: str) -> str | None:
    """What no text may hold: half a character, as `\\ud83d` alone in JSON. kind: what the text is, for the message."""
    if found := _HALF.search(text):
        half = f"\\u{ord(found[0]):04x}"
        return f"found half a character ({half}) in the {kind} at column {found.start() + 1}, expected whole ones"
    return None


def name_fault(kind: str, name: str) -> str | None:
    """What no name may hold: half a character, or a byte order mark, which nobody sees. kind: what is named."""
    if "\ufeff" in name:
        return f"found a byte order mark (U+FEFF) in the {kind} {rendered(name)}; remove it"
    return text_fault(kind, name)


def interval_fault(start: float | None, end: float | None, found: tuple[object, object]) -> str | None:
    """What is wrong with an interval in seconds, None where nothing is. found: start and end as the file has them."""
    for name, time, text in zip(("start", "end"), (start, end), found, strict=True):
        if time is None:
            return f"found the {name} {rendered(text)}, expected a time in seconds"
    if start < 0:  # type: ignore[operator]
        return f"found the start {found[0]} s, expected 0 or later"
    if end < start:  # type: ignore[operator]
        return f"found the end {found[1]} s, expected no earlier than the start, {found[0]} s"
    if end > LATEST:  # type: ignore[operator]
        return f"found the end {found[1]} s, later than any recording lasts; expected a time in seconds"
    return None


def parse_seconds(text: object) -> float | None:
    """A finite time in seconds from a field of text or a JSON number; None for all else that Python takes for one.

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


def raise_faults(path: Path, faults: Sequence[str]) -> None:
    """Raise FaultyInput with the first 50 of `faults`, if there are any."""
    if faults:
        raise FaultyInput(
            f"{path}: {counted(len(faults), 'fault')}; correct or remove:", shortened(faults, SHOWN_FAULTS)
        )


def check_written(path: Path, names: Sequence[str], start: float, end: float) -> None:
    """Raise ValueError for what a line cannot say: names that are empty or hold white space, impossible times."""
    for name in names:
        if not name or len(name.split()) != 1 or name != name.strip():
            raise ValueError(f"{path}: {name!r} cannot be a name in it: expected one word")
    if not (math.isfinite(start) and math.isfinite(end) and 0 <= start <= end):
        raise ValueError(f"{path}: found {start} s to {end} s of {names[0]}, expected 0 <= start <= end")
