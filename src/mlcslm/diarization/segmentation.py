"""Speech, and changes of the speaker within it, by pyannote/segmentation-3.0: the detector `segmentation`."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import linear_sum_assignment

from mlcslm.corpus.audio import SAMPLE_RATE, Audio
from mlcslm.diarization.segmentation_network import (
    CLASSES,
    FIELD_SAMPLES,
    LOCAL_SPEAKERS,
    STEP_SAMPLES,
    SegmentationNetwork,
    load_segmentation,
)
from mlcslm.diarization.speech import SpeechSettings, speech_segments
from mlcslm.formats.segments import Segment

FRAME_MS = 1000 * STEP_SAMPLES / SAMPLE_RATE
STRETCH_SAMPLES = 10 * SAMPLE_RATE
"""What the network was trained on, and hears at a time."""
STRETCH_STEP = 370 * STEP_SAMPLES
"""Samples from one stretch to the next, 6.2 s: each hears 3.8 s of the one before, to find its speakers again."""
_BATCH = 4  # more are slower on a CPU: their activations leave its cache
_MEMBERS = np.array([[speaker in one for speaker in range(LOCAL_SPEAKERS)] for one in CLASSES], np.float32)

Activity = npt.NDArray[np.float32]


@dataclass(frozen=True)
class SpeakerActivity:
    """What the network hears in a session, frame by frame (`FRAME_MS` apart, the first one's middle at 31 ms).

    speech: (frames,) probability that anybody speaks; speakers: (frames, 3), that a speaker does. Speakers keep their
    place from one stretch of 10 s to the next as far as they are heard in both; over minutes they do not.
    """

    speech: Activity
    speakers: Activity


@torch.inference_mode()
def speaker_activity(network: SegmentationNetwork, waveform: Audio) -> SpeakerActivity:
    """The activity of a (samples,) float32 waveform at 16 kHz; stretches that overlap are averaged."""
    # Frames are centred: half a frame's field of silence on either side.
    before = (FIELD_SAMPLES - STEP_SAMPLES) // 2
    frames = max(1, -(-len(waveform) // STEP_SAMPLES))
    total = max((frames - 1) * STEP_SAMPLES + FIELD_SAMPLES, SAMPLE_RATE)
    padded = np.zeros(total, np.float32)
    padded[before : before + len(waveform)] = waveform[: total - before]
    last = max(0, -(-(total - STRETCH_SAMPLES) // STEP_SAMPLES) * STEP_SAMPLES)
    starts = [*range(0, last, STRETCH_STEP), last]
    padded = np.pad(padded, (0, max(0, last + STRETCH_SAMPLES - total) if last else 0))
    length = min(STRETCH_SAMPLES, len(padded))
    speakers = np.zeros((max(frames, 1 + (len(padded) - FIELD_SAMPLES) // STEP_SAMPLES), LOCAL_SPEAKERS))
    speech, weights = np.zeros(len(speakers)), np.full(len(speakers), 1e-9)
    for at in range(0, len(starts), _BATCH):
        batch = np.stack([padded[start : start + length] for start in starts[at : at + _BATCH]])
        for start, found in zip(starts[at:], network(torch.from_numpy(batch)).numpy(), strict=False):
            here = slice(start // STEP_SAMPLES, start // STEP_SAMPLES + len(found))
            active = found @ _MEMBERS
            # Whoever spoke in what is known of this stretch already is the one who is most alike there.
            before_it = speakers[here] / weights[here, None]
            active = active[:, linear_sum_assignment(-before_it.T @ active)[1]]
            weight = np.hamming(len(found))
            speakers[here] += weight[:, None] * active
            speech[here] += weight * (1 - found[:, 0])
            weights[here] += weight
    return SpeakerActivity(
        (speech / weights)[:frames].astype(np.float32), (speakers / weights[:, None])[:frames].astype(np.float32)
    )


def speaker_changes(activity: SpeakerActivity, shortest_s: float) -> list[int]:
    """Frames at which another speaker is the most active one, for at least `shortest_s` seconds of speech."""
    dominant = activity.speakers.argmax(axis=1)
    dominant[activity.speakers.max(axis=1) < 0.5 * activity.speech.clip(0.2)] = -1
    runs: list[list[int]] = []  # [speaker, first frame, end]
    for frame in np.flatnonzero(dominant >= 0).tolist():
        if runs and runs[-1][0] == dominant[frame]:
            runs[-1][2] = frame + 1
        else:
            runs.append([int(dominant[frame]), frame, frame + 1])
    kept: list[list[int]] = []
    for speaker, first, end in runs:
        if (end - first) * FRAME_MS < 1000 * shortest_s:
            continue
        if kept and kept[-1][0] == speaker:
            kept[-1][2] = end
        else:
            kept.append([speaker, first, end])
    changes = []
    for (_, _, end), (_, first, _) in itertools.pairwise(kept):
        # Between two speakers somebody too short, or nobody: where there is least speech.
        between = activity.speech[end : first + 1]
        changes.append(end + int(np.argmin(between)) if len(between) > 1 else first)
    return changes


def overlaps(activity: SpeakerActivity, shortest_s: float = 0.1) -> list[tuple[float, float]]:
    """Start and end, in seconds, of the stretches of at least `shortest_s` in which two are more likely than not.

    Each frame's speakers add up to the number expected: what exceeds the probability of speech is that of a second one.
    """
    two = (activity.speakers.sum(axis=1) - activity.speech > 0.5).astype(np.int8)
    edges = np.flatnonzero(np.diff(two, prepend=0, append=0)).reshape(-1, 2)
    times = np.round(edges * FRAME_MS / 1000, 3)
    return [(start, end) for start, end in times.tolist() if end - start >= shortest_s]


class SegmentationDetector:
    """Speech in segments of at most `max_segment_s` seconds that end where the speaker changes.

    model: folder, file or hub id, as `load_segmentation` takes it.
    """

    def __init__(
        self, max_segment_s: float, settings: SpeechSettings, model: str | os.PathLike[str] | None = None
    ) -> None:
        self.max_segment_s = max_segment_s
        self.settings = settings
        self._network = load_segmentation(model)

    def __call__(self, waveform: Audio) -> list[Segment]:
        """Speech of a (samples,) float32 waveform at 16 kHz: disjoint segments in order, in whole milliseconds."""
        return self.with_overlaps(waveform)[0]

    def with_overlaps(self, waveform: Audio) -> tuple[list[Segment], list[tuple[float, float]]]:
        """The same, and start and end of the time in which two speak at once."""
        if not len(waveform):
            return [], []
        activity = speaker_activity(self._network, waveform)
        segments = speech_segments(
            activity.speech,
            1000 * len(waveform) // SAMPLE_RATE,
            self.settings,
            frame_ms=FRAME_MS,
            max_segment_s=self.max_segment_s,
            changes=speaker_changes(activity, self.settings.min_speech_s),
        )
        return segments, overlaps(activity)
