"""Segments of speech from a detector's probabilities, frame by frame: when speech begins, ends, and where it is cut."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlcslm.formats.segments import Segment

Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True)
class SpeechSettings:
    """When a detector's probabilities are speech.

    onset: probability at which speech begins; offset: below which it ends; min_pause_s: if it stays below so long
    (shorter pauses belong to the speech); min_speech_s: speech this short or shorter is dropped; padding_s: added on
    either side, as far as there is room.
    """

    onset: float
    offset: float
    min_pause_s: float
    min_speech_s: float
    padding_s: float


def speech_segments(
    probabilities: Probabilities,
    duration_ms: int,
    settings: SpeechSettings,
    *,
    frame_ms: float,
    max_segment_s: float = float("inf"),
    changes: Sequence[int] = (),
) -> list[Segment]:
    """Segments of a session of `duration_ms` whose frames of `frame_ms` hold speech with `probabilities`.

    Speech begins at the onset and lasts until it falls below the offset and is there the shortest pause later, without
    the onset in between. What is then too short is dropped; the rest is padded, and two segments share a pause equally
    where it has less room. Speech is cut at `changes` (frames), and what is longer than `max_segment_s` where
    speech is least probable, into pieces that touch.

    >>> settings = SpeechSettings(onset=0.5, offset=0.35, min_pause_s=0.1, min_speech_s=0.25, padding_s=0.03)
    >>> speech_segments(np.float32([0] * 10 + [0.9] * 50 + [0] * 10), 70 * 32, settings, frame_ms=32)
    [Segment(start=0.29, end=1.95, speaker='')]
    """
    runs = [
        (round(first * frame_ms), min(round(last * frame_ms), duration_ms))
        for first, last in _speech_runs(probabilities, settings, frame_ms)
    ]
    padded = pad_runs(runs, duration_ms, settings)
    cuts = [round(frame * frame_ms) for frame in changes]
    pieces = [
        piece
        for run in padded
        for start, end in _cut_at(run, cuts)
        for piece in _pieces(probabilities, start, min(end, duration_ms), frame_ms, max_segment_s)
    ]
    return [Segment(start / 1000, end / 1000) for start, end in pieces]


def pad_runs(runs: Sequence[tuple[int, int]], duration_ms: int, settings: SpeechSettings) -> list[tuple[int, int]]:
    """The runs of speech (ms) that are long enough, with the padding on either side where there is room for it."""
    shortest, padding = round(1000 * settings.min_speech_s), round(1000 * settings.padding_s)
    runs = [(start, end) for start, end in runs if end - start > shortest]
    padded: list[tuple[int, int]] = []
    for number, (start, end) in enumerate(runs):
        before = runs[number - 1][1] if number else -start
        after = runs[number + 1][0] if number + 1 < len(runs) else 2 * duration_ms - end
        padded.append((start - min(padding, (start - before) // 2), end + min(padding, (after - end) // 2)))
    return padded


def _speech_runs(probabilities: Probabilities, settings: SpeechSettings, frame_ms: float) -> list[tuple[int, int]]:
    """First frame of each stretch of speech, and of the pause that ends it."""
    runs: list[tuple[int, int]] = []
    first = pause = None
    for frame, probability in enumerate(probabilities.tolist()):
        if probability >= settings.onset:
            first, pause = frame if first is None else first, None
        elif probability < settings.offset and first is not None:
            pause = frame if pause is None else pause
            if (frame - pause) * frame_ms >= 1000 * settings.min_pause_s:
                runs.append((first, pause))
                first = pause = None
    return runs if first is None else [*runs, (first, len(probabilities))]


def _cut_at(run: tuple[int, int], cuts: Sequence[int]) -> list[tuple[int, int]]:
    edges = [run[0], *(cut for cut in cuts if run[0] < cut < run[1]), run[1]]
    return list(itertools.pairwise(edges))


def _pieces(
    probabilities: Probabilities, start: int, end: int, frame_ms: float, max_segment_s: float
) -> list[tuple[int, int]]:
    """`start` to `end` (ms) in pieces of at most `max_segment_s`, cut where speech is least probable.

    A cut lies in the second half of what is allowed, so that pieces are not needlessly short, and leaves a quarter.
    """
    pieces = []
    while end - start > 1000 * max_segment_s:
        limit = int(1000 * max_segment_s)
        first = int((start + limit // 2) // frame_ms) + 1
        last = int(min(start + limit, end - limit // 4) // frame_ms)
        candidates = probabilities[first:last]
        # Of equally probable frames the last one: fewer pieces. The cut is in the frame's middle.
        frame = last - 1 - int(np.argmin(candidates[::-1]))
        cut = int((frame + 0.5) * frame_ms)
        pieces.append((start, cut))
        start = cut
    return [*pieces, (start, end)]
