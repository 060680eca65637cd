"""Voice activity detection behind one interface: a session's waveform in, segments of speech of limited length out."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, Protocol

from mlcslm.corpus.audio import Audio
from mlcslm.diarization.segments import Segment

Detector = Literal["silero", "fsmn"]


class VoiceActivityDetector(Protocol):
    """Finds speech, not who speaks."""

    max_segment_s: float

    def __call__(self, waveform: Audio) -> list[Segment]:
        """Speech of a (samples,) float32 waveform at 16 kHz: disjoint segments in order, in whole milliseconds.

        None is longer than `max_segment_s`; the pieces of what had to be cut touch.
        """


def make_detector(vad: Detector, max_segment_s: float, model: str | None = None) -> VoiceActivityDetector:
    """The detector of that name; model: of fsmn, hub id or folder, None for the public one.

    Raises UserError where its package or model is not there.
    """
    if vad == "silero":
        from mlcslm.diarization.silero import SileroDetector

        return SileroDetector(max_segment_s)
    from mlcslm.diarization.fsmn import FsmnDetector

    return FsmnDetector(max_segment_s, model)


def in_pieces(segments: Iterable[Segment], max_segment_s: float) -> list[Segment]:
    """Segments with those that are longer than `max_segment_s` cut into as few equal pieces as fit, to the millisecond.

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
