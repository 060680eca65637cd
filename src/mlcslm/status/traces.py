"""Traces of running jobs on disk: locks they hold, logs that grow, partial hypotheses."""

from __future__ import annotations

import fcntl
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

State = Literal["done", "running", "stopped", "to do", "outdated"]

_RECENT = 50  # steps that the pace is measured over
_SILENCE_S = 120.0  # without file locks, a job that is silent for this long counts as stopped
_BAR = re.compile(r"(\d+)/(\d+) \[(?P<passed>[\d:]+)<(?P<left>[\d:]+|\?)")


@dataclass(frozen=True)
class Trace:
    """A job's progress: done of total (steps, utterances, sessions), None if unknown.

    seconds_left: at the pace of its last steps, None if there is no pace yet.
    """

    state: State
    done: int | None = None
    total: int | None = None
    seconds_left: float | None = None


TO_DO, DONE = Trace("to do"), Trace("done")


def training_trace(work: Path, steps: int) -> Trace:
    """The trace of a stage of `steps` with resumable states and log in a folder below `work`; the newest counts."""
    logs = sorted(work.glob("*/log.jsonl"), key=_changed)
    locks = [path for path in work.glob("*.lock") if is_held(path)]
    if not logs:
        return Trace("running", 0, steps) if locks else TO_DO
    rows = _last_rows(logs[-1])
    step = rows[-1]["step"] if rows else 0
    if not locks:
        return Trace("stopped", step, steps)
    pace = pace_of([row["seconds"] for row in rows], [row["step"] for row in rows])
    return Trace("running", step, steps, None if pace is None else (steps - step) * pace)


def decoding_trace(shards: Sequence[tuple[Path, int]]) -> Trace:
    """The trace of a decoding from its shards (file, number of utterances), with partial hypotheses beside them.

    Stopped: a shard was left half done. Between shards, which other jobs may be at any time, it is still to do.
    """
    done, left, running, begun, is_partial = 0, 0.0, False, False, False
    known_pace = True
    for file, utterances in shards:
        partial = file.with_name(f".{file.name}.partial")
        if file.is_file():
            done, begun = done + utterances, True
            continue
        seconds = [row["seconds"] for row in _last_rows(partial, utterances + 1) if "seconds" in row]
        is_partial = is_partial or partial.is_file()
        done += len(seconds)
        running = running or is_held(file.with_suffix(".lock"))
        if seconds:
            left += (utterances - len(seconds)) * sum(seconds) / len(seconds)
        else:
            known_pace = False
    if not (begun or is_partial or running):
        return TO_DO
    total = sum(utterances for _, utterances in shards)
    if running:
        return Trace("running", done, total, left if known_pace else None)
    return Trace("stopped" if is_partial else "done" if done == total else "to do", done, total)


def log_trace(log: Path) -> Trace:
    """The trace of a job known only by its log: the last progress bar in it. A running job holds a lock on its log."""
    if not log.is_file():  # missing, or a device, which may never end
        return TO_DO
    try:
        age = time.time() - log.stat().st_mtime
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            tail = file.read().decode("utf-8", errors="replace")
    except OSError:
        return TO_DO
    state: State = "running" if is_held(log) or age < _SILENCE_S else "stopped"
    bars = list(_BAR.finditer(tail))
    if not bars:
        return Trace(state)
    last = bars[-1]
    left = _seconds(last["left"]) if state == "running" else None
    return Trace(state, int(last[1]), int(last[2]), None if left is None else max(0.0, left - age))


def is_held(lock: Path) -> bool:
    """Whether a process holds the lock file; if not, this briefly takes a shared lock on it."""
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def pace_of(seconds: Sequence[float], steps: Sequence[int]) -> float | None:
    """Seconds per step over the last steps, None for fewer than two.

    >>> pace_of([1.0, 3.0, 5.0], [1, 2, 3])
    2.0
    """
    seconds, steps = seconds[-_RECENT:], steps[-_RECENT:]
    if len(steps) < 2 or steps[-1] <= steps[0]:
        return None
    return (seconds[-1] - seconds[0]) / (steps[-1] - steps[0])


def _last_rows(path: Path, most: int = _RECENT) -> list[dict[str, Any]]:
    """The last rows of a JSON Lines file; a line that is still being written is skipped."""
    try:
        lines = path.read_bytes().splitlines()[-most:]
    except OSError:
        return []
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _changed(path: Path) -> float:
    """A file's modification time; 0 for one that a job has just removed."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _seconds(clock: str) -> float | None:
    """Seconds of `1:02:03` or `02:03`; None of `?`."""
    if clock == "?":
        return None
    total = 0
    for part in clock.split(":"):
        total = 60 * total + int(part)
    return float(total)
