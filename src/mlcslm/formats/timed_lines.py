"""What the readers and writers of RTTM, STM and SegLST files share: lines, names, times, and how faults are told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from mlcslm.errors import FaultyInput, UserError, shortened

SHOWN_FAULTS = 50


def read_bytes(path: Path, expected: str) -> bytes:
    """Content of a file without its byte order mark; raises UserError where there is none. expected: its format."""
    if not path.is_file():
        raise UserError(f"{path}: no such file. Expected {expected}.")
    return path.read_bytes().removeprefix(b"\xef\xbb\xbf")


def read_lines(path: Path, expected: str) -> tuple[list[tuple[int, str]], list[str]]:
    """Lines of a UTF-8 file with their numbers, from 1, and the faults of those that are not UTF-8.

    Blank lines and comments (`;;`) are left out. Raises UserError where there is no file.
    """
    lines, faults = [], []
    # Split at line feeds alone: str.splitlines would also cut at characters that a transcript may hold, as U+2028.
    for number, raw in enumerate(read_bytes(path, expected).split(b"\n"), start=1):
        try:
            line = raw.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            byte = raw[error.start]
            faults.append(f"{path}:{number}: found byte 0x{byte:02x} at column {error.start + 1}, expected UTF-8")
            continue
        if line and not line.startswith(";;"):
            lines.append((number, line))
    return lines, faults


def interval_fault(start: float | None, end: float | None, rendered: tuple[object, object]) -> str | None:
    """What is wrong with an interval in seconds, None where nothing is. shown: start and end as the file has them."""
    for name, time, text in zip(("start", "end"), (start, end), rendered, strict=True):
        if time is None:
            return f"found the {name} {text!r}, expected a time in seconds"
    if start < 0:  # type: ignore[operator]
        return f"found the start {rendered[0]} s, expected 0 or later"
    if end < start:  # type: ignore[operator]
        return f"found the end {rendered[1]} s, expected no earlier than the start, {rendered[0]} s"
    return None


def parse_seconds(text: object) -> float | None:
    """A finite time in seconds from a field of text or a JSON number; None for anything else (Python's `1_0` too)."""
    if isinstance(text, bool) or not isinstance(text, str | int | float) or "_" in str(text):
        return None
    try:
        time = float(text)
    except (ValueError, OverflowError):
        return None
    return time if math.isfinite(time) else None


def raise_faults(path: Path, faults: Sequence[str]) -> None:
    """Raise FaultyInput with the first 50 of `faults`, if there are any."""
    if faults:
        raise FaultyInput(f"{path}: {len(faults)} faults; correct or remove:", shortened(faults, SHOWN_FAULTS))


def check_written(path: Path, names: Sequence[str], start: float, end: float) -> None:
    """Raise ValueError for what a line cannot say: names that are empty or hold white space, impossible times."""
    for name in names:
        if not name or len(name.split()) != 1 or name != name.strip():
            raise ValueError(f"{path}: {name!r} cannot be a name in it: expected one word")
    if not (math.isfinite(start) and math.isfinite(end) and 0 <= start <= end):
        raise ValueError(f"{path}: found {start} s to {end} s of {names[0]}, expected 0 <= start <= end")
