"""Windows of 1.5 s every 0.75 s inside speech segments, and the speaker turns that labelled windows form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mlcslm.corpus.audio import SAMPLE_RATE, Audio
from mlcslm.formats.segments import Segment

# 3D-Speaker's recipe.
LENGTH, STEP = 1.5, 0.75
QUIET_LENGTH, QUIET_STEP = 0.05, 0.01


@dataclass(frozen=True)
class Window:
    """`start` to `end` seconds of a session, at most `LENGTH`, inside the `segment`-th speech segment."""

    start: float
    end: float
    segment: int


def windows_of(segments: Sequence[Segment]) -> list[Window]:
    """Windows that cover each segment, in order; a segment's last one may be shorter.

    A segment of 0.75 s or less is one window, where the stock recipe drops it.

    >>> [(window.start, window.end) for window in windows_of([Segment(0.0, 0.5), Segment(1.0, 3.5)])]
    [(0.0, 0.5), (1.0, 2.5), (1.75, 3.25), (2.5, 3.5)]
    """
    windows = []
    for number, segment in enumerate(segments):
        # What is left after the first window, in whole milliseconds.
        left = round(1000 * (segment.duration - LENGTH))
        for step in range(max(0, -(-left // round(1000 * STEP))) + 1):
            start = round(segment.start + step * STEP, 3)
            windows.append(Window(start, min(round(start + LENGTH, 3), segment.end), number))
    return windows


def middle(start: float, end: float) -> float:
    """The midpoint, in whole milliseconds."""
    return round((start + end) / 2, 3)


def quietest(waveform: Audio) -> Callable[[float, float], float]:
    """A function that finds the quietest time between two times (seconds) of a 16 kHz waveform, to `QUIET_STEP`.

    The quietest time has the least energy over `QUIET_LENGTH`; of equals, the one nearest to the middle.
    """
    step = round(QUIET_STEP * SAMPLE_RATE)
    blocks = waveform[: len(waveform) // step * step].reshape(-1, step)
    energies = np.einsum("ij,ij->i", blocks, blocks)  # without copying the session
    around = round(QUIET_LENGTH / QUIET_STEP)
    smooth = np.convolve(energies, np.ones(around), mode="same")

    def find(start: float, end: float) -> float:
        first, last = round(start / QUIET_STEP), round(end / QUIET_STEP)
        candidates = smooth[first:last]
        if not len(candidates):
            return middle(start, end)
        lowest = np.flatnonzero(candidates == candidates.min())
        nearest = lowest[np.argmin(np.abs(lowest - len(candidates) / 2))]
        return round(min(max((first + nearest + 0.5) * QUIET_STEP, start), end), 3)

    return find


def turns_of(
    windows: Sequence[Window],
    speakers: Sequence[str],
    *,
    keep_vad_boundaries: bool,
    change: Callable[[float, float], float] = middle,
) -> list[Segment]:
    """Turns of the windows' speakers: disjoint segments in order.

    Touching or overlapping windows of one speaker form one turn; where two speakers' windows overlap, the turn changes
    at the time that `change` gives for the overlap's start and end. With `keep_vad_boundaries`, no turn crosses the end
    of a speech segment, so none is longer than the longest of these; without it, a speaker's turns that touch there are
    merged, as in 3D-Speaker's recipe.
    """
    turns: list[Segment] = []
    for number, (window, speaker) in enumerate(zip(windows, speakers, strict=True)):
        start, last = window.start, turns[-1] if turns else None
        new_segment = number == 0 or windows[number - 1].segment != window.segment
        if last is None or start > last.end or (new_segment and keep_vad_boundaries):
            turns.append(Segment(start, window.end, speaker))
        elif last.speaker == speaker:
            turns[-1] = replace(last, end=max(last.end, window.end))
        else:
            turn = change(start, last.end)
            turns[-1] = replace(last, end=turn)
            turns.append(Segment(turn, window.end, speaker))
    return turns
