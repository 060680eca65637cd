"""Segments of speech of one speaker, and what was said in them: the entries of RTTM, STM and SegLST files."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Utterance:
    """Words of one speaker between two times of a recording.

    recording: the Track 2 recording, `<Language or Accent>_<session>`; start, end: seconds; text: raw, may be empty.
    """

    recording: str
    speaker: str
    start: float
    end: float
    text: str


def by_recording(utterances: Iterable[Utterance]) -> dict[str, list[Utterance]]:
    """Utterances of each recording; recordings and utterances keep their order."""
    recordings: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        recordings.setdefault(utterance.recording, []).append(utterance)
    return recordings


@dataclass(frozen=True, order=True)
class Segment:
    """`start` to `end` in seconds, and who speaks; the speaker is empty until the clustering assigns one."""

    start: float
    end: float
    speaker: str = ""

    @property
    def duration(self) -> float:
        """Seconds.

        >>> Segment(1.5, 4.0).duration
        2.5
        """
        return self.end - self.start


def in_pieces(segments: Iterable[Segment], max_segment_s: float) -> list[Segment]:
    """Segments, those longer than `max_segment_s` split into as few equal pieces as fit, to the millisecond.

    >>> in_pieces([Segment(1.0, 2.0), Segment(3.0, 6.0)], 2.0)
    [Segment(start=1.0, end=2.0, speaker=''), Segment(start=3.0, end=4.5, speaker=''), Segment(start=4.5, end=6.0, \
speaker='')]
    """
    pieces = []
    for segment in segments:
        start, end = round(1000 * segment.start), round(1000 * segment.end)
        count = max(1, math.ceil((end - start) / math.floor(1000 * max_segment_s)))
        edges = [start + (end - start) * number // count for number in range(count + 1)]
        pieces += [Segment(edges[i] / 1000, edges[i + 1] / 1000, segment.speaker) for i in range(count)]
    return pieces
