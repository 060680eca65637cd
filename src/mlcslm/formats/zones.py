"""Zones of a recording that are scored or not, as UEM files, NOSCORE and IGNORE_TIME_SEGMENT_IN_SCORING define them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from mlcslm.formats.parsing import check_interval, name_fault, parse_seconds, raise_faults, read_lines, split_fields

Zone = tuple[float, float]
"""Start and end, seconds."""


def merged(zones: Iterable[Zone]) -> list[Zone]:
    """Zones in order, with touching and overlapping ones merged and empty ones dropped.

    >>> merged([(3.0, 4.0), (0.0, 1.0), (0.5, 2.0)])
    [(0.0, 2.0), (3.0, 4.0)]
    """
    found: list[Zone] = []
    for start, end in sorted(zone for zone in zones if zone[1] > zone[0]):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((start, end))
    return found


def without(zones: Iterable[Zone], holes: Iterable[Zone]) -> list[Zone]:
    """What remains of `zones` after removing `holes`.

    >>> without([(0.0, 10.0)], [(2.0, 3.0), (9.0, 12.0)])
    [(0.0, 2.0), (3.0, 9.0)]
    """
    left = merged(zones)
    for hole_start, hole_end in merged(holes):
        left = [
            (start, end)
            for zone_start, zone_end in left
            for start, end in ((zone_start, min(zone_end, hole_start)), (max(zone_start, hole_end), zone_end))
            if end > start
        ]
    return left


def covers(zones: Sequence[Zone], time: float) -> bool:
    """Whether a time is in one of `zones`; their ends are exclusive, as in sclite."""
    return any(start <= time < end for start, end in zones)


def read_uem(path: str | os.PathLike[str]) -> dict[tuple[str, str], list[Zone]]:
    """Scored zones by recording and channel: `<recording> <channel> <start> <end>` per line, in seconds.

    Raises UserError if the file does not exist, FaultyInput listing every faulty line.
    """
    path = Path(path)
    lines, faults = read_lines(path, "a UEM file, `<recording> <channel> <start> <end>` per line")
    zones: dict[tuple[str, str], list[Zone]] = {}
    for number, line in lines:
        fields = split_fields(line, (4,))
        if len(fields) != 4:
            faults.append(f"{path}:{number}: found {len(fields)} fields, expected 4: recording, channel, start, end")
            continue
        interval = check_interval(parse_seconds(fields[2]), parse_seconds(fields[3]), (fields[2], fields[3]))
        if isinstance(interval, str):
            faults.append(f"{path}:{number}: {interval}")
        elif fault := name_fault("recording", fields[0]):
            faults.append(f"{path}:{number}: {fault}")
        else:
            zones.setdefault((fields[0], fields[1]), []).append(interval)
    raise_faults(path, faults)
    return zones
