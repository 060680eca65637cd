"""Data of the timelines: who speaks when, in the reference and for each diarizer, one file per session."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from mlcslm.formats.segments import Segment
from mlcslm.report.data_files import write_data
from mlcslm.report.turn_pictures import speaker_colours

REFERENCE = "reference"


def write_timelines(
    connection: duckdb.DuckDBPyConnection, folder: Path, audio: Mapping[str, Mapping[str, str]]
) -> None:
    """Write `data/timelines.js`, the sessions by split, and a file of turns for each session.

    audio: path within `folder` of each session's audio, by split.
    """
    index: dict[str, dict[str, list[str]]] = {}
    for split in sorted(audio):
        found = _diarized(connection, split)
        spoken = _spoken(connection, split)
        recordings = [session for session in spoken if session in found]
        if recordings:
            index[split] = {"recordings": recordings}
        for number, session in enumerate(recordings):
            value = _session(session, spoken[session], found[session], audio[split].get(session))
            write_data(folder, f"{split}/timelines/{number}", value)
    write_data(folder, "timelines", index)


Turns = list[tuple[str, float, float, str | None]]
"""Speaker, start and end (seconds), transcript."""


def _spoken(connection: duckdb.DuckDBPyConnection, split: str) -> dict[str, Turns]:
    turns: dict[str, Turns] = defaultdict(list)
    for session, *turn in connection.execute(
        'SELECT session_id, speaker, "start", "end", text FROM utterances WHERE split = ? ORDER BY rowid', [split]
    ).fetchall():
        turns[session].append(tuple(turn))
    return turns


def _diarized(connection: duckdb.DuckDBPyConnection, split: str) -> dict[str, dict[str, tuple[str, Turns]]]:
    """Note and turns by session and diarizer, in the config's order."""
    found: dict[str, dict[str, tuple[str, Turns]]] = defaultdict(dict)
    for session, system, der, tcpwer, speakers in connection.execute(
        "SELECT recording, c.system, 100 * (missed + false_alarm + confusion) / nullif(scored_speech, 0), "
        "100.0 * tcp_errors / nullif(tcp_length, 0), speakers_found FROM primary_diarization AS c "
        "JOIN diarizers AS d ON d.diarizer = c.system WHERE split = ? ORDER BY d.rowid",
        [split],
    ).fetchall():
        rates = [f"{name} {rate:.1f} %" for name, rate in (("DER", der), ("tcpWER/tcpCER", tcpwer)) if rate is not None]
        found[session][system] = (", ".join([f"{speakers} speakers", *rates]), [])
    for session, system, *turn in connection.execute(
        'SELECT recording, system, speaker, "start", "end", transcript FROM diarized_segments WHERE split = ? '
        'ORDER BY recording, system, "start"',
        [split],
    ).fetchall():
        if system in found[session]:
            found[session][system][1].append(tuple(turn))
    return found


def _session(
    session: str, spoken: Turns, diarized: Mapping[str, tuple[str, Turns]], audio: str | None
) -> dict[str, Any]:
    reference = _segments(spoken)
    sources = []
    for name, note, turns in [(REFERENCE, "", spoken), *((name, *found) for name, found in diarized.items())]:
        kind = REFERENCE if name == REFERENCE else "found"
        colours = speaker_colours(reference, _segments(turns) if kind == "found" else [])
        lanes = [
            {
                "speaker": speaker,
                "colour": colours[kind, speaker],
                "turns": [[round(start, 2), round(end, 2), text] for who, start, end, text in turns if who == speaker],
            }
            for speaker in sorted({turn[0] for turn in turns})
        ]
        sources.append({"name": name, "note": note, "lanes": lanes})
    ends = [turn[2] for _, turns in [("", spoken), *diarized.values()] for turn in turns]
    return {"session": session, "audio": audio, "duration": round(max(ends, default=0.0) + 1, 1), "sources": sources}


def _segments(turns: Sequence[tuple[str, float, float, str | None]]) -> list[Segment]:
    return [Segment(start, end, speaker) for speaker, start, end, _ in turns]
