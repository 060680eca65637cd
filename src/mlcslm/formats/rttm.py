"""RTTM: who speaks when. `SPEAKER <recording> 1 <start> <duration> <NA> <NA> <speaker> <NA> <NA>`, in seconds.

The format is defined in appendix A of NIST's RT-09 evaluation plan.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mlcslm.formats.parsing import (
    check_interval,
    check_written,
    counted,
    end_time,
    name_fault,
    parse_seconds,
    raise_faults,
    read_lines,
    rendered,
    split_fields,
)
from mlcslm.formats.segments import Segment
from mlcslm.formats.zones import Zone
from mlcslm.io.files import atomic_path

Channel = tuple[str, str]
"""Recording and channel."""

FIELDS = (10, 9)
"""Fields per line: ten, or nine without the signal lookahead time; NIST's rttmValidator accepts both."""
OTHER_TYPES = frozenset(
    "SEGMENT NO_RT_METADATA LEXEME NON-LEX NON-SPEECH FILLER EDIT IP SU CB A/P SPKR-INFO".split()  # noqa: SIM905
)
"""Line types that define neither turns nor no-score zones. (md-eval does not score around NON-LEX, such as laughs.)"""
TYPES = frozenset(("SPEAKER", "NOSCORE", *OTHER_TYPES))
DECIMALS = 6
"""Times are written to the microsecond, so that times on that grid survive a round trip."""


@dataclass(frozen=True)
class Rttm:
    """Content of an RTTM file by recording and channel, in file order.

    turns: SPEAKER lines, which may overlap or be empty; unscored: NOSCORE lines; ignored: other lines, by type.
    """

    turns: dict[Channel, list[Segment]] = field(default_factory=dict)
    unscored: dict[Channel, list[Zone]] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)


def read_rttm_channels(path: str | os.PathLike[str]) -> Rttm:
    """Read an RTTM file. Fields are separated by tabs if that gives a valid number of them, otherwise by spaces.

    Raises UserError if the file does not exist, FaultyInput listing every faulty line: other than ten (or nine) fields,
    an unknown type, a start or duration that is negative or not a time, bytes that are not UTF-8.
    """
    path = Path(path)
    lines, faults = read_lines(path, "an RTTM file, `SPEAKER <recording> 1 <start> <duration> …` per line")
    found = Rttm()
    for number, line in lines:
        fields = split_fields(line, FIELDS)
        fault = _add_line(found, fields)
        if fault:
            faults.append(f"{path}:{number}: {fault}")
    raise_faults(path, faults)
    return found


def _add_line(found: Rttm, fields: list[str]) -> str | None:
    """Add the fields of a line to `found`, or return what is wrong with them."""
    kind = fields[0].upper()
    if kind not in TYPES:
        return f"found a line of type {rendered(fields[0])}, expected SPEAKER or another RTTM type"
    if len(fields) not in FIELDS:
        hint = "; a name with a space in it? Write `_`, or separate fields with tabs"
        hint = hint if len(fields) > max(FIELDS) else ""
        return f"found {len(fields)} fields, expected 10, the eighth being the speaker{hint}"
    if kind in OTHER_TYPES:
        found.ignored[kind] += 1
        return None
    start, duration = parse_seconds(fields[3]), parse_seconds(fields[4])
    if duration is not None and duration < 0 and start is not None and start >= 0:
        return f"found the duration {rendered(fields[4])}, expected 0 s or more"
    interval = check_interval(start, end_time(start, duration), (fields[3], f"{fields[3]} + {fields[4]}"))
    if isinstance(interval, str):
        return interval
    if fault := name_fault("recording", fields[1]) or name_fault("speaker", fields[7]):
        return fault
    channel = (fields[1], fields[2])
    if kind == "NOSCORE":
        found.unscored.setdefault(channel, []).append(interval)
    else:
        found.turns.setdefault(channel, []).append(Segment(*interval, fields[7]))
    return None


def read_rttm(path: str | os.PathLike[str]) -> dict[str, list[Segment]]:
    """Segments of each recording in file order, with channels merged (`merge_channels`).

    Other lines are ignored; a warning counts them. Raises as `read_rttm_channels` does.
    """
    recordings, notes = merge_channels(read_rttm_channels(path))
    for note in notes:
        logging.getLogger(__name__).warning("%s: %s", path, note)
    return recordings


def merge_channels(found: Rttm) -> tuple[dict[str, list[Segment]], list[str]]:
    """Segments of each recording, and notes on everything else.

    As in NIST's scoring, one name on two channels is two speakers; the channel distinguishes them: `1/A` and `2/A`.
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
    notes = describe_ignored(found, zones_used=False)
    if several := sorted({recording for (recording, _), channels in on.items() if len(channels) > 1}):
        notes.append(
            f"found the same speaker name on several channels in {counted(len(several), 'recording')} (first "
            f"{several[0]}): treated as different speakers"
        )
    return recordings, notes


def describe_ignored(found: Rttm, *, zones_used: bool) -> list[str]:
    """Notes on lines other than turns. zones_used: whether NOSCORE zones are excluded from scoring."""
    notes = []
    zones = [zone for of_channel in found.unscored.values() for zone in of_channel]
    if zones:
        seconds = sum(end - start for start, end in zones)
        notes.append(
            f"excluded {counted(len(zones), 'NOSCORE zone')} ({seconds:,.2f} s) from scoring"
            if zones_used
            else f"ignored {counted(len(zones), 'NOSCORE line')}: only the reference may exclude zones from scoring"
        )
    if found.ignored:
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(found.ignored.items()))
        notes.append(f"ignored lines of other types than turns: {counts}")
    return notes


def write_rttm(path: str | os.PathLike[str], recordings: Mapping[str, Iterable[Segment]]) -> None:
    """Write the segments of each recording in order of start; recordings without segments have no line.

    Raises ValueError for names that are empty or contain white space and for segments that end before they start.
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
    """`time` to the microsecond, with at least three decimals.

    >>> _seconds(0.5), _seconds(1.680274)
    ('0.500', '1.680274')
    """
    whole, decimals = f"{time:.{DECIMALS}f}".split(".")
    return f"{whole}.{decimals.rstrip('0').ljust(3, '0')}"
