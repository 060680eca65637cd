"""Voice activity detection behind one interface: a session's waveform in, speech segments of limited length out."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, Protocol, runtime_checkable

from mlcslm.corpus.audio import Audio
from mlcslm.diarization.speech import SpeechSettings
from mlcslm.errors import UserError
from mlcslm.formats.segments import Segment

Detector = Literal["silero", "fsmn", "segmentation"]

DEFAULTS: dict[Detector, SpeechSettings] = {
    "silero": SpeechSettings(onset=0.2, offset=0.1, min_pause_s=0.2, min_speech_s=0.1, padding_s=0.05),
    "segmentation": SpeechSettings(onset=0.8, offset=0.6, min_pause_s=0.2, min_speech_s=0.1, padding_s=0.03),
    # Segments of its own, by its own thresholds, as they are.
    "fsmn": SpeechSettings(onset=0.5, offset=0.5, min_pause_s=0.0, min_speech_s=0.0, padding_s=0.0),
}
"""Chosen on conversations of people (docs/diarization.md)."""


class VoiceActivityDetector(Protocol):
    """Finds speech, not speakers."""

    max_segment_s: float

    def __call__(self, waveform: Audio) -> list[Segment]:
        """Speech of a (samples,) float32 waveform at 16 kHz: disjoint segments in order, in whole milliseconds.

        None is longer than `max_segment_s`; pieces of a segment that had to be split touch.
        """


@runtime_checkable
class OverlapDetector(VoiceActivityDetector, Protocol):
    """Also finds when two speak at once."""

    def with_overlaps(self, waveform: Audio) -> tuple[list[Segment], list[tuple[float, float]]]:
        """The segments of a call, and the times (start, end in seconds) in which two speak."""


def make_detector(
    vad: Detector,
    max_segment_s: float,
    model: str | None = None,
    *,
    onset: float | None = None,
    offset: float | None = None,
    min_pause_s: float | None = None,
    min_speech_s: float | None = None,
    padding_s: float | None = None,
) -> VoiceActivityDetector:
    """The detector of that name; model: of fsmn and segmentation, hub id or folder, None for the public one.

    The other arguments are `SpeechSettings`, None for the detector's default (`DEFAULTS`); an onset below the default
    offset takes that with it. Raises UserError where its package or model is not there, or for an offset above the
    onset.
    """
    given = {
        "onset": onset,
        "offset": offset,
        "min_pause_s": min_pause_s,
        "min_speech_s": min_speech_s,
        "padding_s": padding_s,
    }
    settings = replace(DEFAULTS[vad], **{name: value for name, value in given.items() if value is not None})
    if settings.offset > settings.onset:
        if onset is not None and offset is not None:
            raise UserError(f"offset is {offset}; expected at most the onset, {onset}.")
        settings = replace(settings, **({"onset": offset} if onset is None else {"offset": onset}))
    if vad == "silero":
        from mlcslm.diarization.silero import SileroDetector

        return SileroDetector(max_segment_s, settings)
    if vad == "segmentation":
        from mlcslm.diarization.segmentation import SegmentationDetector

        return SegmentationDetector(max_segment_s, settings, model)
    from mlcslm.diarization.fsmn import FsmnDetector

    return FsmnDetector(max_segment_s, settings, model)
