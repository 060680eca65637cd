"""RTTM: who speaks when. `SPEAKER <recording> 1 <start> <duration> <NA> <NA> <speaker> <NA> <NA>`, in seconds.

The format is that of NIST's RT-09 evaluation plan, appendix A.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mlcslm.formats.segments import Segment
from mlcslm.formats.timed_lines import (
    check_written,
    counted,
    interval_fault,
    name_fault,
    parse_seconds,
    raise_faults,
    read_lines,
    rendered,
    split_fields,
)
from mlcslm.formats.zones import Zone
from mlcslm.io.files import atomic_path

Channel = tuple[str, str]
"""A recording and one of its channels."""

FIELDS = (10, 9)
"""Fields of a line: ten; nine in NIST's plans before 2006, which have no signal lookahead time."""
OTHER_TYPES = frozenset(
    "SEGMENT NO_RT_METADATA LEXEME NON-LEX NON-SPEECH FILLER EDIT IP SU CB A/P SPKR-INFO".split()  # noqa: SIM905
)
"""Line types that name neither turns nor what is not scored. (md-eval leaves laughs and breaths, NON-LEX, out.)"""
TYPES = frozenset(("SPEAKER", "NOSCORE", *OTHER_TYPES))
DECIMALS = 6
"""Times are written to the microsecond, so that reading gives back what lies on such a grid."""


@dataclass(frozen=True)
class Rttm:
    """What an RTTM file holds, by recording and channel, in the order of the file.

    turns: SPEAKER lines, which may overlap, and may be empty; unscored: NOSCORE lines; ignored: lines of other types.
    """

    turns: dict[Channel, list[Segment]] = field(default_factory=dict)
    unscored: dict[Channel, list[Zone]] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)


def read_rttm_channels(path: str | os.PathLike[str]) -> Rttm:
    """All that an RTTM file says. Fields lie between tabs where a line has as many of them, or else between spaces.

    Raises UserError where there is no file, FaultyInput listing every faulty line: fields that are not ten (or nine), a
    type that RTTM does not have, a start or duration that is not a time or is negative, bytes that are not UTF-8.
    """
    path = Path(path)
    lines, faults = read_lines(path, "an RTTM file, `SPEAKER <recording> 1 <start> <duration> …` a line")
    found = Rttm()
    for number, line in lines:
        fields = split_fields(line, FIELDS)
        fault = _add_line(found, fields)
        if fault:
            faults.append(f"{path}:{number}: {fault}")
    raise_faults(path, faults)
    return found


def _add_line(found: Rttm, fields: list[str]) -> str | None:
    """Take the fields of a line into `found`, or tell what is wrong with them."""
    kind = fields[0].upper()
    if kind not in TYPES:
        return f"found a line of type {rendered(fields[0])}, expected SPEAKER, or another type of RTTM"
    if len(fields) not in FIELDS:
        more = "; a name with a space in it? Write `_`, or tabs between the fields" if len(fields) > max(FIELDS) else ""
        return f"found {len(fields)} fields, expected 10, the speaker being the eighth{more}"
    if kind in OTHER_TYPES:
        found.ignored[kind] += 1
        return None
    start, duration = parse_seconds(fields[3]), parse_seconds(fields[4])
    # The sum of two decimal numbers as a decimal number: floating point would give 0.30000000000000004.
    end = None if start is None or duration is None else round(start + duration, 9)
    if duration is not None and duration < 0 and start is not None and start >= 0:
        return f"found the duration {rendered(fields[4])}, expected 0 s or more"
    if fault := interval_fault(start, end, (fields[3], f"{fields[3]} + {fields[4]}")):
        return fault
    if fault := name_fault("recording", fields[1]) or name_fault("speaker", fields[7]):
        return fault
    start, end = start or 0.0, max(start or 0.0, end or 0.0)
    channel = (fields[1], fields[2])
    if kind == "NOSCORE":
        found.unscored.setdefault(channel, []).append((start, end))
    else:
        found.turns.setdefault(channel, []).append(Segment(start, end, fields[7]))
    return None


def read_rttm(path: str | os.PathLike[str]) -> dict[str, list[Segment]]:
    """Segments of each recording, in the order of the file, its channels put together (`merge_channels`).

    What else the file holds is left out; a warning counts it. Raises as `read_rttm_channels`.
    """
    recordings, notes = merge_channels(read_rttm_channels(path))
    for note in notes:
        logging.getLogger(__name__).warning("%s: %s", path, note)
    return recordings


def merge_channels(found: Rttm) -> tuple[dict[str, list[Segment]], list[str]]:
    """Segments of each recording, and what to tell of all else.

    One name on two channels is two people, as NIST has it: they are told apart by the channel, `1/A` and `2/A`.
    """
    on: dict[tuple[str, str], set[str]] = {}
    for (recording, channel), segments in found.turns.items():
        for segment in segments:
            on.setdefault((recording, segment.speaker), set()).add(channel)
    recordings: dict[str, list[Segment]] = {}
    for (recording, channel), segments in found.turns.items():
        recordings.setdefault(recording, []).extend(
            Segment(segment.start, segment.end, f"{channel}/{segment.speaker}")
            if len(on[recording, segment.speaker]) > 1
            else segment
            for segment in segments
        )
    notes = describe_left_out(found, zones_used=False)
    if several := sorted({recording for (recording, _), channels in on.items() if len(channels) > 1}):
        notes.append(
            f"{counted(len(several), 'recording')} with one speaker's name on several channels (first {several[0]}): "
            "taken as different speakers"
        )
    return recordings, notes


def describe_left_out(found: Rttm, *, zones_used: bool) -> list[str]:
    """What to tell of lines that name no turns. zones_used: whether NOSCORE regions are left out of scoring."""
    notes = []
    zones = [zone for of_channel in found.unscored.values() for zone in of_channel]
    if zones:
        seconds = sum(end - start for start, end in zones)
        notes.append(
            f"{counted(len(zones), 'NOSCORE region')} ({seconds:,.2f} s) not scored"
            if zones_used
            else f"{counted(len(zones), 'NOSCORE line')} ignored: what is not scored is the reference's to name"
        )
    if found.ignored:
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(found.ignored.items()))
        notes.append(f"ignored lines that name no turns: {counts}")
    return notes


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
