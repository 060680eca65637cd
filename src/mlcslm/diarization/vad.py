"""Voice activity detection behind one interface: a session's waveform in, speech segments of limited length out."""

from __future__ import annotations

from typing import Literal, Protocol

from mlcslm.corpus.audio import Audio
from mlcslm.formats.segments import Segment

Detector = Literal["silero", "fsmn"]


class VoiceActivityDetector(Protocol):
    """Finds speech, not speakers."""

    max_segment_s: float

    def __call__(self, waveform: Audio) -> list[Segment]:
        """Speech of a (samples,) float32 waveform at 16 kHz: disjoint segments in order, in whole milliseconds.

        None is longer than `max_segment_s`; pieces of a segment that had to be split touch.
        """


def make_detector(vad: Detector, max_segment_s: float, model: str | None = None) -> VoiceActivityDetector:
    """The detector called `vad`; model: hub id or folder for fsmn, None for the public one.

    Raises UserError if its package or model is missing.
    """
    if vad == "silero":
        from mlcslm.diarization.silero import SileroDetector

        return SileroDetector(max_segment_s)
    from mlcslm.diarization.fsmn import FsmnDetector

    return FsmnDetector(max_segment_s, model)
