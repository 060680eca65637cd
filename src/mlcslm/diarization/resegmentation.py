"""Changes of the speaker: which windows hear two; and, once the speakers are known, when one begins."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mlcslm.diarization.clustering import centres, normalised
from mlcslm.diarization.windows import Window
from mlcslm.formats.segments import Segment

if TYPE_CHECKING:
    from mlcslm.speaker_embedding.embedding import Parts

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

PART_S, PART_STEP_S = 0.75, 0.08
"""Stretches that are compared with the speakers. Any of up to 0.75 s lies within one of the windows."""
GRID_S = 0.1
CHANGE_PENALTY = 0.1
"""What a change costs, in cosine times seconds: a turn between two of somebody else must be nearer to its speaker by
0.2 for a second."""
REACH_S = 0.2  # a change is where it is quietest, this far before or after
MIXED = 0.2
"""Share of the windows that are taken to hear two voices."""


def clear_windows(parts: Parts) -> npt.NDArray[np.bool_]:
    """(N,) which of the windows are likely to hear one voice: all but the `MIXED` whose ends are least alike."""
    first, last = parts.first[:-1], parts.first[1:] - 1
    ends = [normalised(parts.embeddings[places].astype(np.float64)) for places in (first, last)]
    alike = np.einsum("ij,ij->i", *ends)
    alike[first == last] = np.inf  # too short to have two ends
    return alike >= np.quantile(alike[first < last], MIXED) if (first < last).any() else alike > 0


def resegment(
    segments: Sequence[Segment],
    windows: Sequence[Window],
    labels: Labels,
    embeddings: npt.ArrayLike,
    parts: Parts,
    *,
    quietest: Callable[[float, float], float],
    max_segment_s: float,
    penalty: float = CHANGE_PENALTY,
    reach_s: float = REACH_S,
) -> list[Segment]:
    """Turns of speakers S1, S2, …, as many as there are labels: disjoint, in order, within the speech of `segments`.

    labels: the speakers of `windows`, whose `embeddings` and `parts` are given. Each speaker's centre is the mean of
    its windows; time is given to the speakers so that the cosines of the parts with the centres, less the penalty of
    each change, are largest. Segments that touch are one: the turns found, not these, are limited to `max_segment_s`,
    and cut where `quietest` says.
    """
    vectors = normalised(np.asarray(embeddings, np.float64))
    voices = centres(labels, vectors, np.arange(labels.max() + 1))
    turns: list[Segment] = []
    first = 0
    for start, end, count in _runs(segments, windows):
        here = slice(parts.first[first], parts.first[first + count])
        first += count
        cosines = normalised(parts.embeddings[here].astype(np.float64)) @ voices.T
        edges, speakers = _best(parts.middles[here], cosines, start, end, penalty)
        times = [start]
        for before, edge, after in zip([start, *edges], edges, [*edges[1:], end], strict=False):
            # Halfway to its neighbours at most, so that no turn is empty.
            earliest, latest = max(edge - reach_s, (before + edge) / 2), min(edge + reach_s, (edge + after) / 2)
            times.append(float(quietest(earliest, latest)))
        for (begin, until), speaker in zip(itertools.pairwise([*times, end]), speakers, strict=True):
            turns += _pieces(Segment(begin, until, f"S{speaker + 1}"), quietest, max_segment_s)
    return turns


def _runs(segments: Sequence[Segment], windows: Sequence[Window]) -> list[tuple[float, float, int]]:
    """Start, end and number of windows of each stretch of speech: segments that touch are one."""
    counts = np.bincount([window.segment for window in windows], minlength=len(segments)).tolist()
    runs: list[tuple[float, float, int]] = []
    for segment, count in zip(segments, counts, strict=True):
        if runs and runs[-1][1] == segment.start:
            start, _, before = runs[-1]
            runs[-1] = (start, segment.end, before + count)
        else:
            runs.append((segment.start, segment.end, count))
    return runs


def _best(middles: Floats, cosines: Floats, start: float, end: float, penalty: float) -> tuple[list[float], list[int]]:
    """Times of the changes between `start` and `end`, and the speakers before, between and after them."""
    times, places = np.unique(middles, return_inverse=True)
    known = np.zeros((len(times), cosines.shape[1]))
    np.add.at(known, places, cosines)
    known /= np.bincount(places)[:, None]
    count = max(1, round((end - start) / GRID_S))
    step = (end - start) / count
    grid = start + step * (np.arange(count) + 0.5)
    scores = step * np.stack([np.interp(grid, times, column) for column in known.T], axis=1)
    path = viterbi(scores, penalty)
    changes = np.flatnonzero(np.diff(path)) + 1
    return [round(start + step * int(change), 3) for change in changes], path[[0, *changes]].tolist()


def viterbi(scores: Floats, penalty: float) -> Labels:
    """The states (T,) with the largest sum of `scores` (T, states), less `penalty` for each change of the state.

    >>> viterbi(np.array([[2.0, 0], [0, 1], [2, 0], [0, 1], [0, 1]]), 1.0).tolist()
    [0, 0, 0, 1, 1]
    """
    total, before = scores[0], np.zeros(scores.shape, np.int64)
    own = np.arange(scores.shape[1])
    for time, here in enumerate(scores[1:], start=1):
        best = int(total.argmax())
        before[time] = np.where(total >= total[best] - penalty, own, best)
        total = total[before[time]] - penalty * (before[time] != own) + here
    states = [int(total.argmax())]
    for row in before[:0:-1]:
        states.append(int(row[states[-1]]))
    return np.array(states[::-1], np.int64)


def _pieces(turn: Segment, quietest: Callable[[float, float], float], max_segment_s: float) -> list[Segment]:
    """`turn` in pieces of at most `max_segment_s`, cut in the second half of what is allowed, leaving a quarter."""
    pieces, start = [], turn.start
    while turn.end - start > max_segment_s:
        cut = quietest(start + max_segment_s / 2, min(start + max_segment_s, turn.end - max_segment_s / 4))
        pieces.append(Segment(start, cut, turn.speaker))
        start = cut
    return [*pieces, Segment(start, turn.end, turn.speaker)]
