"""RTTM: who speaks when. `SPEAKER <recording> 1 <start> <duration> <NA> <NA> <speaker> <NA> <NA>`, in seconds."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from mlcslm.formats.segments import Segment
from mlcslm.formats.timed_lines import check_written, interval_fault, parse_seconds, raise_faults, read_lines
from mlcslm.io.files import atomic_path

# The other line types of NIST's RT-09 evaluation plan, appendix A, as far as files have them; they name no turns.
OTHER_TYPES = frozenset(("SPKR-INFO", "SEGMENT", "NOSCORE", "NO_RT_METADATA", "LEXEME", "NON-LEX", "NON-SPEECH"))
DECIMALS = 6
"""Times are written to the microsecond, so that reading gives back what lies on such a grid."""


def read_rttm(path: str | os.PathLike[str]) -> dict[str, list[Segment]]:
    """Segments of each recording, in the order of the file; they may overlap, and may be empty.

    Raises UserError where there is no file, FaultyInput listing every faulty line: fewer than eight fields, a type that
    RTTM does not have, a start or duration that is not a time or is negative, bytes that are not UTF-8.
    """
    path = Path(path)
    lines, faults = read_lines(path, "an RTTM file, `SPEAKER <recording> 1 <start> <duration> …` a line")
    recordings: dict[str, list[Segment]] = {}
    for number, line in lines:
        fields = line.split()
        if fields[0] in OTHER_TYPES:
            continue
        if fields[0] != "SPEAKER":
            faults.append(f"{path}:{number}: found a line of type {fields[0]!r}, expected SPEAKER")
            continue
        if len(fields) < 8:
            faults.append(f"{path}:{number}: found {len(fields)} fields, expected 10, the speaker being the eighth")
            continue
        start, duration = parse_seconds(fields[3]), parse_seconds(fields[4])
        # The sum of two decimal numbers as a decimal number: floating point would give 0.30000000000000004.
        end = None if start is None or duration is None else round(start + duration, 9)
        if fault := interval_fault(start, end, (fields[3], f"{fields[3]} + {fields[4]}")):
            faults.append(f"{path}:{number}: {fault}")
            continue
        recordings.setdefault(fields[1], []).append(Segment(start, max(start, end), fields[7]))  # type: ignore[type-var,arg-type]
    raise_faults(path, faults)
    return recordings


def write_rttm(path: str | os.PathLike[str], recordings: Mapping[str, Iterable[Segment]]) -> None:
    """Write the segments of each recording in order of start; a recording without one leaves no trace.

    Raises ValueError for names that are empty or hold white space and for segments that end before they start.
    """
    path = Path(path)
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        for recording, segments in recordings.items():
            for segment in sorted(segments):
                check_written(path, (recording, segment.speaker), segment.start, segment.end)
                start, end = round(segment.start, DECIMALS), round(segment.end, DECIMALS)
                times = f"{_seconds(start)} {_seconds(end - start)}"
                file.write(f"SPEAKER {recording} 1 {times} <NA> <NA> {segment.speaker} <NA> <NA>\n")


def _seconds(time: float) -> str:
    """`time` to the microsecond, with three decimals or as many more as it needs.

    >>> _seconds(0.5), _seconds(1.680274)
    ('0.500', '1.680274')
    """
    whole, decimals = f"{time:.{DECIMALS}f}".split(".")
    return f"{whole}.{decimals.rstrip('0').ljust(3, '0')}"
